"""Textures with the statistics of photographs: what the rich world is made of.

Input: a NumPy Generator, a shape (height, width) and colours. Output: images, float32 RGB [H, W, 3]
about 0 to 255 (not clipped), or `Tile`s, uint8 RGBA [H, W, 4] whose alpha cuts out a shape.
Everything has structure at all scales (power spectra that fall like those of photographs), because
a keypoint detector looks at every scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from ames_lite.synthetic.facades import FloatImage, Image

Colours = npt.NDArray[np.float32]  # [n, 3] RGB, 0 to 255
Shape = tuple[int, int]
FONTS = (
    *(cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX),
    *(cv2.FONT_HERSHEY_TRIPLEX, cv2.FONT_HERSHEY_SCRIPT_COMPLEX, cv2.FONT_HERSHEY_PLAIN),
)
LETTERS = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789&!?-."))


def fractal(
    rng: np.random.Generator, shape: Shape, rough: float = 0.8, stretch: float = 1.0
) -> FloatImage:
    """Noise [H, W] of mean 0 and deviation 1: octaves, each `rough` times as strong as the coarser.

    1 is the 1/f amplitude of photographs, 0.5 that of clouds. stretch: how many times wider than
    high its blobs are.
    """
    octaves = max(2, int(np.log2(max(shape))) - 1)
    field = np.zeros((2, 2), np.float32)
    for octave in range(octaves):
        share = 2.0 ** (octave + 1 - octaves)
        rows = max(2, round(shape[0] * share))
        columns = max(2, round(shape[1] * share / stretch))
        field = cv2.resize(field, (columns, rows), interpolation=cv2.INTER_LINEAR)
        field += rough**octave * rng.standard_normal((rows, columns), dtype=np.float32)
    field = cv2.resize(field, shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray((field - field.mean()) / (field.std() + 1e-6), np.float32)


def palette(rng: np.random.Generator, count: int, vivid: float | None = None) -> Colours:
    """Colours [count, 3] that go together: two hues, all brightnesses; vivid in [0, 1]."""
    vivid = float(rng.beta(1.0, 3.0)) if vivid is None else vivid
    hues = rng.uniform(0, 360, 2)[rng.integers(0, 2, count)] + rng.normal(0, 14, count)
    saturation = np.clip(vivid * rng.uniform(0.2, 1.3, count), 0, 1)
    value = np.clip(rng.uniform(0.08, 1.0, count), 0, 1)
    hsv = np.stack([hues % 360, saturation, value], 1).astype(np.float32)[None]
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0] * 255


def plain(rng: np.random.Generator, shape: Shape, colours: Colours) -> FloatImage:
    """Plaster, concrete, earth: one colour with stains at all scales."""
    field = fractal(rng, shape, float(rng.uniform(0.6, 1.0))) * rng.uniform(2, 14)
    return colours[int(rng.integers(len(colours)))] + field[..., None]


def dead_leaves(rng: np.random.Generator, shape: Shape, colours: Colours) -> FloatImage:
    """Shapes of all sizes that cover each other, each with a colour and a texture of its own."""
    smallest, largest = 0.012 * max(shape), 0.4 * max(shape)
    power = float(rng.uniform(1.0, 2.0))  # 2: as in photographs; 1: more of the large ones
    ends = smallest**-power, largest**-power
    radii = (ends[0] - rng.random(260) * (ends[0] - ends[1])) ** (-1 / power)
    radii = radii[np.argsort(-radii * np.exp(rng.normal(0, 0.6, len(radii))))]
    first = colours[int(rng.integers(len(colours)))]
    canvas = np.full((*shape, 4), (*first.tolist(), 0), np.uint8)
    kind = int(rng.integers(4))  # round, straight, pointed things, or all of them
    for radius in radii:
        colour = colours[int(rng.integers(len(colours)))] * rng.uniform(0.75, 1.2)
        value = (*np.clip(colour, 0, 255).tolist(), int(rng.integers(3)))
        at = rng.uniform(0, 1, 2) * [shape[1], shape[0]]
        form = int(rng.integers(3)) if kind == 3 else kind
        _leaf(rng, canvas, at, float(radius), form, value)
    bank = np.stack([fractal(rng, shape, rough) for rough in (0.7, 0.95, 1.1)])
    strength = rng.uniform(0, 26, 3).astype(np.float32)
    label = canvas[..., 3]
    texture = np.take_along_axis(bank, label[None].astype(np.int64), 0)[0] * strength[label]
    return canvas[..., :3] + texture[..., None]


def _leaf(
    rng: np.random.Generator,
    canvas: npt.NDArray[np.uint8],
    at: npt.NDArray[np.float64],
    radius: float,
    form: int,
    value: tuple[float, ...],
) -> None:
    """One shape: an ellipse (form 0), a turned rectangle (1) or a polygon (2)."""
    if form == 0:
        axes = (max(1, round(radius)), max(1, round(radius * rng.uniform(0.3, 1))))
        centre = (round(at[0]), round(at[1]))
        cv2.ellipse(canvas, centre, axes, float(rng.uniform(0, 180)), 0, 360, value, -1)
        return
    corners = 4 if form == 1 else int(rng.integers(3, 8))
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False) + rng.uniform(0, 2 * np.pi)
    reach = radius * (np.ones(corners) if form == 1 else rng.uniform(0.4, 1.0, corners))
    points = np.stack([np.cos(angles), np.sin(angles) * rng.uniform(0.3, 1)], 1) * reach[:, None]
    cv2.fillPoly(canvas, [np.rint(points + at).astype(np.int32)], value)


def courses(rng: np.random.Generator, shape: Shape, colours: Colours) -> FloatImage:
    """Bricks, blocks, tiles, planks or panes: a grid of cells with joints."""
    height = int(rng.integers(6, 40))
    width = round(height * float(rng.choice([0.3, 1.0, 1.0, 2.0, 2.5, 6.0])))
    width, shift = max(4, width), float(rng.choice([0.0, 0.5, 0.31]))
    rows = np.arange(shape[0]) // height
    x = np.arange(shape[1])[None, :] + (rows * shift * width).astype(int)[:, None]
    cells = rng.normal(0, rng.uniform(2, 22), (rows[-1] + 1, int(x.max()) // width + 2))
    painted = colours[rng.integers(0, min(2, len(colours)), cells.shape)] + cells[..., None]
    canvas = painted[rows[:, None], x // width].astype(np.float32)
    joint = rng.uniform(-70, 50)
    thick = int(rng.integers(1, 3))
    canvas[(x % width) < thick] += joint
    canvas[(np.arange(shape[0]) % height) < thick] += joint
    return canvas + (fractal(rng, shape, 0.95) * rng.uniform(2, 14))[..., None]


def grating(rng: np.random.Generator, shape: Shape, colours: Colours) -> FloatImage:
    """Stripes, plaid or corrugation, straight or bent by noise."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    canvas = np.tile(colours[0], (*shape, 1))
    for turn in range(int(rng.integers(1, 3))):
        angle = float(rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)])) + turn * np.pi / 2
        phase = (x * np.cos(angle) + y * np.sin(angle)) / rng.uniform(4, 30)
        phase = phase + fractal(rng, shape, 0.4) * rng.choice([0.0, 0.0, 0.3, 1.5])
        wave = np.sin(2 * np.pi * phase)
        if rng.random() < 0.5:
            wave = np.sign(wave)
        other = colours[int(rng.integers(len(colours)))]
        canvas += (0.25 * (1 + wave))[..., None] * (other - canvas)
    return canvas + (fractal(rng, shape, 0.95) * rng.uniform(1, 12))[..., None]


def marble(rng: np.random.Generator, shape: Shape, colours: Colours) -> FloatImage:
    """Veins, wood, rock or water: noise looked up in a ramp of colours."""
    stretch = float(rng.choice([1.0, 1.0, 4.0, 0.25]))
    field = fractal(rng, shape, float(rng.uniform(0.5, 0.9)), stretch)
    if rng.random() < 0.5:
        field = np.sin(field * rng.uniform(1, 6))
    ramp = cv2.resize(colours[None], (256, 1), interpolation=cv2.INTER_LINEAR)[0]
    index = np.clip((field - field.min()) / (np.ptp(field) + 1e-6) * 255, 0, 255)
    return ramp[index.astype(np.int64)] + (fractal(rng, shape, 1.0) * rng.uniform(2, 12))[..., None]


def rock(rng: np.random.Generator, shape: Shape, colours: Colours) -> FloatImage:
    """A rough surface that light falls on from one side."""
    height = fractal(rng, shape, float(rng.uniform(0.5, 0.75)))
    if rng.random() < 0.5:
        height = -np.abs(height)  # ridges
    shade = lit(height * max(shape) * 0.06, float(rng.uniform(0, 2 * np.pi)))
    tint = fractal(rng, shape, 0.6)[..., None] * 12
    return colours[int(rng.integers(len(colours)))] * shade[..., None] + tint


def lit(height: FloatImage, angle: float) -> FloatImage:
    """Brightness [H, W] (about 0.2 to 1.6) of a height field under light from `angle` radians."""
    height = np.asarray(height, np.float32)
    dx = cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=0.125)
    dy = cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=0.125)
    slope = -(dx * np.cos(angle) + dy * np.sin(angle))
    return np.asarray((0.9 + slope) / np.sqrt(1 + dx * dx + dy * dy), np.float32).clip(0.15, 1.8)


def foliage(rng: np.random.Generator, shape: Shape, colours: Colours) -> FloatImage:
    """Leaves, grass or gravel: very many small shapes over the dark."""
    canvas = np.full((*shape, 3), (colours.min(0) * 0.35).tolist(), np.uint8)
    size = float(rng.uniform(0.008, 0.03) * max(shape))
    count = int(min(900, 1.2 * shape[0] * shape[1] / size**2 / 3))
    at = rng.uniform(0, 1, (count, 2)) * [shape[1], shape[0]]
    bright = np.linspace(0.35, 1.25, count) * rng.uniform(0.8, 1.2, count)
    angles = rng.normal(rng.uniform(0, 180), float(rng.choice([20, 90])), count)
    for point, factor, angle in zip(at, bright, angles, strict=True):
        colour = np.clip(colours[int(rng.integers(len(colours)))] * factor, 0, 255).tolist()
        axes = (max(1, round(size)), max(1, round(size * 0.45)))
        cv2.ellipse(canvas, point.astype(int).tolist(), axes, float(angle), 0, 360, colour, -1)
    return canvas + (fractal(rng, shape, 0.7) * 14)[..., None]


def lettering(rng: np.random.Generator, shape: Shape, colours: Colours) -> FloatImage:
    """A sign, page or label: lines of letters in a few sizes over a quiet ground, with rules."""
    canvas = np.clip(plain(rng, shape, colours[:1]), 0, 255).astype(np.uint8)  # as cv2 asks
    ink = colours[int(rng.integers(1, len(colours)))]
    if np.abs(ink - colours[0]).sum() < 150:
        ink = 255 - colours[0]
    y = 4.0
    font = FONTS[int(rng.integers(len(FONTS)))]
    while y < shape[0]:
        size = float(np.clip(rng.lognormal(-0.5, 0.6), 0.28, 3.0))
        y += 28 * size
        count = int(rng.integers(2, max(3, min(40, int(shape[1] / (17 * size)) + 2))))
        word = "".join(LETTERS[rng.integers(0, len(LETTERS), count)].tolist())
        at = (int(rng.uniform(0, 0.25) * shape[1]), int(y))
        thick = max(1, round(size * rng.uniform(0.8, 2.5)))
        cv2.putText(canvas, word, at, font, size, ink.tolist(), thick, cv2.LINE_AA)
        if rng.random() < 0.2:
            y += 6
            cv2.line(canvas, (4, int(y)), (shape[1] - 5, int(y)), ink.tolist(), 1 + thick)
    return canvas.astype(np.float32)


def rosette(rng: np.random.Generator, shape: Shape, colours: Colours) -> FloatImage:
    """A wheel, clock, rose window or emblem: rings of shapes around a centre."""
    canvas = np.full((*shape, 3), colours[0].tolist(), np.uint8)
    centre, radius = np.array([shape[1], shape[0]]) / 2, min(shape) / 2
    for share in np.sort(rng.uniform(0.15, 1.0, int(rng.integers(3, 7))))[::-1]:
        ring = radius * share
        colour = colours[int(rng.integers(len(colours)))].tolist()
        cv2.circle(canvas, centre.astype(int).tolist(), int(ring), colour, -1, cv2.LINE_AA)
        colour = colours[int(rng.integers(len(colours)))].tolist()
        count, form = int(rng.integers(3, 25)), int(rng.integers(3))
        size = max(1.0, ring * rng.uniform(0.05, 2.0) / count)
        for angle in np.linspace(0, 2 * np.pi, count, endpoint=False) + rng.uniform(0, 1):
            direction = np.array([np.cos(angle), np.sin(angle)])
            at = centre + direction * ring * 0.8
            if form == 0:
                cv2.circle(canvas, at.astype(int).tolist(), int(size), colour, -1, cv2.LINE_AA)
            elif form == 1:
                low = (centre + direction * ring * 0.3).astype(int).tolist()
                cv2.line(canvas, low, at.astype(int).tolist(), colour, max(1, int(size / 2)))
            else:
                side = direction[::-1] * [-1, 1] * size
                tip = [at + side, at - side, at + direction * size * 1.6]
                cv2.fillPoly(canvas, [np.array(tip).astype(np.int32)], colour, cv2.LINE_AA)
    return canvas + (fractal(rng, shape, 0.9) * rng.uniform(2, 12))[..., None]


Maker = Callable[[np.random.Generator, Shape, Colours], FloatImage]
MATERIALS: tuple[Maker, ...]
MATERIALS = (plain, plain, courses, courses, grating, marble, rock, foliage)
PICTURES: tuple[Maker, ...]
PICTURES = (dead_leaves, dead_leaves, dead_leaves, lettering, rosette, marble, rock, grating)


def material(rng: np.random.Generator, shape: Shape, colours: Colours) -> FloatImage:
    """What walls, floors and things are made of."""
    return MATERIALS[int(rng.integers(len(MATERIALS)))](rng, shape, colours)


def picture(
    rng: np.random.Generator, shape: Shape, colours: Colours, makers: Sequence[Maker] = PICTURES
) -> FloatImage:
    """What somebody painted, printed or drew: a ground and up to three pieces laid into it."""
    canvas = makers[int(rng.integers(len(makers)))](rng, shape, colours)
    for _ in range(int(rng.integers(0, 4))):
        size = (rng.uniform(0.15, 0.6, 2) * shape).astype(int) + 8
        corner = (rng.uniform(0, 1, 2) * (np.array(shape) - size)).astype(int).clip(0)
        piece = makers[int(rng.integers(len(makers)))](
            rng, (int(size[0]), int(size[1])), colours[rng.permutation(len(colours))]
        )
        part = canvas[corner[0] : corner[0] + size[0], corner[1] : corner[1] + size[1]]
        part[:] = piece[: part.shape[0], : part.shape[1]]
    return canvas


def dull(image: FloatImage, share: float) -> FloatImage:
    """The image [H, W, 3] with `share` of its contrast."""
    return np.asarray(image.mean((0, 1)) + share * (image - image.mean((0, 1))), np.float32)


def as_tile(image: FloatImage | Image, alpha: npt.NDArray[np.generic] | None = None) -> Image:
    """The RGBA tile [H, W, 4] of an image; alpha [H, W] bool, None: all of it is there."""
    tile = np.full((*image.shape[:2], 4), 255, np.uint8)
    tile[..., :3] = np.clip(image, 0, 255)
    if alpha is not None:
        tile[..., 3] = np.where(alpha, 255, 0)
    return tile
