"""Pictures of a facade: camera, clutter, occluders, light, and what of the landmark is visible (a
fraction in [0, 1]). Angles are degrees.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ames_lite.synthetic.facades import Facade, FloatImage, Image, Rng, Size, noise

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

GRID = (24, 24)  # cells (rows, columns) over a facade, for visibility
EASY = (0.55, 40.0)  # at least this much visible, at most this oblique
HARD = (0.30, 55.0)  # less than this visible or more oblique: junk


@dataclass(frozen=True)
class Camera:
    """Where a picture is taken from."""

    projection: Floats  # [3, 4]: front pixels (x, y, depth, 1) → image pixels
    size: Size
    oblique: float  # angle to the front's normal

    @property
    def homography(self) -> Floats:
        """[3, 3]: front pixels (x, y) → image pixels."""
        return np.ascontiguousarray(self.projection[:, [0, 1, 3]])


@dataclass(frozen=True, eq=False)
class View:
    """One rendered picture [H, W, 3] and the truth about it."""

    picture: Image
    homography: Floats  # front pixels → image pixels
    visible: Flags  # which cells of GRID, laid over the front, can be seen
    oblique: float


def grade(visible: float, oblique: float) -> str:
    """easy, hard or junk, by how much of the landmark is visible and how oblique it is."""
    if visible >= EASY[0] and oblique <= EASY[1]:
        return "easy"
    return "hard" if visible >= HARD[0] and oblique <= HARD[1] else "junk"


def sample_camera(rng: Rng, facade: Size, max_yaw: float, zoom: tuple[float, float]) -> Camera:
    """A pinhole camera that looks at a facade from a random place."""
    size = ((240, 320), (320, 240), (256, 320), (288, 288))[int(rng.integers(4))]
    yaw, pitch, roll = np.deg2rad(rng.uniform(-1, 1, 3) * [max_yaw, 22, 9])
    turn = cv2.Rodrigues(np.array([pitch, 0, 0]))[0] @ cv2.Rodrigues(np.array([0, yaw, 0]))[0]
    turn = cv2.Rodrigues(np.array([0, 0, roll]))[0] @ turn
    focal = 1.1 * max(size)
    span = rng.uniform(*zoom) * min(size[0] / facade[0], size[1] / facade[1])
    shift = rng.uniform(-0.22, 0.22, 2) * [size[1], size[0]] * max(1.0, zoom[1] / 2)
    x, y = size[1] / 2 + shift[0], size[0] / 2 + shift[1]
    intrinsics = np.array([[focal, 0, x], [0, focal, y], [0, 0, 1.0]])
    middle = turn @ np.array([-facade[1] / 2, -facade[0] / 2, 0.0])
    # The camera looks along +z: what stands out of the front comes nearer, along -z.
    pose = np.column_stack([turn[:, 0], turn[:, 1], -turn[:, 2], middle + [0, 0, focal / span]])
    return Camera(intrinsics @ pose, size, float(np.rad2deg(np.arccos(turn[2, 2]))))


def project(homography: Floats, points: Floats) -> Floats:
    """Image pixels [P, 2] of facade pixels [P, 2]; NaN behind the camera."""
    image = np.concatenate([points, np.ones((len(points), 1))], axis=1) @ homography.T
    return image[:, :2] / np.where(image[:, 2:] > 1e-6, image[:, 2:], np.nan)


def visible_cells(camera: Camera, facade: tuple[int, int], covered: Flags) -> Flags:
    """Which cells of GRID land inside the picture and not under an occluder [H, W]."""
    rows = (np.arange(GRID[0]) + 0.5) / GRID[0] * facade[0]
    columns = (np.arange(GRID[1]) + 0.5) / GRID[1] * facade[1]
    points = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    image = project(camera.homography, points)
    height, width = camera.size
    with np.errstate(invalid="ignore"):
        inside = (image >= 0).all(1) & (image[:, 0] < width) & (image[:, 1] < height)
    at = image[inside].astype(int)
    inside[inside] = ~covered[at[:, 1], at[:, 0]]
    return inside.reshape(GRID)


def _ground(rng: Rng, size: tuple[int, int]) -> FloatImage:
    """A cluttered nothing: sky and ground in soft colours with texture at several scales."""
    top, bottom = rng.uniform(60, 230, (2, 3)).astype(np.float32)
    fall = np.linspace(0, 1, size[0], dtype=np.float32)[:, None, None]
    grain = noise(rng, size, 40) * 25 + noise(rng, size, 11) * 18 + noise(rng, size, 4) * 12
    return np.asarray(top * (1 - fall) + bottom * fall + grain[..., None], np.float32)


def _stand_about(rng: Rng, canvas: FloatImage, clutter: Sequence[Image], count: int) -> Flags:
    """Put `count` turned and scaled pieces of clutter on the canvas; returns what they cover."""
    size = canvas.shape[:2]
    covered = np.zeros(size, np.uint8)
    for _ in range(count):
        tile = clutter[int(rng.integers(len(clutter)))]
        scale = rng.uniform(0.14, 0.36) * min(size) / tile.shape[0]
        turn = cv2.getRotationMatrix2D((0, 0), float(rng.uniform(-40, 40)), float(scale))
        turn[:, 2] = rng.uniform(-0.1, 0.95, 2) * [size[1], size[0]]
        mask = np.zeros(tile.shape[:2], np.uint8)
        middle = (tile.shape[1] // 2, tile.shape[0] // 2)
        cv2.ellipse(mask, middle, middle, 0, 0, 360, 255, -1)
        if rng.random() < 0.4:
            mask[:] = 255
        mask = cv2.warpAffine(mask, turn, size[::-1])
        _lay(canvas, cv2.warpAffine(tile, turn, size[::-1]), mask)
        covered |= mask
    return covered > 127


def light(rng: Rng, canvas: FloatImage) -> Image:
    """Exposure, tint, a shadow or gradient, gamma, blur and sensor noise."""
    size = canvas.shape[:2]
    gain = rng.uniform(0.55, 1.25) * rng.uniform(0.85, 1.15, 3)
    shade = 1 + 0.35 * rng.uniform(-1, 1) * noise(rng, size, max(size) // 2)
    lit = np.clip(canvas * (gain * shade[..., None]) + rng.uniform(-15, 20), 0, 255) / 255
    lit = np.asarray(lit ** rng.uniform(0.75, 1.45) * 255, np.float32)
    lit = cv2.GaussianBlur(lit, (0, 0), float(rng.uniform(0.3, 1.1)))
    lit += rng.normal(0, rng.uniform(1, 6), lit.shape).astype(np.float32)
    return np.clip(lit, 0, 255).astype(np.uint8)


def render(rng: Rng, facade: Facade | None, camera: Camera, clutter: Sequence[Image]) -> View:
    """One picture; without a facade, of clutter alone (nothing visible)."""
    canvas = _ground(rng, camera.size)
    _stand_about(rng, canvas, clutter, int(rng.integers(5, 10)))
    visible = np.zeros(GRID, bool)
    occluders = int(rng.integers(0, 4))
    if facade is not None:
        _warp(canvas, facade.front, camera.homography)
        for part in facade.parts:
            _warp(canvas, part.tile, camera.projection @ part.plane)
        visible = visible_cells(camera, facade.size, _stand_about(rng, canvas, clutter, occluders))
    return View(light(rng, canvas), camera.homography, visible, camera.oblique)


def _warp(canvas: FloatImage, tile: Image, homography: Floats) -> None:
    """Lay a tile on the canvas through a homography tile pixels → image pixels."""
    centre = np.array([tile.shape[1] / 2, tile.shape[0] / 2])
    image = project(homography, np.stack([centre, centre + [1, 0], centre + [0, 1]]))
    if not np.isfinite(image).all():  # behind the camera
        return
    stretch = abs(float(np.linalg.det(image[1:] - image[0])))
    # Shrink first, so that the warp never skips pixels (it does not average).
    shrink = min(1.0, 1.4 * float(np.sqrt(stretch)))
    target = (max(2, round(tile.shape[1] * shrink)), max(2, round(tile.shape[0] * shrink)))
    small = cv2.resize(tile, target, interpolation=cv2.INTER_AREA)
    warp = homography @ np.diag([tile.shape[1] / target[0], tile.shape[0] / target[1], 1.0])
    size = canvas.shape[1::-1]
    mask = cv2.warpPerspective(np.full(small.shape[:2], 255, np.uint8), warp, size)
    _lay(canvas, cv2.warpPerspective(small, warp, size), mask)


def _lay(canvas: FloatImage, piece: Image, mask: Image) -> None:
    """Copy the piece to where its mask is; only the rectangle around that is looked at."""
    x, y, width, height = cv2.boundingRect(mask)
    window = np.s_[y : y + height, x : x + width]
    np.copyto(canvas[window], piece[window], where=(mask[window] > 127)[..., None])
