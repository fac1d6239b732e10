"""See `python scripts/release.py --help`; the work is in ames_lite/cli/release.py."""

import sys

from ames_lite.cli.release import main

if __name__ == "__main__":
    sys.exit(main())
