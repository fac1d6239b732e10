"""What is wrong with the files of a data set: all of it, in words, from reading all of it.

Findings make the files unfit, notes do not. Rows are read in runs, so memory is bounded.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ames_lite.datasets.image_lists import ImageList, read_image_list
from ames_lite.datasets.layout import DatasetFiles, find_all
from ames_lite.errors import MissingFile, UserError
from ames_lite.io.names import say_difference
from ames_lite.io.provenance import SAME_STORES, differences
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.neighbor_lists import read_neighbors
from ames_lite.stores.published import store as published
from ames_lite.stores.published.neighbors import read_shortlist
from ames_lite.stores.published.store import PublishedStore, open_store
from ames_lite.stores.row_layout import FAILED

NO_DESCRIPTORS = "no descriptors"  # a note: such images are legal
RUN_BYTES = 1 << 25  # of rows looked at together
SHOWN = 3  # rows that a finding names
OUTSIDE = "positions outside the image"
UNPLACED = "they are read as unknown: no head needs them; model=ransac, lighterglue, pictures do"
ZEROS = "nothing but zeros"
Names = Sequence[str]
Ids = npt.NDArray[np.int64]
Faults = dict[str, npt.NDArray[np.bool_]]
T = TypeVar("T")


@dataclass
class Report:
    """findings: (file, what is wrong with it); notes: (file, what is worth knowing)."""

    findings: list[tuple[str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)

    def find(self, where: str | Path, what: str) -> None:
        self.findings.append((str(where), what))

    def note(self, where: str | Path, what: str) -> None:
        self.notes.append((str(where), what))

    def attempt(self, where: str | Path, read: Callable[[], T]) -> T | None:
        """What `read` returns; None, and a finding, where it raises a user's error."""
        try:
            return read()
        except UserError as error:
            self.find(where, str(error))
            return None


def check_dataset(files: DatasetFiles, splits: Sequence[str], neighbors: str) -> Report:
    """Check all splits, and neighbours and ground truth where they exist. Raises MissingFile."""
    finders = {f"{split} list": partial(files.image_list, split) for split in splits}
    paths = find_all(finders | {split: partial(files.local, split) for split in splits})
    report, stores = Report(), {}
    listed = {split: paths[f"{split} list"] for split in splits}
    lists = {s: report.attempt(path, partial(read_image_list, path)) for s, path in listed.items()}
    sides = ("query", "gallery") if "query" in lists else ("train", "train")
    queries, gallery = (lists.get(side) for side in sides)
    for split, images in lists.items():
        asked = lists.get("query") if split == "gallery" else None
        shortlist = _shortlist(files, neighbors, asked, images)
        stores[split] = check_store(paths[split], images, report, shortlist)
    query_store, gallery_store = (stores.get(side) for side in sides)
    if query_store is not None and gallery_store is not None:
        check_pair(query_store, gallery_store, report)
    if queries is not None and gallery is not None:
        names = (queries.names, gallery.names)
        _check_lists(files, neighbors, names, report, graded="query" in lists)
    return report


def _shortlist(
    files: DatasetFiles, neighbors: str, queries: ImageList | None, gallery: ImageList | None
) -> Ids | None:
    """Rows of a store that has some images only; what is wrong with the lists is found later."""
    if queries is not None and gallery is not None:
        with suppress(UserError):
            return read_shortlist(files.neighbors(neighbors), queries.names, gallery.names)
    return None


def _check_lists(
    files: DatasetFiles, neighbors: str, names: tuple[Names, Names], report: Report, graded: bool
) -> None:
    lists = _found(report, files, "neighbour lists", partial(files.neighbors, neighbors))
    found = lists and report.attempt(lists, lambda: read_neighbors(lists, *names))
    if found and found.rising:
        said = f"the similarities of {found.rising} of {len(found.ids)} lists do not fall"
        report.note(str(lists), f"{said}; the lists keep their order")
    if graded and (truth := _found(report, files, "ground truth", files.ground_truth)):
        report.attempt(truth, lambda: files.read_truth(*names))


def _found(report: Report, files: DatasetFiles, what: str, find: Callable[[], Path]) -> Path | None:
    """The path of a file; where it is not there, that is no fault."""
    try:
        return find()
    except MissingFile:
        report.note(files.root, f"no {what}: not checked")
    except UserError as error:
        report.find(files.root, str(error))
    return None


def check_store(
    path: Path, images: ImageList | None, report: Report, shortlist: Ids | None = None
) -> DescriptorStore | None:
    """One store, against its image list where there is one; returns it where it can be opened."""
    names, sizes = (None, None) if images is None else (images.names, images.sizes)
    store = report.attempt(path, lambda: open_store(path, names, sizes, shortlist=shortlist))
    if store is None:
        return None
    if images is not None and store.names != images.names:
        report.find(path, say_difference(store.names, images.names))
    faults = _published_faults(store) if isinstance(store, PublishedStore) else _faults(store)
    found = dict[str, list[int]]()
    report.attempt(path, partial(_scan, faults, found))
    empty = found.pop(NO_DESCRIPTORS, [])
    for what, rows in found.items():
        said, legal = f"{len(rows)} images have {what}", what == OUTSIDE and store.published
        say = report.note if legal else report.find
        say(path, f"{said}: {_shown(store, rows)}" + f"; {UNPLACED}" * legal)
    _check_chunks(store, report)
    failed = np.flatnonzero(store.status == FAILED).tolist()
    if failed:
        report.note(path, f"{len(failed)} images failed in extraction: {_shown(store, failed)}")
    if empty:
        said = f"{len(empty)} of {len(store)} images have {NO_DESCRIPTORS}"
        report.note(path, f"{said}: {_shown(store, empty)}")
    if len(failed) == len(store):
        report.find(path, "every image failed in extraction")
    return store


def _scan(faults: Iterator[tuple[int, Faults]], found: dict[str, list[int]]) -> None:
    for first, by_what in faults:
        for what, rows in ((what, rows) for what, rows in by_what.items() if rows.any()):
            found.setdefault(what, []).extend((first + np.flatnonzero(rows)).tolist())


def _shown(store: DescriptorStore, rows: Sequence[int]) -> str:
    named = [f"row {row} ('{store.stored_name(row)}')" for row in rows[:SHOWN]]
    return ", ".join(named) + (", …" if len(rows) > SHOWN else "")


def _descriptor_faults(
    descriptors: npt.NDArray[Any], valid: npt.NDArray[np.bool_], packed: bool
) -> Faults:
    zero: npt.NDArray[np.bool_] = ~np.asarray(descriptors.any(axis=-1))
    if packed:  # a code may be all -1; those of a whole image are not
        return {ZEROS: np.asarray((zero | ~valid).all(axis=1) & valid.any(axis=1))}
    return {
        "NaN or infinite descriptors": (~np.isfinite(descriptors).all(axis=-1) & valid).any(axis=1),
        "descriptors of zeros": (zero & valid).any(axis=1),
    }


def _placed_faults(
    xy: npt.NDArray[Any], weight: npt.NDArray[Any], valid: npt.NDArray[np.bool_]
) -> Faults:
    inside = ((xy >= 0) & (xy <= 1)).all(axis=-1)  # NaN is not
    bad = ~np.isfinite(weight) & valid
    bad[:, 1:] |= ~(weight[:, 1:] <= weight[:, :-1]) & valid[:, 1:] & valid[:, :-1]
    unsorted = "weights that are not sorted, or NaN"
    return {OUTSIDE: (~inside & valid).any(axis=1), unsorted: bad.any(axis=1)}


def _faults(store: DescriptorStore) -> Iterator[tuple[int, Faults]]:
    width = store.dim // 8 if store.packed else store.dim
    step = max(1, RUN_BYTES // (store.max_count * (width * store.dtype.itemsize + 13)))
    for first in range(0, len(store), step):
        stop = min(first + step, len(store))
        xy, weight = (store.stored(name, first, stop) for name in ("xy", "weight"))
        descriptors, valid = store.read_descriptors(np.arange(first, stop))
        faults = _descriptor_faults(descriptors, valid, store.packed)
        empty = (store.count[first:stop] == 0) & (store.status[first:stop] != FAILED)
        yield first, {NO_DESCRIPTORS: empty, **faults, **_placed_faults(xy, weight, valid)}


def _published_faults(store: PublishedStore) -> Iterator[tuple[int, Faults]]:
    for first, block in store.blocks(RUN_BYTES):
        faults = _descriptor_faults(block.descriptors, block.valid, store.packed)
        written = ~block.empty
        placed = {} if block.metadata is None else _metadata_faults(block)
        placed[NO_DESCRIPTORS] = ~np.asarray(block.valid.any(axis=1))
        found = {what: rows & written for what, rows in {**faults, **placed}.items()}
        zeros = found.get(ZEROS, block.empty) | block.empty  # and nothing else is said of them
        yield first, {**found, ZEROS: zeros}


def _metadata_faults(block: published.Block) -> Faults:
    metadata, valid = block.metadata, block.valid
    assert metadata is not None and metadata.shape[-1] == published.COLUMNS
    mask, scale = metadata[..., published.MASK], metadata[..., published.SCALE]
    whole = (scale == np.rint(scale)) & (scale >= 0) & (scale <= 255)
    xy, weight = metadata[..., [published.X, published.Y]], metadata[..., published.WEIGHT]
    return {
        "a mask that is neither 0 nor 1": ((mask != 0) & (mask != 1)).any(axis=1),
        "padding before real descriptors": (valid[:, 1:] & ~valid[:, :-1]).any(axis=1),
        "scales that are no numbers of a scale": (~whole & valid).any(axis=1),
        **_placed_faults(xy, weight, valid),
    }


def _check_chunks(store: DescriptorStore, report: Report) -> None:
    """The chunks of a native virtual store still hold the rows that it was made of."""
    found = () if store.published else report.attempt(store.path, store.chunks)
    for path, start, rows, _ in found or ():
        part = report.attempt(path, partial(DescriptorStore.open, path))
        names = store.names[start : start + rows]
        if part is not None and not _called_alike(names, part.names):
            report.find(path, f"as a chunk of {store.path}: {say_difference(part.names, names)}")


def _called_alike(names: Sequence[str], own: Sequence[str]) -> bool:
    """Whether names are those of a chunk, or the same below another folder."""
    return len(names) == len(own) and all(
        name == short or name.endswith(f"/{short}") for name, short in zip(names, own, strict=True)
    )


def check_pair(query: DescriptorStore, gallery: DescriptorStore, report: Report) -> None:
    found = differences(query.provenance, gallery.provenance, SAME_STORES)
    both = ((key, getattr(query, key), getattr(gallery, key)) for key in ("dim", "packed"))
    for key, first, second in (*found, *(one for one in both if one[1] != one[2])):
        report.find(query.path, f"{key} is {first!r} here, {second!r} in {gallery.path}")
