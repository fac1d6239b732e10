"""Shards of a store, of local or of global descriptors, joined to one in the order of the list.

A copy equals an unbroken run byte for byte; a virtual store of local descriptors reads the shards
where they are. Before anything is written every shard must be complete, made alike, and hold its
own part of the list; together they are all of it.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from ames_lite.errors import BadInput, require
from ames_lite.io.digest import names_digest
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.global_store import GlobalStore
from ames_lite.stores.merging import check_alike, join_stores
from ames_lite.stores.published.store import is_published
from ames_lite.stores.row_store import RowStore

HOW = ("copy", "virtual")
OF_LOCAL, OF_GLOBAL = ("dim", "max_count", "packed", "dtype"), ("dim", "dtype", "has_status")


Kind = TypeVar("Kind", bound=RowStore)


def merge_stores(
    sources: Sequence[str | Path],
    output: str | Path,
    names: Sequence[str],
    *,
    of_globals: bool = False,
    how: str = "copy",
    compression: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the store `output` of all names from the shards `sources`; returns the path.

    sources in any order, of local or of global descriptors. compression (copies of local ones): see
    `ames_lite.stores.compression`; one source with all the names is a way to compress a store.
    Raises BadInput where shards do not fit.
    """
    require(how in HOW, f"how is '{how}'", expected=" or ".join(HOW))
    if how == "virtual" and compression is not None:
        raise BadInput("a virtual store holds no data to compress", expected="how=copy")
    if any(Path(source).absolute() == Path(output).absolute() for source in sources):
        raise BadInput("the output is one of the shards", where=output, expected="another path")
    opening: Callable[[str | Path], Any] = _open_globals if of_globals else DescriptorStore.open
    with ExitStack() as stack:
        opened = [stack.enter_context(opening(source)) for source in sources]
        stores = in_order_of(names, opened, OF_GLOBAL if of_globals else OF_LOCAL)
        linked = how == "virtual"
        with tqdm(total=len(names), desc="merge", unit="image", disable=linked) as bar:
            return join_stores(
                stores,
                output,
                linked=linked,
                compression=compression,
                overwrite=overwrite,
                progress=bar.update,
            )


def _open_globals(path: str | Path) -> GlobalStore:
    """Files without `status`, as older runs and others wrote them, are refused."""
    if is_published(path) or not (store := GlobalStore(path)).has_status:
        raise BadInput(
            "a file without 'status' is no shard",
            where=path,
            expected="shards as extraction with shard= writes them",
        )
    return store


def in_order_of(names: Sequence[str], stores: list[Kind], alike: Sequence[str]) -> list[Kind]:
    """The stores in the order of the list; alike: attributes that they must share.

    Raises BadInput where two differ in provenance, width or kind, an image is in two shards, in
    none or not in the list, or a shard's images are no run of the list.
    """
    require(stores, "no shards were given", expected="at least one store")
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


def _misfit(stores: Sequence[RowStore], names: Sequence[str]) -> BadInput:
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
