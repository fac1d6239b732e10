"""The forms of feature files that are known, and which of them a path is.

hloc          .h5, a group an image (`a/b.jpg`: nested groups): keypoints [K, 2], descriptors
              [D, K], scores [K], image_size (width, height); or global_descriptor [D]
superpoint    .pkl, .p, .pickle, .pt, .pth: a dict of such arrays or tensors of an image, or a dict
              of these by image; or a folder with a file an image
npz           the same in .npz, one file or a folder of them
patchnetvlad  a folder of patchfeats_psize<p>_<image>.npy [D, K]; or globalfeats.npy
delg          a folder of .delg_local or .delg_global (`delg`)
npy           [N, D], a global descriptor an image in the order of the list (VPR-methods-evaluation)
"""

import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ames_lite.errors import BadInput, MissingFile, chosen, explained, require
from ames_lite.io.arrays import map_npy, read_npz
from ames_lite.io.digest import file_identity, names_digest
from ames_lite.io.weights_file import load_weights
from ames_lite.stores import hdf5
from ames_lite.stores.published.features import delg
from ames_lite.stores.published.features.found import SCORES, VECTOR, WANTED, Found, Loaded, Source
from ames_lite.stores.published.neighbors import read_tensors

PICKLES, TENSORS = (".pkl", ".p", ".pickle"), (".pt", ".pth")
SUFFIXES = {
    **dict.fromkeys((".h5", ".hdf5", ".hdf"), "hloc"),
    **dict.fromkeys((*PICKLES, *TENSORS), "superpoint"),
    **{".npz": "npz", ".npy": "npy"},
    **dict.fromkeys(delg.SUFFIXES, "delg"),
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
        "delg": partial(_files, "delg", path, delg.read, vectors),
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

    def opened(key: str) -> Found:
        return Found.of(file.members(key, WANTED), vectors)

    return Source("hloc", digest, keys, opened, close=file.close)


def _files(form: str, path: Path, read: Callable[[Path], Any], vectors: bool) -> Source:
    """A file an image; its key is the path below the folder, without the suffix."""
    wanted = {suffix for suffix, one in SUFFIXES.items() if one == form}
    if form == "delg":
        wanted = {delg.GLOBAL} if vectors else wanted - {delg.GLOBAL}
    root = path.parent if path.is_file() else path
    found = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    paths = sorted(file for file in found if file.suffix in wanted)
    files = {file.relative_to(root).with_suffix("").as_posix(): file for file in paths}
    what = f"{len(paths) - len(files)} files have the name of another, but for the suffix"
    require(len(paths) == len(files), what, where=path, expected="one file an image")

    def opened(key: str) -> Found:
        return Found.of(read(files[key]), vectors)

    return Source(form, _digest(paths), list(files), opened, columns=form == "superpoint")


def _patches(path: Path, resized: tuple[int, int]) -> Source:
    """Patches of all sizes of an image, one size behind the other; scale: the index of the size.
    Positions are the middles of the patches, which step by one cell.
    """
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

    def opened(key: str) -> Found:
        return Found.of(_plain(content[key]), vectors)

    return Source("superpoint", file_identity(path), sorted(content), opened)


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
