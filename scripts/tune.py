"""See `python scripts/tune.py --help`; the work is in ames_lite/cli/tune.py."""

import sys

from ames_lite.cli.tune import main

if __name__ == "__main__":
    sys.exit(main())
