"""See `python scripts/compare.py --help`; the work is in ames_lite/cli/compare.py."""

import sys

from ames_lite.cli.compare import main

if __name__ == "__main__":
    sys.exit(main())
