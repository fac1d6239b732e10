"""See `python extract/extract_globals.py --help`; the work is in ames_lite/extraction."""

import sys

from ames_lite.cli.global_stages import globals_main as main

if __name__ == "__main__":
    sys.exit(main())
