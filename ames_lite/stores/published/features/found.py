"""Features of one image as another tool saved them, and the native record that they become.

Arrays are read when `load` is called; their number and width are known before.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, require
from ames_lite.records import LocalDescriptors

SCORES, SIZES = ("scores", "keypoint_scores"), ("image_size", "imsize")
VECTOR = "global_descriptor"
WANTED = ("keypoints", "descriptors", *SCORES, *SIZES, VECTOR)
PIXELS = {"centre": 0.5, "corner": 0.0}  # of the upper left pixel's corner to (0, 0)
MANY = 8  # keypoints, of which some lie beyond the first pixel
SLACK = 0.5  # pixels that a keypoint may lie outside of the image
Array = npt.NDArray[Any]


class Loaded(NamedTuple):
    """Descriptors as stored, or a vector [D]; keypoints [K, 2 or more] x, y; scores [K]."""

    descriptors: Array
    keypoints: Array | None = None
    scores: Array | None = None
    scale: npt.NDArray[np.uint8] | None = None


@dataclass(frozen=True, eq=False)
class Found:
    """shape: of the descriptors as stored; count: K, of the keypoints; size: (height, width)."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    count: int
    size: tuple[int, int] | None
    load: Callable[[], Loaded]

    @classmethod
    def of(cls, members: Mapping[str, Any], vectors: bool) -> "Found":
        """From arrays by their usual names. BadInput where one is absent or has other axes."""
        for name in (VECTOR,) if vectors else ("keypoints", "descriptors"):
            there = f"there are {', '.join(members) or 'no arrays'}"
            require(name in members, there, expected=f"an array '{name}'")
        for name, values in members.items():
            what, fits = f"'{name}' is {values.dtype}", values.dtype.kind in "fiu"
            require(fits, what, expected="an array of numbers")
        if vectors:
            vector = members[VECTOR]
            shape = vector.shape[-1:]
            fits = shape == (math.prod(vector.shape),)
            require(fits, f"'{VECTOR}' is {list(vector.shape)}", expected="[D]")
            return cls(shape, vector.dtype, 1, None, lambda: Loaded(vector[...].reshape(-1)))
        keypoints, descriptors = members["keypoints"], members["descriptors"]
        scores = next((members[name] for name in SCORES if name in members), None)
        size = next((members[name] for name in SIZES if name in members), None)
        shape = keypoints.shape
        fits = shape[:1] in ((), (0,)) or (len(shape) == 2 and shape[1] >= 2)
        require(fits, f"'keypoints' is {list(shape)}", expected="[K, 2], x and y in pixels")
        sides = (1, 1) if size is None else np.round(size[...]).astype(int).reshape(-1).tolist()
        fits = len(sides) == 2 and min(sides) > 0
        require(fits, f"the image size is {sides}", expected="width, height")

        def load() -> Loaded:
            weights = None if scores is None else scores[...]
            return Loaded(descriptors[...], keypoints[...], weights)

        known = None if size is None else (sides[1], sides[0])
        return cls(descriptors.shape, descriptors.dtype, shape[0] if shape else 0, known, load)


@dataclass
class Source:
    """Features by key, the name that a tool gave an image."""

    form: str  # the tool
    digest: str  # tells the files from others
    keys: Sequence[str]
    open: Callable[[str], Found]  # raises BadInput for features of another form
    columns: bool = True  # descriptors [K, K] are [D, K]
    listed: bool = False  # keys are rows of the image list
    grid: str = ""  # in words, where keypoints are in [0, 1] already
    close: Callable[[], None] = lambda: None


def layout(found: Found) -> bool | None:
    """Whether descriptors are [D, K]; None where K equals D. Raises BadInput for other shapes."""
    what = f"descriptors are {list(found.shape)} for {found.count} keypoints"
    require(len(found.shape) == 2 and found.count in found.shape, what, expected="[D, K] or [K, D]")
    return None if found.shape[0] == found.shape[1] else found.shape[1] == found.count


@dataclass(frozen=True)
class Rules:
    """How features become native ones. top_k: strongest that are kept; None: all."""

    columns: bool  # descriptors are [D, K]
    width: int  # of a descriptor as stored
    grid: str = ""  # in words, where keypoints are in [0, 1], not pixels
    pixels: str = "centre"  # what whole numbers are of a pixel: centre, or (upper left) corner
    packed: bool = False
    top_k: int | None = None

    def local(self, found: Found, size: tuple[int, int]) -> LocalDescriptors:
        """The record of an image of size (height, width). Raises BadInput for what does not fit."""
        if not found.count:  # an empty array has any shape
            none = np.zeros((0, self.width), np.uint8 if self.packed else np.float16)
            xy, scale = np.zeros((0, 2), np.float32), np.zeros(0, np.uint8)
            return LocalDescriptors(none, xy, scale, np.zeros(0, np.float32), size)
        loaded, count = found.load(), found.count
        assert loaded.keypoints is not None
        descriptors = loaded.descriptors.T if self.columns else loaded.descriptors
        scores = np.ones(count, np.float32) if loaded.scores is None else loaded.scores.reshape(-1)
        require(len(scores) == count, f"{len(scores)} scores", expected=f"{count}, one a keypoint")
        require(np.isfinite(scores).all(), "scores have NaN or infinity", expected="finite numbers")
        order = np.argsort(-scores.astype(np.float32), kind="stable")[: self.top_k]
        if loaded.scores is None and self.top_k is not None:  # no order: spread over the image
            order = np.linspace(0, count - 1, len(order)).astype(int)
        xy = self._positions(loaded.keypoints[order, :2], size)
        scale = np.zeros(count, np.uint8) if loaded.scale is None else loaded.scale
        kept, weight = self._numbers(descriptors[order]), scores[order].astype(np.float32)
        return LocalDescriptors(kept, xy, scale[order], weight, size)

    def _numbers(self, values: Array) -> Array:
        if self.packed:
            return values
        require(np.isfinite(values).all(), "descriptors have NaN or infinity", expected="numbers")
        with np.errstate(over="ignore"):
            stored = values.astype(np.float16)
        fine, expected = np.isfinite(stored).all(), "values up to 65504, of float16"
        require(fine, "descriptors leave the range", expected=expected)
        return stored

    def _positions(self, keypoints: Array, size: tuple[int, int]) -> npt.NDArray[np.float32]:
        """x, y in [0, 1] of keypoints [K, 2]; those just outside are moved to the border."""
        finite = np.isfinite(keypoints).all()
        require(finite, "keypoints have NaN or infinity", expected="finite numbers")
        if self.grid:
            return keypoints.astype(np.float32)
        sides, slack = np.array(size[::-1], np.float64), SLACK
        if keypoints.dtype == np.float16:  # which rounds, by one pixel from 2048 on
            slack += float(np.spacing(np.abs(keypoints).max())) / 2
        at = keypoints.astype(np.float64) + PIXELS[self.pixels]
        first = len(at) >= MANY and at.max() <= 1.5 and min(size) > MANY
        expected = "pixels: these look like shares of the image"
        require(not first, "all keypoints lie in the first pixel", expected=expected)
        outside = ((at < -slack) | (at > sides + slack)).any(axis=1)
        if outside.any():
            x, y = keypoints[int(outside.argmax())].tolist()
            what = f"{outside.sum()} of {len(at)} keypoints lie outside, one at x {x:g}, y {y:g}"
            raise BadInput(what, expected=f"pixels of an image {size[1]} wide and {size[0]} high")
        return np.clip(at / sides, 0, 1).astype(np.float32)


def vector_of(found: Found) -> Array:
    """A global descriptor [D]. Raises BadInput where it is not finite, or all zeros."""
    values, expected = found.load().descriptors, "finite numbers, not all zero"
    fine = values.any() and np.isfinite(values).all()
    require(fine, "the descriptor is all zeros or not finite", expected=expected)
    return values
