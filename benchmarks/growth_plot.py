"""How seconds grow: one panel an axis, both axes logarithmic, with the fitted exponent.

Input: the cells of suite=rerank. Output: a figure. Panels share the scale of seconds, so that
slopes can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ames_lite.evaluation.figures import MEDIUM, style_axes, titled_figure

PANEL = 3.3  # inches
WORDS = {
    "num_rerank": "candidates of a query",
    "descriptors": "descriptors of an image",
    "queries": "queries",
    "gallery": "gallery images",
}


def draw_growth(cells: Sequence[dict[str, Any]], title: str) -> Figure:
    """The cells `growth` and `exponent`; at least one axis."""
    grown = [cell for cell in cells if cell["work"] == "growth"]
    names = list(dict.fromkeys(cell["axis"] for cell in grown))
    slopes = {
        cell["axis"]: cell["exponent"]
        for cell in cells
        if cell["work"] == "exponent" and cell["of"] == cell["axis"]
    }
    figure = titled_figure((PANEL * len(names), PANEL + 0.5), title)
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for panel, name in zip(panels, names, strict=True):
        _draw(panel, name, [cell for cell in grown if cell["axis"] == name], slopes.get(name))
    return figure


def _draw(panel: Axes, name: str, cells: Sequence[dict[str, Any]], slope: float | None) -> None:
    values = [cell["value"] for cell in cells]
    seconds = [cell["seconds"] for cell in cells]
    panel.loglog(values, seconds, "o-", color="0.2", markersize=4)
    panel.set_xticks(values, [str(value) for value in values])
    panel.set_xticks([], minor=True)
    panel.set_xlabel(WORDS.get(name, name), fontsize=MEDIUM)
    panel.set_ylabel("seconds", fontsize=MEDIUM)
    style_axes(panel)
    if slope is not None:
        panel.set_title(f"exponent {slope:.2f}", fontsize=MEDIUM, loc="left")
