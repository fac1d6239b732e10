"""See `python scripts/benchmark.py --help`; the work is in ames_lite/cli/benchmark.py."""

import sys

from ames_lite.cli.benchmark import main

if __name__ == "__main__":
    sys.exit(main())
