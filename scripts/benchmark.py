"""See `python scripts/benchmark.py --help`; the work is in benchmarks/command.py."""

from ames_lite.cli import run_script

if __name__ == "__main__":
    run_script(__file__, "benchmarks.command")
