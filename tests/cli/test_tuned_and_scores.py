"""Scores once, sweeps after; choices are frozen, and a grid on a test set is called what it is."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from ames_lite.cli import evaluate, tune
from ames_lite.cli.compose import compose
from ames_lite.datasets.ground_truth import read_ground_truth
from ames_lite.datasets.image_lists import read_image_list
from ames_lite.errors import BadInput, MissingFile
from ames_lite.evaluation.tuning import read_tuned
from ames_lite.stores.descriptor_store import DescriptorStore
from tests.conftest import TinyWorld

FLOOR = ["model=mutual_nn", "report_queries=0", "desc_name=sift"]


def run(world: TinyWorld, output: Path, *more: str) -> dict[str, object]:
    given = [*FLOOR, "dataset=synthetic", f"data_root={world.root}", f"output_dir={output}"]
    return evaluate.run(compose("evaluate", [*given, *more]))


def test_scores_are_reused_and_give_the_same_rows(tiny_world: TinyWorld, tmp_path: Path) -> None:
    grid = ["num_rerank=[5,20]", "lamb=[0.0,0.5,1.0]", "temp=[0.1,1.0]"]
    first = run(tiny_world, tmp_path / "a", *grid)
    for place in (tmp_path / "a", tmp_path / "a" / "scores.hdf5"):
        again = run(tiny_world, tmp_path / f"b{place.name}", *grid, f"scores={place}")
        assert again["rows"] == first["rows"] and again["per_query"] == first["per_query"]
        assert again["cost"]["pairs"] == 0 and first["cost"]["pairs"] > 0
        assert again["digests"] == first["digests"]
    smaller = run(tiny_world, tmp_path / "c", "num_rerank=5", "lamb=0.5", "temp=1.0")
    reused = ["num_rerank=5", "lamb=0.5", "temp=1.0", f"scores={tmp_path / 'a'}"]
    assert run(tiny_world, tmp_path / "d", *reused)["rows"] == smaller["rows"]


def test_scores_of_something_else_are_refused(tiny_world: TinyWorld, tmp_path: Path) -> None:
    cell = ["num_rerank=10", "lamb=0.5", "temp=1.0"]
    run(tiny_world, tmp_path / "a", *cell)
    reuse = f"scores={tmp_path / 'a'}"
    refused = {
        "another settings": ["query_desc_num=20"],
        "another model": ["model=chamfer"],
        "pairs that are needed have no score": ["num_rerank=15"],
    }
    for what, more in refused.items():
        with pytest.raises(BadInput, match=what):
            run(tiny_world, tmp_path / "b", *cell, *more, reuse)
    other = TinyWorld(tmp_path / "data")
    shutil.copytree(tiny_world.folder(), other.folder())
    path = other.folder() / "sift_gallery_local.hdf5"
    store = DescriptorStore.open(path.rename(path.with_suffix(".old")))
    size = (store.max_count, store.dim, "float16", store.provenance)
    with DescriptorStore.create(path, store.names, *size) as writer:
        for row, name in enumerate(store.names):
            writer.append(name, store.read(row).strongest(30))
    with pytest.raises(BadInput, match="another gallery_rows"):
        run(other, tmp_path / "b", *cell, reuse)
    assert not (tmp_path / "b").exists()  # refused before a run directory is made


def test_a_choice_is_frozen_in_a_file_that_the_evaluation_reads(
    tiny_world: TinyWorld, tmp_path: Path
) -> None:
    given = ["dataset=synthetic-val", "model=mutual_nn", f"data_root={tiny_world.root}"]
    grid = ["num_rerank=[3,10]", "lamb=[0.2,0.6]", "temp=[0.3,3.0]"]
    row = tune.run(compose("tune", [*given, *grid, f"output_dir={tmp_path / 'tune'}"]))
    tuned = read_tuned(tmp_path / "tune")
    assert (tuned.num_rerank, tuned.lamb, tuned.temp) == (row.num_rerank, row.lamb, row.temp)
    assert tuned.tuned_on == "synthetic-val" and tuned.value == row.metrics["map"]
    found = run(tiny_world, tmp_path / "a", f"tuned={tmp_path / 'tune'}")["rows"][0]
    assert (found["num_rerank"], found["lamb"], found["temp"]) == (
        row.num_rerank,
        row.lamb,
        row.temp,
    )
    assert found["tuned_on"] == "synthetic-val" and found["role"] == "frozen"
    mine = run(tiny_world, tmp_path / "b", f"tuned={tmp_path / 'tune'}", "lamb=0.9")["rows"][0]
    assert mine["lamb"] == 0.9 and mine["tuned_on"] is None and mine["role"] == "given"
    with pytest.raises(BadInput, match="tuned with model mutual_nn, this run has chamfer"):
        run(tiny_world, tmp_path / "c", f"tuned={tmp_path / 'tune'}", "model=chamfer")
    with pytest.raises(MissingFile, match="tuned.json"):
        run(tiny_world, tmp_path / "c", f"tuned={tmp_path}")
    for content in ("{}", "[]", json.dumps({"schema": 1, "lamb": 2})):
        (tmp_path / "tuned.json").write_text(content)
        with pytest.raises(BadInput, match="no choice of tuning"):
            read_tuned(tmp_path)


def test_a_grid_on_a_test_set_is_called_an_oracle(
    tiny_world: TinyWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = run(tiny_world, tmp_path / "a", "num_rerank=5", "lamb=[0.1,0.9]", "temp=1.0")
    assert [row["role"] for row in results["rows"]] == ["oracle", "oracle"]
    said = capsys.readouterr().out
    assert "tuned on the test set" in said
    run(tiny_world, tmp_path / "b", "num_rerank=[5,9]", "lamb=0.1", "temp=1.0")
    assert "oracle" not in capsys.readouterr().out
    val = run(tiny_world, tmp_path / "c", "dataset=synthetic-val", "lamb=[0.1,0.9]", "temp=1.0")
    assert {row["role"] for row in val["rows"]} == {"grid"}


def gldv2(world: TinyWorld, root: Path, option: str, private: int) -> Path:
    """The tiny world as GLDv2's retrieval test: ungraded, by the test's own pickle."""
    source, folder = world.folder(), root / option
    folder.mkdir(parents=True)
    queries, gallery = (
        read_image_list(source / f"{split}.txt").names for split in ("query", "gallery")
    )
    truth = read_ground_truth(source / "gnd_synthetic.json", queries, gallery)
    both = [np.concatenate(rows) for rows in zip(truth.easy, truth.hard, strict=True)]
    shown = queries[: len(queries) - private]
    (folder / "query.txt").write_text("".join(f"{name}\n" for name in shown))
    shutil.copy(source / "gallery.txt", folder / "gallery.txt")
    gnd = {"gnd": [{"ok": rows.tolist()} for rows in both]}
    (folder / "gnd_gldv2-test.pkl").write_bytes(pickle.dumps(gnd, 2))
    return folder


def test_gldv2_reports_public_and_private_queries(tiny_world: TinyWorld, tmp_path: Path) -> None:
    folder = gldv2(tiny_world, tmp_path, "gldv2-test", 0)
    for name in ("sift_query_local", "sift_gallery_local", "nn_sift_vlad"):
        shutil.copy(tiny_world.folder() / f"{name}.hdf5", folder)
    given = [*FLOOR, "dataset=gldv2-test", f"data_root={tmp_path}", "neighbors=vlad"]
    cell = ["num_rerank=10", "lamb=0.5", "temp=1.0"]
    options = [*given, *cell, "dataset.private_queries=2", f"output_dir={tmp_path / 'run'}"]
    found = evaluate.run(compose("evaluate", options))
    metrics = found["rows"][0]["metrics"]
    assert set(metrics) == {"map@100", "map@100_public", "map@100_private"}
    aps = [query["ap"] for query in found["per_query"]]
    assert metrics["map@100_private"] == pytest.approx(np.mean(aps[-2:]))
    assert metrics["map@100_public"] == pytest.approx(np.mean(aps[:-2]))
    with pytest.raises(BadInput, match="the last 750 of 6 queries"):
        evaluate.run(compose("evaluate", [*given, *cell, f"output_dir={tmp_path / 'b'}"]))


def test_gldv2_val_takes_the_public_part_of_the_tests_file(
    tiny_world: TinyWorld, tmp_path: Path
) -> None:
    from ames_lite.cli.shell import dataset_files

    folder = gldv2(tiny_world, tmp_path, "gldv2-val", 2)
    given = ["dataset=gldv2-val", f"data_root={tmp_path}", "dataset.skip_queries=2"]
    files = dataset_files(compose("evaluate", given))
    queries, gallery = (
        read_image_list(folder / f"{split}.txt").names for split in ("query", "gallery")
    )
    path = files.ground_truth()
    truth = files.read_truth(queries, gallery)
    assert len(truth.easy) == 4 and truth.query_names == queries
    with pytest.raises(BadInput, match="'gnd' has 6 entries for 4 queries"):
        read_ground_truth(path, queries, gallery)
    own = folder / "gnd_gldv2-val.pkl"
    path.rename(own)
    with pytest.raises(BadInput, match="'gnd' has 6 entries for 4 queries"):  # all of it counts
        files.read_truth(queries, gallery)
