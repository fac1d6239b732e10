"""Pictures of surfaces in space: a pinhole camera and a depth buffer.

Input: `Surface`s and an `Eye`. Output: colours [H, W, 3] and inverse depths [H, W] (0 = nothing
there). The depth buffer keeps 1 / z of the camera, which is linear in the image for every plane, so
that surfaces may cut through each other and reach behind the camera.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ames_lite.synthetic.facades import FloatImage, Image
from tools.release.rich.scenes import Surface

Array = npt.NDArray[np.float64]
NEAREST = 0.12  # what is closer to the camera is not drawn


@dataclass(frozen=True)
class Eye:
    """A camera: world (x, y, z) → rotation @ (world - position) → pixels of an image of `size`."""

    position: Array  # [3]
    rotation: Array  # [3, 3]
    intrinsics: Array  # [3, 3]
    size: tuple[int, int]  # (height, width)

    @property
    def projection(self) -> Array:
        """[3, 4]: (x, y, z, 1) → homogeneous pixels, the third entry being the depth."""
        pose = np.column_stack([self.rotation, -self.rotation @ self.position])
        return np.asarray(self.intrinsics @ pose)

    def rays(self, step: int) -> Array:
        """World directions [H/step, W/step, 3], of depth 1, through every step-th pixel."""
        y, x = np.mgrid[: self.size[0] : step, : self.size[1] : step].astype(np.float64)
        image = np.stack([x, y, np.ones_like(x)], -1)
        return np.asarray(image @ np.linalg.inv(self.intrinsics).T @ self.rotation)


def looking_at(
    position: Array, target: Array, roll: float, focal: float, size: tuple[int, int]
) -> Eye:
    """An eye whose middle pixel shows `target`; roll in radians, focal in pixels."""
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right) + 1e-9
    down = np.cross(forward, right)
    c, s = np.cos(roll), np.sin(roll)
    rotation = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1.0]]) @ np.stack([right, down, forward])
    middle = [[focal, 0, size[1] / 2], [0, focal, size[0] / 2], [0, 0, 1.0]]
    return Eye(position, rotation, np.array(middle), size)


def draw(
    surfaces: Iterable[Surface], eye: Eye, light: Array | None = None, ambient: float = 1.0
) -> tuple[Image, FloatImage]:
    """Colours [H, W, 3] and inverse depths [H, W]; light [3]: where the sun is, a unit vector."""
    colours = np.zeros((*eye.size, 3), np.uint8)
    depths = np.zeros(eye.size, np.float32)
    projection = eye.projection
    for surface in surfaces:
        _draw(surface, projection, eye, colours, depths, _shade(surface, eye, light, ambient))
    return colours, depths


def _shade(surface: Surface, eye: Eye, light: Array | None, ambient: float) -> float:
    """How bright a plane is: what it shows to the viewer, turned to the light or not."""
    if light is None:
        return 1.0
    normal = surface.normal
    if normal @ (eye.position - surface.plane[:3, 2]) < 0:
        normal = -normal
    return float(ambient + (1.25 - ambient) * max(0.0, float(normal @ light)))


def _bounds(homography: Array, tile: Image, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Rows and columns (y0, y1, x0, x1) that a tile may cover; the image where it passes behind."""
    h, w = tile.shape[:2]
    corners = homography @ np.array([[0, w, 0, w], [0, 0, h, h], [1, 1, 1, 1.0]])
    if (corners[2] < NEAREST).all():
        return (0, 0, 0, 0)
    if (corners[2] < NEAREST).any():
        return (0, size[0], 0, size[1])
    x, y = corners[:2] / corners[2]
    low, high = np.floor([y.min(), x.min()]), np.ceil([y.max(), x.max()]) + 1
    y0, x0 = np.clip(low, 0, size).astype(int).tolist()
    y1, x1 = np.clip(high, 0, size).astype(int).tolist()
    return (y0, y1, x0, x1)


def _draw(
    surface: Surface,
    projection: Array,
    eye: Eye,
    colours: Image,
    depths: FloatImage,
    shade: float,
) -> None:
    homography = projection @ surface.plane
    y0, y1, x0, x1 = _bounds(homography, surface.tile, eye.size)
    if y1 - y0 < 2 or x1 - x0 < 2 or abs(np.linalg.det(homography)) < 1e-9:
        return
    tile, homography = _shrunk(surface.tile, homography)
    shift = np.array([[1, 0, -x0], [0, 1, -y0], [0, 0, 1.0]])
    homography = shift @ homography
    inverse = np.linalg.inv(homography)
    size = (x1 - x0, y1 - y0)
    warped = cv2.warpPerspective(tile, homography, size, flags=cv2.INTER_LINEAR)
    row = (inverse[2, 0] * np.arange(size[0]) + inverse[2, 2]).astype(np.float32)
    column = (inverse[2, 1] * np.arange(size[1])).astype(np.float32)
    here = column[:, None] + row[None]
    part = depths[y0:y1, x0:x1]
    seen = (warped[..., 3] > 127) & (here > part) & (here < 1 / NEAREST)
    mask = seen.view(np.uint8)
    rgb = warped[..., :3] if shade == 1.0 else cv2.convertScaleAbs(warped[..., :3], alpha=shade)
    np.copyto(colours[y0:y1, x0:x1], rgb, where=mask[..., None].astype(bool))
    np.copyto(part, here, where=seen)


def _shrunk(tile: Image, homography: Array) -> tuple[Image, Array]:
    """A tile that a warp does not skip pixels of (it does not average), and its homography."""
    h, w = tile.shape[:2]
    points = homography @ np.array(
        [[w / 2, w / 2 + 1, w / 2], [h / 2, h / 2, h / 2 + 1], [1, 1, 1]]
    )
    if (points[2] < NEAREST).any():
        return tile, homography
    x, y = points[:2] / points[2]
    across = float(np.hypot(x[1] - x[0], y[1] - y[0]))
    down = float(np.hypot(x[2] - x[0], y[2] - y[0]))
    target = (
        max(2, min(w, round(w * across * 1.3))),
        max(2, min(h, round(h * down * 1.3))),
    )
    if target == (w, h):
        return tile, homography
    small = cv2.resize(tile, target, interpolation=cv2.INTER_AREA)
    return small, homography @ np.diag([w / target[0], h / target[1], 1.0])
