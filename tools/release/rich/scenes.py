"""Landmarks in space: flat tiles put together to streets, rooms, monuments, pictures and things.

Input: a Generator and a `Style`, which several landmarks share. Output: a `Scene`: `Surface`s, each
a tile with its place in space, of which some are the landmark and the others stand around it. Axes:
x right, y down, z away from the viewer; a landmark is about 2 wide around the origin and shows its
front along -z; the ground is at the scene's `floor`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ames_lite.synthetic import facades
from ames_lite.synthetic.facades import FloatImage, Image
from tools.release.rich.fronts import FrontStyle, make_front, make_front_style
from tools.release.rich.textures import (
    PICTURES,
    Colours,
    Maker,
    as_tile,
    courses,
    dead_leaves,
    dull,
    foliage,
    fractal,
    lit,
    material,
    palette,
    picture,
    plain,
    rock,
    rosette,
)

Point = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Surface:
    """A tile [h, w, 4] in space; plane [4, 3]: (column, row, 1) of the tile → (x, y, z, 1)."""

    tile: Image
    plane: npt.NDArray[np.float64]
    landmark: bool = True  # False: what stands around it

    @property
    def normal(self) -> npt.NDArray[np.float64]:
        """Its unit normal, on either side."""
        (a, b, c), (d, e, f) = self.plane[:3, 0].tolist(), self.plane[:3, 1].tolist()
        cross = np.array([b * f - c * e, c * d - a * f, a * e - b * d])  # np.cross is slow
        return cross / (np.linalg.norm(cross) + 1e-12)


@dataclass(frozen=True, eq=False)
class Scene:
    """One landmark and what stands around it."""

    kind: str
    surfaces: tuple[Surface, ...]
    indoors: bool = False
    moves: bool = False  # a thing: its surroundings are others in every picture
    flat: bool = False  # also photographed turned by 90 degrees


@dataclass(frozen=True, eq=False)
class Style:
    """What the landmarks of one style share: colours, materials, fronts, plants, pictures."""

    colours: Colours
    materials: tuple[FloatImage, ...]
    pictures: tuple[FloatImage, ...]
    plants: tuple[Image, ...]
    makers: tuple[Maker, ...]  # of its pictures
    front: FrontStyle
    old: facades.Style
    kind: str  # of nearly all of its landmarks: what is alike is hard to tell apart


def make_style(rng: np.random.Generator) -> Style:
    """Draw one style."""
    colours = palette(rng, 8)
    green = palette(rng, 5, 0.5)
    makers = tuple(PICTURES[i] for i in rng.integers(0, len(PICTURES), 2))
    return Style(
        colours=colours,
        materials=tuple(material(rng, (256, 256), _some(rng, colours)) for _ in range(5)),
        pictures=tuple(picture(rng, (128, 128), _some(rng, colours), makers) for _ in range(5)),
        plants=tuple(plant(rng, green) for _ in range(2)),
        front=make_front_style(rng, colours),
        makers=makers,
        old=facades.make_style(rng),
        kind=_kind(rng),
    )


def make_scene(rng: np.random.Generator, style: Style) -> Scene:
    """Draw one landmark in a style."""
    name = style.kind if rng.random() < 0.85 else _kind(rng)
    return KINDS[name][1](rng, style)


def _kind(rng: np.random.Generator) -> str:
    odds = np.array([odds for odds, _ in KINDS.values()])
    return list(KINDS)[int(rng.choice(len(KINDS), p=odds / odds.sum()))]


def _some(rng: np.random.Generator, colours: Colours) -> Colours:
    return colours[rng.permutation(len(colours))[:5]]


# --- pieces -----------------------------------------------------------------------------------


def place(
    tile: Image, corner: npt.ArrayLike, across: npt.ArrayLike, down: npt.ArrayLike
) -> npt.NDArray[np.float64]:
    """The plane [4, 3] of a tile whose upper left corner is at `corner`, its sides as given."""
    sides = np.asarray(across) / tile.shape[1], np.asarray(down) / tile.shape[0]
    columns = np.array([*sides, np.asarray(corner)])
    return np.vstack([columns.T, [0.0, 0.0, 1.0]])


def upright(
    tile: Image, centre: Point, width: float, yaw: float = 0.0, landmark: bool = True
) -> Surface:
    """A tile that stands upright with its middle at `centre`, turned by yaw (radians)."""
    height = width * tile.shape[0] / tile.shape[1]
    across = np.array([np.cos(yaw), 0, np.sin(yaw)]) * width
    corner = np.array(centre) - across / 2 - [0, height / 2, 0]
    return Surface(tile, place(tile, corner, across, (0, height, 0)), landmark)


def lying(
    tile: Image, y: float, centre: tuple[float, float], size: tuple[float, float], landmark: bool
) -> Surface:
    """A tile that lies at height y, around (x, z), of the size (along x, along z)."""
    corner = (centre[0] - size[0] / 2, y, centre[1] + size[1] / 2)
    return Surface(tile, place(tile, corner, (size[0], 0, 0), (0, 0, -size[1])), landmark)


def box(
    tiles: Sequence[Image],
    centre: Point,
    size: tuple[float, float, float],
    yaw: float,
    landmark: bool = True,
) -> list[Surface]:
    """Five faces (front, back, left, right, top) of a box; tiles are taken in turn."""
    width, height, depth = size
    x, z = np.array([np.cos(yaw), 0, np.sin(yaw)]), np.array([-np.sin(yaw), 0, np.cos(yaw)])
    half = np.array([0, height / 2, 0])
    at, down = np.array(centre), np.array([0, height, 0])
    a, b = x * width / 2, z * depth / 2
    faces = [
        (at - a - b - half, 2 * a, down),
        (at + a + b - half, -2 * a, down),
        (at - a + b - half, -2 * b, down),
        (at + a - b - half, 2 * b, down),
        (at - a + b - half, 2 * a, -2 * b),
    ]
    return [
        Surface(tile := tiles[i % len(tiles)], place(tile, corner, across, low), landmark)
        for i, (corner, across, low) in enumerate(faces)
    ]


def cylinder(
    tile: Image,
    centre: Point,
    radius: tuple[float, float],
    height: float,
    landmark: bool = True,
    strips: int = 14,
) -> list[Surface]:
    """A tile around a cylinder, or a cone with other radii below and above, in flat strips."""
    edges = np.linspace(0, tile.shape[1], strips + 1).astype(int)
    angles = np.linspace(0, 2 * np.pi, strips + 1) + np.pi / 2
    found = []
    middle = np.array(centre)
    for i in range(strips):
        ends = [np.array([np.cos(a), 0, np.sin(a)]) for a in (angles[i + 1], angles[i])]
        top, low = (
            [middle + end * r + [0, y, 0] for end in ends]
            for r, y in ((radius[1], -height / 2), (radius[0], height / 2))
        )
        strip = tile[:, edges[i] : edges[i + 1]]
        # A strip is flat and a parallelogram: its middle line is exact, cones overlap a little.
        across = (top[1] - top[0] + low[1] - low[0]) / 2 * 1.02
        down = (low[0] + low[1] - top[0] - top[1]) / 2
        corner = (top[0] + top[1]) / 2 - across / 2
        found.append(Surface(strip, place(strip, corner, across, down), landmark))
    return found


def plant(rng: np.random.Generator, colours: Colours) -> Image:
    """A crown, bush or hedge with a ragged outline."""
    shape = (160, int(rng.integers(110, 240)))
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    inside = (x**2 + y**2) ** 0.5 + 0.16 * fractal(rng, shape, 0.85) < 0.78
    shade = 1.15 - 0.35 * y[..., None]
    return as_tile(foliage(rng, shape, colours) * shade, inside)


def pole(rng: np.random.Generator, shade: float) -> Image:
    """A thin upright strip."""
    return as_tile(plain(rng, (128, 8), np.full((1, 3), shade, np.float32)))


def relief_layers(
    rng: np.random.Generator, style: Style, size: float, depth: float, centre: Point
) -> list[Surface]:
    """A carved form: slices of a height field, each cut out at its own depth."""
    shape = (220, 180)
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j].astype(np.float32)
    height = np.full(shape, -0.6, np.float32)
    for _ in range(int(rng.integers(5, 12))):
        at, axes = rng.normal(0, 0.36, 2), rng.uniform(0.12, 0.5, 2)
        turn = rng.uniform(0, np.pi)
        u = (x - at[0]) * np.cos(turn) + (y - at[1]) * np.sin(turn)
        v = (y - at[1]) * np.cos(turn) - (x - at[0]) * np.sin(turn)
        bump = 1 - (u / axes[0]) ** 2 - (v / axes[1]) ** 2
        peak = np.sqrt(np.clip(bump, 0, 1)) * rng.uniform(0.4, 1.0)
        height = np.maximum(height, np.where(bump > 0, peak, -0.6))
    height += 0.05 * fractal(rng, shape, 0.8)
    colour = style.colours[int(rng.integers(len(style.colours)))]
    stone = plain(rng, shape, np.maximum(colour, 90)[None])
    image = stone * lit(height * 28, float(rng.uniform(0, 2 * np.pi)))[..., None]
    levels = (
        np.quantile(height[height > 0], [0.0, 0.2, 0.4, 0.6, 0.8]) if (height > 0).any() else [0]
    )
    found = []
    for i, level in enumerate(levels):
        tile = as_tile(image, height >= max(level, 1e-3))
        at3 = (centre[0], centre[1], centre[2] - depth * i / len(levels))
        found.append(upright(tile, at3, size))
    return found


def _material(rng: np.random.Generator, style: Style, shape: tuple[int, int]) -> Image:
    """A window of one of the style's materials, with stains of its own."""
    whole = style.materials[int(rng.integers(len(style.materials)))]
    if rng.random() < 0.5:
        whole = whole[:, ::-1].transpose(1, 0, 2)
    y, x = (int(rng.integers(0, max(1, whole.shape[i] - shape[i]))) for i in range(2))
    part = whole[y : y + shape[0], x : x + shape[1]]
    own = fractal(rng, part.shape[:2], 0.85)[..., None] * rng.uniform(2, 12)
    return as_tile(part * rng.uniform(0.8, 1.15) + own)


def _picture(rng: np.random.Generator, style: Style, shape: tuple[int, int]) -> Image:
    """A picture of the landmark's own, sometimes one that the style repeats."""
    if rng.random() < 0.3:
        return as_tile(style.pictures[int(rng.integers(len(style.pictures)))])
    colours = palette(rng, 6) if rng.random() < 0.5 else _some(rng, style.colours)
    return as_tile(picture(rng, shape, colours, style.makers))


def _ground(rng: np.random.Generator, style: Style, y: float) -> Surface:
    whole = _material(rng, style, (200, 200))
    whole[..., :3] = dull(whole[..., :3].astype(np.float32), float(rng.uniform(0.15, 0.6)))
    tile = np.tile(whole, (2, 2, 1))
    return lying(tile, y, (0.0, 0.5), (9.0, 9.0), landmark=False)


# --- kinds ------------------------------------------------------------------------------------


def street(rng: np.random.Generator, style: Style) -> Scene:
    """A building between its neighbours, with bays, boards, trees and poles before it."""
    floor, found = 0.85, []
    width = float(rng.uniform(1.3, 2.3))
    for number in range(3):
        tile = make_front(rng, style.front)
        wide = width if number == 0 else float(rng.uniform(0.9, 1.8))
        left = (-width / 2, -width / 2 - wide, width / 2)[number]
        high = wide * tile.shape[0] / tile.shape[1]
        z = 0.0 if number == 0 else float(rng.uniform(-0.25, 0.4))
        side = _material(rng, style, (160, 160))
        middle = (left + wide / 2, floor - high / 2, z + 0.6)
        walls = box([tile, side, side, side, side], middle, (wide, high, 1.2), 0.0, number == 0)
        found += [walls[0], *walls[2:4]]
        if number == 0:
            found += _on_front(rng, style, width, min(high, 1.9), floor)
    for _ in range(int(rng.integers(0, 4))):
        tile = style.plants[int(rng.integers(len(style.plants)))]
        size = float(rng.uniform(0.25, 0.9))
        x, y = float(rng.uniform(-1.6, 1.6)), floor - size * float(rng.uniform(0.3, 0.9))
        z = float(rng.uniform(-1.0, -0.2))
        found += [upright(tile, (x, y, z - 0.07 * i), size, landmark=False) for i in range(2)]
    for _ in range(int(rng.integers(0, 3))):
        at = (float(rng.uniform(-1.5, 1.5)), floor - 0.8, float(rng.uniform(-1.2, -0.3)))
        found.append(upright(pole(rng, float(rng.uniform(20, 140))), at, 0.05, 0.0, False))
    return Scene("street", (*found, _ground(rng, style, floor)))


def _on_front(
    rng: np.random.Generator, style: Style, width: float, height: float, floor: float
) -> list[Surface]:
    """What stands out of a front: bays, balconies, boards, emblems."""
    found: list[Surface] = []
    for _ in range(int(rng.integers(1, 6))):
        size = float(rng.uniform(0.15, 0.5))
        x = float(rng.uniform(-0.5, 0.5)) * (width - size)
        y = floor - float(rng.uniform(0.15, 0.85)) * height
        what = int(rng.integers(4))
        if what == 0:
            tiles = [make_front(rng, style.front, bay=True), _material(rng, style, (96, 48))]
            found += box(tiles, (x, y, -0.1), (size, size * 1.1, 0.25), 0.0)
        elif what == 1:
            tile = _picture(rng, style, (48, 140))
            turned = float(rng.choice([0.0, 0.0, np.pi / 2]))
            found.append(upright(tile, (x, y, -0.05 - 0.2 * (turned > 0)), size, turned))
        elif what == 2:
            tile = _material(rng, style, (40, 140))
            found += box([tile], (x, y, -0.12), (size, size * 0.3, 0.24), 0.0)
        else:
            found.append(upright(_disc(rng, style), (x, y, -0.04), size * 0.7))
    return found


def _disc(rng: np.random.Generator, style: Style) -> Image:
    tile = rosette(rng, (128, 128), _some(rng, style.colours))
    y, x = np.mgrid[-1:1:128j, -1:1:128j]
    return as_tile(tile, x**2 + y**2 < 1)


def flat_facade(rng: np.random.Generator, style: Style) -> Scene:
    """A facade of the plain rendered world, with its reliefs and signs."""
    found = facades.make_facade(rng, style.old)
    height, width = found.size
    scale = 2.0 / width
    turn = np.diag([scale, scale, -scale, 1.0])
    turn[:3, 3] = [-1.0, 0.85 - height * scale, 0.0]
    surfaces = [
        Surface(as_tile(found.front), turn @ np.vstack([np.eye(2, 3), np.zeros(3), [0, 0, 1]]))
    ]
    surfaces += [Surface(as_tile(part.tile), turn @ part.plane) for part in found.parts]
    return Scene("flat_facade", (*surfaces, _ground(rng, style, 0.86)))


def room(rng: np.random.Generator, style: Style) -> Scene:
    """A corner or a desk: walls with pictures, a table or floor, and many things on it."""
    floor, back = 0.75, float(rng.uniform(0.5, 1.1))
    wall = plain(rng, (200, 320), style.colours[rng.permutation(8)[:1]])
    if rng.random() < 0.35:
        wall = np.asarray(_material(rng, style, (256, 256))[..., :3], np.float32)
    side = float(rng.choice([-1.9, 1.9]))
    found = [
        upright(as_tile(wall), (0.0, -0.35, back), 5.0, 0.0, False),
        upright(as_tile(wall * 0.85), (side, -0.35, back - 0.9), 1.8, np.pi / 2, False),
        lying(_material(rng, style, (220, 220)), floor, (0.0, -0.2), (6.0, 5.0), False),
    ]
    for _ in range(int(rng.integers(1, 5))):
        at = (float(rng.uniform(-1.2, 1.2)), float(rng.uniform(-0.9, 0.1)), back - 0.02)
        shape = (int(rng.integers(90, 160)), int(rng.integers(90, 160)))
        found.append(upright(_picture(rng, style, shape), at, float(rng.uniform(0.25, 0.7))))
    surface = floor
    if rng.random() < 0.6:
        surface = 0.35
        top = _material(rng, style, (140, 240))
        found += box([top], (0.0, surface + 0.04, 0.0), (2.2, 0.08, 1.1), 0.0)
        legs = [(sx * 1.0, surface + 0.25, sz * 0.5) for sx in (-1, 1) for sz in (-1, 1)]
        found += [upright(pole(rng, 60), leg, 0.06, 0.0, False) for leg in legs]
    for _ in range(int(rng.integers(8, 19))):
        found += _thing(rng, style, surface)
    return Scene("room", tuple(found), indoors=True)


def _thing(rng: np.random.Generator, style: Style, floor: float) -> list[Surface]:
    """A box, bottle, leaf of paper, plant or cut-out on a table."""
    x, z = float(rng.uniform(-1.0, 1.0)), float(rng.uniform(-0.5, 0.45))
    size, what = float(rng.uniform(0.18, 0.65)), int(rng.integers(6))
    if what <= 1:
        tiles = [_picture(rng, style, (100, 100)), _material(rng, style, (80, 80))]
        dims = rng.uniform(0.4, 1.3, 3) * size
        middle = (x, floor - dims[1] / 2, z)
        return box(tiles, middle, (dims[0], dims[1], dims[2]), float(rng.uniform(-0.9, 0.9)))
    if what == 2:
        tile = _picture(rng, style, (80, 200))
        top = size * float(rng.choice([0.35, 0.35, 0.1, 0.22]))
        return cylinder(tile, (x, floor - size / 2, z), (size * 0.35, top), size, strips=10)
    if what == 3:
        tile = _picture(rng, style, (100, 120))
        return [lying(tile, floor - 0.005, (x, z), (size * 1.4, size * 1.1), True)]
    if what == 4:
        tile = style.plants[int(rng.integers(len(style.plants)))]
        high = size * tile.shape[0] / tile.shape[1]
        return [upright(tile, (x, floor - high / 2, z), size)]
    tile = cut_out(rng, style.colours)
    high = size * tile.shape[0] / tile.shape[1]
    return [upright(tile, (x, floor - high / 2, z), size, float(rng.uniform(-0.6, 0.6)))]


def cut_out(rng: np.random.Generator, colours: Colours, quiet: bool = False) -> Image:
    """A thing of some outline, shaded at the edge; quiet: of few and plain parts, as most are."""
    shape = (int(rng.integers(70, 170)), int(rng.integers(70, 170)))
    mask = np.zeros(shape, np.uint8)
    for _ in range(int(rng.integers(1, 5))):
        middle = (rng.uniform(0.25, 0.75, 2) * shape[::-1]).astype(int).tolist()
        axes = (rng.uniform(0.1, 0.5, 2) * min(shape)).astype(int).tolist()
        cv2.ellipse(mask, middle, axes, float(rng.choice([0, 90, 30])), 0, 360, 255, -1)
        if rng.random() < 0.5:
            low = (np.array(middle) + rng.uniform(-0.4, 0.4, 2) * shape[::-1]).astype(int).tolist()
            cv2.rectangle(mask, middle, low, 255, -1)
    inner = cv2.GaussianBlur(mask, (0, 0), 0.06 * min(shape)).astype(np.float32) / 255
    if quiet:
        image = dull(courses(rng, shape, colours[:2]), 0.35)
    else:
        image = (picture if rng.random() < 0.5 else dead_leaves)(rng, shape, colours[:3])
    return as_tile(image * (0.35 + 0.7 * inner[..., None]), mask > 0)


def painting(rng: np.random.Generator, style: Style) -> Scene:
    """A picture, poster, page or sign on a wall."""
    shape = (int(rng.integers(240, 400)), int(rng.integers(240, 400)))
    tile = as_tile(picture(rng, shape, palette(rng, 8), style.makers))
    found = [upright(tile, (0.0, 0.0, 0.0), 1.7 * shape[1] / max(shape))]
    wall = np.tile(_material(rng, style, (200, 200)), (1, 2, 1))
    found.append(upright(wall, (0.0, 0.0, 0.05), 6.0, 0.0, False))
    return Scene("painting", tuple(found), indoors=True, moves=bool(rng.random() < 0.5), flat=True)


def thing(rng: np.random.Generator, style: Style) -> Scene:
    """A box, tin or toy that is met in other places every time."""
    colours = palette(rng, 8)
    tiles = [as_tile(picture(rng, (200, 200), colours, style.makers)) for _ in range(3)]
    dims = rng.uniform(0.5, 1.5, 3)
    if rng.random() < 0.65:
        found = box(
            tiles, (0, 0, 0), (dims[0], dims[1], dims[2] * 0.7), float(rng.uniform(-0.7, 0.7))
        )
    else:
        wide = np.concatenate([tiles[0], tiles[1], tiles[2]], 1)
        found = cylinder(wide, (0, 0, 0), (dims[0] / 2, dims[0] / 2), dims[1], strips=18)
    ground = lying(_material(rng, style, (220, 220)), dims[1] / 2, (0, 0), (6, 6), False)
    return Scene("thing", (*found, ground), indoors=True, moves=True, flat=True)


def monument(rng: np.random.Generator, style: Style) -> Scene:
    """A carved figure on a plinth before bushes or a building."""
    stone = _material(rng, style, (120, 160))
    plate = _picture(rng, style, (50, 90))
    found = box([stone], (0, 0.62, 0), (0.9, 0.55, 0.6), float(rng.uniform(-0.3, 0.3)))
    found.append(upright(plate, (0, 0.62, -0.33), 0.4))
    found += relief_layers(rng, style, float(rng.uniform(0.8, 1.2)), 0.3, (0, -0.28, 0.05))
    found += relief_layers(rng, style, 0.45, 0.15, (float(rng.uniform(-0.6, 0.6)), 0.1, -0.2))
    found.append(
        upright(
            make_front(rng, style.front), (float(rng.uniform(-1, 1)), -0.3, 2.4), 3.2, 0.0, False
        )
    )
    for _ in range(int(rng.integers(2, 6))):
        tile, size = (
            style.plants[int(rng.integers(len(style.plants)))],
            float(rng.uniform(0.6, 1.4)),
        )
        at = (float(rng.uniform(-1.8, 1.8)), 0.5, float(rng.uniform(0.5, 1.6)))
        found.append(upright(tile, at, size, 0.0, False))
    return Scene("monument", (*found, _ground(rng, style, 0.9)))


def nature(rng: np.random.Generator, style: Style) -> Scene:
    """Rocks and trunks among plants, in layers."""
    found = []
    colours = np.maximum(_some(rng, style.colours), 60)
    for number in range(int(rng.integers(3, 7))):
        shape = (int(rng.integers(120, 260)), int(rng.integers(120, 260)))
        y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
        inside = (np.abs(x) ** 2.5 + np.abs(y) ** 2.5) ** 0.4 + 0.14 * fractal(
            rng, shape, 0.8
        ) < 0.85
        tile = as_tile(rock(rng, shape, colours), inside)
        size = float(rng.uniform(0.5, 1.5))
        at = (float(rng.uniform(-0.8, 0.8)), float(rng.uniform(-0.3, 0.6)), 0.9 - 0.25 * number)
        found.append(upright(tile, at, size, float(rng.uniform(-0.4, 0.4))))
    own = [plant(rng, palette(rng, 5, 0.5)) for _ in range(2)]
    for _ in range(int(rng.integers(3, 8))):
        at = (
            float(rng.uniform(-1.2, 1.2)),
            float(rng.uniform(-0.2, 0.7)),
            float(rng.uniform(-0.7, 0.7)),
        )
        found.append(upright(own[int(rng.integers(2))], at, float(rng.uniform(0.3, 0.9))))
    return Scene("nature", (*found, _ground(rng, style, 0.9)))


def tower(rng: np.random.Generator, style: Style) -> Scene:
    """A round building with windows, a roof and a wall beside it."""
    parts = [make_front(rng, style.front, bay=True) for _ in range(3)]
    high = min(part.shape[0] for part in parts)
    around = np.concatenate([cv2.resize(part, (150, high)) for part in parts], 1)
    radius = float(rng.uniform(0.4, 0.75))
    found = cylinder(around, (0, 0.15, 0), (radius, radius), 1.4)
    top = float(rng.choice([0.02, radius * 0.5, radius]))
    found += cylinder(_material(rng, style, (80, 240)), (0, -0.75, 0), (radius * 1.1, top), 0.4)
    found.append(
        upright(_disc(rng, style), (0, float(rng.uniform(-0.3, 0.3)), -radius - 0.03), 0.4)
    )
    wall = make_front(rng, style.front)
    high = 2.4 * wall.shape[0] / wall.shape[1]
    side = float(rng.choice([-1, 1])) * (radius + 1.1)
    found.append(upright(wall, (side, 0.85 - high / 2, 0.2), 2.4, 0.0))
    return Scene("tower", (*found, _ground(rng, style, 0.85)))


KINDS: dict[str, tuple[float, Callable[[np.random.Generator, Style], Scene]]] = {
    "street": (0.30, street),
    "flat_facade": (0.12, flat_facade),
    "room": (0.22, room),
    "painting": (0.09, painting),
    "thing": (0.09, thing),
    "monument": (0.07, monument),
    "nature": (0.05, nature),
    "tower": (0.06, tower),
}
