"""How seconds grow: one panel an axis, both axes logarithmic, with the fitted exponent.

Input: the cells of suite=rerank. Output: a figure. Panels share the scale of seconds, so that
slopes can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ames_lite.evaluation.views.canvas import LARGE, MEDIUM, SMALL, Axes, Figure, Page

PANEL, GAP, LEFT, TOP, BOTTOM = 2.6, 0.75, 0.75, 0.75, 0.6  # inches
WORDS = {
    "num_rerank": "candidates of a query",
    "descriptors": "descriptors of an image",
    "queries": "queries",
    "gallery": "gallery images",
}


def draw_growth(cells: Sequence[dict[str, Any]], title: str) -> Figure:
    """The cells `growth` and `exponent`; at least one axis."""
    grown = [cell for cell in cells if cell["work"] == "growth"]
    axes = list(dict.fromkeys(cell["axis"] for cell in grown))
    slopes = {
        cell["axis"]: cell["exponent"]
        for cell in cells
        if cell["work"] == "exponent" and cell["of"] == cell["axis"]
    }
    seconds = [cell["seconds"] for cell in grown]
    limits = min(seconds) / 1.5, max(seconds) * 1.5
    page = Page(LEFT + len(axes) * (PANEL + GAP), TOP + PANEL + BOTTOM)
    page.text(LEFT, 0.15, title, size=LARGE)
    for number, axis in enumerate(axes):
        panel = page.axes(LEFT + number * (PANEL + GAP), TOP, PANEL, PANEL)
        own = [cell for cell in grown if cell["axis"] == axis]
        _draw(panel, axis, own, slopes.get(axis), limits)
    return page.figure


def _draw(
    panel: Axes,
    axis: str,
    cells: Sequence[dict[str, Any]],
    slope: float | None,
    limits: tuple[float, float],
) -> None:
    values = [cell["value"] for cell in cells]
    panel.plot(values, [cell["seconds"] for cell in cells], "o-", color="0.2", markersize=4)
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_ylim(*limits)
    panel.set_xticks(values, [str(value) for value in values])
    panel.set_xticks([], minor=True)
    panel.set_xlabel(WORDS.get(axis, axis), fontsize=MEDIUM)
    panel.set_ylabel("seconds", fontsize=MEDIUM)
    panel.tick_params(which="both", labelsize=SMALL, colors="0.4")
    panel.grid(color="0.93", linewidth=0.6)
    if slope is not None:
        panel.set_title(f"exponent {slope:.2f}", fontsize=MEDIUM, loc="left")
