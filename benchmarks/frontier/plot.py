"""A metric against what it costs: one panel a cost, every cell a mark, the front drawn and named.

Input: the cells of a grid and its fronts. Output: a figure. Costs are on logarithmic axes, the
metric in percent on one scale for all panels; a colour is a head, a shape a num_rerank; cells of
one head and num_rerank are joined; the dotted line is the global ranking.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from ames_lite.evaluation.figures import (
    GREY,
    HUES,
    MEDIUM,
    SMALL,
    plain,
    style_axes,
    titled_figure,
)
from benchmarks.frontier.grid import Cell
from benchmarks.legends import by_column, mark

SIZE = (12.2, 5.8)  # inches
KEY_COLUMNS = 6
SHAPES = ("o", "s", "^", "D", "v", "P", "X", "*")
ORDER = (4, 5, 2, 6, 0, 1, 3)  # of HUES: the first ones differ in lightness too
NAMES = {"bytes_per_image": "bytes of a gallery image", "ms_per_query": "milliseconds of a query"}


def draw_frontier(
    cells: Sequence[Cell],
    fronts: Mapping[str, Sequence[int]],
    metric: str,
    before: float | None,
    title: str,
    note: str = "",
) -> Figure:
    """All cells that have the cost and the metric; before: the metric of the global ranking."""
    heads = list(dict.fromkeys(cell.head for cell in cells))
    numbers = sorted({cell.num_rerank for cell in cells})
    hues = {head: HUES[ORDER[i % len(ORDER)]] for i, head in enumerate(heads)}
    shapes = {number: SHAPES[i % len(SHAPES)] for i, number in enumerate(numbers)}
    figure = titled_figure(SIZE, title)
    panels = figure.subplots(1, len(fronts), sharey=True, squeeze=False)[0]
    for axes, (cost, chosen) in zip(panels, fronts.items(), strict=True):
        for head, hue in hues.items():
            for number, shape in shapes.items():
                own = [one for one in cells if (one.head, one.num_rerank) == (head, number)]
                _draw_joined(axes, _places(own, cost, metric), hue, shape)
        _style(axes, cost, before)
        _draw_front(axes, [cells[number] for number in chosen], cost, metric)
    panels[0].set_ylabel(plain(f"{metric}, percent"), fontsize=MEDIUM)
    panels[0].margins(y=0.12)
    keys = by_column(_keys(hues, shapes), KEY_COLUMNS)
    look: dict[str, Any] = {"fontsize": SMALL, "frameon": False, "title_fontsize": SMALL}
    legend = figure.legend(
        handles=keys, loc="outside lower left", ncols=KEY_COLUMNS, title=plain(note) or None, **look
    )
    legend.set_alignment("left")
    legend.get_title().set_color(GREY)
    return figure


def _places(cells: Sequence[Cell], cost: str, metric: str) -> list[tuple[float, float]]:
    """Cost and metric in percent, of the cells that have both, by rising cost."""
    found = [(getattr(cell, cost), cell.metrics[metric]) for cell in cells]
    return sorted((x, 100 * y) for x, y in found if x is not None and y is not None)


def _draw_joined(axes: Axes, places: Sequence[tuple[float, float]], hue: str, shape: str) -> None:
    """Marks on a thin line."""
    if places:
        x, y = zip(*places, strict=True)
        axes.plot(x, y, "-", color=hue, linewidth=0.8, alpha=0.45)
        axes.plot(x, y, shape, color=hue, markersize=5, markeredgewidth=0, alpha=0.85)


def _draw_front(axes: Axes, cells: Sequence[Cell], cost: str, metric: str) -> None:
    """A step line over the best, each with its name; higher where names would overlap."""
    places = [_places([cell], cost, metric)[0] for cell in cells]
    if not places:
        return
    x, y = zip(*places, strict=True)
    axes.step(x, y, where="post", color="black", linewidth=1.3)
    axes.plot(x, y, "o", markersize=8.5, markerfacecolor="none", markeredgecolor="black")
    for number, (cell, place) in enumerate(zip(cells, places, strict=True)):
        axes.annotate(
            f"{cell.descriptors}·{cell.num_rerank}",
            place,
            xytext=(-5, 5 + 9 * (number % 3)),
            textcoords="offset points",
            ha="right",
            fontsize=SMALL - 1,
        )


def _style(axes: Axes, cost: str, before: float | None) -> None:
    """Scales, names, grid and the global ranking."""
    axes.set_xscale("log")
    axes.margins(x=0.08)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(NAMES.get(cost, cost), fontsize=MEDIUM)
    style_axes(axes)
    if before is not None:
        axes.axhline(100 * before, color=GREY, linewidth=1, linestyle=":")


def _keys(hues: Mapping[str, str], shapes: Mapping[int, str]) -> list[Line2D]:
    keys = [mark(plain(head), hue, "o", 6) for head, hue in hues.items()]
    keys += [mark(f"{number} reranked", GREY, shape, 5) for number, shape in shapes.items()]
    keys.append(mark("front: descriptors·reranked", "white", "o", 8, "black"))
    keys.append(mark("global ranking", GREY, "_", 8))
    return keys
