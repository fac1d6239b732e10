"""The failure sheet: a line a query, beside it what was found first and what should have been.

Input: tiles, each an image and what is written above it. Output: one figure. The frame says what an
image is: blue the query, green correct, red wrong; an image that is not there is a grey tile that
says so, framed all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput
from ames_lite.evaluation.views.canvas import (
    CLIPPED,
    DPI,
    LARGE,
    MEDIUM,
    Colour,
    Figure,
    Page,
    add_frame,
    add_outline,
    add_words,
    show_image,
)
from ames_lite.evaluation.views.marked import Box

MAX_LINES = 100
MARGIN, GAP, LINE = 0.3, 0.22, 0.165  # inches; LINE: of small text
WIDTH, TALLEST = 2.5, 1.9  # inches of a tile, at most
TITLE, HEADING, TEXT = 0.36, 0.3, 0.4  # heights; TEXT: of what stands above a tile
PIXELS = int(2 * WIDTH * DPI)  # longer side that is enough of an image
LONGEST_NAME = 30  # characters: UTM names keep east and north
EMPTY = 0.75  # height of a tile without image, in widths
FRAMES: dict[bool | None, Colour] = {
    None: (0.22, 0.42, 0.69),
    True: (0.13, 0.58, 0.24),
    False: (0.82, 0.16, 0.16),
}
GREY: Colour = (0.45, 0.45, 0.45)


@dataclass(frozen=True, eq=False)
class Tile:
    """One image of the sheet: image uint8 [H, W, 3], or None and `trouble` says why.

    correct: None for the query. said: the line below the name. box: (x1, y1, x2, y2) in [0, 1], a
    crop to outline.
    """

    name: str
    image: npt.NDArray[np.uint8] | None
    correct: bool | None
    said: str = ""
    trouble: str = ""
    box: Box | None = None


class Section(NamedTuple):
    """Some lines under one heading, and what stands above their columns."""

    heading: str
    columns: Sequence[str]
    lines: Sequence[Sequence[Tile]]


def failure_sheet(sections: Sequence[Section], *, title: str, notes: Sequence[str] = ()) -> Figure:
    """Draw all lines; notes: lines below the title. A section without lines is its heading alone.

    Raises BadInput for no line, more than 100, or a line with other tiles than its columns.
    """
    _check(sections)
    top = MARGIN + TITLE + LINE * len(notes) + GAP
    page = Page(
        2 * MARGIN + max(len(one.columns) for one in sections) * (WIDTH + GAP) - GAP,
        top + sum(_section_height(one) for one in sections) + MARGIN - GAP,
    )
    inner = page.width - 2 * MARGIN
    page.text(MARGIN, MARGIN, title, size=LARGE, width=inner)
    for i, note in enumerate(notes):
        page.text(MARGIN, MARGIN + TITLE + i * LINE, note, colour=GREY, width=inner)
    for section in sections:
        _draw_section(page, section, top)
        top += _section_height(section)
    return page.figure


def _check(sections: Sequence[Section]) -> None:
    lines = [(one.columns, line) for one in sections for line in one.lines]
    if not 1 <= len(lines) <= MAX_LINES:
        raise BadInput(f"{len(lines)} lines for a sheet", expected=f"1 to {MAX_LINES}")
    for columns, line in lines:
        if len(line) != len(columns):
            raise BadInput(f"a line of {len(line)} tiles", expected=f"{len(columns)}, the columns")


def _section_height(section: Section) -> float:
    """Inches from its heading to the next one's."""
    return 2 * HEADING + sum(_line_height(line) + TEXT + GAP for line in section.lines) + GAP


def _draw_section(page: Page, section: Section, top: float) -> None:
    places = [MARGIN + column * (WIDTH + GAP) for column in range(len(section.columns))]
    page.text(MARGIN, top, section.heading, size=LARGE, width=page.width - 2 * MARGIN)
    top += HEADING
    for left, words in zip(places, section.columns, strict=True):
        if section.lines:
            page.text(left, top, words, size=MEDIUM, colour=GREY, width=WIDTH)
    top += HEADING
    for line in section.lines:
        for left, tile in zip(places, line, strict=True):
            _draw(page, tile, left, top)
        top += TEXT + _line_height(line) + GAP


def _line_height(line: Sequence[Tile]) -> float:
    return max(map(_height, line))


def _sides(tile: Tile) -> tuple[float, float]:
    """Height and width of a tile in any unit."""
    if tile.image is None:
        return EMPTY, 1.0
    return tile.image.shape[0], tile.image.shape[1]


def _height(tile: Tile) -> float:
    """Inches of a tile that is as wide as its column, unless it is too tall for a line."""
    height, width = _sides(tile)
    return min(WIDTH * height / width, TALLEST)


def shortened(name: str) -> str:
    """A name that fits above a tile: a long one without its folders, and cut at its end.

    >>> shortened("jpg/a.jpg"), len(shortened("images/test/database/" + "@0499638.99" * 6))
    ('jpg/a.jpg', 30)
    """
    if len(name) > LONGEST_NAME:
        name = name.rsplit("/", 1)[-1]
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + CLIPPED


def _draw(page: Page, tile: Tile, left: float, top: float) -> None:
    colour, height = FRAMES[tile.correct], _height(tile)
    page.text(left, top, shortened(tile.name), width=WIDTH)
    page.text(left, top + LINE, tile.said, colour=colour, width=WIDTH)
    high, wide = _sides(tile)
    axes = page.axes(left, top + TEXT, height * wide / high, height)
    if tile.image is None:
        size = (4, 3)
        show_image(axes, np.full((3, 4, 3), 225, np.uint8), size=size)
        add_words(axes, (2.0, 1.5), tile.trouble or "no image", GREY)
    else:
        size = (tile.image.shape[1], tile.image.shape[0])
        show_image(axes, tile.image, size=size)
    if tile.image is not None and tile.box is not None:
        x1, y1, x2, y2 = (np.clip(tile.box, 0, 1) * (*size, *size)).tolist()
        add_outline(axes, (x1, y1, x2, y2))
    add_frame(axes, size, colour)
