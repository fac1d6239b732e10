"""See `python scripts/reproduce.py --help`; the work is in benchmarks/reproduce/command.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # benchmarks/ is not installed

from benchmarks.reproduce.command import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
