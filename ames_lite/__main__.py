"""`python -m ames_lite <command> key=value …`, as the console command `ames`."""

import sys

from ames_lite.cli import main

sys.exit(main())
