"""See `python extract/compress_store.py --help`; the work is in ames_lite/cli."""

from ames_lite.cli import run_script

if __name__ == "__main__":
    run_script(__file__)
