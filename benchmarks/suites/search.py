"""suite=search: what looking through an indexed folder costs, and a query on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ames_lite.cli.shell import print_table
from benchmarks.extraction.searching import SearchSpeed, measure_search
from benchmarks.keys import count_of
from benchmarks.schema import Benchmark

KEYS = ("images", "descriptors", "num_rerank", "clusters")
NOTE = """
unchanged: finding out that no file of the folder is new, changed or gone; whole command: Python's
start and all imports with it. query: an AMES of 3 layers and width 256, from the query's local
descriptors to its list; opened: in a process that has opened the index. seconds: medians; load: of
the machine, afterwards. MiB: of the whole process.
"""


def prepare_search(config: Benchmark) -> Callable[[Path], list[dict[str, Any]]]:
    """Everything that a user can have wrong, checked; what is left is the measuring."""
    sizes = {key: count_of(f"search.{key}", getattr(config.search, key)) for key in KEYS}
    options = SearchSpeed(**sizes, repeats=count_of("repeats", config.repeats), seed=config.seed)
    return lambda folder: measure_search(options, folder)


def show_search(results: dict[str, Any]) -> None:
    """The table of suite=search, and how to read it."""
    header = ["", "images", "descriptors", "num_rerank", "seconds", "fastest", "load", "MiB"]
    rows = []
    for cell in results["cells"]:
        load = "-" if cell["load"] is None else f"{cell['load']:.1f}"
        sizes = [cell[key] for key in ("images", "descriptors", "num_rerank")]
        times = [f"{cell[key]:.3f}" for key in ("seconds", "fastest")]
        rows.append([cell["work"], *sizes, *times, load, f"{cell['peak_memory_mib']:.0f}"])
    print_table(header, rows)
    print(NOTE)
