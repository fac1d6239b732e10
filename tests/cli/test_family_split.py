"""One folder of photographs becomes dataset=photos-train and photos-val, as a user gives it."""

from __future__ import annotations

import csv
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ames_lite.cli import (
    evaluate,
    extract_descriptors,
    extract_globals,
    prepare_dataset,
    prepare_topk_global,
    train,
)
from ames_lite.cli.compose import compose
from ames_lite.cli.own_folder import prepare_command
from ames_lite.cli.shell import dataset_files
from ames_lite.datasets.custom.files import read_description
from ames_lite.datasets.image_lists import read_families, read_image_list
from ames_lite.errors import BadInput, ConfigError
from ames_lite.io.checkpoint import load_head
from ames_lite.io.digest import file_digest
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.training.recipe import Recipe
from tests.conftest import SIFT, TinyWorld
from tests.helpers import copy_small, main_of
from tests.pages import Page


@pytest.fixture(scope="module")
def pool(tiny_world: TinyWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve landmarks as class folders, pairs of them families of two kinds, and distractors."""
    root = tmp_path_factory.mktemp("photographs")
    source = tiny_world.folder("synthetic-train")
    images = read_image_list(source / "train.txt")
    assert images.labels is not None
    for name, label in zip(images.names, images.labels.tolist(), strict=True):
        copy_small(source / name, root / "pool" / f"landmark {label}" / Path(name).name)
    for name in read_image_list(tiny_world.folder() / "gallery.txt").names[-3:]:
        copy_small(tiny_world.folder() / name, root / "others" / Path(name).name)
    labels = sorted(set(images.labels.tolist()))
    rows = [
        f"landmark {n},pair {i // 2},{'tower' if i < 8 else 'gate'}\n" for i, n in enumerate(labels)
    ]
    (root / "pool.csv").write_text("instance,family,kind\n" + "".join(rows))
    return root


def words(pool: Path, root: Path, *more: str) -> list[str]:
    given = [f"images={pool / 'pool'}", "labels=folders", f"families={pool / 'pool.csv'}"]
    given += [f"distractors={pool / 'others'}", "val_share=0.25", "name=photos"]
    return [*given, f"data_root={root}", *more]


def prepared(pool: Path, root: Path, *more: str) -> Path:
    return prepare_dataset.run(compose("prepare_dataset", words(pool, root, *more)))


def described(root: Path, name: str, *splits: str) -> None:
    """Descriptors and lists of a set that is named without images=."""
    given = [f"dataset={name}", "desc_name=sift", f"data_root={root}"]
    of = f"splits=[{','.join(splits)}]"
    extract_descriptors.run(compose("extract_descriptors", [*given, of, *SIFT]))
    extract_globals.run(compose("extract_globals", [*given, of, "global=mean"]))
    own = str(splits == ("train",)).lower()
    prepare_topk_global.run(
        compose("prepare_topk_global", [*given, "global=mean", f"self_search={own}"])
    )


@pytest.fixture(scope="module")
def data(pool: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    prepared(pool, root)
    described(root, "photos-train", "train")
    described(root, "photos-val", "query", "gallery")
    return root


TRAIN = ["dataset=photos-train", "desc_name=sift", "neighbors=mean", "device=cpu", "epochs=1"]
TRAIN += ["max_count=12", "min_count=4", "batch_size=24", "batch_unit=triplets", "min_each=1"]
TRAIN += ["model.arguments.dim=16", "model.arguments.num_layers=2", "val_neighbors=mean"]


def test_both_sets_are_described_trained_on_and_validated_without_naming_images(
    data: Path, pool: Path, tmp_path: Path
) -> None:
    store = DescriptorStore.open(data / "photos-train" / "sift_local.hdf5")
    assert len(store) == 56 and store.names[0].startswith("pool/landmark ")
    given = [*TRAIN, f"data_root={data}", f"output_dir={tmp_path / 'run'}"]
    run = train.run(compose("train", given))
    epoch = json.loads((run / "epochs.jsonl").read_text().splitlines()[0])
    assert 0 < epoch["val"] <= 1  # of photos-val, its default
    families = data / "photos-train" / "families.csv"
    provenance = load_head(run)[1].provenance
    assert provenance["families"] == file_digest(families)
    assert provenance["dataset"] == "photos-train"


def test_no_negative_of_a_run_is_of_the_family_of_its_anchor(data: Path) -> None:
    files = dataset_files(compose("train", [*TRAIN, f"data_root={data}"]))
    found = {"list": files.image_list("train"), "store": files.local("train")}
    found["neighbors"] = files.neighbors("mean")
    families = files.families()
    assert families is not None
    recipe = Recipe(min_each=1, batch_size=8)
    labels = read_image_list(found["list"]).labels
    assert labels is not None
    of_image = read_families(families, labels)
    shared = {}
    for name, more in (("with", {"families": families}), ("without", {})):
        store, sampler = train.open_training_set({**found, **more}, recipe)
        store.close()
        steps = [(epoch, n) for epoch in range(3) for n in range(len(sampler))]
        drawn = [sampler.batch(*step) for step in steps]
        anchor, _, negative = (np.concatenate(side) for side in zip(*drawn, strict=True))
        shared[name] = int((of_image[negative] == of_image[anchor]).sum())
    assert shared["with"] == 0 < shared["without"]


def test_a_run_goes_on_with_the_same_families_alone(data: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(data, root)
    given = [*TRAIN, f"data_root={root}", f"output_dir={tmp_path / 'run'}", "val_dataset=null"]
    train.run(compose("train", given))
    (tmp_path / "run" / "weights.safetensors").unlink()
    train.run(compose("train", given))  # nothing left to do
    (root / "photos-train" / "families.csv").unlink()
    with pytest.raises(BadInput, match=r"(families|anchors) of the sampler"):
        train.run(compose("train", given))


def test_families_stand_beside_any_training_list(data: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(data, root)
    path = root / "photos-train" / "families.csv"
    path.write_text("label,family\n0,a\n")
    given = [*TRAIN, f"data_root={root}", f"output_dir={tmp_path / 'run'}", "val_dataset=null"]
    with pytest.raises(BadInput, match="7 labels of the training list have no family"):
        train.run(compose("train", given))
    assert not (tmp_path / "run").exists()


def evaluated(data: Path, output: Path, *given: str) -> dict[str, Any]:
    options = ["desc_name=sift", "neighbors=mean", "model=chamfer", "lamb=0.5", "temp=1.0"]
    options += [f"data_root={data}", "num_rerank=10", f"output_dir={output}"]
    return evaluate.run(compose("evaluate", [*options, *given]))


def test_queries_of_a_result_are_joined_to_their_kinds(data: Path, tmp_path: Path) -> None:
    results = evaluated(data, tmp_path / "run", "dataset=photos-val")
    folder = data / "photos-val"
    with open(folder / "families.csv", newline="") as file:
        kind_of = {int(row["label"]): row["kind"] for row in csv.DictReader(file)}
    listed = read_image_list(folder / "query.txt")
    assert listed.labels is not None
    label_of = dict(zip(listed.names, listed.labels.tolist(), strict=True))
    kinds = [kind_of[label_of[query["name"]]] for query in results["per_query"]]
    assert sorted(kinds) == ["gate"] * 6 + ["tower"] * 6
    page = Page((tmp_path / "run" / "report.html").read_text())
    assert page.pictures and all(data for data, _ in page.pictures)  # found without images=
    as_folder = evaluated(
        data, tmp_path / "2", "dataset=folder", "name=photos-val", "report_queries=0"
    )
    assert as_folder["rows"] == results["rows"]
    assert as_folder["config"]["dataset"]["role"] == "val"


def test_the_same_command_writes_the_same_and_another_split_is_refused(
    pool: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {
        path: path.read_bytes()
        for path in data.rglob("*")
        if path.suffix != ".hdf5" and path.is_file()
    }
    prepared(pool, data)
    said = capsys.readouterr().out
    assert "56 images to train on, 8 labels" in said and "12 queries, 31 gallery images" in said
    assert "tower            val" in said and "role val" in said
    with pytest.raises(BadInput, match=r"other lists are there already(.|\n)*overwrite=true"):
        prepared(pool, data, "seed=1")
    assert {path: path.read_bytes() for path in before} == before
    for name in ("photos-train", "photos-val"):
        description = read_description(data / name)
        assert description is not None and description.role == name.split("-")[1]
        command = shlex.split(prepare_command(description.options, data / name))[2:]
        assert main_of("prepare_dataset")(command) == 0  # as a remedy says it
    assert {path: path.read_bytes() for path in before} == before


def test_changed_images_and_tables_are_noticed(pool: Path, tmp_path: Path) -> None:
    copy, root = tmp_path / "copy", tmp_path / "data"
    shutil.copytree(pool, copy)
    prepared(copy, root)
    given = ["dataset=folder", "name=photos-val", "desc_name=sift", f"data_root={root}"]
    given += [f"images={copy / 'pool'}", "labels=folders"]
    assert f" images={copy}" in dataset_files(compose("evaluate", given)).make_local()
    table = (copy / "pool.csv").read_text()
    (copy / "pool.csv").write_text(table.replace("gate", "door"))
    with pytest.raises(BadInput, match=r"the families changed(.|\n)*name=photos(.|\n)*overwrite"):
        dataset_files(compose("evaluate", given))
    (copy / "pool.csv").write_text(table)
    next((copy / "others").iterdir()).unlink()
    with pytest.raises(BadInput, match="the distractors changed"):
        dataset_files(compose("evaluate", given))


def test_the_validation_set_is_never_trained_on_by_mistake(
    pool: Path, data: Path, tmp_path: Path
) -> None:
    given = ["experiment=own", "name=photos-val", f"images={pool / 'pool'}", f"data_root={data}"]
    with pytest.raises(BadInput, match=r"has no training list(.|\n)*val_share=0\.25"):
        train.run(compose("train", [*given, f"output_dir={tmp_path / 'run'}"]))
    assert not (data / "photos-val" / "train.txt").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["families=t.csv"], "families= is given without val_share="),
        (["distractors=d"], "distractors= is given without val_share="),
        (["val_share=0.2"], "val_share= is given without families="),
        (["val_share=2", "families=t.csv"], "val_share=2"),
        (["val_share=some"], r"val_share=some\s+expected: a number or null"),
        (["val_share=0.2", "families=t.csv", "radius=3"], "radius= is given with val_share="),
        (["val_share=0.2", "families=t.csv", "name=../x"], "the name of one folder"),
        (["val_share=0.2", "families=t.csv", "name="], "the name of one folder"),
        (["val_share=0.2", "families=t.csv", "protocol=revisitop"], "no grades"),
        (["share=0.2"], "did you mean val_share"),
    ],
)
def test_wrong_keys_write_nothing(
    given: list[str], said: str, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(pool / "pool.csv", "t.csv")
    base = [f"images={pool / 'pool'}", "labels=folders", "data_root=data"]
    with pytest.raises((BadInput, ConfigError), match=said):
        prepare_dataset.run(compose("prepare_dataset", [*base, *given]))
    assert not Path("data").exists()
