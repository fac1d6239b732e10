"""See `python scripts/failures.py --help`; the work is in ames_lite/cli/failures.py."""

import sys

from ames_lite.cli.failures import main

if __name__ == "__main__":
    sys.exit(main())
