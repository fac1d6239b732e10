"""Thumbnails of a page as text, each image once."""

import base64
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, MissingFile
from ames_lite.io.images import Box, jpeg_bytes, load_image, thumbnail

NOT_FOUND, NOT_READABLE = "image not found", "image not readable"
AT_ONCE = 4  # images that are decoded side by side


class Picture(NamedTuple):
    """A thumbnail [h, w, 3], or None and what is wrong with the image."""

    image: npt.NDArray[np.uint8] | None
    trouble: str = ""


def make_picture(path: Path, longer_side: int, box: Box | None = None) -> Picture:
    """box: a crop to outline, in pixels of the whole image."""
    try:
        return Picture(thumbnail(load_image(path), longer_side, box))
    except MissingFile:
        return Picture(None, NOT_FOUND)
    except BadInput:
        return Picture(None, NOT_READABLE)


class Encoded(NamedTuple):
    """A picture of a page; trouble: why it has no data."""

    data: str  # base64 of a JPEG
    trouble: str


@dataclass
class PagePictures:
    """The images of a page by number: each once, at the largest size that something asks for."""

    sides: dict[tuple[Path, Box | None], int] = field(default_factory=dict)
    numbers: dict[tuple[Path, Box | None], int] = field(default_factory=dict)

    def number(self, path: Path, longer_side: int, box: Box | None = None) -> int:
        """See `make_picture`."""
        key = (path, box)
        self.sides[key] = max(self.sides.get(key, 0), longer_side)
        return self.numbers.setdefault(key, len(self.numbers))

    @cached_property
    def encoded(self) -> list[Encoded]:
        """All of them, by number, once no more are added."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(_encode, self.sides, self.sides.values()))


def _encode(key: tuple[Path, Box | None], longer_side: int) -> Encoded:
    path, box = key
    found = make_picture(path, longer_side, box)
    if found.image is None:
        return Encoded("", found.trouble)
    return Encoded(base64.b64encode(jpeg_bytes(found.image)).decode("ascii"), "")


def say_troubles(pictures: Iterable[Encoded]) -> list[str]:
    """How many could not be shown, in words."""
    troubles = [one.trouble for one in pictures]
    counts = {trouble: troubles.count(trouble) for trouble in (NOT_FOUND, NOT_READABLE)}
    return [f"{what}: {count}" for what, count in counts.items() if count]
