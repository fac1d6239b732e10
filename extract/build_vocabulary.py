"""See `python extract/build_vocabulary.py --help`; the work is in ames_lite/extraction."""

import sys

from ames_lite.cli.vocabulary_stage import vocabulary_main as main

if __name__ == "__main__":
    sys.exit(main())
