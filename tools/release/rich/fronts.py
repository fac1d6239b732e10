"""Fronts of buildings for the rich world: walls, windows, doors, columns, ledges, roofs, letters.

Input: a Generator and a `FrontStyle`. Output: an RGBA tile [H, W, 4] whose alpha cuts the roof
line. Windows and ornaments belong to the style and repeat; their number, places and all that is
laid over them belong to one front.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ames_lite.synthetic.facades import FloatImage, Image
from tools.release.rich.textures import (
    Colours,
    as_tile,
    courses,
    fractal,
    grating,
    lettering,
    picture,
    plain,
    rosette,
)


@dataclass(frozen=True, eq=False)
class FrontStyle:
    """What the fronts of a street share."""

    colours: Colours
    windows: tuple[FloatImage, ...]
    doors: tuple[FloatImage, ...]
    ornaments: tuple[FloatImage, ...]
    roof: int  # 0 flat, 1 gable, 2 steps, 3 round


def make_front_style(rng: np.random.Generator, colours: Colours) -> FrontStyle:
    """Draw what the fronts of one style share."""
    return FrontStyle(
        colours=colours,
        windows=tuple(window(rng, colours) for _ in range(3)),
        doors=tuple(window(rng, colours, door=True) for _ in range(2)),
        ornaments=tuple(rosette(rng, (36, 36), colours) for _ in range(2)),
        roof=int(rng.integers(4)),
    )


def window(rng: np.random.Generator, colours: Colours, door: bool = False) -> FloatImage:
    """A framed opening with panes, reflections, a curtain or blind; a door has a solid leaf."""
    height = int(rng.integers(56, 100))
    width = int(height * rng.uniform(0.4, 1.1))
    frame = colours[int(rng.integers(len(colours)))] * rng.uniform(0.8, 1.2)
    tile = np.clip(np.tile(frame, (height, width, 1)), 0, 255).astype(np.uint8)
    border = int(rng.integers(3, 8))
    glass = plain(rng, (height, width), np.full((1, 3), rng.uniform(10, 90), np.float32))
    glass += (fractal(rng, (height, width), 0.6) * rng.uniform(5, 35))[..., None]
    if door or rng.random() < 0.3:
        make = grating if rng.random() < 0.5 else courses
        part = int(height * rng.uniform(0.2, 0.7))
        glass[part:] = make(rng, (height, width), colours)[part:]
    mask = np.zeros((height, width), np.uint8)
    top = border + (int(width / 2) if rng.random() < 0.35 else 0)
    top = min(top, height // 2)
    cv2.rectangle(mask, (border, top), (width - border - 1, height - border), 255, -1)
    if top > border:
        axes = (width // 2 - border, top - border)
        cv2.ellipse(mask, (width // 2, top), axes, 0, 180, 360, 255, -1)
    tile = np.where(mask[..., None] > 0, np.clip(glass, 0, 255), tile).astype(np.uint8)
    bar = np.clip(frame * rng.uniform(0.7, 1.3), 0, 255).tolist()
    thick = int(rng.integers(1, 4))
    for x in np.linspace(border, width - border, int(rng.integers(2, 5)) + 1)[1:-1]:
        cv2.line(tile, (int(x), border), (int(x), height - border), bar, thick)
    for y in np.linspace(border, height - border, int(rng.integers(1, 6)) + 1)[1:-1]:
        cv2.line(tile, (border, int(y)), (width - border, int(y)), bar, thick)
    dark = (frame * 0.5).tolist()
    cv2.rectangle(tile, (0, 0), (width - 1, height - 1), dark, 1)
    return tile.astype(np.float32)


def make_front(rng: np.random.Generator, style: FrontStyle, bay: bool = False) -> Image:
    """Draw one front; bay: a small one, without a roof line."""
    shape = (int(rng.integers(230, 420)), int(rng.integers(260, 430)))
    if bay:
        shape = (int(rng.integers(110, 180)), int(rng.integers(100, 170)))
    wall = courses if rng.random() < 0.5 else plain
    canvas = wall(rng, shape, style.colours[rng.permutation(len(style.colours))[:3]])
    canvas += (fractal(rng, shape, 0.7) * rng.uniform(2, 12))[..., None]
    storeys = 1 if bay else int(rng.integers(2, 5))
    high = shape[0] // storeys
    for storey in range(storeys):
        _storey(rng, style, canvas[storey * high : (storey + 1) * high], storey == storeys - 1)
    for _ in range(int(rng.integers(0, 3 if bay else 6))):
        _addition(rng, style, canvas)
    return as_tile(canvas, None if bay else _outline(rng, style, shape))


def _storey(rng: np.random.Generator, style: FrontStyle, canvas: FloatImage, lowest: bool) -> None:
    """A row of windows between columns, under a ledge; the lowest row has doors or a shop."""
    height, width = canvas.shape[:2]
    tile = style.windows[int(rng.integers(len(style.windows)))]
    if lowest and rng.random() < 0.3:
        tile = style.doors[int(rng.integers(len(style.doors)))]
    factor = height * rng.uniform(0.5, 0.8) / tile.shape[0]
    size = (max(6, int(tile.shape[1] * factor)), max(6, int(tile.shape[0] * factor)))
    tile = cv2.resize(tile, size, interpolation=cv2.INTER_AREA)
    count = max(1, int(width / (size[0] * rng.uniform(1.15, 2.2))))
    pitch, top = width / count, int((height - size[1]) * rng.uniform(0.2, 0.9))
    columns = rng.random() < 0.3
    for number in range(count):
        x = int((number + 0.5) * pitch - size[0] / 2)
        if rng.random() < 0.93 and x >= 0:
            own = tile * rng.uniform(0.75, 1.2)
            if rng.random() < 0.25:  # a blind, half down
                own[: int(size[1] * rng.uniform(0.2, 0.7)), 2:-2] += rng.uniform(20, 110)
            part = canvas[top : top + size[1], x : x + size[0]]
            part[:] = own[: part.shape[0], : part.shape[1]]
        if columns:
            at, wide = int(number * pitch), max(4, int(pitch * 0.12))
            round_ = np.sin(np.linspace(0.2, np.pi, wide, dtype=np.float32))
            part = canvas[:, at : at + wide]
            part[:] = style.colours[0] * 0.4 + 120 * round_[: part.shape[1], None]
    if rng.random() < 0.7:
        ledge = style.colours[int(rng.integers(len(style.colours)))]
        thick = int(rng.integers(2, 9))
        canvas[:thick] = ledge * rng.uniform(0.7, 1.2)
        canvas[thick : thick + 2] *= 0.5


def _addition(rng: np.random.Generator, style: FrontStyle, canvas: FloatImage) -> None:
    """A sign, poster, emblem, pipe, grille or lamp of this front alone."""
    height, width = canvas.shape[:2]
    what = int(rng.integers(5))
    shape = (int(rng.integers(14, 60)), int(rng.integers(14, 60)))
    if what == 0:
        shape = (int(rng.integers(18, 40)), int(rng.integers(60, 160)))
        tile = lettering(rng, shape, style.colours[rng.permutation(len(style.colours))])
    elif what == 1:
        tile = picture(rng, shape, style.colours[rng.permutation(len(style.colours))])
    elif what == 2:
        tile = style.ornaments[int(rng.integers(len(style.ornaments)))]
    elif what == 3:
        tile = grating(rng, shape, style.colours[rng.permutation(len(style.colours))])
    else:
        shape = (height, int(rng.integers(3, 8)))
        tile = plain(rng, shape, style.colours[:1]) * 0.7
    y = int(rng.integers(0, max(1, height - tile.shape[0])))
    x = int(rng.integers(0, max(1, width - tile.shape[1])))
    part = canvas[y : y + tile.shape[0], x : x + tile.shape[1]]
    part[:] = tile[: part.shape[0], : part.shape[1]]


def _outline(
    rng: np.random.Generator, style: FrontStyle, shape: tuple[int, int]
) -> npt.NDArray[np.bool_]:
    """What of a front [H, W] stands below its roof line."""
    x = np.linspace(-1, 1, shape[1])
    rise = int(shape[0] * rng.uniform(0.08, 0.25))
    kind = style.roof if rng.random() < 0.7 else int(rng.integers(4))
    if kind == 0:
        line = np.zeros(shape[1])
    elif kind == 1:
        line = np.abs(x)
    elif kind == 2:
        line = np.floor(np.abs(x) * rng.integers(2, 7)) / 6
    else:
        line = 1 - np.sqrt(1 - x**2 * 0.99)
    return np.asarray(np.arange(shape[0])[:, None] >= (line * rise)[None])
