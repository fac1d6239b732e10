"""See `python extract/extract_descriptors.py --help`; the work is in ames_lite/extraction."""

import sys

from ames_lite.cli.stages import extract_main as main

if __name__ == "__main__":
    sys.exit(main())
