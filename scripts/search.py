"""See `python scripts/search.py --help`; the work is in ames_lite/cli/search.py."""

import sys

from ames_lite.cli.search import main

if __name__ == "__main__":
    sys.exit(main())
