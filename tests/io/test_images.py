"""Decoding: every kind of picture becomes RGB as a viewer shows it, every bad file is named."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import PIL
import pytest
from PIL import Image, ImageDraw

from ames_lite.errors import BadInput, MissingFile
from ames_lite.io.images import (
    HEIF_SUFFIXES,
    IMAGE_SUFFIXES,
    MAX_PIXELS,
    MIN_SIDE,
    check_header,
    list_folder,
    list_images,
    load_image,
    no_images,
)
from ames_lite.search.index import scan_images

RED, SHAPE = (200, 30, 60), (20, 30)


def flat(colour: tuple[int, int, int]) -> np.ndarray:
    return np.broadcast_to(np.array(colour, np.uint8), (*SHAPE, 3))


def saved(path: Path, image: Image.Image, **how: object) -> Path:
    image.save(path, **how)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("mode, tolerance", [("RGB", 0), ("RGBA", 0), ("P", 2), ("CMYK", 2)])
def test_every_mode_becomes_rgb(mode: str, tolerance: int, tmp_path: Path) -> None:
    image = Image.fromarray(np.ascontiguousarray(flat(RED)))
    image = image.quantize(4) if mode == "P" else image.convert(mode)
    suffix = "tif" if mode == "CMYK" else "png"
    found = load_image(saved(tmp_path / f"a.{suffix}", image))
    assert found.shape == (*SHAPE, 3) and found.dtype == np.uint8
    assert np.abs(found.astype(int) - flat(RED)).max() <= tolerance


def test_grey_two_colours_and_16_bits_are_expanded(tmp_path: Path) -> None:
    grey = np.full(SHAPE, 128, np.uint8)
    deep = np.full(SHAPE, 128 * 257, np.uint16)
    for name, image in {
        "grey.png": Image.fromarray(grey),
        "deep.png": Image.fromarray(deep),
        "deep.tif": Image.fromarray(deep),
        "alpha.png": Image.merge("LA", [Image.fromarray(grey), Image.new("L", SHAPE[::-1], 255)]),
    }.items():
        found = load_image(saved(tmp_path / name, image))
        assert np.array_equal(found, flat((128, 128, 128))), name
    two = load_image(saved(tmp_path / "two.png", Image.new("1", SHAPE[::-1], 1)))
    assert np.array_equal(two, flat((255, 255, 255)))


def test_alpha_lies_over_white(tmp_path: Path) -> None:
    clear = Image.new("RGBA", SHAPE[::-1], (*RED, 0))
    assert np.array_equal(load_image(saved(tmp_path / "a.png", clear)), flat((255, 255, 255)))
    palette = Image.fromarray(np.ascontiguousarray(flat(RED))).quantize(4)
    index = int(np.asarray(palette)[0, 0])
    path = saved(tmp_path / "b.png", palette, transparency=index)
    assert np.array_equal(load_image(path), flat((255, 255, 255)))


@pytest.mark.parametrize("orientation, corner", [(1, (0, 0)), (3, (-1, -1)), (6, (0, -1))])
def test_the_exif_orientation_is_applied(
    orientation: int, corner: tuple[int, int], tmp_path: Path
) -> None:
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:4, :4] = 255
    exif = Image.Exif()
    exif[274] = orientation
    found = load_image(saved(tmp_path / "a.png", Image.fromarray(pixels), exif=exif))
    assert found.shape[:2] == ((40, 20) if orientation == 6 else (20, 40))
    assert found[corner].min() == 255 and (found > 0).any(axis=2).sum() == 16


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it is that large, and has no pixels."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + b"\0" * 4


@pytest.mark.parametrize(
    "width, height, message",
    [
        (10_000, 10_000, "10000 × 10000 pixels, which is too many"),
        (60_000, 60_000, "60000"),
        (1, 1, "1 × 1 pixels, which is too thin"),
        (10_000, 3, "10000 × 3 pixels, which is too thin"),
    ],
)
def test_sizes_are_refused_from_the_header(
    width: int, height: int, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_header(width, height))
    with warnings.catch_warnings(), pytest.raises(BadInput, match=message) as caught:
        warnings.simplefilter("error")
        load_image(path, min_side=MIN_SIDE)
    assert str(path) in str(caught.value)


def test_the_bound_is_of_pixels_and_can_be_chosen(tmp_path: Path) -> None:
    assert 60e6 < MAX_PIXELS < 100e6  # the largest cameras pass
    path = saved(tmp_path / "a.png", Image.new("RGB", (30, 20)))
    assert load_image(path, max_pixels=600).shape == (20, 30, 3)
    with pytest.raises(BadInput, match="at most 599"):
        load_image(path, max_pixels=599)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype(np.uint8)
    whole = {}
    for suffix in ("jpg", "png", "webp", "tif", "bmp"):
        whole[suffix] = saved(tmp_path / f"whole.{suffix}", Image.fromarray(noise)).read_bytes()
    bad = {f"cut.{suffix}": content[: len(content) // 2] for suffix, content in whole.items()}
    bad |= {"empty.jpg": b"", "text.jpg": b"<html>404</html>", "head.png": whole["png"][:20]}
    for name, content in bad.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(BadInput, match="cannot be decoded") as caught:
            load_image(path)
        assert str(path) in str(caught.value), name


@pytest.mark.filterwarnings("ignore")  # Pillow's own, of what it could still read
def test_damaged_bytes_raise_bad_input_and_nothing_else(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (24, 24, 3)).astype(np.uint8)
    for suffix in ("jpg", "png", "webp", "tif", "bmp"):
        whole = saved(tmp_path / f"a.{suffix}", Image.fromarray(noise)).read_bytes()
        for _ in range(40):
            harmed = bytearray(whole)
            for at in rng.integers(0, min(len(harmed), 200), 4):
                harmed[at] = int(rng.integers(256))
            path = tmp_path / f"harmed.{suffix}"
            path.write_bytes(bytes(harmed))
            try:
                assert load_image(path).dtype == np.uint8
            except BadInput as error:
                assert str(path) in str(error)


def test_what_is_missing_or_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="absent.jpg"):
        load_image(tmp_path / "absent.jpg")
    with pytest.raises(BadInput, match="cannot be decoded"):
        load_image(tmp_path)


def drawing(colour: tuple[int, int, int], background_alpha: int = 0) -> Image.Image:
    """A disc of one colour on transparent pixels of the same colour."""
    image = Image.new("RGBA", (40, 30), (*colour, background_alpha))
    ImageDraw.Draw(image).ellipse((8, 5, 30, 25), fill=(*colour, 255))
    return image


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (250, 240, 90), (128, 128, 128)])
@pytest.mark.parametrize("mode, suffix", [("RGBA", "png"), ("LA", "png"), ("P", "gif")])
def test_what_is_visible_stays_visible_on_transparent_ground(
    colour: tuple[int, int, int], mode: str, suffix: str, tmp_path: Path
) -> None:
    image = drawing(colour)
    if mode == "P":
        path = saved(tmp_path / "a.gif", image)
    else:
        path = saved(tmp_path / f"a.{suffix}", image.convert(mode))
    grey = load_image(path).mean(axis=2)
    assert np.ptp(grey) > 60


def test_an_opaque_image_is_the_same_with_and_without_alpha(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (24, 32, 3)).astype(np.uint8)
    image = Image.fromarray(noise)
    image.putalpha(255)
    assert np.array_equal(load_image(saved(tmp_path / "a.png", image)), noise)


def test_the_first_of_several_pictures_is_read(tmp_path: Path) -> None:
    red, blue = Image.new("RGB", (30, 20), RED), Image.new("RGB", (30, 20), (0, 0, 255))
    for suffix, kind in {"gif": "GIF", "tif": "TIFF", "webp": "WEBP", "mpo": "MPO"}.items():
        path = saved(
            tmp_path / f"a.{suffix}", red, format=kind, save_all=True, append_images=[blue]
        )
        found = load_image(path)
        assert np.abs(found.astype(int) - flat(RED)).max() <= 4, suffix


def test_lab_ycbcr_and_inverted_cmyk_become_rgb(tmp_path: Path) -> None:
    image = Image.fromarray(np.ascontiguousarray(flat(RED)))
    lab = cv2.cvtColor(np.array(image), cv2.COLOR_RGB2LAB)
    lab[..., 1:] ^= 128  # a and b: OpenCV counts from 128, TIFF from 0, signed
    as_lab = Image.frombytes("LAB", image.size, lab.tobytes())
    for name, one in {
        "lab.tif": as_lab,
        "ycbcr.tif": image.convert("YCbCr"),
        "cmyk.jpg": image.convert("CMYK"),  # Adobe's, inverted in the file
    }.items():
        path = saved(tmp_path / name, one)
        if name == "ycbcr.tif" and int(PIL.__version__.split(".")[0]) < 13:  # which cannot read it
            with pytest.raises(BadInput, match="truncated"):
                load_image(path)
            continue
        assert np.abs(load_image(path).astype(int) - flat(RED)).max() <= 6, name


WRITTEN = {".jfif": "JPEG", ".jpe": "JPEG", ".mpo": "JPEG", ".apng": "PNG"}
WRITTEN |= {".jp2": "JPEG2000", ".j2k": "JPEG2000", ".jpx": "JPEG2000"}


@pytest.mark.parametrize("suffix", [s for s in IMAGE_SUFFIXES if s not in HEIF_SUFFIXES])
def test_every_listed_suffix_is_read_in_either_case(suffix: str, tmp_path: Path) -> None:
    image = Image.fromarray(np.ascontiguousarray(flat(RED)))
    image = image.convert({".pgm": "L", ".pbm": "1"}.get(suffix, "RGB"))
    for name in (f"a{suffix}", f"B{suffix.upper()}"):
        kind = WRITTEN.get(suffix)
        saved(tmp_path / name, image, **({"format": kind} if kind else {}))
        assert load_image(tmp_path / name).shape == (*SHAPE, 3)
    assert list_images(tmp_path) == [f"B{suffix.upper()}", f"a{suffix}"]


def test_heif_is_read_or_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find_spec("pillow_heif") is None:
        (tmp_path / "a.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
        with pytest.raises(BadInput, match="pip install pillow-heif"):
            load_image(tmp_path / "a.HEIC")
        assert list_images(tmp_path) == []
        assert "pip install pillow-heif" in str(no_images(tmp_path))
    else:
        import pillow_heif

        pillow_heif.register_heif_opener()
        path = saved(tmp_path / "a.heic", Image.fromarray(np.ascontiguousarray(flat(RED))))
        assert load_image(path).shape == (*SHAPE, 3) and list_images(tmp_path) == ["a.heic"]


def test_files_left_out_are_counted_by_suffix(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name in ("a.txt", "below/b.TXT", "c.xcf", "d", ".hidden"):
        (tmp_path / name).write_text("no image")
    said = "4 files have suffixes that are not read (.txt 2, .xcf 1, none 1)"
    assert said in str(no_images(tmp_path))
    saved(tmp_path / "e.png", Image.new("RGB", (9, 9)))
    assert list_folder(tmp_path) == (["e.png"], (said,))
    files, notes = scan_images(tmp_path)
    assert [file.name for file in files] == ["e.png"] and notes == (said,)


PROGRAMS = {  # what other readers of Pillow's would take these for
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n",
    "pdf": b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\n%%EOF\n",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "wmf": b"\xd7\xcd\xc6\x9a" + bytes(40),
    "mic": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(1016),
}


@pytest.mark.parametrize("kind", PROGRAMS)
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_what_runs_a_program_is_no_image_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, suffix: str
) -> None:
    mark, programs = tmp_path / "mark", tmp_path / "bin"
    programs.mkdir()
    for name in ("gs", "gswin64c", "inkscape", "rsvg-convert"):
        (programs / name).write_text(f"#!/bin/sh\ntouch {mark}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(PROGRAMS[kind])
    for read in (load_image, check_header):
        with pytest.raises(BadInput, match=r"(?s)cannot be decoded.*a\."):
            read(path)
    assert not mark.exists()


def test_the_first_frame_of_several_is_read_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frames = [Image.new("L", (9, 9), value) for value in (10, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with caplog.at_level("INFO"):
        assert load_image(tmp_path / "a.gif")[0, 0].tolist() == [10] * 3
    assert "a.gif has several frames" in caplog.text
