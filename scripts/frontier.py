"""See `python scripts/frontier.py --help`; the work is in ames_lite/cli/frontier.py."""

import sys

from ames_lite.cli.frontier import main

if __name__ == "__main__":
    sys.exit(main())
