"""Every kind of file that is read, damaged at many places: what its reader makes of it.

    python -m tests.stores.damage <folder> <versions> [kind …]

prints, as JSON, how often the file of each kind was read, refused by a user's error, or brought
another exception. They are read in forked processes: damage can bring HDF5 down.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import signal
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch

from ames_lite.datasets.ground_truth import read_ground_truth
from ames_lite.errors import UserError
from ames_lite.io.checkpoint import HeadMeta, load_head, save_head
from ames_lite.models import AMES
from ames_lite.records import Neighbors, PairScores
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
from ames_lite.stores.neighbor_lists import open_neighbor_rows, read_neighbors, write_neighbors
from ames_lite.stores.pair_scores import PartialScores
from ames_lite.stores.published.safe_pickle import read_npy
from ames_lite.stores.published.store import open_store
from ames_lite.stores.row_writer import GlobalWriter
from tests.stores.files import read_digests, write_globals
from tests.stores.published.forms import FORMS, images_for, write_published

NAMES = tuple(f"jpg/{i}.jpg" for i in range(9))
MEMORY = 8 << 30  # a length that was flipped must not take the machine's
CRASHED = "HDF5 hung or crashed"
SECONDS = 10  # for one version of one file


class Kind(NamedTuple):
    """How a file is made at a path, and read to its end."""

    name: str
    write: Callable[[Path], object]
    read: Callable[[Path], object]


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


def read_all(store: DescriptorStore) -> None:
    with store:
        for row in range(len(store)):
            try:
                store.read(row)
            except UserError:
                store.reason(row)
        store.fingerprint(), store.chunks(), store.count.sum()
        store.read_descriptors(range(len(store)), 3)


def of_native(change: Callable[[DescriptorStore, Path], object]) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        with native(path.with_name("source.hdf5")) as store:
            change(store, path)

    return write


def resume(path: Path) -> None:
    from ames_lite.records import LocalDescriptors

    given = images_for("records")
    with DescriptorStore.create(path, NAMES, 6, 16, "float16", {"layer": 11}, resume=True) as store:
        assert store.failed is not None
        for name in store.todo:
            parts = given.descriptors[0], given.xy[0], given.scale[0], given.weight[0]
            real = [part[: given.count[0]] for part in parts]
            store.append(name, LocalDescriptors(*real, size=(32, 48)))


def write_vectors(path: Path) -> None:
    with GlobalWriter(path, NAMES, 8, {"layer": 11}) as store:
        store.mark_failed(NAMES[0], "not an image")
        for name in NAMES[1:]:
            store.append(name, vectors()[0])


def vectors() -> Any:
    return np.random.default_rng(0).standard_normal((9, 8)).astype(np.float32)


def read_vectors(path: Path) -> None:
    with GlobalStore(path, names=NAMES) as store:
        store.read(0, len(store)), store.failed(0, len(store)), store.part(np.s_[:2], np.s_[:3])


def lists() -> Neighbors:
    ids = np.array([np.roll(np.arange(9), -q)[:5] for q in range(9)], np.int32)
    return Neighbors(ids, np.tile(np.linspace(1, 0.5, 5, dtype=np.float32), (9, 1)), 9)


def read_lists(path: Path) -> None:
    read_neighbors(path, NAMES, NAMES, 3)
    rows = open_neighbor_rows(path, NAMES)
    rows.check(slice(0, 9), 3)
    rows.take(np.arange(9), 3)


def begin_partial(path: Path) -> None:
    partial = PartialScores(path.parent / "scores.hdf5", {"weights": "x"})
    partial.begin(np.zeros(40, np.float32), np.zeros(40, bool))
    partial.note(0, 40)
    partial.close()
    partial.path.rename(path)


def resume_partial(path: Path) -> None:
    folder = path.parent / "partial"
    folder.mkdir(exist_ok=True)
    partial = PartialScores(folder / "scores.hdf5", {"weights": "x"})
    partial.path.write_bytes(path.read_bytes())
    partial.begin(*partial.read(40))
    partial.note(0, 40)
    partial.close()


def scores(path: Path) -> None:
    pairs = PairScores(np.arange(40) % 9, np.arange(40) // 9, np.arange(40, dtype=np.float32))
    pair_scores.write_pair_scores(path, pairs, {"weights": "x"}, {"a": 1})


def read_scores(path: Path) -> None:
    pair_scores.read_pair_scores(path, read_digests(path))
    pair_scores.read_provenance(path)


def published_globals(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["features"] = vectors()


def published_compressed(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "features", data=np.ones((9, 6, 21), np.float32), chunks=(2, 6, 21), compression="gzip"
        )


def head(path: Path) -> None:
    model = AMES(dim_in=8, dim=32, num_layers=1, dim_feedforward=8)
    save_head(path.parent, model, HeadMeta(desc_name="sift"))
    meta = json.loads((path.parent / "meta.json").read_text())
    meta.pop("weights_sha256")  # it would refuse every change
    (path.parent / "meta.json").write_text(json.dumps(meta))


def read_head(path: Path) -> None:
    load_head(path)


def vocabulary(path: Path) -> None:
    write_vocabulary(path, vectors(), {"a": 1}, images=[ImagesOf("set", 1, NAMES)])


def read_vocabulary_whole(path: Path) -> None:
    read_vocabulary(path), read_vocabulary_images(path)


def truth() -> dict[str, Any]:
    return {"gnd": [{"ok": np.array([0, 2]), "bbx": np.array([1.5, 2, 3, 4])}] * 2}


def truth_json(path: Path) -> None:
    names = [{"name": name, "positives": list(NAMES[2:4])} for name in NAMES[:2]]
    path.write_text(json.dumps({"queries": names}))


def pickled(content: Callable[[], Any], protocol: int) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(pickle.dumps(content(), protocol))


def read_truth(path: Path) -> None:
    read_ground_truth(path, NAMES[:2], NAMES)


def objects(path: Path) -> None:
    rows = np.empty(3, object)
    rows[:] = [[1, 2], np.arange(3), "x"]
    np.save(path, rows, allow_pickle=True)


def published_head(path: Path) -> None:
    model = AMES(dim_in=8, dim=32, num_layers=1, dim_feedforward=8)
    torch.save({"state": model.state_dict()}, path)


def read_published_head(path: Path) -> None:
    load_head(path)


def kinds() -> list[Kind]:
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
        Kind("unfinished.hdf5", lambda p: native(p, rows=6), resume),
        Kind("globals.hdf5", lambda p: write_globals(p, NAMES, vectors(), {}), read_vectors),
        Kind("vectors.hdf5", write_vectors, read_vectors),
        Kind("nn.hdf5", lambda p: write_neighbors(p, lists(), NAMES, NAMES, {}), read_lists),
        Kind("scores.hdf5", scores, read_scores),
        Kind("partial.hdf5", begin_partial, resume_partial),
        Kind("published_globals.hdf5", published_globals, read_vectors),
        Kind("chunked.hdf5", published_compressed, lambda p: read_all(open_store(p, NAMES))),
    ]
    for number, form in enumerate(FORMS):
        stores.append(
            Kind(
                f"published{number}.hdf5",
                lambda p, form=form: write_published(p, images_for(form), form),
                lambda p: read_all(open_store(p, NAMES)),
            )
        )
    stores.append(
        Kind(
            "chunks.hdf5",
            lambda p: write_published(p, images_for("records"), "records", 2),
            lambda p: read_all(open_store(p, NAMES)),
        )
    )
    others = [
        Kind("nn.pkl", lambda p: write_neighbors(p, lists(), NAMES, NAMES, {}), read_lists),
        Kind("nn2.pkl", pickled(lambda: np.stack([lists().sims, lists().ids]), 2), read_lists),
        Kind("vocabulary.npz", vocabulary, read_vocabulary_whole),
        Kind(
            "itq.npz",
            lambda p: write_binarization(p, vectors(), {"a": 1}),
            read_binarization,
        ),
        Kind("gnd2.pkl", pickled(truth, 2), read_truth),
        Kind("gnd4.pkl", pickled(truth, 4), read_truth),
        Kind("gnd5.pkl", pickled(truth, 5), read_truth),
        Kind("gnd.json", truth_json, read_truth),
        Kind("objects.npy", objects, read_npy),
        Kind("plain.npy", lambda p: np.save(p, vectors()), read_npy),
        Kind("weights.safetensors", head, read_head),
        Kind("published.pt", published_head, read_published_head),
        Kind(
            "centroids.pt",
            lambda p: torch.save(torch.from_numpy(vectors()), p),
            read_vocabulary,
        ),
    ]
    return stores + others


def versions(whole: bytes, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Damaged copies: a bit, a byte, a block of zeros, a tail that is absent or random."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        at = int(rng.integers(len(whole)))
        damaged = bytearray(whole)
        how = ("bit", "byte", "byte", "zeros", "cut", "ones")[number % 6]
        if how == "bit":
            damaged[at] ^= 1 << int(rng.integers(8))
        elif how == "byte":
            damaged[at] ^= int(rng.integers(1, 256))
        elif how in ("zeros", "ones"):
            end = min(len(whole), at + int(rng.integers(1, 65)))
            damaged[at:end] = (b"\0" if how == "zeros" else b"\xff") * (end - at)
        else:
            del damaged[at:]
        yield f"{how} at {at}", bytes(damaged)


def outcomes(kind: Kind, folder: Path, count: int, seed: int = 0) -> Counter[str]:
    """How often the reader gave which outcome."""
    folder.mkdir(parents=True)
    path = folder / kind.name
    kind.write(path)
    kind.read(path)  # undamaged
    left = list(versions(path.read_bytes(), count, seed))
    found: list[str] = []
    while left:
        came, signal_number = _in_a_fork(kind, path, left)
        if signal_number:
            came.append(f"{CRASHED}: signal {signal_number} ({left[len(came)][0]})")
        left = left[len(came) :]
        found += came
    return Counter(found)


def _in_a_fork(kind: Kind, path: Path, left: list[tuple[str, bytes]]) -> tuple[list[str], int]:
    """Outcomes of as many versions as a process survives, and the signal that ended it (or 0)."""
    log = path.with_name("outcomes")
    log.write_text("[]")
    child = os.fork()
    if not child:
        came: list[str] = []
        for said, damaged in left:
            path.write_bytes(damaged)
            signal.alarm(SECONDS)
            came.append(outcome(kind, path, said))
            log.write_text(json.dumps(came))
        sys.exit()  # as a command ends: HDF5 closes what is open
    _, status = os.waitpid(child, 0)
    came = json.loads(log.read_text())
    died = os.WTERMSIG(status) if os.WIFSIGNALED(status) and len(came) < len(left) else 0
    return came, died


def outcome(kind: Kind, path: Path, said: str) -> str:
    """What became of reading a damaged file: read, refused, or what else was raised."""
    try:
        kind.read(path)
    except UserError as error:
        named = str(path.parent) in str(error)
        return "refused" if named else f"refused without a path ({said}): {error!s:.300}"
    except Exception as error:  # noqa: BLE001 - to be counted
        return f"{type(error).__name__} ({said}): {''.join(traceback.format_exception(error)[-2:])}"
    return "read"


def main() -> None:
    """See the head of the file."""
    folder, count, wanted = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("ignore")
    for kind in kinds():
        if not wanted or kind.name in wanted:
            found = outcomes(kind, folder / kind.name.replace(".", "_"), count)
            sys.stdout.write(json.dumps([kind.name, found]) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
