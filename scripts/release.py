"""See `python scripts/release.py --help`; the work is in tools/release/sift.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # tools/ is not installed

from tools.release.sift import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
