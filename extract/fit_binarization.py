"""See `python extract/fit_binarization.py --help`; the work is in ames_lite/extraction."""

import sys

from ames_lite.cli.store_stages import binarization_main as main

if __name__ == "__main__":
    sys.exit(main())
