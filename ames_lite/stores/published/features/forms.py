"""The forms of feature files that are known, and which of them a path is.

hloc          .h5, a group an image (`a/b.jpg`: nested groups): keypoints [K, 2], descriptors
              [D, K], scores [K], image_size (width, height); or global_descriptor [D]
superpoint    .pkl, .p, .pickle, .pt, .pth: a dict of such arrays or tensors of an image, or a dict
              of these by image; or a folder with a file an image
npz           the same in .npz, one file or a folder of them
patchnetvlad  a folder of patchfeats_psize<p>_<image>.npy [D, K]; or globalfeats.npy
delg          a folder of .delg_local or .delg_global
npy           [N, D], a global descriptor an image in the order of the list (VPR-methods-evaluation)
"""

import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, MissingFile, chosen, explained, require
from ames_lite.io.arrays import map_npy, read_npz
from ames_lite.io.digest import file_identity, names_digest
from ames_lite.io.weights_file import load_weights
from ames_lite.stores import hdf5
from ames_lite.stores.published.features.found import SCORES, VECTOR, WANTED, Found, Loaded, Source
from ames_lite.stores.published.neighbors import read_tensors

DELG_GLOBAL = ".delg_global"
DELG = (".delg_local", ".delg", ".delf", DELG_GLOBAL)
FIXED = {1: 8, 5: 4}  # bytes of a value, by its wire type
DATUM, X, Y, STRENGTH = 1, 2, 3, 6
FLOATS = 2  # of a DatumProto
PICKLES, TENSORS = (".pkl", ".p", ".pickle"), (".pt", ".pth")
SUFFIXES = {
    **dict.fromkeys((".h5", ".hdf5", ".hdf"), "hloc"),
    **dict.fromkeys((*PICKLES, *TENSORS), "superpoint"),
    **{".npz": "npz", ".npy": "npy"},
    **dict.fromkeys(DELG, "delg"),
}
PATCHES = re.compile(r"patchfeats_psize(\d+)_(.+)\.npy")
GLOBALS = "globalfeats.npy"
CELL = 16  # pixels a side of a cell of VGG-16's last feature map


def open_features(
    path: str | Path,
    *,
    form: str | None = None,  # None: by names and suffixes
    vectors: bool = False,  # global descriptors, not local ones
    resized: tuple[int, int] = (480, 640),  # (height, width) of Patch-NetVLAD's images
) -> Source:
    """The features at a path, a file or a folder. Raises MissingFile, BadInput."""
    path = Path(path)
    require(path.exists(), "the features are missing", where=path, kind=MissingFile)
    patches = partial(_rows, path / GLOBALS) if vectors else partial(_patches, path, resized)
    openers: dict[str, Callable[[], Source]] = {
        "hloc": partial(_hloc, path, vectors),
        "superpoint": partial(_pickles, path, vectors),
        "npz": partial(_files, "npz", path, _npz, vectors),
        "delg": partial(_files, "delg", path, _read_delg, vectors),
        "patchnetvlad": patches,
        "npy": partial(_rows, path),
    }
    form = form or _form_of(path)
    source = chosen(form, openers, "form of features", kind=BadInput)()
    said, other = ("global", "local") if vectors else ("local", "global")
    remedy = f"{'no global=' if vectors else 'global=cls, or vlad'}, where it has {other} ones"
    fine = bool(source.keys) and source.listed <= vectors
    require(fine, f"there are no {said} features of the form {form}", where=path, remedy=remedy)
    return replace(source, form=form)


def _form_of(path: Path) -> str:
    found = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    forms = {SUFFIXES[file.suffix] for file in found if file.suffix in SUFFIXES}
    if path.is_dir() and any(PATCHES.fullmatch(one.name) or one.name == GLOBALS for one in found):
        forms = {"patchnetvlad"}
    what = f"the form is not known by the name ({', '.join(sorted(forms)) or 'no known suffix'})"
    expected = f"a file or a folder of {', '.join(SUFFIXES)}"
    require(len(forms) == 1, what, where=path, expected=expected, remedy="form=<one of them>")
    return forms.pop()


def _hloc(path: Path, vectors: bool) -> Source:
    digest, file = file_identity(path), hdf5.open_foreign(path)
    with hdf5.closed_on_error(file):
        keys = sorted(file.groups(VECTOR if vectors else "keypoints"))
    return Source(
        "hloc", digest, keys, lambda k: Found.of(file.members(k, WANTED), vectors), close=file.close
    )


def _files(form: str, path: Path, read: Callable[[Path], Any], vectors: bool) -> Source:
    """A file an image; its key is the path below the folder, without the suffix."""
    wanted = {suffix for suffix, one in SUFFIXES.items() if one == form}
    if form == "delg":
        wanted = {DELG_GLOBAL} if vectors else wanted - {DELG_GLOBAL}
    root = path.parent if path.is_file() else path
    found = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    paths = sorted(file for file in found if file.suffix in wanted)
    files = {file.relative_to(root).with_suffix("").as_posix(): file for file in paths}
    what = f"{len(paths) - len(files)} files have the name of another, but for the suffix"
    require(len(paths) == len(files), what, where=path, expected="one file an image")
    columns, digest = form == "superpoint", _digest(paths)
    return Source(form, digest, [*files], lambda k: Found.of(read(files[k]), vectors), columns)


def _patches(path: Path, resized: tuple[int, int]) -> Source:
    """Patches of an image, size by size (`scale`); their middles, a cell apart, are positions."""
    files: dict[str, dict[int, Path]] = {}
    for file in sorted(path.glob("*.npy")):
        if match := PATCHES.fullmatch(file.name):
            files.setdefault(match[2], {})[int(match[1])] = file
    sizes = sorted({size for one in files.values() for size in one})
    rows, columns = (side // CELL for side in resized)
    grids = [(max(0, rows - size + 1), max(0, columns - size + 1)) for size in sizes]
    counts = [down * right for down, right in grids]
    grid = f"patches of {sizes} in images of {resized[0]} × {resized[1]}"

    def opened(key: str) -> Found:
        there = f"patches of the sizes {sorted(files[key])}"
        require(sorted(files[key]) == sizes, there, expected=f"{sizes}, as of other images")
        parts = [map_npy(files[key][size]) for size in sizes]
        shapes = [part.shape for part in parts]
        fits = shapes == [(*shapes[0][:1], count) for count in counts]
        expected, what = f"[D, K] with K {counts}: {grid}", f"the arrays are {shapes}"
        remedy = "resized=[imageresizeh,imageresizew] of the configuration that made them"
        require(fits, what, where=path, expected=expected, remedy=remedy)

        def load() -> Loaded:
            middles = [
                (np.indices(grid).reshape(2, -1).T[:, ::-1] + size / 2) / (columns, rows)
                for grid, size in zip(grids, sizes, strict=True)
            ]
            scale = np.repeat(np.arange(len(counts), dtype=np.uint8), counts)
            return Loaded(np.concatenate(parts, axis=1), np.concatenate(middles), None, scale)

        return Found((shapes[0][0], sum(counts)), parts[0].dtype, sum(counts), None, load)

    digest = _digest([file for one in files.values() for file in one.values()])
    return Source("patchnetvlad", digest, sorted(files), opened, grid=grid)


def _rows(path: Path) -> Source:
    """Global descriptors [N, D]; keys are rows."""
    rows = map_npy(path)
    what = f"the array is {list(rows.shape)} {rows.dtype}"
    fits = rows.ndim == 2 and rows.dtype.kind == "f"
    require(fits, what, where=path, expected="[N, D] floating-point numbers")

    def opened(key: str) -> Found:
        row = rows[int(key)]
        return Found(row.shape, row.dtype, 1, None, lambda: Loaded(np.array(row)))

    keys = [str(row) for row in range(len(rows))]
    return Source("npy", file_identity(path), keys, opened, listed=True)


def _pickles(path: Path, vectors: bool) -> Source:
    """A file an image; or one of all images, told by what it holds, which is read whole."""
    content = _content(path) if path.is_file() else {}
    if path.is_dir() or (isinstance(content, dict) and not content.keys().isdisjoint(WANTED)):
        return _files("superpoint", path, lambda file: _plain(_content(file)), vectors)
    fits = isinstance(content, dict) and all(isinstance(key, str) for key in content)
    what, expected = f"the file holds a {type(content).__name__}", "a dict of an image or of images"
    require(fits, what, where=path, expected=expected)
    digest, keys = file_identity(path), sorted(content)
    return Source("superpoint", digest, keys, lambda k: Found.of(_plain(content[k]), vectors))


def _content(path: Path) -> Any:
    if path.suffix in TENSORS or zipfile.is_zipfile(path):
        return load_weights(path, "tensors by name")
    return read_tensors(path)


def _plain(content: Any) -> dict[str, Any]:
    """Arrays by name: tensors as arrays, without the axis of a batch of one image."""
    fits, what = isinstance(content, Mapping), f"it holds a {type(content).__name__}"
    require(fits, what, expected="arrays by name")
    found = {}
    for name in (name for name in WANTED if content.get(name) is not None):
        value = content[name]
        while isinstance(value, list | tuple) and len(value) == 1:
            value = value[0]
        odd = (ValueError, TypeError, RuntimeError)  # ragged lists, tensors without a NumPy dtype
        with explained(f"'{name}': {{}}", odd, expected="an array of numbers"):
            value = np.asarray(value)
            axes = 1 if name in (*SCORES, VECTOR) else 2
            found[name] = value[0] if value.ndim > axes and len(value) == 1 else value
    return found


def _npz(path: Path) -> dict[str, Any]:
    what, expected = "not a whole .npz file ({})", "arrays of numbers"
    with explained(what, Exception, where=path, expected=expected):  # of damage nearly anything
        return {name: values for name, values in read_npz(path).items() if name in WANTED}


def _digest(files: list[Path]) -> str:
    """Of names and sizes: of many files their bytes would take as long as the import."""
    return names_digest(f"{file.name} {file.stat().st_size}" for file in files)


def _read_delg(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Arrays of an image, of serialized protocol buffers: keypoints [K, 2], descriptors [K, D] and
    scores [K], or the vector [D].

    A local file is DelfFeatures, `feature` = 1 repeated: descriptor = 1 (DatumProto), x = 2, y = 3,
    scale = 4, orientation = 5, strength = 6. A global one is a DatumProto: shape = 1, float_list =
    2, whose `value` = 1 are packed floats. x and y are pixels of the image that was described;
    queries of ROxford and RParis were cropped to their boxes before.
    (tensorflow/models, research/delf/delf/protos.)
    """
    data = memoryview(path.read_bytes())
    what, kinds = "not a whole file of DELG ({})", (ValueError, IndexError, KeyError)
    with explained(what, kinds, where=path, expected=f"a serialized message of {DELG}"):
        if path.suffix == DELG_GLOBAL:
            return {VECTOR: _floats(data)}
        features = [dict(_fields(feature)) for number, feature in _fields(data) if number == 1]
        rows = [_floats(feature[DATUM]) for feature in features]
        if len({len(row) for row in rows}) > 1:
            raise ValueError("descriptors of several widths")
        numbers = [[one.get(key, bytes(4)) for key in (X, Y, STRENGTH)] for one in features]
        floats = [np.frombuffer(one, "<f4")[0] for of_one in numbers for one in of_one]
        values = np.array(floats, np.float32).reshape(-1, 3)
        descriptors = np.array(rows, np.float32).reshape(len(rows), -1 if rows else 0)
        return {"keypoints": values[:, :2], "scores": values[:, 2], "descriptors": descriptors}


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and bytes of the fields of a message; numbers of variable length are left out."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        if key & 7 == 0:
            at = _varint(data, at)[1]
            continue
        size, at = _varint(data, at) if key & 7 == 2 else (FIXED[key & 7], at)
        if size > len(data) - at:
            raise ValueError("it ends within a field")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the least first; and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number of more than ten bytes")


def _floats(datum: memoryview) -> npt.NDArray[np.float32]:
    """The values of a DatumProto, packed or one by one."""
    lists = [value for number, value in _fields(datum) if number == FLOATS]
    values = [bytes(value) for one in lists for number, value in _fields(one) if number == 1]
    return np.frombuffer(b"".join(values), "<f4")
