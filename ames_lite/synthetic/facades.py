"""Textured facades: what the landmarks of the rendered world look like. Two generators of different
seeds share no texture, and one seed gives the same bytes. What belongs to a style repeats over its
landmarks; what tells landmarks apart (parts, gaps in the rows of windows, weathering) is drawn per
landmark. Units are pixels of the front, for depths too.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Rng = np.random.Generator
Image = npt.NDArray[np.uint8]
FloatImage = npt.NDArray[np.float32]
Size = tuple[int, int]  # (height, width)
MAX_DEPTH = 140.0  # how far a part may stand out from the front
MAX_TILT = 0.5  # radians that a part may be turned out of the front's plane


@dataclass(frozen=True, eq=False)
class Style:
    """What the landmarks of one style share: colours, wall, tiles and letters."""

    wall: npt.NDArray[np.float32]  # [3] RGB
    trim: npt.NDArray[np.float32]  # [3] RGB of frames, ledges and letters
    brick: tuple[int, int]  # (height, width) of a brick in pixels
    shades: npt.NDArray[np.float32]  # of every brick [rows, columns]
    mortar: float  # contrast of the joints
    windows: tuple[Image, ...]  # tiles, repeated over every facade of the style
    ornaments: tuple[Image, ...]
    glyphs: tuple[npt.NDArray[np.float32], ...]  # strokes [S, 2, 2] in the unit square
    start: tuple[int, int]  # (y, x) of the first window
    pitch: tuple[int, int]  # (vertical, horizontal) distance of the windows


@dataclass(frozen=True, eq=False)
class Part:
    """A relief or sign: a plane of its own that stands out from the front."""

    tile: Image  # [h, w, 3]
    corner: tuple[float, float, float]  # x, y, depth of its upper left corner
    tilt: tuple[float, float]  # radians about the vertical and about the horizontal axis

    @property
    def plane(self) -> npt.NDArray[np.float64]:
        """[4, 3]: (column, row, 1) of the tile → (x, y, depth, 1) of the front."""
        (x, y, depth), (yaw, pitch) = self.corner, self.tilt
        across, down = [np.cos(yaw), 0, np.sin(yaw), 0], [0, np.cos(pitch), np.sin(pitch), 0]
        return np.array([across, down, [x, y, depth, 1.0]]).T


@dataclass(frozen=True, eq=False)
class Facade:
    """One landmark: the flat front [H, W, 3] and what stands out from it."""

    front: Image
    parts: tuple[Part, ...]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the front."""
        return (self.front.shape[0], self.front.shape[1])


def noise(rng: Rng, shape: tuple[int, int], cell: int) -> FloatImage:
    """Smooth noise [H, W] in [-1, 1] whose blobs are about `cell` pixels wide."""
    rows, columns = max(2, shape[0] // cell + 2), max(2, shape[1] // cell + 2)
    coarse = rng.uniform(-1, 1, (rows, columns)).astype(np.float32)
    return cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)


def _colour(rng: Rng, low: float, high: float) -> npt.NDArray[np.float32]:
    """A muted RGB colour: one brightness, a little tint."""
    return np.clip(rng.uniform(low, high) + rng.normal(0, 18, 3), 0, 255).astype(np.float32)


def relief(rng: Rng, size: int, base: npt.NDArray[np.float32]) -> Image:
    """A carved tile [size, size, 3]: nested polygons, rings, rays and chips of one colour."""
    tile: FloatImage = np.tile(base, (size, size, 1))
    centre = np.array([size / 2, size / 2])
    for radius in np.linspace(0.48, 0.1, int(rng.integers(3, 6))) * size:
        corners = int(rng.integers(3, 9))
        angles = np.linspace(0, 2 * np.pi, corners, endpoint=False) + rng.uniform(0, np.pi)
        reach = radius * rng.uniform(0.6, 1.0, corners)
        points = centre + np.stack([np.cos(angles), np.sin(angles)], 1) * reach[:, None]
        shade = np.clip(base + rng.uniform(-90, 90), 0, 255).tolist()
        if rng.random() < 0.3:
            cv2.circle(tile, (size // 2, size // 2), int(radius * 0.8), shade, -1, cv2.LINE_AA)
        else:
            cv2.fillPoly(tile, [points.astype(np.int32)], shade, cv2.LINE_AA)
    for _ in range(int(rng.integers(1, 5))):
        a, b = rng.integers(0, size, (2, 2)).tolist()
        shade = np.clip(base + rng.uniform(-110, 110), 0, 255).tolist()
        cv2.line(tile, a, b, shade, int(rng.integers(1, 3)), cv2.LINE_AA)
    for _ in range(8):
        chip = rng.uniform(-0.16, 0.16, (int(rng.integers(3, 6)), 2)) * size
        points = rng.uniform(0, size, 2) + chip
        shade = np.clip(base + rng.uniform(-110, 110), 0, 255).tolist()
        cv2.fillPoly(tile, [points.astype(np.int32)], shade, cv2.LINE_AA)
    tile += noise(rng, (size, size), max(4, size // 10))[..., None] * 30
    return np.clip(tile, 0, 255).astype(np.uint8)


def _window(rng: Rng, trim: npt.NDArray[np.float32]) -> Image:
    """A window tile: a frame, glass in panes, sometimes a gable or an arch above."""
    height, width = int(rng.integers(44, 68)), int(rng.integers(28, 46))
    tile = np.tile(trim, (height, width, 1))
    border = int(rng.integers(3, 6))
    glass, frame = (trim * rng.uniform(0.45, 0.75)).tolist(), trim.tolist()
    top = int(rng.integers(border, border + 10))
    cv2.rectangle(tile, (border, top), (width - border, height - border), glass, -1)
    if rng.random() < 0.5:
        axes = (width // 2 - border, max(3, top))
        cv2.ellipse(tile, (width // 2, top), axes, 0, 180, 360, glass, -1, cv2.LINE_AA)
    for x in np.linspace(border, width - border, int(rng.integers(2, 4)) + 1)[1:-1]:
        cv2.line(tile, (int(x), top), (int(x), height - border), frame, 2)
    for y in np.linspace(top, height - border, int(rng.integers(2, 5)) + 1)[1:-1]:
        cv2.line(tile, (border, int(y)), (width - border, int(y)), frame, 2)
    return np.clip(tile + noise(rng, (height, width), 9)[..., None] * 14, 0, 255).astype(np.uint8)


def make_style(rng: Rng) -> Style:
    wall = _colour(rng, 90, 190)
    trim = np.clip(wall + rng.uniform(-60, 60), 20, 250).astype(np.float32)
    strokes = (rng.integers(0, 4, (int(rng.integers(3, 6)), 2, 2)) for _ in range(12))
    glyphs = tuple((ends / 3).astype(np.float32) for ends in strokes)
    return Style(
        wall=wall,
        trim=trim,
        brick=(int(rng.integers(7, 15)), int(rng.integers(14, 34))),
        shades=rng.normal(0, 9, (70, 40)).astype(np.float32),
        mortar=float(rng.uniform(4, 14)),
        windows=tuple(_window(rng, trim) for _ in range(2)),
        ornaments=tuple(relief(rng, int(rng.integers(24, 40)), trim) for _ in range(2)),
        glyphs=glyphs,
        start=(int(rng.integers(34, 50)), int(rng.integers(10, 34))),
        pitch=(int(rng.integers(72, 96)), int(rng.integers(44, 64))),
    )


def _wall(rng: Rng, style: Style, shape: tuple[int, int]) -> FloatImage:
    """Courses of the style's bricks, and weathering that is the landmark's own."""
    height, width = shape
    rows = height // style.brick[0] + 1
    shades = np.repeat(style.shades[:rows], style.brick[1], axis=1)
    offsets = (np.arange(rows) % 2) * (style.brick[1] // 2)
    x = np.arange(width)[None, :] + offsets[:, None]
    courses = np.take_along_axis(shades, x, axis=1) - style.mortar * (x % style.brick[1] == 0)
    wall = np.repeat(courses, style.brick[0], axis=0)[:height].astype(np.float32)
    wall[:: style.brick[0]] -= style.mortar
    stains = noise(rng, shape, 70) * 20 + noise(rng, shape, 23) * 8
    return style.wall + (wall + stains)[..., None]


def _paste(canvas: FloatImage, tile: Image, x: int, y: int) -> None:
    """Lay a tile with its upper left corner at (x, y), clipped to the canvas."""
    y0, x0 = max(y, 0), max(x, 0)
    y1, x1 = min(y + tile.shape[0], canvas.shape[0]), min(x + tile.shape[1], canvas.shape[1])
    if y1 > y0 and x1 > x0:
        canvas[y0:y1, x0:x1] = tile[y0 - y : y1 - y, x0 - x : x1 - x]


def _sign(rng: Rng, style: Style) -> Image:
    """A board with a word of the style's glyphs: the letters are shared, the word is not."""
    size = int(rng.integers(18, 30))
    word = rng.integers(0, len(style.glyphs), int(rng.integers(4, 8)))
    board = np.clip(style.wall * rng.uniform(0.3, 0.6), 0, 255)
    tile = np.tile(board.astype(np.float32), (size + 10, len(word) * size + 8, 1))
    for number, glyph in enumerate(word):
        for stroke in style.glyphs[glyph]:
            a, b = (stroke * (size * 0.75)).astype(int) + [number * size + 6, 6]
            cv2.line(tile, a.tolist(), b.tolist(), style.trim.tolist(), 2, cv2.LINE_AA)
    return np.clip(tile, 0, 255).astype(np.uint8)


def _front(rng: Rng, style: Style, shape: tuple[int, int]) -> Image:
    """The wall with its rows of windows, some of them left out."""
    canvas = _wall(rng, style, shape)
    tile = style.windows[int(rng.integers(len(style.windows)))]
    ornament = style.ornaments[int(rng.integers(len(style.ornaments)))]
    for row in range(style.start[0], shape[0] - tile.shape[0], style.pitch[0]):
        ledge = row + tile.shape[0] + 6
        cv2.rectangle(canvas, (0, ledge), (shape[1], ledge + 4), style.trim.tolist(), -1)
        for column in range(style.start[1], shape[1] - tile.shape[1], style.pitch[1]):
            if rng.random() < 0.9:
                _paste(canvas, tile, column, row)
                _paste(canvas, ornament, column, row - ornament.shape[0] - 2)
    grain = rng.normal(0, 4, (*shape, 1)).astype(np.float32)
    return np.clip(canvas + grain, 0, 255).astype(np.uint8)


def make_facade(rng: Rng, style: Style) -> Facade:
    shape = (int(rng.integers(330, 450)), int(rng.integers(330, 480)))
    tiles = []
    for _ in range(int(rng.integers(16, 22))):
        tiles.append(relief(rng, int(rng.integers(36, 66)), _colour(rng, 60, 220)))
    tiles += [_sign(rng, style) for _ in range(int(rng.integers(1, 3)))]
    parts = []
    for tile in tiles:
        x = int(rng.integers(0, max(1, shape[1] - tile.shape[1])))
        y = int(rng.integers(0, shape[0] - tile.shape[0]))
        yaw, pitch = rng.uniform(-MAX_TILT, MAX_TILT, 2).tolist()
        parts.append(Part(tile, (x, y, float(rng.uniform(0, MAX_DEPTH))), (yaw, pitch)))
    parts.sort(key=lambda part: part.corner[2])
    return Facade(_front(rng, style, shape), tuple(parts))
