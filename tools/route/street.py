"""A street between two rows of facades, and what a camera in it sees.

Coordinates in metres: along the street, to the right of its middle, down from the ground (a roof
has a negative `down`). Facades stand side by side on both sides, PLOT metres each; even numbers on
the left. Input: a function that gives facade and ground by number, a `Pose`, and what stands about.
Output: a canvas without light (`views.light` adds that).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ames_lite.synthetic.facades import Facade, FloatImage, Image, noise
from tools.route.passing import Thing

Matrix = npt.NDArray[np.float64]
PLOT = 10.0  # metres of the street that a facade takes
WIDTH = 13.0  # metres from front to front
KERB = 4.2  # metres from the middle to the kerbs
TALL = 0.025  # metres of a pixel of a facade, upwards
DEEP = 0.008  # and outwards: parts stand out by up to about a metre
FAR = 75.0  # metres; what is farther is haze
NEAR = 0.5  # metres; nothing nearer is in the picture
SIZE = (240, 320)  # (height, width) of a picture
FIELD = 75.0  # degrees from its left to its right edge
STRIP = 40  # pixels of a facade that are drawn at one resolution


@dataclass(frozen=True)
class Pose:
    """Where a picture is taken, in metres and degrees.

    heading: to the right of the street's direction; pitch: upwards; roll: counterclockwise.
    """

    along: float
    right: float
    heading: float
    pitch: float = 0.0
    roll: float = 0.0
    height: float = 1.6


@dataclass(frozen=True, eq=False)
class Street:
    """What there is to see, by number, made when it is asked for."""

    facade: Callable[[int], Facade]
    ground: Callable[[int], Image]  # [PLOT, WIDTH] metres, columns along the street


def focal_length() -> float:
    """In pixels."""
    return SIZE[1] / 2 / float(np.tan(np.deg2rad(FIELD / 2)))


def projection(pose: Pose) -> Matrix:
    """[3, 4]: (along, right, down, 1) → (u, v, 1) · metres before the camera."""
    heading, pitch, roll = np.deg2rad([pose.heading, -pose.pitch, pose.roll])
    sin, cos = np.sin(heading), np.cos(heading)
    axes = np.array([[-sin, cos, 0], [0, 0, 1.0], [cos, sin, 0]])  # right, down, forward
    tilt = cv2.Rodrigues(np.array([0, 0, roll]))[0] @ cv2.Rodrigues(np.array([pitch, 0, 0]))[0]
    focal = focal_length()
    intrinsics = np.array([[focal, 0, SIZE[1] / 2], [0, focal, SIZE[0] / 2], [0, 0, 1.0]])
    turn = tilt @ axes
    place = np.array([pose.along, pose.right, -pose.height])
    return np.asarray(intrinsics @ np.column_stack([turn, -turn @ place]), np.float64)


def facade_place(number: int, size: tuple[int, int]) -> Matrix:
    """[4, 4]: (x, y, depth, 1) of facade `number`, of (height, width) pixels → the street."""
    side, first = (1.0 if number % 2 else -1.0), PLOT * (number // 2)
    wide = PLOT / size[1]
    # who looks at the right side has the street's direction on the left
    begin, step = (first + PLOT, -wide) if side > 0 else (first, wide)
    return np.array(
        [
            [step, 0, 0, begin],
            [0, 0, -side * DEEP, side * WIDTH / 2],
            [0, TALL, 0, -TALL * size[0]],
            [0, 0, 0, 1.0],
        ]
    )


def look(
    street: Street, pose: Pose, things: Sequence[Thing], sky: npt.NDArray[np.float32]
) -> FloatImage:
    """The picture [H, W, 3] of a pose. sky [2, 3]: its colours above and at the horizon."""
    camera = projection(pose)
    canvas = _sky_and_road(sky)
    first = int(np.floor((pose.along - 10) / PLOT))
    blocks = range(first, int((pose.along + FAR) / PLOT) + 1)
    for block in reversed(blocks):
        _lay_ground(canvas, street.ground(block), camera, block, sky[1])
    for block in reversed(blocks):  # far to near: what stands out hides what is behind it
        for number in (2 * block, 2 * block + 1):
            _lay_facade(canvas, street.facade(number), camera, number, sky[1])
    near = [thing for thing in things if -2 < thing.along - pose.along < FAR]
    for thing in sorted(near, key=lambda thing: -thing.along):
        _stand(canvas, thing, camera, sky[1])
    return canvas


def _sky_and_road(sky: npt.NDArray[np.float32]) -> FloatImage:
    canvas = np.empty((*SIZE, 3), np.float32)
    half = SIZE[0] // 2
    fall = np.linspace(0, 1, half, dtype=np.float32)[:, None, None]
    canvas[:half] = sky[0] * (1 - fall) + sky[1] * fall
    canvas[half:] = 105.0
    return canvas


def make_ground(rng: np.random.Generator) -> Image:
    """A piece of road with its pavements, as long as a plot, 12 pixels a metre."""
    scale = 12
    shape = (round(WIDTH * scale), round(PLOT * scale))
    tile = np.full((*shape, 3), 102, np.float32)
    kerb = round((WIDTH / 2 - KERB) * scale)
    for rows in (slice(0, kerb), slice(shape[0] - kerb, None)):
        tile[rows] = 150
        tile[rows, :: scale * 2] = 125
    tile[kerb - 3 : kerb], tile[-kerb : 3 - kerb] = 190, 190
    tile[shape[0] // 2 - 1 : shape[0] // 2 + 1, : shape[1] // 2] = 215
    for _ in range(int(rng.integers(0, 4))):  # repairs
        y, x = rng.integers(kerb + 4, shape[0] - kerb - 30), rng.integers(0, shape[1] - 30)
        tile[y : y + rng.integers(8, 26), x : x + rng.integers(8, 30)] -= rng.uniform(10, 35)
    tile += (noise(rng, shape, 25) * 12 + noise(rng, shape, 5) * 9)[..., None]
    return np.clip(tile, 0, 255).astype(np.uint8)


def _lay_ground(
    canvas: FloatImage, tile: Image, camera: Matrix, block: int, air: npt.NDArray[np.float32]
) -> None:
    rows, columns = tile.shape[:2]
    plane = np.array(
        [[PLOT / columns, 0, PLOT * block], [0, WIDTH / rows, -WIDTH / 2], [0, 0, 0], [0, 0, 1]]
    )
    for y in range(0, rows, rows // 6):
        for piece, part in _strips(tile[y : y + rows // 6], plane @ _shift(0, y), columns // 5):
            lay(canvas, piece, camera @ part, air)


def _lay_facade(
    canvas: FloatImage, facade: Facade, camera: Matrix, number: int, air: npt.NDArray[np.float32]
) -> None:
    to_camera = camera @ facade_place(number, facade.size)
    for piece, plane in _strips(facade.front, np.eye(4)[:, [0, 1, 3]], STRIP):
        lay(canvas, piece, to_camera @ plane, air)
    for part in facade.parts:
        lay(canvas, part.tile, to_camera @ part.plane, air)


def _shift(x: float, y: float) -> Matrix:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])


def _strips(tile: Image, plane: Matrix, width: int) -> Iterator[tuple[Image, Matrix]]:
    for x in range(0, tile.shape[1], width):
        yield tile[:, x : x + width], plane @ _shift(x, 0)


def lay(canvas: FloatImage, tile: Image, homography: Matrix, air: npt.NDArray[np.float32]) -> None:
    """Lay a tile on the canvas through a homography (column, row, 1) → (u, v, 1) · metres.

    A tile that reaches nearer than NEAR is left out: so far to the side that nothing of it shows.
    """
    height, width = tile.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    image = np.column_stack([corners, np.ones(4)]) @ homography.T
    distance = image[:, 2]
    if distance.min() < NEAR:
        return
    points = image[:, :2] / distance[:, None]
    low = np.maximum(np.floor(points.min(0)), 0).astype(int)
    high = np.minimum(np.ceil(points.max(0)) + 1, SIZE[::-1]).astype(int)
    if (high <= low).any():
        return
    # Shrink first, so that the warp never skips pixels (it does not average).
    across, down = points[[1, 3]] - points[0]
    target = [
        int(np.clip(np.ceil(1.4 * np.hypot(*edge)), 2, side))
        for edge, side in ((across, width), (down, height))
    ]
    small = cv2.resize(tile, target, interpolation=cv2.INTER_AREA)
    warp = _shift(*-low) @ homography @ np.diag([width / target[0], height / target[1], 1.0])
    size = tuple((high - low).tolist())
    piece = cv2.warpPerspective(small, warp, size, borderMode=cv2.BORDER_REPLICATE)
    cover = np.zeros(size[::-1], np.uint8)
    cv2.fillConvexPoly(cover, np.round(points - low).astype(np.int32), 1)
    _blend(canvas, low, piece, cover > 0, float(distance.mean()), air)


def _stand(canvas: FloatImage, thing: Thing, camera: Matrix, air: npt.NDArray[np.float32]) -> None:
    """Paint a thing upright, facing the camera."""
    foot = camera @ np.array([thing.along, thing.right, 0.0, 1.0])
    if foot[2] < 4 * NEAR:
        return
    scale = focal_length() / foot[2]
    size = np.maximum(np.round(np.array(thing.size) * scale), 1).astype(int)
    corner = np.round(foot[:2] / foot[2] - [size[1] / 2, size[0]]).astype(int)
    low, high = np.maximum(corner, 0), np.minimum(corner + size[::-1], SIZE[::-1])
    if (high <= low).any():
        return
    tile = cv2.resize(thing.tile, size[::-1].tolist(), interpolation=cv2.INTER_AREA)
    mask = cv2.resize(thing.mask, size[::-1].tolist(), interpolation=cv2.INTER_AREA)
    (x0, y0), (x1, y1) = low - corner, high - corner
    _blend(canvas, low, tile[y0:y1, x0:x1], mask[y0:y1, x0:x1] > 127, float(foot[2]), air)


def _blend(
    canvas: FloatImage,
    low: npt.NDArray[np.int64],
    piece: Image,
    cover: npt.NDArray[np.bool_],
    distance: float,
    air: npt.NDArray[np.float32],
) -> None:
    """Paint the covered pixels of a piece with its upper left corner at `low`, through the air."""
    haze = np.float32(1 - np.exp(-((distance / (0.7 * FAR)) ** 2)))
    region = canvas[low[1] : low[1] + piece.shape[0], low[0] : low[0] + piece.shape[1]]
    region[cover] = piece[cover] * (1 - haze) + air * haze
