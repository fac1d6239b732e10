"""See `python scripts/view.py --help`; the work is in ames_lite/cli/view.py."""

import sys

from ames_lite.cli.view import main

if __name__ == "__main__":
    sys.exit(main())
