"""See `python scripts/prepare_set.py --help`; the work is in ames_lite/cli."""

import sys

from ames_lite.cli.prepare_set import main

if __name__ == "__main__":
    sys.exit(main())
