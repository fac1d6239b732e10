"""What a request gives, as a file of an image or as an array of descriptors. Nothing is fetched. A
path, its links resolved, must lie below a root; elsewhere and not there are refused alike.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from pybase64 import b64decode

from ames_lite.errors import BadInput, UserError, explained, require
from ames_lite.models import SimilarityHead
from ames_lite.search.server.forms import IMAGE, MOST_DESCRIPTORS, Descriptors, Picture

Array = npt.NDArray[Any]
KINDS = {1: "u1", 2: "<f2", 4: "<f4"}  # by bytes of an entry
SHAPE = "base64 of shape [T, D], little-endian float16 or float32, or packed bits"
DATA_URL = re.compile(r"data:image/([\w+.-]*)[^,]*;base64,", re.IGNORECASE)


class Upload(NamedTuple):
    """A file of a multipart request."""

    name: str
    content: bytes


Image = str | Picture | Upload


@contextmanager
def named(which: str, path: Path | None = None) -> Iterator[None]:
    """Errors within say which part of the request they are of, and no path of this machine."""
    try:
        yield
    except UserError as error:
        said = plain(error)
        raise BadInput(f"{which}: {said.replace(str(path), which) if path else said}") from error


def plain(error: UserError) -> str:
    """Its message in one line, without the place."""
    lines = (line for line in str(error).split("\n") if not line.startswith("  where:"))
    return "; ".join(" ".join(line.split()) for line in lines)


def image_file(image: Image, roots: Sequence[Path], scratch: Path) -> Path:
    """The file of an image, in the scratch folder unless it is below a root. Raises BadInput."""
    if isinstance(image, Upload):
        return _written(image.content, Path(image.name).suffix, scratch)
    given = image.image if isinstance(image, Picture) else image
    url = DATA_URL.match(given)
    if url is None and re.match(r"\w[\w+.-]*:", given):
        raise BadInput("an address is not fetched", expected=IMAGE)
    if url is None and "." in given:  # which base64 has not
        return _below_root(given, roots)
    with explained("an image is no base64 ({})", ValueError, expected=IMAGE):
        content = b64decode(given[url.end() if url else 0 :], validate=True)
    return _written(content, f".{url[1]}" if url else "", scratch)


def _written(content: bytes, suffix: str, scratch: Path) -> Path:
    """The suffix says what a HEIF file is; all others are known by their content."""
    path = scratch / ("image" + (suffix if re.fullmatch(r"\.\w{1,8}", suffix) else ""))
    path.write_bytes(content)
    return path


def _below_root(given: str, roots: Sequence[Path]) -> Path:
    require(roots, "paths are not read by this server", expected="base64, or a data URL")
    for root in roots:
        with suppress(OSError, ValueError, RuntimeError):  # no file's name, links in circles
            path = (root / given).resolve()
            if path.is_relative_to(root) and path.is_file():
                return path
    raise BadInput("there is no such file below the roots", expected=IMAGE)


def descriptors_of(given: Descriptors, head: SimilarityHead) -> Array:
    """[T, D] float32, or packed bits, as the head takes them. Raises BadInput."""
    array = _array(given)
    packed = array.dtype == np.uint8
    width = head.dim_in if not packed else head.packed_bits and head.packed_bits // 8
    what = f"descriptors have shape {list(array.shape)} and dtype {array.dtype}"
    fits = array.ndim == 2 and width in (None, array.shape[1])
    require(fits, what, expected=f"[T, {width}], as the head takes them")
    expected = f"at most {MOST_DESCRIPTORS} of an image"
    require(len(array) <= MOST_DESCRIPTORS, f"{len(array)} descriptors", expected=expected)
    # by torch, which is faster than NumPy
    wide = array if packed else torch.from_numpy(array.copy()).float().numpy()
    require(np.isfinite(wide).all(), "descriptors have NaN or infinity", expected="numbers")
    return wide


def _array(given: Descriptors) -> Array:
    content, shape = given.descriptors, given.shape
    if isinstance(content, list):
        require(shape is None, "numbers in lists have a shape already", expected="no shape")
        with explained("descriptors are ragged ({})", ValueError, expected="rows of one length"):
            return np.array(content, np.float32)
    with explained("descriptors are no base64 ({})", ValueError, expected=SHAPE):
        data = b64decode(content, validate=True)
    rows, width = shape or (-1, 0)
    sizes = {rows * width * size: kind for size, kind in KINDS.items()}
    if min(rows, width - 1) < 0 or len(data) not in sizes:
        what = f"{len(data)} bytes do not make an array of shape {shape and list(shape)}"
        raise BadInput(what, expected=SHAPE)
    return np.frombuffer(data, sizes[len(data)]).reshape(rows, width)
