"""What stands in a street on one day and elsewhere on another: cars, people, trees in tubs, boards.

Input: a Generator and the world's clutter. Output: `Thing`s: pictures that face the camera, with a
mask, a place in the street and a size in metres. They hide facades, and boards repeat at other
places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ames_lite.synthetic.facades import Image, noise

Drawing = tuple[Image, npt.NDArray[np.uint8]]  # tile [h, w, 3] and mask [h, w], 255 where it covers


@dataclass(frozen=True, eq=False)
class Thing:
    """A picture that stands upright at (along, right) metres; size: (height, width) in metres."""

    tile: Image
    mask: npt.NDArray[np.uint8]
    along: float
    right: float
    size: tuple[float, float]


def _empty(height: int, width: int) -> Drawing:
    return np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.uint8)


def _colour(rng: np.random.Generator, low: int, high: int) -> tuple[int, int, int]:
    red, green, blue = rng.integers(low, high, 3).tolist()
    return (red, green, blue)


def _fill(drawing: Drawing, points: Sequence[Sequence[int]], colour: tuple[int, int, int]) -> None:
    corners = np.array(points, np.int32)
    cv2.fillPoly(drawing[0], [corners], colour)
    cv2.fillPoly(drawing[1], [corners], 255)


def _car(rng: np.random.Generator) -> Drawing:
    drawing, paint = _empty(64, 160), _colour(rng, 30, 230)
    _fill(
        drawing,
        [[2, 34], [34, 30], [54, 6], [112, 6], [136, 30], [158, 34], [158, 54], [2, 54]],
        paint,
    )
    _fill(drawing, [[44, 29], [58, 11], [80, 11], [80, 29]], (70, 85, 95))
    _fill(drawing, [[85, 29], [85, 11], [108, 11], [125, 29]], (70, 85, 95))
    for x in (34, 126):
        for plane, colour in zip(drawing, ((25, 25, 25), 255), strict=True):
            cv2.circle(plane, (x, 51), 12, colour, -1)
        cv2.circle(drawing[0], (x, 51), 6, (150, 150, 150), -1)
    return drawing


def _tree(rng: np.random.Generator) -> Drawing:
    drawing = _empty(220, 140)
    _fill(drawing, [[64, 90], [76, 90], [79, 219], [61, 219]], (80, 60, 45))
    leaves = np.array(_colour(rng, 40, 90)) + [0, 40, 0]
    for _ in range(26):
        shade = np.clip(leaves + rng.integers(-25, 30), 0, 255).tolist()
        at = (rng.normal((70, 66), (24, 24))).astype(int).tolist()
        radius = int(rng.integers(10, 26))
        cv2.circle(drawing[0], at, radius, shade, -1)
        cv2.circle(drawing[1], at, radius, 255, -1)
    return drawing


def _person(rng: np.random.Generator) -> Drawing:
    drawing, coat = _empty(100, 40), _colour(rng, 20, 200)
    _fill(drawing, [[8, 22], [32, 22], [34, 60], [6, 60]], coat)
    _fill(drawing, [[9, 60], [31, 60], [29, 99], [11, 99]], _colour(rng, 20, 90))
    cv2.circle(drawing[0], (20, 12), 10, (190, 150, 125), -1)
    cv2.circle(drawing[1], (20, 12), 10, 255, -1)
    return drawing


def _board(rng: np.random.Generator, clutter: Sequence[Image]) -> Drawing:
    tile = clutter[int(rng.integers(len(clutter)))].copy()
    cv2.rectangle(tile, (0, 0), (tile.shape[1] - 1, tile.shape[0] - 1), (40, 40, 40), 2)
    return tile, np.full(tile.shape[:2], 255, np.uint8)


def _textured(rng: np.random.Generator, drawing: Drawing) -> Drawing:
    tile, mask = drawing
    grain = noise(rng, (mask.shape[0], mask.shape[1]), 9)[..., None] * 14
    return np.clip(tile + grain, 0, 255).astype(np.uint8), mask


def make_things(
    rng: np.random.Generator,
    clutter: Sequence[Image],
    length: float,
    kerb: float,
    share: float,
) -> tuple[Thing, ...]:
    """What stands beside the lanes on one day, on both sides of a street of `length` metres.

    kerb: metres from the middle to the kerb; share: of the places that are taken, in [0, 1].
    """
    things = []
    for side in (-1.0, 1.0):
        for place in np.arange(-4.0, length, 6.0):
            kind = rng.choice(["car", "tree", "person", "board"], p=[0.5, 0.15, 0.15, 0.2])
            along = float(place + rng.uniform(-1.5, 1.5))
            taken = rng.random() < share
            if kind == "car":
                drawing, size, out = _car(rng), (1.5, 3.9), kerb - 0.9
            elif kind == "tree":
                drawing, size, out = _tree(rng), (float(rng.uniform(4, 5.5)), 3.2), kerb + 0.7
            elif kind == "person":
                drawing, size, out = _person(rng), (1.75, 0.7), kerb + float(rng.uniform(0.3, 1.2))
            else:
                drawing, size, out = _board(rng, clutter), (1.9, 1.9), kerb + 0.8
            if taken:
                things.append(Thing(*_textured(rng, drawing), along, side * out, size))
    return tuple(things)
