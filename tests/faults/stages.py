"""The stages that are put under faults: their commands, on a world of two dozen small images."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ames_lite.datasets.image_lists import read_image_list
from ames_lite.io.checkpoint import HeadMeta, save_head
from ames_lite.io.images import save_jpeg
from ames_lite.models import AMES
from ames_lite.stores.neighbor_lists import read_neighbors, write_neighbors
from ames_lite.synthetic import WorldSpec, render_world
from tests.datasets.vpr.miniatures import MINIATURES
from tests.faults.injection import Server

SIFT = ["backbone.arguments.top_k=60", "backbone.arguments.image_size=160"]
SETS = {
    "synthetic-train": WorldSpec(
        "train", 3, 2, 2, queries=0, easy=3, hard=1, junk=0, distractors=0
    ),
    "synthetic-val": WorldSpec("val", 3, 1, 2, queries=1, easy=2, hard=1, junk=0, distractors=2),
    "synthetic": WorldSpec("test", 3, 1, 2, queries=1, easy=2, hard=1, junk=0, distractors=2),
}
WORKERS = "workers=1"
SIDES = "splits=[query,gallery]"
PHOTOS = 6
SEARCHED = ["images={base}/photos", "index={base}/index", "backbone=sift", *SIFT, "workers=1"]
TRAINED = [
    *("experiment=sift_synthetic", "data_root={base}/data", "output_dir={base}/run", "device=cpu"),
    *("epochs=2", "batch_size=4", "max_count=16", "val_dataset=synthetic-val", "save_every=2"),
    *("model.arguments.dim=32", "model.arguments.dim_feedforward=32", "val_num_rerank=5"),
]
OF_SET = ["desc_name=sift", "data_root={base}/data", "dataset=synthetic"]
SCORED = [*OF_SET, "output_dir={base}/run", "device=cpu", "num_rerank=5"]
PLACES = [
    *("desc_name=sift", "backbone.arguments.top_k=60", "workers=1", "sets=[nardo_air]"),
    *("data_root={base}/places", "output_dir={base}/run", "device=cpu", "rerankers=[mutual_nn]"),
    *("vocabulary_options=['num_clusters=4']", "num_rerank=3"),
]


@dataclass(frozen=True)
class Stage:
    """A command. uses: what of the world it is given; clears: what it makes itself.

    between: what happens to the files between a broken run and the next; few: images that are worth
    worker processes, None: as it is; replaces: files that it is given, each by a whole one.
    """

    words: Sequence[str]
    uses: Sequence[str]
    clears: Sequence[str] = ()
    between: Callable[[Path], None] | None = None
    few: int | None = None
    replaces: bool = False

    def command(self, base: Path) -> list[str]:
        return [word.replace("{base}", str(base)) for word in self.words]

    def prepare(self, world: Path, base: Path) -> None:
        """A fresh copy of what it is given."""
        shutil.rmtree(base, ignore_errors=True)
        base.mkdir(parents=True)
        for name in self.uses:
            shutil.copytree(world / name, base / name)
        for pattern in self.clears:
            for path in base.glob(pattern):
                path.unlink()


def _picture(path: Path, seed: int) -> None:
    coarse = np.random.default_rng(seed).integers(0, 255, (18, 20, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_jpeg(path, np.kron(coarse, np.ones((6, 6, 1))).astype(np.uint8), 90)


def _add(base: Path) -> None:
    _picture(base / "photos" / "new.jpg", 100)


def _change(base: Path) -> None:
    _picture(base / "photos" / "0.jpg", 101)


def _remove(base: Path) -> None:
    (base / "photos" / "1.jpg").unlink()


INDEX = ["index", *SEARCHED]
UPDATE = partial(Stage, INDEX, ["photos", "index"])
STAGES = {
    "extract": Stage(
        ["extract_descriptors", *OF_SET, SIDES, *SIFT, "workers=1"], ["data"], ["data/*/*.hdf5"]
    ),
    "extract, 2 workers": Stage(
        ["extract_descriptors", *OF_SET, SIDES, *SIFT, "workers=2"],
        ["data"],
        ["data/*/*.hdf5"],
        few=4,
    ),
    "globals": Stage(["extract_globals", *OF_SET, SIDES], ["data"], ["data/synthetic/*vlad.hdf5"]),
    "vocabulary": Stage(
        ["build_vocabulary", *OF_SET[:2], "dataset=synthetic-train", "num_clusters=4"],
        ["data"],
        ["data/vlad*.npz"],
    ),
    "top-k": Stage(["prepare_topk_global", *OF_SET], ["data"], ["data/synthetic/nn_*"]),
    "merge": Stage(["merge_hdf5", *OF_SET, SIDES], ["data"], ["data/synthetic/sift_*_local.hdf5"]),
    "compress": Stage(["compress_store", *OF_SET, "code_bytes=4"], ["data"], replaces=True),
    "append distractors": Stage(
        ["append_distractors", "dataset=roxford+1m", "desc_name=sift", "globals=[vlad]"]
        + ["data_root={base}/joined"],
        ["joined"],
    ),
    "convert lists": Stage(
        ["prepare_topk_global", *OF_SET, "lists={base}/lists/nn.pkl"],
        ["data", "lists"],
        ["data/synthetic/nn_*"],
    ),
    "prepare set": Stage(
        ["prepare_set", "dataset=nardo_air", "data_root={base}/places"], ["places"]
    ),
    "evaluate": Stage(
        ["evaluate", *SCORED, "weights={base}/heads/fp", "report_queries=2"]
        + ["exports=[json,trec]", "lamb=0.5", "temp=0.5"],
        ["data", "heads"],
    ),
    "tune": Stage(
        ["tune", *SCORED, "dataset=synthetic-val", "weights={base}/heads/fp"], ["data", "heads"]
    ),
    "frontier": Stage(
        ["frontier", *SCORED[:-1], "weights=[{base}/heads/fp]", "cache={base}/cache"]
        + ["num_rerank=[3,5]", "descriptors=[8,20]", "query_desc_num=15"],
        ["data", "heads"],
    ),
    "train": Stage(["train", *TRAINED], ["data"]),
    "train_detector": Stage(
        ["train_detector", "dataset=synthetic-train", "backbone=tiny_random", "batch_size=8"]
        + ["data_root={base}/data", "output_dir={base}/run", "epochs=2", "workers=1"]
        + ["device=cpu", "val_dataset=synthetic-val"],
        ["data"],
    ),
    "search": Stage(
        ["search", *SEARCHED, "query={base}/photos/0.jpg", "model=mutual_nn"]
        + ["output_dir={base}/run", "device=cpu"],
        ["photos"],
    ),
    "index, new": Stage(INDEX, ["photos"]),
    "index, then a picture more": Stage(INDEX, ["photos"], between=_add),
    "index, then one changed": Stage(INDEX, ["photos"], between=_change),
    "index, then one removed": Stage(INDEX, ["photos"], between=_remove),
    "index, product codes": Stage([*INDEX, "code_bytes=4"], ["photos"]),
    "update": UPDATE(),
    "update, then a picture more": UPDATE(between=_add),
    "update, then one changed": UPDATE(between=_change),
    "update, then one removed": UPDATE(between=_remove),
    "place recognition": Stage(["place_recognition", *PLACES], ["places"]),
}


def make_shards(server: Server, world: Path) -> None:
    """What `merge` joins."""
    if not (world / "data/synthetic").exists():
        render_world(SETS["synthetic"], world / "data/synthetic", "synthetic")
    for shard in ("1/2", "2/2"):
        _run(server, world, "extract_descriptors", *OF_SET, SIDES, *SIFT, WORKERS, f"shard={shard}")


def make_small_world(server: Server, world: Path) -> None:
    """What stages that need no training set use, by the commands themselves."""
    _describe(server, world, "synthetic")
    make_shards(server, world)
    _make_heads(world / "heads")
    for number in range(PHOTOS):
        _picture(world / "photos" / f"{number}.jpg", number)
    _run(server, world, *INDEX)
    _picture(world / "photos/update.jpg", 50)


def make_world(server: Server, world: Path) -> None:
    """Everything that a stage uses."""
    for name in ("synthetic-train", "synthetic-val"):
        _describe(server, world, name)
    make_small_world(server, world)
    _make_joined(world / "data", world / "joined")
    _make_lists(world / "data/synthetic", world / "lists/nn.pkl")
    MINIATURES["nardo_air"].write(world / "places", side=96)


def _run(server: Server, world: Path, *words: str) -> None:
    done = server.run([word.replace("{base}", str(world)) for word in words], world)
    assert done.code == 0, f"{words}: {done.err}"


def _describe(server: Server, world: Path, name: str) -> None:
    """Render a set, extract its descriptors, search it."""
    train = name == "synthetic-train"
    render_world(SETS[name], world / "data" / name, name)
    given = [*OF_SET[:2], f"dataset={name}"]
    sides, run = "splits=[train]" if train else SIDES, partial(_run, server, world)
    run("extract_descriptors", *given, sides, *SIFT, WORKERS)
    if not list((world / "data").glob("vlad_*.npz")):
        split = "split=train" if train else "split=gallery"
        run("build_vocabulary", *given, split, "num_clusters=4")
    run("extract_globals", *given, sides)
    run("prepare_topk_global", *given, f"self_search={str(train).lower()}")


def _make_heads(folder: Path) -> None:
    torch.manual_seed(0)
    head = AMES(dim_in=128, dim=32, num_layers=1, dim_feedforward=32)
    made = {"tuned_on": "synthetic-val"}
    save_head(folder / "fp", head, HeadMeta("sift", lamb=0.4, temp=0.7, provenance=made))


def _make_joined(data: Path, root: Path) -> None:
    """The test world as ROxford, the gallery of the validation world as its distractors."""
    shutil.copytree(data / "synthetic", root / "roxford5k")
    (root / "roxford5k/gnd_synthetic.json").rename(root / "roxford5k/gnd_roxford5k.json")
    (root / "revisitop1m").mkdir()
    for name in ("gallery.txt", "sift_gallery_local.hdf5", "sift_gallery_vlad.hdf5"):
        shutil.copy(data / "synthetic-val" / name, root / "revisitop1m")


def _make_lists(data: Path, path: Path) -> None:
    sides = [read_image_list(data / f"{side}.txt").names for side in ("query", "gallery")]
    path.parent.mkdir()
    write_neighbors(path, read_neighbors(data / "nn_sift_vlad.hdf5", *sides), *sides, {})
