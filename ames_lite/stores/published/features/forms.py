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

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ames_lite.errors import BadInput, MissingFile, chosen, explained, require
from ames_lite.io.arrays import map_npy, read_npz
from ames_lite.io.digest import file_identity, names_digest
from ames_lite.io.weights_file import load_weights
from ames_lite.stores import hdf5
from ames_lite.stores.published.features import delg
from ames_lite.stores.published.features.found import (
    VECTOR,
    WANTED,
    Found,
    Loaded,
    Source,
    of_members,
)
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
GRID = 16  # pixels a side of a cell of VGG-16's last feature map
RESIZED = (480, 640)  # (height, width) of Patch-NetVLAD's images


class Hloc(Source):
    form = "hloc"

    def __init__(self, path: Path, vectors: bool) -> None:
        self._file, self._vectors = hdf5.open_foreign(path), vectors
        self.digest = file_identity(path)
        with hdf5.closed_on_error(self._file):
            self.keys = sorted(self._file.groups(VECTOR if vectors else "keypoints"))

    def open(self, key: str) -> Found:
        return of_members(self._file.members(key, WANTED), self._vectors)

    def __exit__(self, *_: object) -> None:
        self._file.close()


class Files(Source):
    """A file an image; its key is the path below the folder, without the suffix."""

    def __init__(
        self, form: str, path: Path, vectors: bool, read: Callable[[Path], Mapping[str, Any]]
    ) -> None:
        wanted = {suffix for suffix, one in SUFFIXES.items() if one == form}
        if form == "delg":
            wanted = {delg.GLOBAL} if vectors else wanted - {delg.GLOBAL}
        found = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        root = path.parent if path.is_file() else path
        files = [file for file in found if file.suffix in wanted]
        self.form, self._read, self._vectors = form, read, vectors
        self.files = {file.relative_to(root).with_suffix("").as_posix(): file for file in files}
        self.columns = form == "superpoint"
        twice = len(files) - len(self.files)
        what = f"{twice} files have the name of another, but for the suffix"
        require(not twice, what, where=path, expected="one file an image")
        self.keys, self.digest = list(self.files), _digest(root, files)

    def open(self, key: str) -> Found:
        return of_members(self._read(self.files[key]), self._vectors)


class Table(Source):
    """A dict of images in one pickle, which is read whole."""

    form = "superpoint"

    def __init__(self, path: Path, content: Mapping[str, Any], vectors: bool) -> None:
        self._content, self._vectors = content, vectors
        self.keys, self.digest = sorted(content), file_identity(path)

    def open(self, key: str) -> Found:
        return of_members(_plain(self._content[key]), self._vectors)


class PatchNetVlad(Source):
    """Patches of all sizes of an image, one behind the other; scale: the index of the size.

    Positions are the middles of patches on the grid of RESIZED images; the files have none.
    """

    form = "patchnetvlad"

    def __init__(self, path: Path, resized: tuple[int, int]) -> None:
        matches = [(PATCHES.fullmatch(file.name), file) for file in sorted(path.iterdir())]
        self._files: dict[str, dict[int, Path]] = {}
        for match, file in matches:
            if match:
                self._files.setdefault(match[2], {})[int(match[1])] = file
        self.keys, self._path, self._resized = sorted(self._files), path, resized
        self.sizes = sorted({size for files in self._files.values() for size in files})
        self.grid = f"patches of {self.sizes} in images of {resized[0]} × {resized[1]}"
        self.digest = _digest(path, [file for match, file in matches if match])

    def open(self, key: str) -> Found:
        files, (rows, columns) = self._files[key], [side // GRID for side in self._resized]
        there = f"patches of the sizes {sorted(files)}"
        require(sorted(files) == self.sizes, there, expected=f"{self.sizes}, as of other images")
        parts = [map_npy(files[size]) for size in self.sizes]
        grids = [(rows - size + 1, columns - size + 1) for size in self.sizes]
        shapes, counts = [part.shape for part in parts], [down * right for down, right in grids]
        fits = all(len(shape) == 2 for shape in shapes)
        fits = fits and [shape[-1] for shape in shapes] == counts
        height, width = self._resized
        what, expected = (
            f"the arrays are {shapes}",
            f"[D, K] with K {counts}, of {height} × {width}",
        )
        remedy = "resized=[imageresizeh,imageresizew] of the configuration that made them"
        require(fits, what, where=self._path, expected=expected, remedy=remedy)

        def load() -> Loaded:
            middles = [
                (np.indices(grid).reshape(2, -1).T[:, ::-1] + size / 2) / (columns, rows)
                for grid, size in zip(grids, self.sizes, strict=True)
            ]
            scale = np.repeat(np.arange(len(counts), dtype=np.uint8), counts)
            descriptors = np.concatenate(parts, axis=1)
            return Loaded(descriptors, np.concatenate(middles), None, scale)

        shape, count = (shapes[0][0], sum(counts)), sum(counts)
        return Found(shape, parts[0].dtype, count, None, load)


class Rows(Source):
    """Global descriptors [N, D]; keys are rows."""

    listed = True

    def __init__(self, path: Path, form: str) -> None:
        self.form, self._rows, self.digest = form, map_npy(path), file_identity(path)
        fits = self._rows.ndim == 2 and self._rows.dtype.kind == "f"
        what = f"the array is {list(self._rows.shape)} {self._rows.dtype}"
        require(fits, what, where=path, expected="[N, D] floating-point numbers")
        self.keys = [str(row) for row in range(len(self._rows))]

    def open(self, key: str) -> Found:
        row = self._rows[int(key)]
        return Found(row.shape, row.dtype, 1, None, lambda: Loaded(np.array(row)))


def open_features(
    path: str | Path,
    *,
    form: str | None = None,  # null: by names and suffixes
    vectors: bool = False,  # global descriptors, not local ones
    resized: tuple[int, int] = RESIZED,
) -> Source:
    """The features at a path, a file or a folder. Raises MissingFile, BadInput."""
    path = Path(path)
    require(path.exists(), "the features are missing", where=path, kind=MissingFile)
    form = form or _form_of(path)
    openers: dict[str, Callable[[], Source]] = {
        "hloc": lambda: Hloc(path, vectors),
        "superpoint": lambda: _pickles(path, vectors),
        "npz": lambda: Files("npz", path, vectors, _npz),
        "delg": lambda: Files("delg", path, vectors, delg.read),
        "patchnetvlad": lambda: (
            Rows(path / GLOBALS, form) if vectors else PatchNetVlad(path, resized)
        ),
        "npy": lambda: Rows(path, form),
    }
    source = chosen(form, openers, "form of features", kind=BadInput)()
    said, other = ("global", "local") if vectors else ("local", "global")
    remedy = f"{'no global=' if vectors else 'global=cls, or vlad'}, where it has {other} ones"
    fine = bool(source.keys) and (vectors or not isinstance(source, Rows))
    require(fine, f"there are no {said} features of the form {form}", where=path, remedy=remedy)
    return source


def _form_of(path: Path) -> str:
    if path.is_file():
        found = {SUFFIXES.get(path.suffix)}
    else:
        names = [file for file in path.rglob("*") if file.is_file()]
        patches = any(PATCHES.fullmatch(file.name) or file.name == GLOBALS for file in names)
        found = {SUFFIXES.get(file.suffix) for file in names} - {None, "npy"}
        found = {"patchnetvlad"} if patches else found
    named = [one for one in found if one]
    what = f"the form is not known by the name ({', '.join(named) or 'no known suffix'})"
    expected = f"a file or a folder of {', '.join(SUFFIXES)}"
    require(len(named) == 1, what, where=path, expected=expected, remedy="form=<one of them>")
    return named[0]


def _pickles(path: Path, vectors: bool) -> Source:
    """A file an image; or one of all images, told by what it holds."""
    content = _content(path) if path.is_file() else {}
    if path.is_file() and not (isinstance(content, Mapping) and {*WANTED} & {*content}):
        fits = isinstance(content, Mapping) and all(isinstance(key, str) for key in content)
        what = f"the file holds a {type(content).__name__}"
        require(fits, what, where=path, expected="a dict by name, of an image or of images")
        return Table(path, content, vectors)
    return Files("superpoint", path, vectors, lambda file: _plain(_content(file)))


def _content(path: Path) -> Any:
    if path.suffix in TENSORS or zipfile.is_zipfile(path):
        return load_weights(path, "tensors by name")
    return read_tensors(path)


def _plain(content: Any) -> dict[str, Any]:
    """Arrays by name: tensors as arrays, without the axis of a batch of one image."""
    fits = isinstance(content, Mapping)
    require(fits, f"it holds a {type(content).__name__}", expected="arrays by name")
    found = {}
    for name in WANTED:
        value = content.get(name)
        while isinstance(value, list | tuple) and len(value) == 1:
            value = value[0]
        if value is not None:
            value = np.asarray(value)
            axes = 1 if name in ("scores", "keypoint_scores", VECTOR) else 2
            found[name] = value[0] if value.ndim > axes and len(value) == 1 else value
    return found


def _npz(path: Path) -> dict[str, Any]:
    what, expected = "not a whole .npz file ({})", "arrays of numbers"
    with explained(what, Exception, where=path, expected=expected):  # of damage nearly anything
        found = read_npz(path)
    return {name: found[name] for name in WANTED if name in found}


def _digest(root: Path, files: list[Path]) -> str:
    """Of names and sizes: of many files their bytes would take as long as the import."""
    return names_digest(f"{file.relative_to(root)} {file.stat().st_size}" for file in files)
