"""The look of plots: hues that the colour-blind tell apart, thin axes, titles that fit."""

from collections.abc import Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from ames_lite.evaluation.figures import DPI, LARGE, SMALL, plain

# Okabe and Ito, "Color universal design", 2008: orange, sky blue, green, yellow, blue, vermilion,
# purple; their black is left out: it would not be seen
HUES = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
PALE = "0.82"


def titled_figure(size: tuple[float, float], title: str, *, fixed: bool = False) -> Figure:
    """A figure of (width, height) inches; places its axes and legends itself, unless fixed."""
    layout = None if fixed else ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.06)
    figure = Figure(size, dpi=DPI, layout=layout)
    place: dict[str, Any] = {"x": 0.1 / size[0], "ha": "left"}
    if fixed:
        place |= {"y": 1 - 0.1 / size[1], "va": "top"}
    figure.suptitle(fitting(title, size[0], LARGE), fontsize=LARGE, **place)
    return figure


def fitting(text: str, inches: float, size: float = SMALL) -> str:
    """As much of the end of a text as `inches` have room for.

    >>> fitting("jpg/a.jpg", 3), fitting("a/long/path/to/an/image.jpg", 1)
    ('jpg/a.jpg', '…/an/image.jpg')
    """
    most = int(inches * 72 / (0.63 * size))  # letters are about that wide
    return plain(text if len(text) <= most else "…" + text[1 - most :])


def mark(label: str, colour: str, marker: str, size: float, edge: str | None = None) -> Line2D:
    """An entry of a legend; size in points."""
    look: dict[str, Any] = {"linestyle": "", "markeredgecolor": edge or colour}
    return Line2D([], [], marker=marker, color=colour, label=label, markersize=size, **look)


def by_column(entries: Sequence[Artist], columns: int) -> list[Artist]:
    """The entries of a legend that is read row by row: matplotlib fills it by columns."""
    return [entry for column in range(columns) for entry in entries[column::columns]]


def style_axes(axes: Any) -> None:
    """Thin axes, a pale grid, no box."""
    axes.tick_params(which="both", labelsize=SMALL, colors="0.4")
    axes.grid(color="0.93", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("0.7")
