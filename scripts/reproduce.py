"""See `python scripts/reproduce.py --help`; the work is in benchmarks/reproduce/command.py."""

from ames_lite.cli import run_script

if __name__ == "__main__":
    run_script(__file__, "benchmarks.reproduce.command")
