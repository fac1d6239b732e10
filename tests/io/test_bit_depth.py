"""Deep and floating-point pixels: white is the smallest full scale that fits, or an error."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from ames_lite.errors import BadInput
from ames_lite.io.images import load_image, to_eight_bits


def picture() -> np.ndarray:
    """Grey uint8 [24, 32] from black to white."""
    grey = np.random.default_rng(0).integers(0, 256, (24, 32)).astype(np.uint8)
    grey[0, :2] = 0, 255
    return grey


def deep(bits: int) -> np.ndarray:
    """The picture with its white at 2^bits - 1."""
    return np.round(picture() / 255 * (2.0**bits - 1))


def assert_shows_the_picture(path: Path) -> None:
    found = load_image(path)
    assert np.abs(found.astype(int) - picture()[..., None]).max() <= 1, path


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_picture_is_the_same_at_every_bit_depth(bits: int, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(deep(bits).astype(np.uint16)).save(path)
    assert_shows_the_picture(path)


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("channels", [3, 4])
def test_so_it_is_in_colour(bits: int, suffix: str, channels: int, tmp_path: Path) -> None:
    path, values = tmp_path / f"a.{suffix}", deep(bits).astype(np.uint16)
    full = [np.full_like(values, 2**bits - 1)] * (channels - 3)
    assert cv2.imwrite(str(path), np.dstack([values, values // 2, values // 4, *full]))
    found = load_image(path).astype(int)  # OpenCV writes blue first
    for channel, part in ((2, 1), (1, 2), (0, 4)):
        assert np.abs(found[..., channel] - picture() / part).max() <= 1


def test_floats_are_read_by_their_range(tmp_path: Path) -> None:
    for name, values in {
        "unit": picture() / 255,
        "bytes": picture().astype(float),
        "words": deep(16),
    }.items():
        path = tmp_path / f"{name}.tif"
        Image.fromarray(values.astype(np.float32)).save(path)
        assert_shows_the_picture(path)


def test_integers_of_32_bits_are_read_by_their_range(tmp_path: Path) -> None:
    for bits in (8, 16, 24, 31):
        path = tmp_path / f"{bits}.tif"
        Image.fromarray(deep(bits).astype(np.int32)).save(path)
        assert_shows_the_picture(path)
    unsigned = tmp_path / "32.tif"
    Image.fromarray(deep(32).astype(np.uint32).view(np.int32)).save(unsigned)
    set_tag(unsigned, 339, before=2, after=1)
    assert_shows_the_picture(unsigned)


def set_tag(path: Path, tag: int, *, before: int, after: int) -> None:
    """Change a number in a TIFF file that Pillow does not let one choose."""
    old, new = (struct.pack("<HHIH", tag, 3, 1, value) for value in (before, after))
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))


def test_either_byte_order_and_white_as_zero_show_the_same(tmp_path: Path) -> None:
    for mode, kind in (("I;16", "<u2"), ("I;16B", ">u2")):
        values = deep(16).astype(kind)
        Image.frombytes(mode, (32, 24), values.tobytes()).save(
            tmp_path / f"{kind[1:]}{mode[4:]}.tif"
        )
        assert_shows_the_picture(tmp_path / f"{kind[1:]}{mode[4:]}.tif")
    inverted = tmp_path / "inverted.tif"
    Image.fromarray((65535 - deep(16)).astype(np.uint16)).save(inverted)
    set_tag(inverted, 262, before=1, after=0)
    assert_shows_the_picture(inverted)


def test_orientation_and_the_transparent_value_of_deep_pictures_are_kept(tmp_path: Path) -> None:
    values, exif = deep(12).astype(np.uint16), Image.Exif()
    exif[274] = 6
    Image.fromarray(np.rot90(values).copy()).save(tmp_path / "a.png", exif=exif)
    assert_shows_the_picture(tmp_path / "a.png")
    assert cv2.imwrite(str(tmp_path / "colour.png"), np.dstack([np.rot90(values)] * 3))
    with Image.open(tmp_path / "colour.png") as plain:
        assert plain.mode == "RGB" and load_image(tmp_path / "colour.png").shape == (32, 24, 3)
    values[3:6] = 77
    Image.fromarray(values).save(tmp_path / "b.png", transparency=77)
    found = load_image(tmp_path / "b.png")
    assert (found[3:6] == 255).all() and np.abs(
        found[6:, :, 0].astype(int) - picture()[6:]
    ).max() <= 1


@pytest.mark.parametrize(
    "values",
    [
        np.array([-1.0, 1.0], np.float32),
        np.array([0.0, np.nan], np.float32),
        np.array([0.0, np.inf], np.float32),
        np.array([0.0, 3.0], np.float32),  # of 0 to 1, or of 0 to 255?
        np.array([0.0, 1e12], np.float32),
        np.array([-5, 100], np.int32),
        np.array([0, 70_000], np.int32),
    ],
    ids=str,
)
def test_a_range_that_could_mean_two_pictures_is_refused(values: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="not clear which is white"):
        to_eight_bits(values)
    path = tmp_path / "a.tif"
    Image.fromarray(np.tile(values, (4, 4))).save(path)
    with pytest.raises(BadInput, match="cannot be decoded .the pixels have values from") as caught:
        load_image(path)
    assert str(path) in str(caught.value)
