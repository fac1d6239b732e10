"""See `python scripts/train.py --help`; the work is in ames_lite/cli/train.py."""

import sys

from ames_lite.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
