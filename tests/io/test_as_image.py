"""Images in memory: the picture of the file, or one message; never a black picture by mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ames_lite.errors import BadInput, MissingFile
from ames_lite.io.images import as_image, load_image

RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def test_every_form_of_a_picture_is_the_same_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(RGB).save(path)
    unit = RGB / 255
    forms = {
        "path": path,
        "text": str(path),
        "Pillow": Image.fromarray(RGB),
        "file of Pillow": Image.open(path),
        "uint8": RGB,
        "columns first": np.asfortranarray(RGB),
        "tensor": torch.from_numpy(RGB),
        **{name: unit.astype(name) for name in ("f4", "f8", ">f4", ">f8")},
        "tensor of floats": torch.from_numpy(unit),
    }
    for name, form in forms.items():
        found = as_image(form)
        assert found.dtype == np.uint8 and np.array_equal(found, RGB), name


def test_grey_is_repeated_and_black_stays_black() -> None:
    for grey in (RGB[..., 0], RGB[..., 0] / 255, Image.fromarray(RGB[..., 0])):
        assert np.array_equal(as_image(grey), np.stack([RGB[..., 0]] * 3, -1))
    for black in (np.zeros((20, 30, 3), np.uint8), np.zeros((20, 30))):
        assert not as_image(black).any()


def test_a_pillow_image_is_shown_as_its_file_is(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    images = {
        "turned.png": (Image.fromarray(RGB), {"exif": exif}),
        "deep.png": (Image.fromarray((RGB[..., 0].astype(np.uint16) + 1) * 200), {}),
        "clear.png": (Image.fromarray(np.dstack([RGB, RGB[..., 0]])), {}),
        "palette.png": (Image.fromarray(RGB).quantize(9), {}),
    }
    for name, (image, how) in images.items():
        image.save(tmp_path / name, **how)
        shown = load_image(tmp_path / name)
        with Image.open(tmp_path / name) as opened:
            assert np.array_equal(as_image(opened), shown), name
            opened.load()
            assert np.array_equal(as_image(opened), shown), name


unit = RGB / 255


@pytest.mark.parametrize(
    "wrong, said",
    [
        (RGB.astype(np.float32), "float32 .* values from 0 to 255"),
        (unit * 1.01, "values from 0 to 1.01"),
        (unit - 0.01, "values from -0.01"),
        (unit / 255, "to 0.0039"),
        ((RGB > 9).astype(np.uint8), "values from 0 to 1"),
        (np.full((20, 30, 3), np.nan), "nan"),
        (np.where(RGB == 0, np.nan, unit), "nan"),
        (RGB.transpose(2, 0, 1), r"\[3, 20, 30\]"),
        (np.dstack([RGB, RGB[..., 0]]), r"\[20, 30, 4\]"),
        (RGB[None], r"\[1, 20, 30, 3\]"),
        (RGB.astype(np.uint16), "uint16"),
        (RGB > 9, "bool"),
        (np.zeros((0, 30, 3)), r"\[0, 30, 3\]"),
        (RGB.tolist(), "list"),
        (None, "NoneType"),
        (torch.ones(20, 30, 3, requires_grad=True), "requires grad"),
        (torch.ones(20, 30, 3, device="meta"), "meta"),
    ],
)
def test_what_could_mean_another_picture_is_refused(wrong: Any, said: str) -> None:
    with pytest.raises(BadInput, match=said) as caught:
        as_image(wrong)
    assert "Pillow" in str(caught.value)


def test_sizes_and_missing_files_are_refused_in_every_form(tmp_path: Path) -> None:
    for form in (RGB, Image.fromarray(RGB)):
        with pytest.raises(BadInput, match="30 × 20 pixels, which is too thin"):
            as_image(form, min_side=21)
        with pytest.raises(BadInput, match="too many"):
            as_image(form, max_pixels=599)
    with pytest.raises(MissingFile):
        as_image(tmp_path / "none.jpg")
