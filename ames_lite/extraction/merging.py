"""Stores joined: shards of local or of global descriptors, and distractors behind a gallery. A copy
of shards equals an unbroken run byte for byte; a virtual store of local descriptors reads them
where they are. A gallery with distractors (ROxford + 1M) is a folder of its own: local descriptors
are virtual stores, global ones copies; names are relative to data_root.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ames_lite.datasets.ground_truth import read_ground_truth, write_ground_truth
from ames_lite.datasets.image_lists import ImageList, read_image_list, write_image_list
from ames_lite.datasets.layout import DatasetFiles, find_all
from ames_lite.datasets.relation import SIDES
from ames_lite.errors import BadInput, require
from ames_lite.extraction.neighbors import SAME
from ames_lite.io.digest import names_digest
from ames_lite.io.writing import refuse_existing
from ames_lite.runtime import progress_bar
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.global_store import GlobalStore
from ames_lite.stores.merging import check_alike, join_stores
from ames_lite.stores.published.store import is_published
from ames_lite.stores.row_store import RowStore

Names = Sequence[str]
HOW = ("copy", "virtual")
OF_LOCAL, OF_GLOBAL = ("dim", "max_count", "packed", "dtype"), ("dim", "dtype", "has_status")


def merge_stores(
    sources: Sequence[str | Path],
    output: str | Path,
    names: Sequence[str],
    *,
    of_globals: bool = False,
    how: str = "copy",
    compression: str | None = None,
    overwrite: bool = False,
    keep: bool = False,
) -> Path:
    """Write the store `output` of all names from the shards `sources`; returns the path.

    sources in any order, of local or of global descriptors. compression (copies of local ones): see
    `ames_lite.stores.storage`; one source with all the names is a way to compress a store. keep:
    see `join_stores`.
    Raises BadInput where shards do not fit.
    """
    require(how in HOW, f"how is '{how}'", " or ".join(HOW))
    if how == "virtual" and compression is not None:
        raise BadInput("a virtual store holds no data to compress", expected="how=copy")
    if any(Path(source).absolute() == Path(output).absolute() for source in sources):
        raise BadInput("the output is one of the shards", where=output, expected="another path")
    opening: Callable[[str | Path], Any] = _open_globals if of_globals else DescriptorStore.open
    with ExitStack() as stack:
        opened = [stack.enter_context(opening(source)) for source in sources]
        stores = in_order_of(names, opened, OF_GLOBAL if of_globals else OF_LOCAL)
        linked = how == "virtual"
        with progress_bar(len(names), "merge", "image", shown=not linked) as bar:
            options: dict[str, Any] = {"linked": linked, "overwrite": overwrite, "keep": keep}
            options |= {"compression": compression, "progress": bar.update}
            return join_stores(stores, output, **options)


def _open_globals(path: str | Path) -> GlobalStore:
    """Files without `status`, as older runs and others wrote them, are refused."""
    if is_published(path) or not (store := GlobalStore(path)).has_status:
        expected = "shards as extraction with shard= writes them"
        raise BadInput("a file without 'status' is no shard", where=path, expected=expected)
    return store


def in_order_of(names: Names, stores: list[RowStore], alike: Sequence[str]) -> list[RowStore]:
    """The stores in the order of the list; alike: attributes that they must share. BadInput."""
    require(stores, "no shards were given", "at least one store")
    row_of = {name: row for row, name in enumerate(names)}
    for store in stores:
        check_alike(stores[0], store, alike)
        for name in store.names:
            if name not in row_of:
                expected = f"images of the list of {len(names)} that was divided"
                what = f"'{name}' is not in the image list"
                raise BadInput(what, where=store.path, expected=expected)
    stores = sorted(stores, key=lambda store: row_of[store.names[0]])
    joined = [name for store in stores for name in store.names]
    if names_digest(joined) != names_digest(names):
        raise _misfit(stores, names)
    return stores


def _misfit(stores: Sequence[RowStore], names: Names) -> BadInput:
    """What is wrong, told by the first row that is."""
    expected = "every image of the list in exactly one shard, in the order of the list"
    held = [(name, store) for store in stores for name in store.names]
    for row, ((name, store), wanted) in enumerate(zip(held, [*names, None], strict=False)):
        if name != wanted:
            what = f"'{name}' stands where row {row} of the list ('{wanted}') is due"
            return BadInput(what, where=store.path, expected=expected)
    what = f"no shard holds '{names[len(held)]}' (row {len(held)} of the list)"
    return BadInput(what, expected=expected)


def append_distractors(
    base: DatasetFiles,
    distractors: DatasetFiles,
    joined: DatasetFiles,
    *,
    kinds: Sequence[str] = (),
    overwrite: bool = False,
) -> list[Path]:
    """Write lists, ground truth and stores of `joined`; returns the paths. kinds: of globals.
    Raises MissingFile that names all that is missing, BadInput, before anything is written.
    """
    parts = {"query": (base, "query"), "gallery": (base, "gallery")}
    parts["more"] = (distractors, "gallery")
    found = _find(parts, kinds)
    lists = {part: read_image_list(found[part]).names for part in parts}
    truth = read_ground_truth(found["gnd"], lists["query"], lists["gallery"])
    names = {part: [f"{parts[part][0].folder}/{name}" for name in lists[part]] for part in parts}
    names["gallery"] += names.pop("more")
    targets = {"gnd": joined.root / f"gnd_{joined.folder}.json"}
    for side in SIDES:
        targets[side] = joined.root / f"{side}.txt"
        targets[f"{side} local"] = joined.local_path(side)
        targets |= {f"{side} {kind}": joined.global_path(side, kind) for kind in kinds}
    refuse_existing(targets["gnd"], overwrite)  # written last: others are of an interrupted run
    with ExitStack() as stack:
        stores = {what: _open(what, found, lists, stack) for what in ("local", *kinds)}
        for side in SIDES:
            for what in stores:
                both, linked = (stores[what][side], targets[f"{side} {what}"]), what == "local"
                join_stores(*both, names=names[side], linked=linked, overwrite=overwrite, keep=True)
            if overwrite or not targets[side].exists():
                write_image_list(targets[side], ImageList(tuple(names[side])))
            found_names = read_image_list(targets[side]).names
            what, expected = "the list is there already, with other images", "overwrite=true"
            require(found_names == tuple(names[side]), what, expected, where=targets[side])
    query, gallery = tuple(names["query"]), tuple(names["gallery"])
    renamed = replace(truth, query_names=query, gallery_names=gallery)  # its rows stay
    write_ground_truth(targets["gnd"], renamed)
    return list(targets.values())


def _find(parts: Mapping[str, tuple[DatasetFiles, str]], kinds: Sequence[str]) -> dict[str, Path]:
    """The ground truth; of every part its image list, its local and its global descriptors."""
    finders: dict[str, Callable[[], Path]] = {"gnd": parts["query"][0].ground_truth}
    for part, (files, split) in parts.items():
        finders[part] = partial(files.image_list, split)
        finders[f"{part} local"] = partial(files.local, split)
        for kind in kinds:
            finders[f"{part} {kind}"] = partial(files.global_descriptors, split, kind)
    return find_all(finders)


def _open(
    what: str, found: Mapping[str, Path], lists: Mapping[str, Sequence[str]], stack: ExitStack
) -> dict[str, list[Any]]:
    """The stores that become those of each side, checked against their lists and one another."""
    opening: Callable[[Path], Any] = DescriptorStore.open if what == "local" else GlobalStore
    stores = {}
    for part, names in lists.items():
        path = found[f"{part} {what}"]
        stores[part] = store = stack.enter_context(opening(path))
        same, expected = tuple(store.names) == tuple(names), "a store made from this very list"
        require(same, f"{path} has other names than {found[part]}, or in another order", expected)
    alike = ("dim", "dtype", "max_count") if what == "local" else ("dim", "dtype")
    for part in ("query", "more"):
        check_alike(stores["gallery"], stores[part], alike, SAME)
    return {"query": [stores["query"]], "gallery": [stores["gallery"], stores["more"]]}
