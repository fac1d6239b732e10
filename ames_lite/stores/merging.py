"""Shards of an image list, and one store from several that hold its rows: copied, or virtual.

Shard i of n, from 1, holds the rows from N (i-1) // n up to N i // n, a run, so that a merged store
maps onto them; its file is `name.3-of-8.hdf5` beside `name.hdf5`.

Stores are of local or of global descriptors; whether they fit together is for the caller. A copy
equals an unbroken run byte for byte. A virtual store holds what is small (names, counts, states)
itself; what is large stays in the sources, which must not be moved without it.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from ames_lite.errors import ConfigError, MissingFile, require
from ames_lite.io.provenance import compare_provenance
from ames_lite.stores import hdf5, row_layout, storage
from ames_lite.stores.row_store import RowStore

Layout = row_layout.Layout
RUN_BYTES = 1 << 26  # copied at a time
REMEDY = "free space, or write elsewhere; how=virtual copies no local descriptors"
_FORM = re.compile(r"([1-9][0-9]*)/([1-9][0-9]*)")
_FILE = re.compile(r"\.([1-9][0-9]*)-of-([1-9][0-9]*)$")


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count`, from 1."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def parse_shard(text: str | None, environment: Mapping[str, str] | None = None) -> Shard | None:
    """The shard that `text` names; without it, torchrun's (RANK of WORLD_SIZE); or None: all.

    >>> parse_shard("3/8")
    Shard(index=3, count=8)
    >>> parse_shard(None, {"RANK": "0", "WORLD_SIZE": "2"})
    Shard(index=1, count=2)

    Raises ConfigError for anything else.
    """
    if text is None:
        rank, size = ((environment or {}).get(key) for key in ("RANK", "WORLD_SIZE"))
        if rank is None or size is None or size == "1":
            return None
        text = f"{int(rank) + 1}/{size}" if rank.isdigit() else f"{rank}/{size}"
    found = _FORM.fullmatch(text)
    if found is None or int(found[1]) > int(found[2]):
        raise ConfigError(f"shard={text}", expected="<part>/<parts>, from 1/8 to 8/8")
    return Shard(int(found[1]), int(found[2]))


def shard_rows(num: int, shard: Shard | None) -> range:
    """The rows, of a list of `num`, that a shard holds. Raises BadInput where there are none.

    >>> [shard_rows(10, Shard(i, 3)) for i in (1, 2, 3)]
    [range(0, 3), range(3, 6), range(6, 10)]
    """
    if shard is None:
        return range(num)
    rows = range(num * (shard.index - 1) // shard.count, num * shard.index // shard.count)
    require(rows, f"shard {shard} of {num} images is empty", expected="fewer shards")
    return rows


def shard_path(path: str | Path, shard: Shard | None) -> Path:
    """The file of a shard of the store `path`; None: the store itself.

    >>> shard_path("sift_gallery_local.hdf5", Shard(3, 8)).name
    'sift_gallery_local.3-of-8.hdf5'
    """
    path, part = Path(path), "" if shard is None else f".{shard.index}-of-{shard.count}"
    return path.with_name(f"{path.stem}{part}{path.suffix}")


def find_shards(path: str | Path, remedy: str | None = None) -> list[Path]:
    """The files of all shards of the store `path`, in their order. Raises MissingFile, BadInput."""
    path = Path(path)
    found: dict[int, set[int]] = {}
    for file in path.parent.glob(f"*{path.suffix}"):
        part = _FILE.search(file.stem)
        if part is not None and file.stem == path.stem + part[0]:
            found.setdefault(int(part[2]), set()).add(int(part[1]))
    if not found:
        where = path.with_name(f"{path.stem}.<part>-of-<parts>{path.suffix}").absolute()
        one = remedy and f"{remedy} shard=1/2"
        expected = "the parts of a list, such as shard=1/2 and shard=2/2"
        raise MissingFile("there are no shards", where=where, expected=expected, remedy=one)
    what = f"shards of {' and '.join(map(str, sorted(found)))} parts lie side by side"
    expected, useless = "the shards of one division", "remove those that are of no use"
    require(len(found) == 1, what, where=path.absolute(), expected=expected, remedy=useless)
    count, parts = next(iter(found.items()))
    shards = [Shard(i, count) for i in range(1, count + 1)]
    paths = [shard_path(path, shard) for shard in shards]
    absent = [str(shard) for shard in shards if shard.index not in parts]
    if absent:
        what, again = f"shards are missing: {', '.join(absent)}", f"{remedy} shard={absent[0]}"
        where, expected = paths[0].absolute(), f"all {count}"
        raise MissingFile(what, where=where, expected=expected, remedy=remedy and again)
    return paths


def check_alike(
    first: RowStore, other: RowStore, attributes: Sequence[str], keys: Sequence[str] | None = None
) -> None:
    """Raise BadInput where two stores differ in an attribute or their provenance (keys; all)."""
    files = (first.path, other.path)
    compare_provenance(first.provenance, other.provenance, keys, files=files)
    where, expected = f"{first.path} and {other.path}", "stores that were made alike"
    for name in attributes:
        a, b = getattr(first, name), getattr(other, name)
        what = f"{name} is {a} in {first.path} and {b} in {other.path}"
        require(a == b, what, where=where, expected=expected)


def join_stores(
    stores: Sequence[RowStore],
    output: str | Path,
    *,
    names: Sequence[str] | None = None,  # of all rows; None: as in the sources
    linked: bool = False,  # a virtual store over local ones
    compression: str | None = None,  # of local descriptors, of storage.COMPRESSIONS
    overwrite: bool = False,
    keep: bool = False,  # an output of the same images, made alike, stays as it is
    progress: Callable[[int], object] = lambda images: None,  # called with how many were copied
) -> Path:
    """Write all rows into one store; returns the path. BadInput also where the disk refuses."""
    output, first = Path(output), stores[0]
    storage.check_compression(compression)
    for store in stores[1:]:
        check_alike(first, store, (), ("codebook",))
    names = [name for store in stores for name in store.names] if names is None else names
    wanted = first.layout(names)
    if keep and not overwrite and output.exists():
        _check_made(output, first, names, wanted)
        return output
    if not linked and compression is None and (overwrite or not output.exists()):
        row_layout.require_room(output, wanted, REMEDY)
    kind, small = (first.schema, first.provenance), row_layout.small_of(wanted)
    with hdf5.new_file(output, *kind, overwrite=overwrite, virtual=linked, small=small) as file:
        for name, (shape, dtype) in wanted.items():
            if name in row_layout.PER_DESCRIPTOR and linked:
                storage.create_virtual(file, output, name, shape, dtype, _chunks(stores))
            elif name in row_layout.PER_DESCRIPTOR and compression is not None:
                storage.create_compressed(file, name, shape, dtype, compression)
            else:
                hdf5.create_contiguous(file, name, shape, dtype)
        file["name"][:] = hdf5.encode_names(names)
        if first.codebook is not None:
            file["codebook"][:] = first.codebook
        done = (*row_layout.AT_ONCE, *(row_layout.PER_DESCRIPTOR if linked else ()))
        for name in (name for name in wanted if name not in done):
            for copied in _copy(stores, file[name], wanted):
                progress(copied if name == "descriptors" else 0)
    return output


def _check_made(path: Path, like: RowStore, names: Sequence[str], wanted: Layout) -> None:
    """Raise BadInput where the file there is not whole, or not what would be written."""
    with hdf5.open_complete(path, like.schema) as file:
        there = hdf5.decode_names(hdf5.dataset(file, "name", (None,), ("text",))[:])
        what, expected = "the output is there already, with other images", "overwrite=true"
        require(there == tuple(names), what, where=path, expected=expected)
        made, files = hdf5.read_json(file, "provenance"), (path, "this run")
        compare_provenance(made, like.provenance, files=files)
        row_layout.check_layout(file, wanted)


def _chunks(stores: Sequence[RowStore]) -> list[storage.Chunk]:
    starts = itertools.accumulate(map(len, stores), initial=0)
    return [storage.Chunk(s.path, at, len(s)) for s, at in zip(stores, starts, strict=False)]


def _copy(stores: Sequence[RowStore], target: hdf5.DataSet, wanted: Layout) -> Iterator[int]:
    """Write all rows of a data set, in runs of whole chunks; yields how many were written."""
    row_bytes = max(1, row_layout.num_bytes(wanted) // target.shape[0])
    unit = target.chunks[0] if target.chunks else 1
    step = max(1, RUN_BYTES // row_bytes // unit) * unit
    at = 0
    for store in stores:
        begin, end = at, at + len(store)
        while at < end:
            stop = min(end, (at // step + 1) * step)
            target[at:stop] = _rows(store, target.name, at - begin, stop - begin, wanted)
            yield stop - at
            at = stop


def _rows(store: RowStore, name: str, first: int, stop: int, wanted: Layout) -> npt.NDArray[Any]:
    """Rows of a data set, verified; the checksums of an older store are made here."""
    if name != "checksum" or store.has_checksums:
        return store.stored(name, first, stop).astype(wanted[name][1], copy=False)
    others = wanted.keys() - {"name", "checksum"}
    rows = {other: _rows(store, other, first, stop, wanted) for other in others}
    return row_layout.checksum_table(rows)
