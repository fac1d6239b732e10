"""Distractors appended to a gallery (ROxford + 1M), in a folder of its own.

Local descriptors are virtual stores over those of the two sets, global ones copies. Names are
relative to data_root, so that those of two folders never clash.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from ames_lite.datasets.ground_truth import read_ground_truth, write_ground_truth
from ames_lite.datasets.image_lists import ImageList, read_image_list, write_image_list
from ames_lite.datasets.layout import DatasetFiles, find_all
from ames_lite.errors import require
from ames_lite.extraction.neighbors import SAME
from ames_lite.io.writing import refuse_existing
from ames_lite.records import GroundTruth
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.global_store import GlobalStore
from ames_lite.stores.merging import check_alike, join_stores

SIDES = ("query", "gallery")
Store: TypeAlias = DescriptorStore | GlobalStore


def append_distractors(
    base: DatasetFiles,
    distractors: DatasetFiles,
    joined: DatasetFiles,
    *,
    kinds: Sequence[str] = (),
    overwrite: bool = False,
) -> list[Path]:
    """Write lists, ground truth and stores into the folder of `joined`; returns the paths.

    kinds: global descriptors to join. Raises MissingFile that names all that is missing, and
    BadInput where the two were not made alike, before anything is written.
    """
    found = _find(base, distractors, kinds)
    lists = {side: read_image_list(found[side]).names for side in (*SIDES, "more")}
    truth = read_ground_truth(found["gnd"], lists["query"], lists["gallery"])
    names = {
        "query": _below(base, lists["query"]),
        "gallery": [*_below(base, lists["gallery"]), *_below(distractors, lists["more"])],
    }
    targets = {"gnd": joined.root / f"gnd_{joined.folder}.json"}
    for side in SIDES:
        targets[side] = joined.root / f"{side}.txt"
        targets[f"{side} local"] = joined.local_path(side)
        targets |= {f"{side} {kind}": joined.global_path(side, kind) for kind in kinds}
    for path in targets.values():
        refuse_existing(path, overwrite)
    with ExitStack() as stack:
        stores = _open(found, lists, kinds, stack)
        joined.root.mkdir(parents=True, exist_ok=True)
        for side in SIDES:
            for kind in ("local", *kinds):
                join_stores(
                    stores[f"{side} {kind}"],
                    targets[f"{side} {kind}"],
                    names=names[side],
                    linked=kind == "local",
                    overwrite=overwrite,
                )
            write_image_list(targets[side], ImageList(tuple(names[side])))
    write_ground_truth(targets["gnd"], _renamed(truth, names))
    return list(targets.values())


def _find(base: DatasetFiles, distractors: DatasetFiles, kinds: Sequence[str]) -> dict[str, Path]:
    finders: dict[str, Callable[[], Path]] = {
        side: partial(base.image_list, side) for side in SIDES
    }
    finders |= {"gnd": base.ground_truth, "more": partial(distractors.image_list, "gallery")}
    finders |= {f"{side} local": partial(base.local, side) for side in SIDES}
    finders["more local"] = partial(distractors.local, "gallery")
    for kind in kinds:
        finders |= {
            f"{side} {kind}": partial(base.global_descriptors, side, kind) for side in SIDES
        }
        finders[f"more {kind}"] = partial(distractors.global_descriptors, "gallery", kind)
    return find_all(finders)


def _open(
    found: dict[str, Path],
    lists: dict[str, tuple[str, ...]],
    kinds: Sequence[str],
    stack: ExitStack,
) -> dict[str, Any]:
    """The stores by what they become part of, checked against their lists and one another."""
    opened: dict[str, Any] = {}
    for what in ("local", *kinds):
        opening: Callable[[Path], Store] = DescriptorStore.open if what == "local" else GlobalStore
        parts: dict[str, Store] = {}
        for side in (*SIDES, "more"):
            store: Any = stack.enter_context(opening(found[f"{side} {what}"]))
            require(
                tuple(store.names) == tuple(lists[side]),
                f"{found[f'{side} {what}']} has other names than {found[side]}, or in another "
                "order",
                expected="a store made from this very list",
            )
            parts[side] = store
        first = parts["gallery"]
        alike = ("dim", "dtype", "max_count") if what == "local" else ("dim", "dtype")
        for other in (parts["query"], parts["more"]):
            check_alike(first, other, alike, SAME)
        opened[f"query {what}"] = [parts["query"]]
        opened[f"gallery {what}"] = [first, parts["more"]]
    return opened


def _below(files: DatasetFiles, names: Sequence[str]) -> list[str]:
    return [f"{files.folder}/{name}" for name in names]


def _renamed(truth: GroundTruth, names: dict[str, list[str]]) -> GroundTruth:
    """The same rows: those of the gallery come first."""
    lists = (truth.easy, truth.hard, truth.junk, truth.bbox)
    return GroundTruth(tuple(names["query"]), tuple(names["gallery"]), *lists, truth.graded)
