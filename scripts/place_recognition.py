"""See `python scripts/place_recognition.py --help`; the work is in ames_lite/cli."""

import sys

from ames_lite.cli.place_recognition import main

if __name__ == "__main__":
    sys.exit(main())
