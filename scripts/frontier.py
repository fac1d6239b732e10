"""See `python scripts/frontier.py --help`; the work is in benchmarks/frontier/command.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # benchmarks/ is not installed

from benchmarks.frontier.command import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
