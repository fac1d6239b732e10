"""Light and camera of the rich world: from drawn surfaces to stored pictures.

Input: colours [H, W, 3], inverse depths [H, W], the eye and a Generator. Output: a uint8 picture
with shadows, night with lamps, haze, exposure, white balance, saturation, contrast, vignette,
defocus or motion, loss of resolution, noise. Light falls in space: a shadow's edge and a lamp's
pool bend with depth.
"""

from __future__ import annotations

import cv2
import numpy as np

from ames_lite.synthetic.facades import FloatImage, Image
from tools.release.rich.raster import Eye
from tools.release.rich.textures import fractal

STEP = 2  # light is computed on every second pixel


def background(rng: np.random.Generator, size: tuple[int, int], indoors: bool) -> FloatImage:
    """What is behind everything: sky with clouds, or a dim room."""
    top, bottom = rng.uniform(0.45, 1.05, 2)
    tint = np.array([1.0, 1.0, 1.0]) if indoors else np.array([0.75, 0.9, 1.1])
    fall = np.linspace(top, bottom, size[0], dtype=np.float32)[:, None]
    clouds = fractal(rng, (size[0] // 2, size[1] // 2), 0.55, 2.0) * np.float32(
        rng.uniform(0, 0.16)
    )
    clouds = cv2.resize(clouds, size[::-1])
    tint = tint * rng.uniform(0.9, 1.1, 3)
    return np.asarray(((fall + clouds) * 235)[..., None] * tint, np.float32)


def expose(
    rng: np.random.Generator,
    colours: Image,
    depths: FloatImage,
    eye: Eye,
    indoors: bool,
) -> Image:
    """The stored picture [H, W, 3]."""
    canvas = colours.astype(np.float32)
    behind = background(rng, eye.size, indoors)
    empty = depths <= 0
    canvas[empty] = behind[empty]
    if not indoors and rng.random() < 0.25:  # haze
        share = (1 - np.exp(-rng.uniform(0.03, 0.25) / np.maximum(depths, 0.02)))[..., None]
        canvas += share * (behind.mean((0, 1)) - canvas)
    night = bool(rng.random() < 0.1)
    light = cv2.resize(_light(rng, depths, eye, indoors, night), eye.size[::-1])
    light[empty] = rng.uniform(0.02, 0.3) if night else rng.uniform(0.8, 1.3)  # the sky's own
    canvas *= light
    return _develop(rng, canvas)


def _light(
    rng: np.random.Generator, depths: FloatImage, eye: Eye, indoors: bool, night: bool
) -> FloatImage:
    """What the surfaces are lit by [H / STEP, W / STEP, 3], about 1 by day."""
    inverse = depths[::STEP, ::STEP]
    far = np.where(inverse > 0, inverse, 1 / 30.0)
    places = (eye.rays(STEP) / far[..., None] + eye.position).astype(np.float32)
    light = np.ones(inverse.shape, np.float32)
    if rng.random() < (0.15 if indoors else 0.4):  # the shadow of something with a straight edge
        normal = rng.normal(0, 1, 3).astype(np.float32)
        side = places @ (normal / np.linalg.norm(normal)) - np.float32(rng.uniform(-0.7, 0.7))
        light -= np.float32(rng.uniform(0.2, 0.6)) * (np.clip(side * 8, -1, 1) * 0.5 + 0.5)
    if rng.random() < (0.04 if indoors else 0.1):  # shadows of leaves
        leaves = fractal(rng, (96, 96), 0.75)
        x = (places[..., 0] + places[..., 2]) * 18 + 48
        y = (places[..., 1] - places[..., 2]) * 18 + 48
        spots = cv2.remap(leaves, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        light *= 1 - np.float32(rng.uniform(0.2, 0.6)) * (np.clip(spots * 4, -1, 1) * 0.5 + 0.5)
    colour = np.ones(3, np.float32)
    lamps = np.zeros((*inverse.shape, 3), np.float32)
    if night or rng.random() < (0.3 if indoors else 0.03):
        light *= np.float32(rng.uniform(0.06, 0.35) if night else rng.uniform(0.35, 0.8))
        colour = np.array([0.85, 0.95, 1.2], np.float32) if night else colour
        for _ in range(int(rng.integers(1, 5))):
            at = (rng.normal(0, 1, 3) * [0.8, 0.6, 0.4] + [0, 0, -0.5]).astype(np.float32)
            square = ((places - at) ** 2).sum(-1) / np.float32(rng.uniform(0.15, 0.8)) ** 2
            warm = np.array([1.3, 1.0, rng.uniform(0.4, 1.0)], np.float32)
            lamps += (rng.uniform(0.4, 1.5) / (1 + square))[..., None] * warm
    return np.asarray(light[..., None] * colour + lamps, np.float32)


def _develop(rng: np.random.Generator, canvas: FloatImage) -> Image:
    """Camera and storage: everything that happens to an image once the light is there."""
    size = canvas.shape[:2]
    level = float(np.percentile(canvas[::4, ::4], 80)) + 8  # automatic exposure, which errs
    gain = (rng.uniform(110, 255) / level) ** rng.uniform(0.5, 1.0) * rng.uniform(0.75, 1.25)
    balance = np.exp(rng.normal(0, 0.08 if rng.random() < 0.88 else 0.22, 3))
    saturation = 0.0 if rng.random() < 0.06 else float(rng.uniform(0.3, 1.4))
    mix = saturation * np.eye(3) + (1 - saturation) / 3  # towards grey
    canvas = cv2.transform(canvas, mix @ np.diag(gain * balance))
    if rng.random() < 0.5:  # vignette
        y, x = np.ogrid[-1 : 1 : size[0] * 1j, -1 : 1 : size[1] * 1j]
        fall = 1 - float(rng.uniform(0, 0.45)) * (x * x + y * y) / 2
        canvas *= fall.astype(np.float32)[..., None]
    curve = np.linspace(0, 1, 1024) ** np.exp(rng.normal(0, 0.22))
    bend = rng.uniform(-0.35, 0.6)
    curve = curve + bend * (3 * curve**2 - 2 * curve**3 - curve)
    curve = rng.uniform(0, 30) * (rng.random() < 0.4) + curve * rng.uniform(205, 255)
    index = np.clip(canvas * (1023 / 255), 0, 1023).astype(np.int16)
    canvas = curve.astype(np.float32)[index]
    canvas = _blurred(rng, canvas)
    noise = rng.standard_normal(size, dtype=np.float32)[..., None] * rng.uniform(0.5, 5.0)
    canvas = canvas + noise * rng.uniform(0.6, 1.0, 3).astype(np.float32)
    return np.clip(canvas, 0, 255).astype(np.uint8)


def _blurred(rng: np.random.Generator, canvas: FloatImage) -> FloatImage:
    """Defocus, motion, sharpening, or a detour over fewer pixels."""
    what = rng.random()
    if what < 0.65:
        return cv2.GaussianBlur(canvas, (0, 0), float(rng.uniform(0.3, 0.8)))
    if what < 0.73:
        return cv2.GaussianBlur(canvas, (0, 0), float(rng.uniform(0.8, 1.4)))
    if what < 0.78:
        length, kernel = int(rng.integers(3, 6)), np.zeros((9, 9), np.float32)
        angle = rng.uniform(0, np.pi)
        end = np.array([np.cos(angle), np.sin(angle)]) * length / 2
        cv2.line(kernel, (4 - end).astype(int).tolist(), (4 + end).astype(int).tolist(), 1.0, 1)
        return cv2.filter2D(canvas, -1, kernel / kernel.sum())
    if what < 0.86:
        share = float(rng.uniform(0.55, 0.9))
        small = cv2.resize(canvas, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
        return cv2.resize(small, canvas.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    soft = cv2.GaussianBlur(canvas, (0, 0), 1.2)
    return canvas + np.float32(rng.uniform(0.2, 1.2)) * (canvas - soft)
