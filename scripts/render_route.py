"""See `python scripts/render_route.py --help`; the work is in tools/route/command.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # tools/ is not installed

from tools.route.command import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
