"""Files that are no stores: results, lists, tables, ground truth, layouts, networks, settings."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ames_lite.cli import compose
from ames_lite.cli.shell import settings_of
from ames_lite.datasets.custom.files import read_description, write_custom
from ames_lite.datasets.custom.split import read_instances
from ames_lite.datasets.custom.truth import CustomOptions, make_custom
from ames_lite.datasets.image_lists import (
    ImageList,
    read_families,
    read_image_list,
    write_families,
    write_image_list,
)
from ames_lite.datasets.vpr import read_layout
from ames_lite.evaluation.comparison import Entry as Compared
from ames_lite.evaluation.comparison import compare
from ames_lite.evaluation.comparison_table import render
from ames_lite.evaluation.results_file import read_results
from ames_lite.extraction.backbones import pretrained
from ames_lite.extraction.backbones.detector import (
    SpatialAttention2d,
    load_detector,
    save_detector,
)
from ames_lite.io.checkpoint import HeadMeta, save_head
from ames_lite.io.json_file import write_json_file
from ames_lite.retrieval.whitening import Whitening
from ames_lite.search import index
from ames_lite.stores.fitted import read_whitening, write_vocabulary, write_whitening
from tests.datasets.vpr.miniatures import MINIATURES
from tests.evaluation.results_toy import make_results
from tests.fuzz import kinds as stores
from tests.fuzz.kinds import NAMES, Kind, vectors
from tests.helpers import touch
from tests.models.seeded import seeded_elvis, seeded_head

LABELS = np.array([3, 3, 5, 5, 5, 7, 7, 9, 9])


# ---------------------------------------------------------------- results and settings


def read_and_compare(path: Path) -> object:
    found = read_results(path)
    other = make_results(3)
    entries = [Compared("mine", (str(path),), (found,)), Compared("other", ("other",), (other,))]
    return found, render(compare(entries[:1]), "csv"), render(compare(entries), "markdown")


EXPERIMENT = """\
# @package _global_
model:
  arguments:
    dim: 64
epochs: 3
lr: 1e-4
"""


def write_experiment(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(EXPERIMENT)


def read_experiment(path: Path) -> object:
    os.environ[compose.CONFIG_DIR] = str(path.parents[1])
    for kept in (compose._keys_of, compose._composed):
        kept.cache_clear()
    try:
        return vars(compose.compose("train", ["experiment=mine"]))
    finally:
        del os.environ[compose.CONFIG_DIR]


def write_settings(path: Path) -> None:
    path.write_text("num_rerank: 5\nlamb:\n- 0.5\n- 1.0\nweights: null\nname: ä\n")


# ---------------------------------------------------------------- lists, labels, ground truth


def write_list(path: Path) -> None:
    sizes = np.tile([32, 48], (9, 1)).astype(np.int32)
    write_image_list(path, ImageList(NAMES, LABELS, sizes))


def write_labels(path: Path, rows: list[str]) -> None:
    touch(path.parent / "images", NAMES)
    path.write_text("\n".join(rows) + "\n")


def read_custom(path: Path, **more: Any) -> object:
    return vars(make_custom(CustomOptions(path.parent / "images", str(path), **more)))


def labels_csv(path: Path) -> None:
    write_labels(path, ["file,label", *(f"{n},{m}" for n, m in zip(NAMES, LABELS, strict=True))])


def pairs_csv(path: Path) -> None:
    rows = [f"{NAMES[0]},{NAMES[2]},easy", f"{NAMES[1]},{NAMES[3]},hard"]
    write_labels(path, ["query,gallery,grade", *rows])


def positions_csv(path: Path) -> None:
    rows = [f"{name},{48 + i / 1e5},{11 + i / 1e5}" for i, name in enumerate(NAMES)]
    write_labels(path, ["file,lat,lon", *rows])


def frames_csv(path: Path) -> None:
    write_labels(path, ["file,frame", *(f"{name},{i}" for i, name in enumerate(NAMES))])


def matrix(path: Path) -> None:
    for side in ("query", "gallery"):
        write_image_list(path.parent / f"{side}.txt", ImageList(NAMES))
    touch(path.parent / "images", NAMES)
    values = np.eye(9, k=1, dtype=np.uint8)
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        np.savez(path, values=values)


def read_matrix(path: Path) -> object:
    lists = {key: path.parent / f"{side}.txt" for side, key in SIDE_KEYS.items()}
    return read_custom(path, **lists)


SIDE_KEYS = {"query": "queries", "gallery": "gallery"}


def description(path: Path) -> None:
    labels_csv(path.parent / "labels.csv")
    options = CustomOptions(path.parent / "images", str(path.parent / "labels.csv"))
    write_custom(path.parent, make_custom(options), options, "category", "val", True)


def families(path: Path) -> None:
    write_families(path, [(label, f"f{label % 4}", f"i{label}", "") for label in (3, 5, 7, 9)])


def instances(path: Path) -> None:
    path.write_text("instance,family,kind\na,x,book\nb,x,book\nc,y,poster\n")


# ---------------------------------------------------------------- published layouts


def layout(name: str, file: str, reader: str, **options: Any) -> Kind:
    """A file of a set in miniature, in its place; the whole set is read."""
    small = MINIATURES[name]

    def write(path: Path) -> None:
        root = path.parents[len(Path(file).parts) - 1]
        small.write(root.parent)

    def read(path: Path) -> object:
        root = path.parents[len(Path(file).parts) - 1]
        return vars(read_layout(reader, root, options, "page"))

    place = f"{small.folder}/{file}"
    return Kind(f"{name}: {Path(file).name}", write, read, False, place)


def layouts() -> list[Kind]:
    two = {"database": "ref", "queries": "query"}
    arrays = {
        "db_images": "msls_val_dbImages.npy",
        "query_images": "msls_val_qImages.npy",
        "query_rows": "msls_val_qIdx.npy",
        "positives": "msls_val_pIdx.npy",
    }
    poses = {"database_rows": [0, 127], "query_rows": [127, 245], "columns": 2, "radius": 8.0}
    matlab = {"structure": "oxdatapart.mat", "images": "oxDataPart"}
    nardo = {"database": "reference_images", "queries": "query_images"}
    ids = {"queries": "image_ids/image_query_ids.txt", "positives": "image_ids/positive_ids.txt"}
    baidu = {
        "database": "training_images_undistort",
        "queries": "query_images_undistort",
        "database_poses": "training_gt",
        "query_poses": "query_gt",
    }
    truth = "ground_truth_new.npy"
    folders = {"database": "db_images", "queries": "q_images", "poses": "pose_topic_list.npy"}
    return [
        layout("17places", truth, "traverses", ground_truth=truth, **two),
        *(layout("msls_val", file, "index_arrays", **arrays) for file in arrays.values()),
        layout("hawkins", "pose_topic_list.npy", "pose_rows", **folders, **poses),
        layout("oxford_file", "oxdatapart.mat", "db_struct", **matlab),
        layout("nardo_air", "gt_matches.csv", "matches_csv", matches="gt_matches.csv", **nardo),
        layout("ilias", ids["positives"], "ilias", images=".", **ids),
        layout("ilias", "lamp/query/1.txt", "ilias", images=".", **ids),
        layout("baidu", "training_gt/10.camera", "baidu", max_angle=20, **baidu),
        layout("sop", "test_gallery.txt", "labelled", queries_in_gallery=True),
        layout("instre", "gnd_instre.pkl", "official", ground_truth="gnd_instre.pkl"),
    ]


# ---------------------------------------------------------------- networks and what is fitted


def published_heads() -> list[Kind]:
    forms: dict[str, Callable[[], torch.nn.Module]] = {
        "prenorm": partial(seeded_head, dim_in=8, dim=32, pre_norm=True, num_layers=1),
        "binary": partial(seeded_head, dim_in=8, dim=32, binary=True, num_layers=1),
        "elvis": partial(seeded_elvis, dim_in=8, dim=32),
    }

    def write(path: Path, make: Callable[[], torch.nn.Module], old: bool = False) -> None:
        content = {"state": make().state_dict(), "epoch": 3}
        torch.save(content, path, _use_new_zipfile_serialization=not old)

    found = [
        Kind(f"{name}.pt", partial(write, make=make), stores.read_head, False)
        for name, make in forms.items()
    ]
    old = partial(write, make=forms["prenorm"], old=True)
    return [*found, Kind("legacy.pt", old, stores.read_head, False)]


def native_head(path: Path) -> None:
    save_head(path, seeded_elvis(dim_in=8, dim=32), HeadMeta("sift", 0.5, 1.0), half=True)


FEATURES = {"backbone": "cvnet", "variant": "r50", "weights": "w", "layer": 3}


def detector(path: Path) -> None:
    torch.manual_seed(0)
    save_detector(path.parent / "detector.pt", SpatialAttention2d(6, 4), {"backbone": FEATURES})


def read_detector(path: Path) -> object:
    found = load_detector(path.parent / "detector.pt", 6, FEATURES)
    return {name: value.numpy() for name, value in found.state_dict().items()}


def plain_detector(path: Path) -> None:
    torch.manual_seed(0)
    torch.save(SpatialAttention2d(6, 4).state_dict(), path)


def read_plain_detector(path: Path) -> object:
    return {name: value.numpy() for name, value in load_detector(path, 6).state_dict().items()}


def whitening(path: Path) -> None:
    parts = vectors()[0], np.eye(8, dtype=np.float32)[:3], np.array([3, 2, 1], np.float32)
    write_whitening(path, Whitening(*parts, remainder=0.5), NAMES, {"layer": 11})


@cache
def _tiny() -> Any:
    from tests.extraction.backbones.test_siglip2 import TINY, make

    return TINY, make()


def transformer(path: Path) -> None:
    _tiny()[1].vision_model.save_pretrained(path.parent)


def read_transformer(path: Path) -> object:
    network, digest = pretrained.load_pretrained(_tiny()[0], path.parent)
    return {name: value.numpy() for name, value in network.state_dict().items()}


# ---------------------------------------------------------------- neighbours, the index


def planes() -> Any:
    found = stores.lists()
    return np.stack([found.sims, found.ids, np.zeros_like(found.ids)]).astype(np.float64)


NEIGHBORS: dict[str, Callable[[], Any]] = {
    "tensor4.pkl": lambda: torch.from_numpy(planes()[:2]).float(),
    "columns5.pkl": lambda: np.asfortranarray(planes()),
}


def write_folder(path: Path) -> None:
    """An index of two segments, of which the second has one image of interest and one failure."""
    vocabulary = path.parent / "vocabulary_00000000.npz"
    write_vocabulary(vocabulary, vectors(), {"a": 1}, overwrite=True)
    entries = []
    for segment in (1, 2):
        for row, name in enumerate(NAMES):
            failed = "not an image" if row == (5 if segment == 1 else 0) else ""
            of_segment = f"{segment}/{name}"
            entries.append(index.Entry(of_segment, 9, 9, "d" * 64, segment, row, failed))
        local = index.local_path(path.parent, segment)
        if not local.exists():
            stores.native(local).close()
            stores.write_vectors(index.vector_path(path.parent, segment, "0" * 8))
    record = index.IndexRecord("/images", {"layer": 11}, "0" * 8, 3, tuple(entries))
    index.write_record(path.parent, record, path.name)


def read_folder(path: Path) -> object:
    if path.name == index.PENDING:
        return index.read_record(path.parent, path.name)
    with index.OpenIndex(path.parent) as opened:
        rows = [
            vars(opened.store(segment).read(row))
            for segment, row in zip(opened.segment.tolist(), opened.row.tolist(), strict=True)
            if not opened.store(segment).reason(row)
        ]
        return opened.names, opened.failed, list(opened.vectors()), rows, opened.empty()


def other_kinds() -> list[Kind]:
    own = [
        Kind("results.json", lambda p: write_json_file(p, make_results()), read_and_compare),
        Kind("dataset.json", description, lambda p: read_description(p.parent)),
        Kind("mine.yaml", write_experiment, read_experiment, False, "experiment/mine.yaml"),
        Kind("config.yaml", write_settings, lambda p: settings_of(p.parent), False),
        Kind("list.txt", write_list, lambda p: vars(read_image_list(p)), False),
        Kind("families.csv", families, lambda p: read_families(p, LABELS), False),
        Kind("instances.csv", instances, read_instances, False),
        Kind("labels.csv", labels_csv, read_custom, False),
        Kind("pairs.csv", pairs_csv, read_custom, False),
        Kind("positions.csv", positions_csv, read_custom, False),
        Kind("frames.csv", frames_csv, partial(read_custom, tolerance=2), False),
        Kind("matrix.npy", matrix, read_matrix, False),
        Kind("matrix.npz", matrix, read_matrix, False),
    ]
    networks = [
        *published_heads(),
        Kind("half.safetensors", native_head, lambda p: stores.read_head(p)),
        Kind("detector.pt", detector, read_detector),
        Kind("detector's meta.json", detector, read_detector, True, "meta.json"),
        Kind("plain_detector.pt", plain_detector, read_plain_detector, False),
        Kind("whitening.npz", whitening, read_whitening),
        Kind("backbone's config.json", transformer, read_transformer, False, "config.json"),
        Kind("model.safetensors", transformer, read_transformer, False),
    ]
    neighbors = [
        Kind(name, _pickled(make, int(name[-5])), stores.read_lists, False)
        for name, make in NEIGHBORS.items()
    ]
    index_folder = [
        Kind("folder's index.json", write_folder, read_folder, True, "index.json"),
        Kind("pending.json", write_folder, read_folder),
    ]
    return own + layouts() + networks + neighbors + index_folder


def _pickled(make: Callable[[], Any], protocol: int) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(pickle.dumps(make(), protocol))
