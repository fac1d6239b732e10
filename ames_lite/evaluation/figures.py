"""Figures as PNG or SVG files, without pyplot: the same figure gives the same bytes.

The failure sheet: a line a query, beside it what was found first and what should have been. The
frame says what an image is: blue the query, green correct, red wrong.
"""

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ames_lite.evaluation.pictures import Picture
from ames_lite.io.writing import replacing

DPI = 110
SMALL, MEDIUM, LARGE = 8, 9.5, 12  # points
GREY = "0.55"
MAX_LINES = 100
WIDTH, TALLEST = 2.5, 1.9  # inches of a tile, at most
MARGIN, GAP, TEXT, HEADING = 0.3, 0.22, 0.62, 0.3  # TEXT: of what stands above a tile
PIXELS = int(2 * WIDTH * DPI)  # longer side that is enough of an image
LONGEST_NAME = 30  # characters: UTM names keep east and north
FRAMES = {None: "#3870b0", True: "#22943e", False: "#d12a2a"}
EMPTY = np.full((3, 4, 3), 225, np.uint8)  # in the place of an image that is not there


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


def plain(text: str) -> str:
    """Text as it is: a dollar sign in a file name is a dollar sign, not mathematics."""
    return text.replace("$", r"\$")


class Tile(NamedTuple):
    """One image of the sheet; correct: None for the query; said: the line below the name."""

    name: str
    picture: Picture
    correct: bool | None
    said: str = ""


class Section(NamedTuple):
    """Some lines under one heading, and what stands above their columns."""

    heading: str
    columns: Sequence[str]
    lines: Sequence[Sequence[Tile]]


def failure_sheet(sections: Sequence[Section], *, title: str, notes: Sequence[str] = ()) -> Figure:
    """Draw all lines; notes: below the title. A section without lines is its heading alone."""
    columns = max(len(section.columns) for section in sections)
    width = 2 * MARGIN + columns * (WIDTH + GAP) - GAP
    wrapped = [*textwrap.wrap(title, int(width * 11)), *notes]
    heights = []  # inches of each heading and of each line
    for section in sections:
        heights += [HEADING, *(max(map(_height, line)) for line in section.lines)]
    top = MARGIN + 0.22 * len(wrapped)
    total = top + sum(heights) + TEXT * (len(heights) - 1) + MARGIN
    figure = Figure((width, total), dpi=DPI)
    figure.text(MARGIN / width, 1 - MARGIN / total, plain("\n".join(wrapped)), va="top")
    rows = figure.subplots(
        len(heights),
        columns,
        squeeze=False,
        height_ratios=heights,
        gridspec_kw={
            "left": MARGIN / width,
            "right": 1 - MARGIN / width,
            "top": 1 - top / total,
            "bottom": MARGIN / total,
            "hspace": TEXT * len(heights) / sum(heights),
            "wspace": GAP / WIDTH,
        },
    )
    for axes in rows.flat:
        axes.set(xticks=[], yticks=[], frame_on=False)
    remaining = iter(rows)
    for section in sections:
        words = next(remaining)[0]
        words.text(0, 0, plain(section.heading), fontsize=LARGE, va="bottom")
        for number, line in enumerate(section.lines):
            above = section.columns if number == 0 else [""] * len(line)
            for axes, tile, column in zip(next(remaining), line, above, strict=False):
                _draw(axes, tile, column)
    return figure


def _height(tile: Tile) -> float:
    """Inches of a tile that is as wide as its column, unless it is too tall for a line."""
    image = EMPTY if tile.picture.image is None else tile.picture.image
    return min(WIDTH * image.shape[0] / image.shape[1], TALLEST)


def shortened(name: str) -> str:
    """A name that fits above a tile: a long one without its folders, and cut at its end."""
    if len(name) > LONGEST_NAME:
        name = name.rsplit("/", 1)[-1]
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def _draw(axes: Axes, tile: Tile, column: str) -> None:
    colour, image = FRAMES[tile.correct], tile.picture.image
    axes.imshow(EMPTY if image is None else image)
    axes.set_anchor("NW")
    axes.set_frame_on(True)
    axes.spines[:].set(color=colour, linewidth=4)
    if image is None:
        axes.annotate(
            tile.picture.trouble,
            (0.5, 0.5),
            xycoords="axes fraction",
            color=GREY,
            fontsize=MEDIUM,
            ha="center",
            va="center",
        )
    words = [(column, GREY, 28), (plain(shortened(tile.name)), "black", 17), (tile.said, colour, 6)]
    for text, tone, lift in words:
        axes.annotate(
            text,
            (0, 1),
            xytext=(0, lift),
            xycoords="axes fraction",
            textcoords="offset points",
            color=tone,
            fontsize=SMALL,
        )
