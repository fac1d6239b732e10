"""Figures as PNG or SVG files, without pyplot: the same figure gives the same bytes. Their look:
hues that the colour-blind tell apart, thin axes, titles that fit.
"""

import io
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from ames_lite.io.writing import replacing

DPI = 110
SMALL, MEDIUM, LARGE = 8, 9.5, 12  # points
# Okabe and Ito, "Color universal design", 2008: orange, sky blue, green, yellow, blue, vermilion,
# purple; their black is left out: it would not be seen
HUES = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
MARKERS = ("o", "s", "^")  # of labels that share a hue
PALE = "0.82"
GREY = "0.55"


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write or replace the figure, in the form of the path's suffix; returns the path."""
    with replacing(path, overwrite=True) as partial:
        _draw_as(figure, partial, Path(path).suffix[1:])
    return Path(path)


def svg_bytes(figure: Figure) -> bytes:
    stream = io.BytesIO()
    _draw_as(figure, stream, "svg")
    return stream.getvalue()


def _draw_as(figure: Figure, target: Path | io.BytesIO, form: str) -> None:
    without: Any = {"png": {"Software": None}, "svg": {"Date": None}}[form]
    with rc_context({"svg.hashsalt": "ames_lite"}):
        figure.savefig(target, format=form, dpi=DPI, metadata=without)


def label_styles() -> list[tuple[str, str]]:
    """All (colour, marker) that labels can be told apart by."""
    return [(hue, marker) for marker in MARKERS for hue in HUES]


def plain(text: str) -> str:
    """Text as it is: a dollar sign in a file name is a dollar sign, not mathematics."""
    return text.replace("$", r"\$")


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


def style_axes(axes: Any) -> None:
    """Thin axes, a pale grid, no box."""
    axes.tick_params(which="both", labelsize=SMALL, colors="0.4")
    axes.grid(color="0.93", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("0.7")
