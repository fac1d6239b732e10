"""See `python scripts/view.py --help`; the work is in tools/view/command.py."""

from ames_lite.cli import run_script

if __name__ == "__main__":
    run_script(__file__, "tools.view.command")
