"""suite=rerank: what scoring all pairs of an evaluation costs, beside the plain loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ames_lite.cli.shell import print_table
from ames_lite.errors import ConfigError
from ames_lite.evaluation.figures import save_figure
from benchmarks.growth_plot import draw_growth
from benchmarks.keys import count_of, devices_of, precisions_of
from benchmarks.rerank import (
    AXES,
    RerankSize,
    RerankSpeed,
    measure_rerank,
)
from benchmarks.schema import Benchmark

PLOT = "rerank.png"
NOTE = """
x plain: seconds of the plain loop (dense form, float32; reads and forwards anew for every query and
both passes) / seconds of the scheduler, in turns. bytes: read / of unique rows. ranking: the plain
one, but for ties; logit: largest difference from the plain loop's; mAP: of a head of noise, its
change alone tells something. MiB: of the whole process.
"""


def prepare_rerank(config: Benchmark) -> Callable[[Path], list[dict[str, Any]]]:
    """Everything that a user can have wrong, checked; what is left is the measuring."""
    given, device = vars(config.rerank), devices_of(config.device)[-1]
    size = RerankSize(**{key: count_of(f"rerank.{key}", given[key]) for key in (*AXES, "pool")})
    growth = {
        axis: [
            count_of(f"rerank.grow.{axis}", value) for value in getattr(config.rerank.grow, axis)
        ]
        for axis in AXES
    }
    most = max([size.num_rerank, *growth["num_rerank"]])
    if most > min(size.pool, size.gallery, *(growth["gallery"] or [size.gallery])):
        raise ConfigError(
            f"num_rerank={most} is more than the pool or the gallery",
            expected="rerank.pool, rerank.gallery and rerank.grow.gallery at least as large",
        )
    options = RerankSpeed(
        size,
        {axis: values for axis, values in growth.items() if values},
        precisions_of(config.precisions, [device]),
        repeats=count_of("repeats", config.repeats),
        dim_in=count_of("dim_in", config.dim_in),
        device=str(device),
        plain=given["plain"],
        seed=config.seed,
    )

    def measure(folder: Path) -> list[dict[str, Any]]:
        cells = measure_rerank(options, folder)
        if options.growth:
            title = f"seconds of scoring, {options.device}, {size.queries} × {size.num_rerank}"
            save_figure(draw_growth(cells, title), folder / PLOT)
        return cells

    return measure


def show_rerank(results: dict[str, Any]) -> None:
    """The tables of suite=rerank, and how to read them."""
    cells = results["cells"]
    header = ["", "pairs", "seconds", "pairs/s", "plain s", "x plain", "bytes", "plain", "ranking"]
    targets = [cell for cell in cells if cell["work"] == "target"]
    print_table([*header, "logit", "mAP", "plain", "MiB"], [_target(cell) for cell in targets])
    print(NOTE)
    grown = [cell for cell in cells if cell["work"] == "growth"]
    if grown:
        header = ["", "value", "pairs", "seconds", "pairs/s", "ms/query", "images", "MiB"]
        print_table(header, [_growth(cell) for cell in grown])
        slopes = [cell for cell in cells if cell["work"] == "exponent"]
        said = [f"{cell['axis']} over {cell['of']} {cell['exponent']:.2f}" for cell in slopes]
        print(f"\nexponents of seconds: {', '.join(said)}\n")


def _target(cell: dict[str, Any]) -> list[object]:
    row: list[object] = [
        f"{cell['precision']} {cell['queries']}x{cell['num_rerank']}x{cell['descriptors']}",
        cell["pairs"],
        f"{cell['seconds']:.2f}",
        f"{cell['pairs_per_second']:.0f}",
    ]
    if "plain_seconds" not in cell:
        return [*row, "-", "-", f"{cell['bytes_over_unique']:.2f}", *"-----", _mib(cell)]
    unique = cell["bytes_read"] / cell["bytes_over_unique"]
    return [
        *row,
        f"{cell['plain_seconds']:.1f}",
        f"{cell['ratio']:.1f}",
        f"{cell['bytes_over_unique']:.2f}",
        f"{cell['plain_bytes_read'] / unique:.1f}",
        "same" if cell["same_ranking"] else "other",
        f"{cell['logit_difference']:.1e}",
        cell["map"],
        cell["plain_map"],
        _mib(cell),
    ]


def _growth(cell: dict[str, Any]) -> list[object]:
    figures = f"{cell['pairs_per_second']:.0f}", f"{cell['ms_per_query']:.1f}"
    counts = cell["value"], cell["pairs"], f"{cell['seconds']:.2f}"
    return [cell["axis"], *counts, *figures, cell["unique_images"], _mib(cell)]


def _mib(cell: dict[str, Any]) -> str:
    return f"{cell['peak_memory_mib']:.0f}"
