"""See `python scripts/demo.py --help`; the work is in ames_lite/cli/demo.py."""

import sys

from ames_lite.cli.demo import main

if __name__ == "__main__":
    sys.exit(main())
