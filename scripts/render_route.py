"""See `python scripts/render_route.py --help`; the work is in tools/route/command.py."""

from ames_lite.cli import run_script

if __name__ == "__main__":
    run_script(__file__, "tools.route.command")
