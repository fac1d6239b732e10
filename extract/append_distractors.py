"""See `python extract/append_distractors.py --help`; the work is in ames_lite/extraction."""

import sys

from ames_lite.cli.distractor_stage import main

if __name__ == "__main__":
    sys.exit(main())
