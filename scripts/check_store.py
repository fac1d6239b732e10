"""See `python scripts/check_store.py --help`; the work is in ames_lite/cli/check_store.py."""

import sys

from ames_lite.cli.check_store import main

if __name__ == "__main__":
    sys.exit(main())
