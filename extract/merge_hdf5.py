"""Shards of a store joined to one store: `python extract/merge_hdf5.py dataset=<name>`.

In: the stores of all shards and the image list that was divided. Out: one store, rows in the order
of the list; copied (then it equals an unbroken run byte for byte, and may be compressed) or virtual
(the shards stay where they are and are needed for reading). Before anything is written every
shard must be complete, made alike, and hold its own part of the list; together they are all of it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from ames_lite.errors import BadInput
from ames_lite.io.descriptor_store import DescriptorStore
from ames_lite.io.digest import names_digest
from ames_lite.io.merging import copy_stores, link_stores
from ames_lite.io.provenance import compare_provenance

HOW = ("copy", "virtual")


def merge_stores(
    sources: Sequence[str | Path],
    output: str | Path,
    names: Sequence[str],
    *,
    how: str = "copy",
    compression: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the store `output` of all names from the shards `sources`; returns the path.

    sources in any order. compression (copies only): see `ames_lite.io.compression`; one source
    with all the names is a way to compress a store. Raises BadInput where shards do not fit.
    """
    if how not in HOW:
        raise BadInput(f"how is '{how}'", expected=" or ".join(HOW))
    if how == "virtual" and compression is not None:
        raise BadInput("a virtual store holds no data to compress", expected="how=copy")
    if any(Path(source).absolute() == Path(output).absolute() for source in sources):
        raise BadInput("the output is one of the shards", where=output, expected="another path")
    stores = check_shards(sources, names)
    if how == "virtual":
        return link_stores(stores, output, overwrite=overwrite)
    with tqdm(total=len(names), desc="merge", unit="image") as bar:
        return copy_stores(
            stores, output, compression=compression, overwrite=overwrite, progress=bar.update
        )


def check_shards(sources: Sequence[str | Path], names: Sequence[str]) -> list[DescriptorStore]:
    """The shards in the order of the list, opened.

    Raises BadInput where two differ in provenance, width or kind, an image is in two shards, in
    none or not in the list, or a shard's images are no run of the list.
    """
    if not sources:
        raise BadInput("no shards were given", expected="at least one store")
    row_of = {name: row for row, name in enumerate(names)}
    stores = [DescriptorStore.open(source) for source in sources]
    for store in stores:
        _check_alike(stores[0], store)
        for name in store.names:
            if name not in row_of:
                raise BadInput(
                    f"'{name}' is not in the image list",
                    where=store.path,
                    expected=f"images of the list of {len(names)} that was divided",
                )
    stores.sort(key=lambda store: row_of[store.names[0]])
    joined = [name for store in stores for name in store.names]
    if names_digest(joined) != names_digest(names):
        raise _misfit(stores, names)
    return stores


def _check_alike(first: DescriptorStore, other: DescriptorStore) -> None:
    files = (first.path, other.path)
    keys = sorted(first.provenance.keys() | other.provenance.keys())
    compare_provenance(first.provenance, other.provenance, keys, files=files)
    for what in ("dim", "max_count", "packed", "dtype"):
        a, b = getattr(first, what), getattr(other, what)
        if a != b:
            raise BadInput(
                f"{what} is {a} in {first.path} and {b} in {other.path}",
                where=f"{first.path} and {other.path}",
                expected="shards of one store",
            )


def _misfit(stores: Sequence[DescriptorStore], names: Sequence[str]) -> BadInput:
    """What is wrong, told by the first row that is."""
    expected = "every image of the list in exactly one shard, in the order of the list"
    due = iter(enumerate(names))
    for store in stores:
        for name in store.names:
            row, wanted = next(due, (len(names), None))
            if name != wanted:
                what = f"'{name}' stands where row {row} of the list ('{wanted}') is due"
                return BadInput(what, where=store.path, expected=expected)
    row, name = next(due)
    return BadInput(f"no shard holds '{name}' (row {row} of the list)", expected=expected)


if __name__ == "__main__":
    from ames_lite.cli.store_stages import merge_main

    sys.exit(merge_main())
