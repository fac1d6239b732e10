"""suite=evaluate: what evaluating costs, without any scoring."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ames_lite.cli.shell import print_table
from benchmarks.keys import count_of
from benchmarks.metrics import MetricSpeed, measure_metrics
from benchmarks.schema import Benchmark

NOTE = """
ranking: all metrics of revisitop, three settings; reranked: the same after the first num_rerank
were reordered; grid: every λ and γ from logits in memory. seconds: medians; load: of the machine,
before. MiB: of the whole process.
"""


def prepare_evaluate(config: Benchmark) -> Callable[[Path], list[dict[str, Any]]]:
    """Everything that a user can have wrong, checked; what is left is the measuring."""
    options = MetricSpeed(seed=config.seed, repeats=count_of("repeats", config.repeats))
    return lambda folder: measure_metrics(options)


def show_evaluate(results: dict[str, Any]) -> None:
    """The table of suite=evaluate, and how to read it."""
    header = ["", "queries", "gallery", "num_rerank", "settings", "seconds", "load", "MiB"]
    keys = ("queries", "gallery", "num_rerank", "settings")
    print_table(
        header,
        [
            [
                cell["work"],
                *(cell[key] for key in keys),
                f"{cell['seconds']:.2f}",
                f"{cell['load']:.1f}",
                f"{cell['peak_memory_mib']:.0f}",
            ]
            for cell in results["cells"]
        ],
    )
    print(NOTE)
