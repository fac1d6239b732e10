"""See `python scripts/search.py --help`; the work is in ames_lite/cli."""

import sys

from ames_lite.cli import run_script

if __name__ == "__main__":
    sys.exit(run_script(__file__))
