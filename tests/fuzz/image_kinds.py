"""Images of every format that is decoded, in the forms that are decoded differently."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, features

from ames_lite.io.images import load_image
from tests.fuzz.kinds import Kind

HEIGHT, WIDTH = 24, 32


def _colours() -> Any:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def _deep() -> Any:
    return np.random.default_rng(0).integers(0, 2**16, (HEIGHT, WIDTH, 3), np.uint16)


def _save(path: Path, mode: str, form: str | None = None, **more: Any) -> None:
    """more: of Pillow's writer."""
    picture: Any = {
        "I;16": lambda: Image.fromarray(_deep()[..., 0]),
        "F": lambda: Image.fromarray(_deep()[..., 0].astype(np.float32) / 65535),
    }.get(mode, lambda: Image.fromarray(_colours()).convert(mode))()
    if more.pop("frames", False):
        more |= {"save_all": True, "append_images": [picture.rotate(90), picture.rotate(180)]}
    if more.pop("exif", False):
        exif = Image.Exif()
        exif[274] = 6
        more["exif"] = exif
    picture.save(path, form, **more)


def _deep_colours(path: Path) -> None:
    assert cv2.imwrite(str(path), _deep())


def image_kinds() -> list[Kind]:
    forms: dict[str, Callable[[Path], object]] = {
        "rgb.jpg": partial(_save, mode="RGB", exif=True),
        "cmyk.jpg": partial(_save, mode="CMYK", progressive=True),
        "rgba.png": partial(_save, mode="RGBA"),
        "palette.png": partial(_save, mode="P"),
        "grey16.png": partial(_save, mode="I;16"),
        "rgb16.png": _deep_colours,
        "frames.gif": partial(_save, mode="P", frames=True),
        "rgb.bmp": partial(_save, mode="RGB"),
        "rgb.tif": partial(_save, mode="RGB", compression="tiff_lzw", frames=True),
        "grey16.tif": partial(_save, mode="I;16"),
        "float.tif": partial(_save, mode="F"),
        "deflate.tif": partial(_save, mode="RGBA", compression="tiff_adobe_deflate"),
        "rgb16.tif": _deep_colours,
        "rgb.ppm": partial(_save, mode="RGB"),
        "rgb16.ppm": _deep_colours,
        "rgb.webp": partial(_save, mode="RGB", frames=True),
        "rgb.jp2": partial(_save, mode="RGB"),
        "rgb.avif": partial(_save, mode="RGB"),
    }
    have = {".webp": "webp", ".jp2": "jpg_2000", ".avif": "avif"}
    return [
        Kind(name, write, load_image, False)
        for name, write in forms.items()
        if Path(name).suffix not in have or features.check(have[Path(name).suffix])
    ]
