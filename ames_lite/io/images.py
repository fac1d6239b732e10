"""Images on disk: the one owner of decoding (and of writing the pictures that the project makes).

`load_image` gives RGB uint8 [H, W, 3] the way a viewer shows it: EXIF orientation applied, all
colour spaces converted, the first frame or page of several, more than 8 bits scaled by their range.
A size beyond MAX_PIXELS is refused from the file's header, before anything is decoded. Files are
decoded by their content, which must be of FORMATS: Pillow knows others, some of which run programs.
"""

import io
import logging
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, TiffImagePlugin, features
from torch import Tensor

from ames_lite.errors import BadInput, MissingFile, explained, require
from ames_lite.io.walking import walk_images

Notes = tuple[str, ...]
Array = npt.NDArray[Any]
Picture = npt.NDArray[np.uint8]
Box = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels of the whole image
ImageLike = str | Path | Image.Image | npt.NDArray[Any] | Tensor  # what `as_image` takes
IMAGES = "a path, a Pillow image, or an array [H, W, 3] or [H, W], uint8 or floats in [0, 1]"
logger = logging.getLogger(__name__)
HEIF_SUFFIXES = (".heic", ".heif", ".hif")
HEIF_REMEDY = "pip install pillow-heif (the extra: ames_lite[heic])"
_OPTIONAL = {  # suffixes to whether this environment decodes them
    (".webp",): features.check("webp"),
    (".jp2", ".j2k", ".jpx"): features.check("jpg_2000"),
    (".avif",): features.check("avif"),
    HEIF_SUFFIXES: find_spec("pillow_heif") is not None,
}
IMAGE_SUFFIXES = (  # of the files that are listed as images
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".bmp"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
    *(suffix for suffixes, readable in _OPTIONAL.items() if readable for suffix in suffixes),
)
FORMATS = ("JPEG", "MPO", "PNG", "GIF", "BMP", "TIFF", "PPM", "WEBP", "JPEG2000", "AVIF", "HEIF")
MAX_PIXELS = 64_000_000  # larger images are refused
BAND = 512  # rows of an image that are looked at together
MIN_SIDE = 8  # extraction refuses images with a shorter side: nothing can be described there
SHOWN_SUFFIXES = 8  # that a message lists
BRIGHT = 191.0  # mean luminance above which transparent content is laid on black
ORIENTATION, PHOTOMETRIC, BITS_PER_SAMPLE, SAMPLE_FORMAT = 274, 262, 258, 339  # TIFF tags
T = Image.Transpose
UPRIGHT = {  # by the value of ORIENTATION
    **{2: T.FLIP_LEFT_RIGHT, 3: T.ROTATE_180, 4: T.FLIP_TOP_BOTTOM, 5: T.TRANSPOSE},
    **{6: T.ROTATE_270, 7: T.TRANSVERSE, 8: T.ROTATE_90},
}
FIRST_TURNED = 5  # value of ORIENTATION, from which on sides change places
SCALED_BY_PILLOW = ("PPM", "JPEG2000")  # their 16-bit values fill 16 bits, whatever the file's
FULL_SCALES = tuple(float(2**bits - 1) for bits in (8, 10, 12, 14, 16, 24, 31, 32))
CERTAIN = 65535.0  # above, and for floats between 1 and 255, a picture must fill its scale
DIMMEST = 0.25  # to a quarter


def load_image(path: str | Path, *, min_side: int = 1, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode one image to RGB uint8 [H, W, 3]. MissingFile; BadInput also for its size."""
    with _explained(path):
        opened = _open(path)
    with opened:
        _check_size(opened.size, path, min_side, max_pixels)
        with _explained(path):
            if getattr(opened, "is_animated", False) and opened.format != "MPO":
                logger.info("%s has several frames or pages: the first is read", path)
            return _as_shown(opened, path)


def as_image(given: ImageLike, *, min_side: int = 1, max_pixels: int = MAX_PIXELS) -> Picture:
    """RGB uint8 [H, W, 3] of a path, a Pillow image, or an array or tensor [H, W, 3] (RGB) or
    [H, W] (grey), uint8 or floats in [0, 1]. Raises as `load_image`; BadInput for all else: other
    numbers do not say which value is white, and what was scaled twice would be black.
    """
    if isinstance(given, str | Path):
        return load_image(given, min_side=min_side, max_pixels=max_pixels)
    if isinstance(given, Image.Image):
        path = getattr(given, "filename", "")
        _check_size(given.size, path or "a Pillow image", min_side, max_pixels)
        with _explained(path or "a Pillow image"):
            return _as_shown(given, path)
    values = _checked_pixels(given)
    _check_size(values.shape[1::-1], "an array", min_side, max_pixels)
    picture = values if values.dtype == np.uint8 else to_eight_bits(values, white=1.0)
    return picture if picture.ndim == 3 else np.stack([picture] * 3, axis=-1)


def _checked_pixels(given: object) -> Array:
    """The array, where it can only mean one picture. Raises BadInput."""
    said = type(given).__name__
    if hasattr(given, "__array__"):
        refused = (TypeError, ValueError, RuntimeError)  # tensors elsewhere, or with gradients
        with explained(f"an image is given as {said}: {{}}", refused, expected=IMAGES):
            values = np.asarray(given)
        said += f", {values.dtype} {list(values.shape)}"
        shaped = values.size and (values.ndim == 2 or (values.ndim == 3 and values.shape[2] == 3))
        if shaped and (values.dtype == np.uint8 or values.dtype.kind == "f"):
            low, high = float(values.min()), float(values.max())
            white = 255 if values.dtype == np.uint8 else 1
            if low >= 0 and high <= white and (high == 0 or high * 255 > white):
                return values
            said += f" with values from {low:g} to {high:g}"
    remedy = "[3, H, W]: x.transpose(1, 2, 0); RGBA: x[..., :3]; whole numbers or floats from 0 to "
    remedy += "255: x.astype('uint8'); floats a little beyond [0, 1]: x.clip(0, 1)"
    raise BadInput(f"an image is given as {said}", expected=IMAGES, remedy=remedy)


def _check_size(size: Sequence[int], where: str | Path, min_side: int, max_pixels: int) -> None:
    width, height = size
    fault = "thin" if min(size) < min_side else "many"
    what = f"an image has {width} × {height} pixels, which is too {fault}"
    expected = f"at least {min_side} pixels a side and at most {max_pixels} in all"
    fits = min(size) >= min_side and width * height <= max_pixels
    require(fits, what, where=where, expected=expected)


def _as_shown(opened: Image.Image, path: str | Path) -> Picture:
    """RGB as a viewer shows it; path: of its file, empty where it has none."""
    image = _on_background(_eight_bits(path, opened))
    turn = UPRIGHT.get(opened.getexif().get(ORIENTATION, 1))
    return np.array(image if turn is None else image.transpose(turn))


def check_header(path: str | Path) -> None:
    """Raise MissingFile or BadInput for a file that does not begin as an image does."""
    with _explained(path), _open(path):
        pass


def image_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of what `load_image` gives, from the header. Raises as `check_header`."""
    with _explained(path), _open(path) as opened:
        width, height = opened.size
        turned = opened.getexif().get(ORIENTATION, 1) >= FIRST_TURNED
        return (width, height) if turned else (height, width)


@contextmanager
def _explained(path: str | Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise MissingFile("an image is missing", where=path) from None
    except Exception as error:  # of damaged or forged files decoders raise nearly anything
        said = " ".join(str(error).split()) or type(error).__name__
        what, expected = f"an image cannot be decoded ({said})", "a readable image file"
        remedy = heif_remedy([str(path)])
        raise BadInput(what, where=path, expected=expected, remedy=remedy) from error


def _open(path: str | Path) -> Image.Image:
    if Path(path).is_fifo():
        raise OSError("a pipe")
    if Path(path).suffix.lower() in HEIF_SUFFIXES and _OPTIONAL[HEIF_SUFFIXES]:
        import pillow_heif

        pillow_heif.register_heif_opener()
    with warnings.catch_warnings():  # Pillow warns of sizes that are refused here, by name
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        Image.init()
        return Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN])


def _eight_bits(path: str | Path, image: Image.Image) -> Image.Image:
    """The image with at most 8 bits a channel, transparency kept."""
    if image.mode[0] in "IF":
        return _deep_grey(image)
    deep = path and image.mode in ("RGB", "RGBA", "LA") and ";16" in str(getattr(image, "tile", ()))
    return (_deep_colour(path) if deep else None) or image  # Pillow reads the high bytes


def _deep_grey(image: Image.Image) -> Image.Image:
    values, white, inverted = np.asarray(image), None, False
    if image.format in SCALED_BY_PILLOW and image.mode != "F":
        white = 65535.0
    elif isinstance(image, TiffImagePlugin.TiffImageFile):
        tags = image.tag_v2
        inverted = tags.get(PHOTOMETRIC) == 0
        if image.mode == "I" and tags.get(SAMPLE_FORMAT, (1,))[0] == 1:
            values = values.view(np.uint32)  # which Pillow reads as signed
        bits = tags.get(BITS_PER_SAMPLE, (16,))[0]
        white = float(2**bits - 1) if 8 < bits < 16 else None
    grey = Image.fromarray(to_eight_bits(values, white=white, inverted=inverted))
    clear = image.info.get("transparency")
    if clear is not None:
        grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return grey


def _deep_colour(path: str | Path) -> Image.Image | None:
    """RGB or RGBA of a file with 16 bits a channel; None where OpenCV cannot read it."""
    found = cv2.imdecode(np.frombuffer(Path(path).read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None or found.dtype != np.uint16 or found.ndim != 3:
        return None
    colour = to_eight_bits(found[..., 2::-1])
    if found.shape[2] == 4:
        colour = np.dstack([colour, to_eight_bits(found[..., 3])])
    return Image.fromarray(colour)


def _on_background(image: Image.Image) -> Image.Image:
    """RGB; transparent images lie on white, or on black where white would hide what is visible."""
    if image.mode not in ("RGBA", "LA", "PA", "RGBa") and "transparency" not in image.info:
        return image if image.mode == "RGB" else image.convert("RGB")
    image = image.convert("RGBA")
    luminance, alpha = np.asarray(image.convert("L")), np.asarray(image.getchannel("A"))
    bands = [slice(at, at + BAND) for at in range(0, image.height, BAND)]
    light = sum(int(np.multiply(luminance[b], alpha[b], dtype=np.uint32).sum()) for b in bands)
    colour = "black" if light > BRIGHT * int(alpha.sum()) else "white"
    flat = Image.new("RGB", image.size)
    for band in bands:
        part = image.crop((0, band.start, image.width, min(band.stop, image.height)))
        shown = Image.alpha_composite(Image.new("RGBA", part.size, colour), part)
        flat.paste(shown.convert("RGB"), (0, band.start))
    return flat


def save_jpeg(path: str | Path, picture: Picture, quality: int) -> None:
    """Write RGB uint8 [H, W, 3] as JPEG; the same picture gives the same bytes."""
    Image.fromarray(picture).save(path, format="JPEG", quality=quality)


def thumbnail(image: Picture, longer_side: int, box: Box | None = None) -> Picture:
    """An image [H, W, 3], its longer side at most so long, the box outlined white on black."""
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
    return np.asarray(picture)


def jpeg_bytes(image: Picture) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="JPEG", quality=75, optimize=True)
    return stream.getvalue()


def is_image_name(name: str | Path) -> bool:
    return Path(name).suffix.lower() in IMAGE_SUFFIXES


def list_folder(folder: str | Path, *, say_others: bool = True) -> tuple[list[str], Notes]:
    """All images below a folder, by their paths from it, sorted; and notes on what was left out."""
    walk = walk_images(folder, is_image_name)
    others = left_out(walk.others) if say_others else ()
    return [name for name, _ in walk.files], walk.notes + others


def list_images(folder: str | Path) -> list[str]:
    return list_folder(folder)[0]


def no_images(folder: Path) -> BadInput:
    walk = walk_images(folder, is_image_name)
    what = "; ".join(("there are no images in the folder", *walk.notes, *left_out(walk.others)))
    expected = f"at least one file with a suffix of {', '.join(IMAGE_SUFFIXES)}"
    remedy = heif_remedy(walk.others)
    return BadInput(what, where=folder.absolute(), expected=expected, remedy=remedy)


def heif_remedy(names: Iterable[str]) -> str | None:
    """How to have those of these files read that are HEIF, where that is not installed."""
    asked = any(name.lower().endswith(HEIF_SUFFIXES) for name in names)
    return HEIF_REMEDY if asked and not _OPTIONAL[HEIF_SUFFIXES] else None


def left_out(names: Iterable[str]) -> Notes:
    """A note on files that are not listed as images; none where there are no such files.

    >>> left_out(["b.txt", "c.TXT", "d/e"])
    ('3 files have suffixes that are not read (.txt 2, none 1)',)
    """
    names = list(names)
    counts = Counter(Path(name).suffix.lower() or "none" for name in names)
    listed = ", ".join(f"{suffix} {n}" for suffix, n in counts.most_common(SHOWN_SUFFIXES))
    listed += ", …" if len(counts) > SHOWN_SUFFIXES else ""
    have = f"{len(names)} files have suffixes that are"
    have = "1 file has a suffix that is" if len(names) == 1 else have
    remedy = heif_remedy(names)
    return (f"{have} not read ({listed})" + (f"; {remedy}" if remedy else ""),) * bool(names)


def to_eight_bits(values: Array, *, white: float | None = None, inverted: bool = False) -> Picture:
    """Values scaled so that `white` (None: `full_scale`) becomes 255; inverted: 0 is white."""
    full = white or full_scale(values)
    out = np.empty(values.shape, np.uint8)
    for first in range(0, len(values), BAND):
        scaled = np.clip(values[first : first + BAND].astype(np.float32) / full, 0, 1)
        out[first : first + BAND] = np.round((1 - scaled if inverted else scaled) * 255)
    return out


def full_scale(values: Array) -> float:
    """The value of white, which files rarely say: the smallest usual full scale that holds all.

    Raises BadInput where no scale fits, as any choice would show another picture.

    >>> full_scale(np.array([0, 3840])), full_scale(np.array([0.1, 0.9]))
    (4095.0, 1.0)
    """
    low, high = float(values.min()), float(values.max())
    floating = np.issubdtype(values.dtype, np.floating)
    scales = (1.0, *FULL_SCALES) if floating else FULL_SCALES
    if low >= 0 and high <= scales[-1]:  # not so for NaN
        full = next(scale for scale in scales if high <= scale)
        doubtful = full > CERTAIN or (floating and full == FULL_SCALES[0])
        if not doubtful or high >= DIMMEST * full:
            return full
    kinds = f"{'0 to 1, ' * floating}0 to 255, 4095, 65535 or another full scale"
    what = f"the pixels have values from {low:g} to {high:g}, and it is not clear which is white"
    raise BadInput(what, expected=f"values from {kinds}")
