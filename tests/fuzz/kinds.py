"""Every kind of file that is read: how one is made, and read to its end."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch

from ames_lite.datasets.ground_truth import read_ground_truth
from ames_lite.evaluation.tuning import Tuned, read_tuned, write_tuned
from ames_lite.io.checkpoint import HeadMeta, load_head, save_head
from ames_lite.models import AMES
from ames_lite.records import Neighbors, PairScores
from ames_lite.search.index import Entry, IndexRecord, read_record, write_record
from ames_lite.stores import merging, pair_scores
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.fitted import (
    ImagesOf,
    read_binarization,
    read_vocabulary,
    read_vocabulary_images,
    write_binarization,
    write_vocabulary,
)
from ames_lite.stores.global_store import GlobalStore
from ames_lite.stores.neighbor_lists import (
    open_neighbor_rows,
    read_neighbors,
    read_provenance,
    write_neighbors,
)
from ames_lite.stores.pair_scores import PartialScores
from ames_lite.stores.published.safe_pickle import read_npy
from ames_lite.stores.published.store import open_store
from ames_lite.stores.row_writer import GlobalWriter
from ames_lite.training.state import read_state, write_state
from tests.stores.files import read_digests, write_globals
from tests.stores.published.forms import FORMS, images_for, write_published

NAMES = tuple(f"jpg/{i}.jpg" for i in range(9))


class Kind(NamedTuple):
    """A kind of file. read: what is in it; ours: whether this version writes it, with checksums.

    file: where in a folder it lies, if not by the kind's name.
    """

    name: str
    write: Callable[[Path], object]
    read: Callable[[Path], object]
    ours: bool = True
    file: str = ""

    def path(self, folder: Path) -> Path:
        return folder / (self.file or self.name)


def native(path: Path, packed: bool = False, rows: int = 9) -> DescriptorStore:
    """A store of nine images, of which so many are written; one of them has failed."""
    from ames_lite.records import LocalDescriptors

    given = images_for("packed records" if packed else "records")
    dim, dtype = (16, "uint8") if packed else (16, "float16")
    with DescriptorStore.create(path, NAMES, 6, dim, dtype, {"layer": 11}) as store:
        for row, name in enumerate(NAMES[:rows]):
            k = np.s_[row, : given.count[row]]
            parts = (given.descriptors[k], given.xy[k], given.scale[k], given.weight[k])
            if row == 5:
                store.mark_failed(name, "not an image")
            else:
                store.append(name, LocalDescriptors(*parts, size=(32, 48)))
    return DescriptorStore.open(path) if rows == len(NAMES) else store  # type: ignore[return-value]


def coded(path: Path) -> None:
    """The same with product codes of four bytes."""
    from ames_lite.extraction.fitting import compress_store

    native(path).close()
    codebook = np.random.default_rng(0).standard_normal((4, 256, 4)).astype(np.float16)
    compress_store(path, codebook)


def read_all(store: DescriptorStore) -> object:
    with store:
        rows = [store.reason(row) or _row(store, row) for row in range(len(store))]
        told = store.names, store.provenance, store.status, store.count, store.has_descriptors
        return rows, told, store.read_descriptors(range(len(store)), 3), len(store.chunks())


def _row(store: DescriptorStore, row: int) -> object:
    """Of a published form without positions, its descriptors."""
    if store.published and store.provenance["form"].startswith("bits"):
        return store.read_descriptors([row])
    return vars(store.read(row))


def of_native(change: Callable[[DescriptorStore, Path], object]) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        with native(path.with_name("source.hdf5")) as store:
            change(store, path)

    return write


def resume(path: Path) -> object:
    from ames_lite.records import LocalDescriptors

    given = images_for("records")
    with DescriptorStore.create(path, NAMES, 6, 16, "float16", {"layer": 11}, resume=True) as store:
        assert store.failed is not None
        for name in store.todo:
            parts = given.descriptors[0], given.xy[0], given.scale[0], given.weight[0]
            real = [part[: given.count[0]] for part in parts]
            store.append(name, LocalDescriptors(*real, size=(32, 48)))
    return read_all(DescriptorStore.open(path))


def write_vectors(path: Path) -> None:
    with GlobalWriter(path, NAMES, 8, {"layer": 11}) as store:
        store.mark_failed(NAMES[0], "not an image")
        for name in NAMES[1:]:
            store.append(name, vectors()[0])


def vectors() -> Any:
    return np.random.default_rng(0).standard_normal((9, 8)).astype(np.float32)


def read_vectors(path: Path) -> object:
    with GlobalStore(path, names=NAMES) as store:
        told = store.names, store.provenance, store.status, store.failed(0, len(store))
        return store.read(0, len(store)), told, store.part(np.s_[:2], np.s_[:3])


def lists() -> Neighbors:
    ids = np.array([np.roll(np.arange(9), -q)[:5] for q in range(9)], np.int32)
    return Neighbors(ids, np.tile(np.linspace(1, 0.5, 5, dtype=np.float32), (9, 1)), 9)


def read_lists(path: Path) -> object:
    found = read_neighbors(path, NAMES, NAMES, 3)
    rows = open_neighbor_rows(path, NAMES)
    rising = rows.check(slice(0, 9), 3)
    return found.ids, found.sims, rising, rows.take(np.arange(9), 3), read_provenance(path)


LOGITS = np.linspace(-3, 3, 40, dtype=np.float32)


def begin_partial(path: Path) -> None:
    partial = PartialScores(path.parent / "scores.hdf5", {"weights": "x"})
    partial.begin(LOGITS.copy(), np.arange(40) % 3 > 0)
    partial.note(0, 40)
    partial.close()
    partial.path.rename(path)


def resume_partial(path: Path) -> object:
    folder = path.parent / "partial"
    folder.mkdir(exist_ok=True)
    partial = PartialScores(folder / "scores.hdf5", {"weights": "x"})
    partial.path.write_bytes(path.read_bytes())
    found = partial.read(40)
    partial.begin(*found)
    partial.note(0, 40)
    partial.close()
    logit, done = found
    return np.where(done, logit, LOGITS)  # what is not done is scored again


def scores(path: Path) -> None:
    pairs = PairScores(np.arange(40) % 9, np.arange(40) // 9, np.arange(40, dtype=np.float32))
    pair_scores.write_pair_scores(path, pairs, {"weights": "x"}, {"a": 1})


def read_scores(path: Path) -> object:
    digests = read_digests(path)
    found = pair_scores.read_pair_scores(path, digests)
    return vars(found), digests, pair_scores.read_provenance(path)


def published_globals(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["features"] = vectors()


def published_compressed(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "features", data=np.ones((9, 6, 21), np.float32), chunks=(2, 6, 21), compression="gzip"
        )


def head(path: Path) -> None:
    torch.manual_seed(0)
    model = AMES(dim_in=8, dim=32, num_layers=1, dim_feedforward=8)
    save_head(path.parent, model, HeadMeta(desc_name="sift"))


def read_head(path: Path) -> object:
    model, meta = load_head(path)
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}, vars(meta)


def vocabulary(path: Path) -> None:
    write_vocabulary(path, vectors(), {"a": 1}, images=[ImagesOf("set", 1, NAMES)])


def write_index(path: Path) -> None:
    entries = tuple(Entry(name, 9, 9, "d", 1, row, "") for row, name in enumerate(NAMES))
    write_record(path.parent, IndexRecord("/images", {"layer": 11}, "v", 3, entries), path.name)


def read_index(path: Path) -> object:
    return read_record(path.parent, path.name)


TUNED = Tuned(100, 0.5, 1.0, "val", "ames", "w", "map", 0.5)


def write_checkpoint(path: Path) -> None:
    write_state(path, {"seed": 0}, {"weights": torch.arange(60.0), "log_bytes": 3})


def read_checkpoint(path: Path) -> object:
    found = read_state(path, {"seed": 0}, {"weights"})
    return found["weights"].numpy(), found["log_bytes"]


def read_vocabulary_whole(path: Path) -> object:
    return read_vocabulary(path), read_vocabulary_images(path)


def truth() -> dict[str, Any]:
    return {"gnd": [{"ok": np.array([0, 2]), "bbx": np.array([1.5, 2, 3, 4])}] * 2}


def truth_json(path: Path) -> None:
    names = [{"name": name, "positives": list(NAMES[2:4])} for name in NAMES[:2]]
    path.write_text(json.dumps({"queries": names}))


def pickled(content: Callable[[], Any], protocol: int) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(pickle.dumps(content(), protocol))


def read_truth(path: Path) -> object:
    return vars(read_ground_truth(path, NAMES[:2], NAMES))


def objects(path: Path) -> None:
    rows = np.empty(3, object)
    rows[:] = [[1, 2], np.arange(3), "x"]
    np.save(path, rows, allow_pickle=True)


def published_head(path: Path) -> None:
    torch.manual_seed(0)
    model = AMES(dim_in=8, dim=32, num_layers=1, dim_feedforward=8)
    torch.save({"state": model.state_dict()}, path)


def read_published(path: Path) -> object:
    return read_all(open_store(path, NAMES))


def every_kind() -> list[Kind]:
    from tests.fuzz.image_kinds import image_kinds
    from tests.fuzz.other_kinds import other_kinds

    return kinds() + other_kinds() + image_kinds()


def kinds() -> list[Kind]:
    """Stores, and the first of other files."""
    stores = [
        Kind("local.hdf5", native, lambda p: read_all(DescriptorStore.open(p))),
        Kind("packed.hdf5", lambda p: native(p, True), lambda p: read_all(DescriptorStore.open(p))),
        Kind(
            "compressed.hdf5",
            of_native(lambda s, p: merging.join_stores([s], p, compression="gzip")),
            lambda p: read_all(DescriptorStore.open(p)),
        ),
        Kind(
            "virtual.hdf5",
            of_native(lambda s, p: merging.join_stores([s], p, linked=True)),
            lambda p: read_all(DescriptorStore.open(p)),
        ),
        Kind("codes.hdf5", coded, lambda p: read_all(DescriptorStore.open(p))),
        Kind("unfinished.hdf5", lambda p: native(p, rows=6), resume),
        Kind("older.hdf5", lambda p: write_globals(p, NAMES, vectors(), {}), read_vectors, False),
        Kind("vectors.hdf5", write_vectors, read_vectors),
        Kind("nn.hdf5", lambda p: write_neighbors(p, lists(), NAMES, NAMES, {}), read_lists),
        Kind("scores.hdf5", scores, read_scores),
        Kind("partial.hdf5", begin_partial, resume_partial),
        Kind("published_globals.hdf5", published_globals, read_vectors, False),
        Kind("chunked.hdf5", published_compressed, read_published, False),
    ]
    for number, form in enumerate(FORMS):
        stores.append(
            Kind(
                f"published{number}.hdf5",
                lambda p, form=form: write_published(p, images_for(form), form),
                read_published,
                False,
            )
        )
    stores.append(
        Kind(
            "chunks.hdf5",
            lambda p: write_published(p, images_for("records"), "records", 2),
            read_published,
            False,
        )
    )
    others = [
        Kind("nn.pkl", lambda p: write_neighbors(p, lists(), NAMES, NAMES, {}), read_lists, False),
        Kind(
            "nn2.pkl", pickled(lambda: np.stack([lists().sims, lists().ids]), 2), read_lists, False
        ),
        Kind("index.json", write_index, read_index),
        Kind("tuned.json", lambda p: write_tuned(p, TUNED), read_tuned),
        Kind("meta.json", head, lambda p: read_head(p.parent)),
        Kind("last.pt", write_checkpoint, read_checkpoint),
        Kind("vocabulary.npz", vocabulary, read_vocabulary_whole),
        Kind(
            "itq.npz",
            lambda p: write_binarization(p, vectors(), {"a": 1}),
            read_binarization,
        ),
        Kind("gnd2.pkl", pickled(truth, 2), read_truth, False),
        Kind("gnd4.pkl", pickled(truth, 4), read_truth, False),
        Kind("gnd5.pkl", pickled(truth, 5), read_truth, False),
        Kind("gnd.json", truth_json, read_truth, False),
        Kind("objects.npy", objects, read_npy, False),
        Kind("plain.npy", lambda p: np.save(p, vectors()), read_npy, False),
        Kind("weights.safetensors", head, read_head),
        Kind("published.pt", published_head, read_head, False),
        Kind(
            "centroids.pt",
            lambda p: torch.save(torch.from_numpy(vectors()), p),
            read_vocabulary,
            False,
        ),
    ]
    return stores + others
