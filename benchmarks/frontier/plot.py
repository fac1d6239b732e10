"""A metric against what it costs: one panel a cost, every cell a mark, the front drawn and named.

Input: the cells of a grid and its fronts. Output: a figure. Costs are on logarithmic axes, the
metric in percent on one scale for all panels; a colour is a head, a shape a num_rerank; cells of
one head and num_rerank are joined; the dotted line is the global ranking.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ames_lite.evaluation.views.canvas import LARGE, MEDIUM, SMALL, Axes, Colour, Figure, Key, Page
from ames_lite.evaluation.views.colours import HUES
from benchmarks.frontier.grid import Cell

PANEL_WIDTH, PANEL_HEIGHT, GAP = 5.4, 4.2, 0.55  # inches
LEFT, TOP, BOTTOM = 0.75, 0.85, 0.65
KEY_ROW, KEY_COLUMNS = 0.24, 6
SHAPES = ("o", "s", "^", "D", "v", "P", "X", "*")
ORDER = (4, 5, 2, 6, 0, 1, 3)  # of HUES: the first ones differ in lightness too
NAMES = {"bytes_per_image": "bytes of a gallery image", "ms_per_query": "milliseconds of a query"}
BLACK: Colour = (0.0, 0.0, 0.0)
GREY: Colour = (0.45, 0.45, 0.45)


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
    keys = _keys(heads, numbers)
    key_height = KEY_ROW * -(-len(keys) // KEY_COLUMNS) + 0.1
    width = LEFT + len(fronts) * PANEL_WIDTH + (len(fronts) - 1) * GAP + 0.2
    page = Page(width, TOP + PANEL_HEIGHT + BOTTOM + key_height)
    page.text(LEFT, 0.14, title, size=LARGE)
    page.text(LEFT, 0.42, note, size=SMALL)
    limits = _limits(cells, metric, before)
    for place, (cost, chosen) in enumerate(fronts.items()):
        left = LEFT + place * (PANEL_WIDTH + GAP)
        panel = page.axes(left, TOP, PANEL_WIDTH, PANEL_HEIGHT)
        drawn = _Panel(panel, cost, metric)
        for head in heads:
            for number in numbers:
                own = [c for c in cells if (c.head, c.num_rerank) == (head, number)]
                drawn.joined(own, _hue(heads, head), _shape(numbers, number))
        best = [cells[number] for number in chosen]
        drawn.front(best)
        drawn.style(limits, before, first=place == 0)
        drawn.name(best)
    page.keys(LEFT, TOP + PANEL_HEIGHT + BOTTOM, keys, KEY_COLUMNS)
    return page.figure


class _Panel:
    """One cost."""

    def __init__(self, axes: Axes, cost: str, metric: str) -> None:
        self.axes, self.cost, self.metric = axes, cost, metric
        axes.set_xscale("log")

    def places(self, cells: Sequence[Cell]) -> list[tuple[float, float]]:
        """Cost and metric in percent, of the cells that have both, by rising cost."""
        found = [(getattr(cell, self.cost), cell.metrics[self.metric]) for cell in cells]
        return sorted((x, 100 * y) for x, y in found if x is not None and y is not None)

    def joined(self, cells: Sequence[Cell], colour: Colour, shape: str) -> None:
        """Marks on a thin line."""
        places = self.places(cells)
        if places:
            x, y = zip(*places, strict=True)
            self.axes.plot(x, y, "-", color=colour, linewidth=0.8, alpha=0.45, zorder=2)
            self.axes.plot(
                x, y, shape, color=colour, markersize=5, markeredgewidth=0, alpha=0.85, zorder=3
            )

    def front(self, cells: Sequence[Cell]) -> None:
        """A step line over the best."""
        places = [self.places([cell])[0] for cell in cells]
        if not places:
            return
        x, y = zip(*places, strict=True)
        self.axes.step(x, y, where="post", color="black", linewidth=1.3, zorder=4)
        self.axes.plot(
            x, y, "o", markersize=8.5, markerfacecolor="none", markeredgecolor="black", zorder=4
        )

    def name(self, cells: Sequence[Cell]) -> None:
        """What each cell of a front is, above it; higher where it would lie on the one before."""
        last: Any = None
        for cell in cells:
            for lift in range(5, 60, 9):
                words = self.axes.annotate(
                    f"{cell.descriptors}·{cell.num_rerank}",
                    self.places([cell])[0],
                    xytext=(-5, lift),
                    textcoords="offset points",
                    ha="right",
                    fontsize=SMALL - 1,
                    zorder=5,
                )
                box = words.get_window_extent()
                if last is None or not box.overlaps(last):
                    break
                words.remove()
            last = box

    def style(self, limits: tuple[float, float], before: float | None, *, first: bool) -> None:
        """Scales, names, grid and the global ranking."""
        axes = self.axes
        low, high = axes.get_xlim()
        axes.set_xlim(low / (high / low) ** 0.06, high)  # room for the names of the first
        axes.set_ylim(*limits)
        if before is not None:
            axes.axhline(100 * before, color=GREY, linewidth=1, linestyle=":", zorder=1)
        axes.set_xlabel(NAMES.get(self.cost, self.cost), fontsize=MEDIUM)
        if first:
            axes.set_ylabel(f"{self.metric}, percent", fontsize=MEDIUM, parse_math=False)
        axes.tick_params(which="both", labelsize=SMALL, colors="0.4")
        ticks = _ticks(*axes.get_xlim())
        axes.set_xticks(ticks, [_plain_number(tick) for tick in ticks])
        axes.set_xticks([], minor=True)
        axes.grid(color="0.93", linewidth=0.6, which="both")
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten, or the powers alone where those are many.

    >>> _ticks(30, 700)
    [50.0, 100.0, 200.0, 500.0]
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if high < 1e4 * low else (1,)
    return [t for p in powers for step in steps if low <= (t := step * 10.0**p) <= high]


def _plain_number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _limits(cells: Sequence[Cell], metric: str, before: float | None) -> tuple[float, float]:
    """Of the metric, in percent, with room for names above."""
    values = [cell.metrics[metric] for cell in cells] + [before]
    known = [100 * value for value in values if value is not None and math.isfinite(value)]
    low, high = (min(known), max(known)) if known else (0.0, 100.0)
    room = (high - low) or 1.0
    return low - 0.06 * room, high + 0.12 * room


def _hue(heads: Sequence[str], head: str) -> Colour:
    red, green, blue = HUES[ORDER[heads.index(head) % len(ORDER)]].tolist()
    return red, green, blue


def _shape(numbers: Sequence[int], number: int) -> str:
    return SHAPES[numbers.index(number) % len(SHAPES)]


def _keys(heads: Sequence[str], numbers: Sequence[int]) -> list[Key]:
    keys = [Key(head, _hue(heads, head), "o", None, 6) for head in heads]
    keys += [Key(f"{n} reranked", GREY, _shape(numbers, n), None, 5) for n in numbers]
    keys.append(Key("front: descriptors·reranked", (1.0, 1.0, 1.0), "o", BLACK, 8))
    keys.append(Key("global ranking", GREY, "_", None, 8))
    return keys
