"""See `python extract/merge_hdf5.py --help`; the work is in ames_lite/extraction."""

import sys

from ames_lite.cli.store_stages import merge_main as main

if __name__ == "__main__":
    sys.exit(main())
