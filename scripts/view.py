"""See `python scripts/view.py --help`; the work is in tools/view/command.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # tools/ is not installed

from tools.view.command import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
