"""Photographs of a scene of the rich world: where one stands, what walks past, what is visible.

Input: a `Scene`, the world's `Props` and a Generator. Output: a `Photograph`: the picture, its
projection and which of the landmark's `POINTS` can be seen in it. Angles are degrees.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ames_lite.synthetic.facades import FloatImage, Image
from ames_lite.synthetic.views import GRID
from tools.release.rich.exposure import expose
from tools.release.rich.raster import Array, Eye, draw, looking_at
from tools.release.rich.scenes import Scene, Surface, cut_out, lying, plant, upright
from tools.release.rich.textures import as_tile, dull, material, palette, picture

POINTS = GRID[0] * GRID[1]  # of a landmark, that visibility is told by
SIZES = ((288, 384), (384, 288), (320, 400), (300, 400), (360, 360), (256, 400), (320, 448))
PLANS: dict[str, tuple[float, tuple[float, float]]] = {  # maximal yaw, share of the picture filled
    "query": (22.0, (0.8, 1.25)),
    "easy": (32.0, (0.7, 1.4)),
    "hard": (50.0, (0.55, 1.9)),
    "junk": (78.0, (0.4, 4.0)),
}


@dataclass(frozen=True, eq=False)
class Props:
    """What a world's pictures share: things that stand or walk about, and what lies behind."""

    things: tuple[Image, ...]  # cut out
    grounds: tuple[Image, ...]


@dataclass(frozen=True, eq=False)
class Photograph:
    """One picture [H, W, 3] and the truth about it."""

    picture: Image
    projection: Array  # [3, 4]
    visible: npt.NDArray[np.bool_]  # [POINTS]
    pixels: Array  # [POINTS, 2] x, y of the points in the picture, seen or not
    oblique: float


def make_props(rng: np.random.Generator) -> Props:
    """Draw what the pictures of a world share."""
    things: list[Image] = []
    for _ in range(90):
        if rng.random() < 0.15:
            things.append(plant(rng, palette(rng, 5, 0.5)))
        else:
            things.append(cut_out(rng, palette(rng, 6), quiet=bool(rng.random() < 0.7)))
    grounds = [
        as_tile(dull((material if i % 2 else picture)(rng, (256, 256), palette(rng, 6)), 0.5))
        for i in range(40)
    ]
    return Props(tuple(things), tuple(grounds))


def landmark_points(rng: np.random.Generator, scene: Scene) -> Array:
    """[POINTS, 3] of what is visible of the landmark from its front."""
    eye = looking_at(np.array([0.0, -0.25, -4.2]), np.zeros(3), 0.0, 330.0, (256, 256))
    _, everything = draw(scene.surfaces, eye)
    _, own = draw([surface for surface in scene.surfaces if surface.landmark], eye)
    rows, columns = np.nonzero((own > 0) & (own >= everything * 0.999))
    chosen = rng.integers(0, len(rows), POINTS)
    at = rows[chosen], columns[chosen]
    return np.asarray(eye.rays(1)[at] / own[at][:, None] + eye.position)


def sample_eye(
    rng: np.random.Generator, max_yaw: float, zoom: tuple[float, float], flat: bool
) -> Eye:
    """Somewhere before a landmark, not below its ground."""
    size = SIZES[int(rng.integers(len(SIZES)))]
    yaw = np.deg2rad(rng.uniform(-max_yaw, max_yaw))
    pitch = np.deg2rad(rng.uniform(-6, 26))
    roll = np.deg2rad(np.clip(rng.normal(0, 6), -20, 20))
    if flat and rng.random() < 0.15:
        roll += np.pi / 2 * rng.choice([-1, 1])
    focal = max(size) * float(rng.uniform(0.75, 1.5))
    fill = float(np.exp(rng.uniform(*np.log(zoom))))
    distance = 2.0 * focal / (fill * min(size))
    away = np.array([np.sin(yaw) * np.cos(pitch), -np.sin(pitch), -np.cos(yaw) * np.cos(pitch)])
    target = rng.uniform(-1, 1, 3) * [0.45, 0.3, 0.1] * max(0.6, min(1.3, fill))
    position = target + away * distance
    position[1] = min(position[1], 0.3)
    return looking_at(position, target, float(roll), focal, size)


def oblique(eye: Eye) -> float:
    """The angle between the line of sight to the landmark and its front's normal."""
    return float(
        np.rad2deg(np.arccos(np.clip(-eye.position[2] / np.linalg.norm(eye.position), -1, 1)))
    )


def passers(rng: np.random.Generator, props: Props, eye: Eye, moves: bool) -> list[Surface]:
    """What is there in this picture alone: before the landmark, and around a thing that moves."""
    found = []
    for _ in range(int(rng.choice(4, p=[0.4, 0.3, 0.2, 0.1]))):  # on the way to the landmark
        tile = props.things[int(rng.integers(len(props.things)))]
        share = float(rng.uniform(0.25, 0.85))
        reach = float(np.linalg.norm(eye.position)) * (1 - share)
        size = float(rng.uniform(0.08, 0.34)) * reach
        at = eye.position * share + rng.uniform(-0.55, 0.55, 3) * [reach, 0.8 * reach, 0]
        found.append(_facing(rng, tile, at, size, eye))
    for _ in range(int(rng.integers(1, 5)) if moves else 0):
        tile = props.things[int(rng.integers(len(props.things)))]
        at = rng.uniform(-1, 1, 3) * [2.2, 0.5, 0.6] + [0, 0.1, 0.9]
        found.append(_facing(rng, tile, at, float(rng.uniform(0.3, 1.1)), eye))
    if moves:
        wall, ground = (props.grounds[i] for i in rng.integers(0, len(props.grounds), 2))
        z = float(rng.uniform(0.9, 2.5))
        found.append(upright(wall, (float(rng.uniform(-1, 1)), 0.0, z), 7.0, 0.0, False))
        found.append(lying(ground, 0.78, (0.0, 0.0), (8.0, 7.0), False))
    return found


def _facing(rng: np.random.Generator, tile: Image, at: Array, size: float, eye: Eye) -> Surface:
    """A tile at a point, about turned to the eye."""
    yaw = np.arctan2(-(eye.position[0] - at[0]), -(eye.position[2] - at[2])) * -1.0
    turned = float(yaw + rng.normal(0, 0.3))
    return upright(tile, (float(at[0]), float(at[1]), float(at[2])), size, turned, False)


def photograph(
    rng: np.random.Generator,
    scene: Scene,
    points: Array,
    props: Props,
    eye: Eye,
    wanted: Callable[[float, float], bool],
) -> Photograph | None:
    """Take one picture, if it is wanted: by the visible fraction of the points and the angle."""
    standing = [s for s in scene.surfaces if s.landmark or not scene.moves]
    shown = [*standing, *passers(rng, props, eye, scene.moves)]
    light = rng.normal(0, 1, 3) * [1, 0.5, 0.6] - [0, 0.8, 0.8]
    light /= np.linalg.norm(light)
    colours, depths = draw(shown, eye, light, float(rng.uniform(0.45, 1.0)))
    pixels, seen = visible_points(points, eye, depths)
    if not wanted(float(seen.mean()), oblique(eye)):
        return None
    exposed = expose(rng, colours, depths, eye, scene.indoors)
    return Photograph(exposed, eye.projection, seen, pixels, oblique(eye))


def visible_points(
    points: Array, eye: Eye, depths: FloatImage
) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Pixels [P, 2] of points [P, 3], and which of them are in the picture, uncovered."""
    image = np.column_stack([points, np.ones(len(points))]) @ eye.projection.T
    depth = np.maximum(image[:, 2], 1e-6)
    pixels = image[:, :2] / depth[:, None]
    height, width = eye.size
    inside = (image[:, 2] > 0.05) & (pixels >= 0).all(1)
    inside &= (pixels[:, 0] < width - 1) & (pixels[:, 1] < height - 1)
    at = pixels[inside].astype(int)
    inside[inside] = 1 / depth[inside] >= depths[at[:, 1], at[:, 0]] * 0.96
    return pixels, inside
