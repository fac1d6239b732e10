"""Shards of a store, of local or of global descriptors, joined to one in the order of the list.

Copied, it equals an unbroken run byte for byte, and a local one may be compressed; virtual, the
shards stay where they are and are needed for reading. Before anything is written every shard must
be complete, made alike, and hold its own part of the list; together they are all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from ames_lite.errors import BadInput
from ames_lite.io.digest import names_digest
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.global_store import GlobalStore
from ames_lite.stores.merging import Part, check_alike, copy_stores, link_stores
from ames_lite.stores.published.store import is_published

HOW = ("copy", "virtual")
OF_LOCAL, OF_GLOBAL = ("dim", "max_count", "packed", "dtype"), ("dim", "dtype", "has_status")


Kind = TypeVar("Kind", bound=Part)


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

    sources in any order. compression (copies only): see `ames_lite.stores.compression`; one source
    with all the names is a way to compress a store. Raises BadInput where shards do not fit.
    """
    if how not in HOW:
        raise BadInput(f"how is '{how}'", expected=" or ".join(HOW))
    if how == "virtual" and compression is not None:
        raise BadInput("a virtual store holds no data to compress", expected="how=copy")
    _refuse_itself(sources, output)
    opened = [DescriptorStore.open(source) for source in sources]
    stores = in_order_of(names, opened, OF_LOCAL)
    if how == "virtual":
        return link_stores(stores, output, overwrite=overwrite)
    with tqdm(total=len(names), desc="merge", unit="image") as bar:
        return copy_stores(
            stores, output, compression=compression, overwrite=overwrite, progress=bar.update
        )


def merge_globals(
    sources: Sequence[str | Path],
    output: str | Path,
    names: Sequence[str],
    *,
    overwrite: bool = False,
) -> Path:
    """Write the global descriptors `output` of all names from the shards `sources`, a copy.

    As `merge_stores`; files without `status`, as older runs and others wrote them, are refused.
    """
    _refuse_itself(sources, output)
    with ExitStack() as stack:
        stores = [stack.enter_context(_open_globals(source)) for source in sources]
        stores = in_order_of(names, stores, OF_GLOBAL)
        with tqdm(total=len(names), desc="merge", unit="image") as bar:
            return copy_stores(stores, output, overwrite=overwrite, progress=bar.update)


def _open_globals(path: str | Path) -> GlobalStore:
    if is_published(path) or not (store := GlobalStore(path)).has_status:
        raise BadInput(
            "a file without 'status' is no shard",
            where=path,
            expected="shards as extraction with shard= writes them",
        )
    return store


def _refuse_itself(sources: Sequence[str | Path], output: str | Path) -> None:
    if any(Path(source).absolute() == Path(output).absolute() for source in sources):
        raise BadInput("the output is one of the shards", where=output, expected="another path")


def in_order_of(names: Sequence[str], stores: list[Kind], alike: Sequence[str]) -> list[Kind]:
    """The stores in the order of the list; alike: attributes that they must share.

    Raises BadInput where two differ in provenance, width or kind, an image is in two shards, in
    none or not in the list, or a shard's images are no run of the list.
    """
    if not stores:
        raise BadInput("no shards were given", expected="at least one store")
    row_of = {name: row for row, name in enumerate(names)}
    for store in stores:
        check_alike(stores[0], store, alike)
        for name in store.names:
            if name not in row_of:
                raise BadInput(
                    f"'{name}' is not in the image list",
                    where=store.path,
                    expected=f"images of the list of {len(names)} that was divided",
                )
    stores = sorted(stores, key=lambda store: row_of[store.names[0]])
    joined = [name for store in stores for name in store.names]
    if names_digest(joined) != names_digest(names):
        raise _misfit(stores, names)
    return stores


def _misfit(stores: Sequence[Part], names: Sequence[str]) -> BadInput:
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
