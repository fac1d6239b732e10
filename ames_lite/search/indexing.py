"""The index of a folder of one's own images: only what is new or changed is described.

A file whose size and time of change are as before is taken as it was; where only the time differs
its bytes decide. Killed at any moment, the next run continues. An image that cannot be read has an
entry with the reason, and is tried again once its file changes.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.errors import require
from ames_lite.extraction.aggregators import Vlad
from ames_lite.extraction.backbones.interface import Backbone
from ames_lite.extraction.descriptors import extract_descriptors
from ames_lite.extraction.fitting import compress_store, fit_codebook, is_compressed
from ames_lite.extraction.globals import extract_globals, from_store
from ames_lite.extraction.vocabulary import Source, build_vocabulary
from ames_lite.io.digest import array_digest, file_digest, names_digest
from ames_lite.io.images import no_images
from ames_lite.io.provenance import check_provenance, differences
from ames_lite.io.writing import locked
from ames_lite.retrieval.product_codes import check_code_bytes
from ames_lite.search import index
from ames_lite.search.index import REMEDY, Entry, ImageFile, IndexRecord, local_path, segments_of
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.fitted import write_vocabulary
from ames_lite.stores.global_store import GlobalStore
from ames_lite.stores.merging import join_stores
from ames_lite.stores.row_layout import FAILED

TICK_NS = 2_000_000_000  # file systems keep times as coarse as this
MOST_SEGMENTS = 8  # more are joined, all but the largest
CLUSTERS = (64, 32, 16, 8)  # of a vocabulary that is fitted: the first that there are enough for
TOKENS_PER_CLUSTER = 40
IMAGES_OF_VOCABULARY = 5000  # at most


class Changes(NamedTuple):
    """How a folder differs from what an index knows of it."""

    kept: list[Entry]  # that still hold, with the file's time of change as it is now
    todo: list[ImageFile]  # to describe
    new: int
    changed: int
    gone: int
    hashed: bool  # whether bytes had to decide


class Indexed(NamedTuple):
    folder: Path
    total: int
    changes: Changes
    failed: dict[str, str]  # images that cannot be described, and why
    empty: list[str]  # images without descriptors
    notes: tuple[str, ...]  # sentences for the user


def index_images(
    images: str | Path,
    folder: str | Path,
    backbone: Backbone,
    *,
    vocabulary: str | Path | None = None,
    code_bytes: int | None = None,
    workers: int = 1,
    rebuild: bool = False,
) -> Indexed:
    """Update the index in `folder` to what the folder `images` holds; make it where there is none.

    vocabulary: of VLAD; None: the backbone's own vectors, or where it has none the index' own
    vocabulary, fitted on the images of the first run. An index of another backbone or other
    settings is made anew; with another vocabulary only the vectors are. code_bytes: of a local
    descriptor as product codes; None: as the index has them, at first float16. workers: processes
    that describe (above 1 call from under a main guard). Raises MissingFile, or BadInput: no
    images, the index of another folder, another process at it.
    """
    files, notes = index.scan_images(images)
    if not files:
        raise no_images(Path(images))
    if code_bytes is not None:
        check_code_bytes(code_bytes, backbone.dim)
    given = None if vocabulary is None else Vlad(vocabulary)
    root, place = Path(images).absolute(), Path(folder).absolute()
    filled = place.is_dir() and any(place.iterdir())
    other = place.is_file() or (filled and not index.is_index(place))
    what = "the place of the index holds something else"
    require(not other, what, where=place, expected="an index, an empty folder or a new one")
    with locked(place, "another process is indexing this folder", "wait until it has finished"):
        indexed = _Run(root, place, backbone, workers, given, code_bytes).run(files, rebuild)
    return indexed._replace(notes=(*notes, *indexed.notes))


def compare(
    files: Sequence[ImageFile],
    known: Mapping[str, Entry],
    looked: int,
    digest: Callable[[str], str],
) -> Changes:
    """What changed since the folder was listed, at `looked` (ns). A file that was touched, or
    changed within a tick of that moment, is compared by the digest of its bytes.
    """
    kept, todo, hashed = [], [], False
    for file in files:
        entry = known.get(file.name)
        if entry is None or entry.size != file.size:
            todo.append(file)
            continue
        if entry.mtime_ns != file.mtime_ns or file.mtime_ns > looked - TICK_NS:
            hashed = True
            if digest(file.name) != entry.digest:
                todo.append(file)
                continue
        kept.append(entry._replace(mtime_ns=file.mtime_ns))
    new = sum(file.name not in known for file in todo)
    gone = len(known.keys() - {file.name for file in files})
    return Changes(kept, todo, new, len(todo) - new, gone, hashed)


@dataclass
class _Run:
    root: Path
    place: Path
    backbone: Backbone
    workers: int
    vocabulary: Vlad | None
    code_bytes: int | None

    def __post_init__(self) -> None:
        self.made = check_provenance(self.backbone.provenance)
        self.own_vectors = self.vocabulary is None and self.backbone.global_kind is not None
        self.notes: list[str] = []
        self.looked = time.time_ns()

    def run(self, files: Sequence[ImageFile], rebuild: bool) -> Indexed:
        old, pending = (None, None) if rebuild else self._records()
        known = {} if old is None else self._still_there(old.entries)
        if pending is not None:  # an earlier run was interrupted; what changed since is seen below
            self.notes.append(f"an interrupted run is finished: {len(pending.entries)} images")
            known |= {entry.name: entry for entry in self._describe(pending)}
        looked_before = min((r.scanned_ns for r in (old, pending) if r), default=0)
        changes = compare(files, known, looked_before, self._digest)
        entries = [*changes.kept, *self._describe_new(changes.todo)]
        digest = self._settle_vocabulary("" if old is None else old.vocabulary, entries)
        self._compress(entries)
        if old is not None and old.vocabulary != digest:
            self.notes.append("the vocabulary is another: the vectors are made again")
        entries = self._joined(entries) if changes.todo or changes.gone else entries
        entries.sort(key=lambda entry: entry.name)
        record = IndexRecord(str(self.root), self.made, digest, self.looked, tuple(entries))
        self._fill_vectors(record)
        if old is None or changes.hashed or replace(old, scanned_ns=self.looked) != record:
            index.write_record(self.place, record)
        (self.place / index.PENDING).unlink(missing_ok=True)
        index.remove_unnamed(self.place, [record])
        failed = {entry.name: entry.failed for entry in entries if entry.failed}
        empty = index.empty_names(self.place, entries)
        return Indexed(self.place, len(entries), changes, failed, empty, tuple(self.notes))

    def _records(self) -> tuple[IndexRecord | None, IndexRecord | None]:
        """The index and what an interrupted run planned, where usable; stores that neither names
        are removed, those of an unusable one when the new index is complete.
        """
        found = [index.read_record(self.place), index.read_record(self.place, index.PENDING)]
        index.remove_unnamed(self.place, [record for record in found if record is not None])
        return self._usable(found[0]), self._usable(found[1], quietly=True)

    def _usable(self, record: IndexRecord | None, quietly: bool = False) -> IndexRecord | None:
        """The record, unless it was made with other settings. BadInput for another folder's."""
        if record is None:
            return None
        fine = record.images == str(self.root)
        what = f"the index is that of the folder {record.images}"
        expected = f"an index of {self.root}, or a new folder"
        remedy = "another index=, or none; rebuild=true if the folder was moved"
        require(fine, what, where=self.place, expected=expected, remedy=remedy)
        both = differences(record.backbone, self.made)
        other = [f"{key} was {a!r} and is {b!r}" for key, a, b in both]
        if other and not quietly:
            self.notes.append(f"the index is made anew: {'; '.join(other)}")
        return None if other else record

    def _still_there(self, entries: Sequence[Entry]) -> dict[str, Entry]:
        """The entries whose segment has all that cannot be recomputed: VLAD vectors can."""
        there = set()
        for segment in segments_of(entries):
            needed = (local_path(self.place, segment), self._own_vectors(segment))
            if all(path is None or path.is_file() for path in needed):
                there.add(segment)
        return {entry.name: entry for entry in entries if entry.segment in there}

    def _digest(self, name: str) -> str:
        """Empty where the file cannot be read."""
        with suppress(OSError):
            return file_digest(self.root / name)
        return ""

    def _describe_new(self, todo: Sequence[ImageFile]) -> list[Entry]:
        """A new segment; its plan is written first, as the run may be killed."""
        if not todo:
            return []
        number = index.first_free(self.place)
        planned = tuple(
            Entry(*file, self._digest(file.name), number, row, "") for row, file in enumerate(todo)
        )
        plan = IndexRecord(str(self.root), self.made, "", self.looked, planned)
        index.write_record(self.place, plan, index.PENDING)
        return self._describe(plan)

    def _describe(self, plan: IndexRecord) -> list[Entry]:
        """Describe the images of a plan, or resume; returns their entries."""
        segment = plan.entries[0].segment
        path = local_path(self.place, segment)
        if not is_compressed(path):
            names, vectors = [entry.name for entry in plan.entries], self._own_vectors(segment)
            how: Any = {"on_bad_image": "skip", "say_bad": False}  # once, for the whole index
            how |= {"local": path, "vectors": vectors, "workers": self.workers}
            extract_descriptors(self.backbone, self.root, names, **how)
        with DescriptorStore.open(path) as store:
            rows = np.flatnonzero(store.status == FAILED).tolist()
            bad = {row: store.reason(row).split("\n")[0] for row in rows}
        return [entry._replace(failed=bad.get(entry.row, "")) for entry in plan.entries]

    def _compress(self, entries: Sequence[Entry]) -> None:
        """Product codes in all segments, where they are asked for or some have them."""
        floats, codebook, wanted = [], None, self.code_bytes
        for path in [local_path(self.place, segment) for segment in segments_of(entries)]:
            with DescriptorStore.open(path, REMEDY) as store:
                codebook = codebook if store.codebook is None else store.codebook
                floats += [path] if store.codebook is None else []
        if codebook is None and wanted is not None:
            largest = max(floats, key=lambda path: path.stat().st_size)
            with DescriptorStore.open(largest, REMEDY) as store:
                codebook = fit_codebook(store, wanted)
        if codebook is None:
            return
        what = f"code_bytes={wanted}, and the index has {len(codebook)}"
        fine = wanted in (None, len(codebook))
        require(fine, what, where=self.place, expected="one number", remedy="rebuild=true")
        for path in floats:
            compress_store(path, codebook)

    def _own_vectors(self, segment: int) -> Path | None:
        """Path of the backbone's own vectors; None where VLAD is used."""
        return index.vector_path(self.place, segment, "") if self.own_vectors else None

    def _settle_vocabulary(self, old: str, entries: Sequence[Entry]) -> str:
        """Choose the vocabulary and copy it into the index; its digest, empty for own vectors."""
        if self.own_vectors:
            return ""
        if self.vocabulary is None and old and index.vocabulary_path(self.place, old).is_file():
            self.vocabulary = Vlad(index.vocabulary_path(self.place, old))
        vlad = self.vocabulary = self.vocabulary or self._fitted(entries)
        vlad.check(self.made, self.backbone.dim, "this run")
        digest = vocabulary_digest(vlad)
        path = index.vocabulary_path(self.place, digest)
        if not path.is_file():
            write_vocabulary(path, vlad.centroids, vlad.made)
        return digest

    def _fitted(self, entries: Sequence[Entry]) -> Vlad:
        stores = [local_path(self.place, segment) for segment in segments_of(entries)]
        tokens = 0
        for path in stores:
            with DescriptorStore.open(path) as store:
                tokens += int(store.count.sum())
        fits = [num for num in CLUSTERS if num * TOKENS_PER_CLUSTER <= tokens]
        what = f"{tokens} descriptors of {len(entries)} images are too few for a vocabulary"
        expected = f"at least {CLUSTERS[-1] * TOKENS_PER_CLUSTER} descriptors"
        remedy = "more images, or vocabulary=<a vlad_*.npz that was built on others>"
        require(fits, what, where=self.root, expected=expected, remedy=remedy)
        sources = [Source(store, dataset=self.root.name) for store in stores]
        how: Any = {"sample_per_cluster": 1000, "max_images": IMAGES_OF_VOCABULARY}
        path = self.place / "vocabulary_fitting.npz"
        build_vocabulary(sources, path, num_clusters=fits[0], overwrite=True, **how)
        note = f"no vocabulary is given: one of {fits[0]} clusters is fitted on the images"
        self.notes.append(note)
        return Vlad(path)

    def _fill_vectors(self, record: IndexRecord) -> None:
        """The VLAD vectors of segments without; those that the index names are complete."""
        if (vlad := self.vocabulary) is None:
            return
        for segment in segments_of(record.entries):
            path = index.vector_path(self.place, segment, record.vocabulary)
            if path.is_file():
                continue
            with DescriptorStore.open(local_path(self.place, segment)) as store:
                source = from_store(store, vlad)
                extract_globals(source, path, dtype="float16", on_bad_image="skip", say_bad=False)

    def _joined(self, entries: list[Entry]) -> list[Entry]:
        """The entries, with segments joined where they are many or mostly unused rows."""
        alive, chosen = Counter(entry.segment for entry in entries), set()
        for number, count in alive.items():
            with DescriptorStore.open(local_path(self.place, number)) as store:
                if 2 * count < len(store):
                    chosen.add(number)
        if len(alive) > MOST_SEGMENTS:
            chosen |= {number for number, _ in alive.most_common()[1:]}
        moved = sorted(entry for entry in entries if entry.segment in chosen)
        if not moved:
            return entries
        number = index.first_free(self.place)
        self._copy(moved, number)
        new = [entry._replace(segment=number, row=row) for row, entry in enumerate(moved)]
        return [entry for entry in entries if entry.segment not in chosen] + new

    def _copy(self, moved: Sequence[Entry], number: int) -> None:
        """Rows of several segments into a new one: what cannot be recomputed."""
        local = partial(local_path, self.place)
        kinds: Any = (DescriptorStore.open, local), (GlobalStore, self._own_vectors)
        for opening, path_of in kinds:
            if (target := path_of(number)) is None:
                continue
            with ExitStack() as stack:
                paths = {n: path_of(n) for n in segments_of(moved)}
                stores = {n: stack.enter_context(opening(path)) for n, path in paths.items()}
                rows: Any = [_Row(stores[entry.segment], entry) for entry in moved]
                join_stores(rows, target, overwrite=True)


class _Row:
    """One row of a store of local or global descriptors, as `join_stores` takes it."""

    def __init__(self, store: Any, entry: Entry) -> None:
        self.schema, self.path, self.provenance = store.schema, store.path, store.provenance
        self.has_checksums, self.layout = store.has_checksums, store.layout
        self.codebook = store.codebook
        self.names = (entry.name,)
        self._stored, self._row = store.stored, entry.row

    def __len__(self) -> int:
        return 1

    def stored(self, name: str, _first: int, _stop: int) -> npt.NDArray[Any]:
        return self._stored(name, self._row, self._row + 1)


def vocabulary_digest(vlad: Vlad) -> str:
    """What tells a vocabulary, with the way in which it is used, from another."""
    use = (vlad.distance, str(bool(vlad.made.get("unit", False))))
    return names_digest([array_digest(vlad.centroids), *use])
