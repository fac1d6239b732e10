"""Files without checksums, changed by a byte after a run has read them: whoever goes on is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from ames_lite.cli import compare, evaluate, failures, prepare_topk_global, train
from ames_lite.cli.compose import compose
from ames_lite.errors import BadInput
from ames_lite.io.json_file import read_json_file, write_json_file
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.published.neighbors import open_planes
from ames_lite.stores.published.safe_pickle import write_pickle
from tests.cli.test_commands import SMALL
from tests.cli.test_published_files import FLOOR, write_stores
from tests.cli.test_published_files import published as published
from tests.conftest import TinyWorld
from tests.stores.published.forms import of_store, write_published

OF_SET = ["dataset=roxford", "desc_name=dinov2"]
RUN = [*FLOOR, "num_rerank=5"]
Change = Callable[[Path], object]


def change_byte(path: Path, at: int) -> None:
    """The lowest bit of a byte."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def change_store(path: Path, row: int) -> None:
    """The last bit of a row of a published store."""
    with h5py.File(path) as file:
        features = file["features"]
        row_bytes = features[0].nbytes
        at = features.id.get_offset() + (row + 1) * row_bytes - features.dtype.itemsize
    change_byte(path, at)


def change_lists(path: Path) -> None:
    """The last bit of the last similarity of the first list."""
    row = open_planes(path).values[0, 0].tobytes()
    change_byte(path, path.read_bytes().index(row) + len(row) - 4)


def change_truth(path: Path) -> None:
    """The last bit of a coordinate of a box, which changes no metric."""
    content = path.read_bytes()
    change_byte(path, content.index(b"G", content.index(b"bbx")) + 8)


def evaluated(root: Path, folder: Path, *more: str) -> Path:
    given = [*OF_SET, f"data_root={root}", *RUN, f"output_dir={folder}", *more]
    evaluate.run(compose("evaluate", given))
    return folder


def without_read(path: Path) -> None:
    """results.json as older versions wrote it."""
    results = read_json_file(path, "")
    del results["read"]
    write_json_file(path, results)


@pytest.mark.parametrize("chunks", [0, 2])
def test_a_store_that_was_changed_anywhere_gives_no_scores_to_a_later_run(
    chunks: int, tiny_world: TinyWorld, published: Path, tmp_path: Path
) -> None:
    write_stores(tiny_world, published, "flat float16", chunks)
    run = evaluated(published, tmp_path / "run")
    evaluated(published, tmp_path / "again", f"scores={run}")
    part = "dinov2_gallery_local_xa1.hdf5" if chunks else "dinov2_gallery_local.hdf5"
    change_store(published / "roxford5k" / part, 3)  # not its first row, nor its last
    with pytest.raises(BadInput, match="made with another gallery_rows"):
        evaluated(published, tmp_path / "other", f"scores={run}")


@pytest.fixture
def ran(tiny_world: TinyWorld, published: Path, tmp_path: Path) -> Path:
    write_stores(tiny_world, published, "flat float16")
    lists = published / "roxford5k" / "nn_superglobal.pkl"
    # as torch writes it: what older protocols make of bytes is longer
    write_pickle(lists, torch.from_numpy(np.array(open_planes(lists).values)))
    return evaluated(published, tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "change", "key"),
    [
        ("nn_superglobal.pkl", change_lists, "neighbors"),
        ("gnd_roxford5k.pkl", change_truth, "ground_truth"),
    ],
)
def test_lists_and_ground_truth_that_were_changed_are_told_to_who_reads_them_again(
    name: str,
    change: Change,
    key: str,
    ran: Path,
    published: Path,
    tiny_world: TinyWorld,
    tmp_path: Path,
) -> None:
    path = published / "roxford5k" / name
    given = [f"results={ran}", f"images={tiny_world.folder()}", "num_rows=1"]
    failures.run(compose("failures", [*given, f"output_dir={tmp_path / 'sheet'}"]))
    change(path)
    with pytest.raises(BadInput, match=f"the run had another {name}: its digest is") as caught:
        failures.run(compose("failures", given))
    assert str(path) in str(caught.value) and "evaluate again" in str(caught.value)
    other = evaluated(published, tmp_path / "other")
    seeds = key == "neighbors"  # other results may be by other lists, but not other seeds of one
    both = f"results=[[{ran},{other}]]" if seeds else f"results=[{ran},{other}]"
    with pytest.raises(BadInput, match=key):
        compare.run(compose("compare", [both]))
    without_read(ran / "results.json")
    with pytest.raises(BadInput, match="have the same weights") if seeds else nullcontext():
        compare.run(compose("compare", [both]))


def test_a_training_is_not_resumed_with_other_files(tiny_world: TinyWorld, tmp_path: Path) -> None:
    source, data = tiny_world.folder("synthetic-train"), tmp_path / "data"
    folder, val = data / "gldv2", data / "synthetic-val"
    folder.mkdir(parents=True)
    shutil.copy(source / "train.txt", folder / "train_750k.txt")
    shutil.copytree(tiny_world.folder("synthetic-val"), val)
    store = DescriptorStore.open(source / "sift_local.hdf5")
    write_published(folder / "sift_local.hdf5", of_store(store), "flat float16")
    asked = ["dataset=gldv2", "desc_name=sift", f"data_root={data}"]
    given = [*asked, "self_search=true", f"lists={source / 'nn_sift_vlad.hdf5'}", "form=published"]
    prepare_topk_global.run(compose("prepare_topk_global", [*given, "global=vlad"]))
    run = tmp_path / "run"
    given = [*SMALL, *asked, "neighbors=vlad", "val_dataset=synthetic-val", "val_neighbors=vlad"]
    given += [f"output_dir={run}", "val_num_rerank=5"]

    def go_on() -> Path:
        (run / "weights.safetensors").unlink(missing_ok=True)  # as if it had been killed before
        return train.run(compose("train", given))

    go_on()
    truth, lists = val / "gnd_synthetic-val.json", folder / "nn_sift_vlad.pkl"
    for path, change, key in (
        (lists, change_lists, "file: neighbors"),
        (folder / "sift_local.hdf5", lambda path: change_store(path, 3), "store"),
        (truth, change_grade, "file: ground_truth of validation"),
    ):
        content = path.read_bytes()
        change(path)
        with pytest.raises(BadInput, match=rf"does not match this run:\n +{key}: .* there, .*"):
            go_on()
        path.write_bytes(content)
    (val / "nn_sift_vlad.hdf5").touch()
    go_on()  # all of them are what they were, in new files
    state = torch.load(run / "last.pt", weights_only=True)
    identity = json.loads(state["identity"])
    older = {key: value for key, value in identity.items() if not key.startswith("file: ")}
    assert len(identity) - len(older) == 5
    torch.save({**state, "identity": json.dumps(older)}, run / "last.pt")
    change_lists(lists)
    go_on()  # a checkpoint of older versions does not say which lists it had


def change_grade(path: Path) -> None:
    """An easy image becomes a hard one."""
    truth = json.loads(path.read_text())
    query = next(one for one in truth["queries"] if one["easy"])
    query["hard"].append(query["easy"].pop())
    path.write_text(json.dumps(truth))
