"""See `python scripts/reproduce.py --help`; the work is in ames_lite/cli/reproduce.py."""

import sys

from ames_lite.cli.reproduce import main

if __name__ == "__main__":
    sys.exit(main())
