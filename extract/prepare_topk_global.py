"""See `python extract/prepare_topk_global.py --help`; the work is in ames_lite/extraction."""

import sys

from ames_lite.cli.store_stages import topk_main as main

if __name__ == "__main__":
    sys.exit(main())
