"""See `python scripts/evaluate.py --help`; the work is in ames_lite/cli/evaluate.py."""

import sys

from ames_lite.cli.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
