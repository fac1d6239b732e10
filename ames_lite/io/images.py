"""Images on disk: the one owner of decoding (and of writing the pictures that the project makes).

`load_image` gives RGB uint8 [H, W, 3] the way a viewer shows it: EXIF orientation applied, alpha
laid over white, grey, palette, CMYK and 16 bits converted.

The convention to know: a size beyond MAX_PIXELS is refused from the file's header, before anything
is decoded, so that a small file cannot fill the memory.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageOps, UnidentifiedImageError

from ames_lite.errors import BadInput, MissingFile

Box = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels of the whole image
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


MAX_PIXELS = 80_000_000  # larger images are refused
MIN_SIDE = 8  # extraction refuses images with a shorter side: nothing can be described there
_BROKEN = (
    *(UnidentifiedImageError, OSError, SyntaxError, ValueError, TypeError, LookupError),
    *(EOFError, OverflowError, struct.error, zlib.error, Image.DecompressionBombError),
)  # what damaged or forged files make the decoders raise


def load_image(
    path: str | Path, *, min_side: int = 1, max_pixels: int = MAX_PIXELS
) -> npt.NDArray[np.uint8]:
    """Decode one image to RGB uint8 [H, W, 3].

    Raises MissingFile where there is none, and BadInput where it cannot be decoded, has a side
    shorter than min_side or more than max_pixels pixels.
    """
    try:
        with _open(path) as opened:
            width, height = opened.size
            fault = _fault_of_size(width, height, min_side, max_pixels)
            if fault is None:
                return np.array(_to_rgb(ImageOps.exif_transpose(opened)))
    except FileNotFoundError:
        raise MissingFile("an image is missing", where=path) from None
    except _BROKEN as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise BadInput(
            f"an image cannot be decoded ({said})", where=path, expected="a readable image file"
        ) from error
    raise BadInput(
        f"an image has {width} × {height} pixels, {fault}",
        where=path,
        expected=f"at least {min_side} pixels a side and at most {max_pixels} in all",
    )


def _open(path: str | Path) -> Image.Image:
    with warnings.catch_warnings():  # Pillow warns of sizes that are refused here, by name
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(path)


def _fault_of_size(width: int, height: int, min_side: int, max_pixels: int) -> str | None:
    if min(width, height) < min_side:
        return "which is too thin"
    return "which is too many" if width * height > max_pixels else None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode == "I":
        eight_bit = np.asarray(image).astype(np.float64) / 257
        image = Image.fromarray(np.clip(np.round(eight_bit), 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def save_jpeg(path: str | Path, picture: npt.NDArray[np.uint8], quality: int) -> None:
    """Write RGB uint8 [H, W, 3] as JPEG; the same picture gives the same bytes."""
    Image.fromarray(picture).save(path, format="JPEG", quality=quality)


def thumbnail_jpeg(image: npt.NDArray[np.uint8], longer_side: int, box: Box | None = None) -> bytes:
    """JPEG bytes of an image [H, W, 3], its longer side at most `longer_side` pixels.

    A small image is not enlarged. What of the box lies in the image is outlined, white on black
    so that it shows on any picture; a box that leaves nothing of the image, or is not finite, is
    not drawn.
    """
    height, width = image.shape[:2]
    shrink = min(1.0, longer_side / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    picture = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
    if box is not None and np.isfinite(box).all():
        x1, y1, x2, y2 = np.clip(box, 0, (width, height, width, height))
        if x1 < x2 and y1 < y2:
            scale = np.array(size * 2) / (width, height, width, height)
            corners = np.minimum(np.array([x1, y1, x2, y2]) * scale, np.array(size * 2) - 1)
            for colour, line in (("black", 4), ("white", 2)):
                ImageDraw.Draw(picture).rectangle(corners.tolist(), outline=colour, width=line)
    stream = io.BytesIO()
    picture.save(stream, format="JPEG", quality=75, optimize=True)
    return stream.getvalue()


def list_images(folder: str | Path) -> list[str]:
    """Names (paths relative to the folder, sorted, `/`-separated) of all images below a folder."""
    root = Path(folder)
    if not root.is_dir():
        raise MissingFile("an image folder is missing", where=root, expected="a folder")
    found = (p for p in root.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    return sorted(p.relative_to(root).as_posix() for p in found)
