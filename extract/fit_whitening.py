"""See `python extract/fit_whitening.py --help`; the work is in ames_lite/extraction."""

import sys

from ames_lite.cli.global_stages import whitening_main as main

if __name__ == "__main__":
    sys.exit(main())
