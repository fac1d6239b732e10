"""See `python scripts/release.py --help`; the work is in tools/release/sift.py."""

from ames_lite.cli import run_script

if __name__ == "__main__":
    run_script(__file__, "tools.release.sift")
