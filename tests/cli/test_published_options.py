"""Options of published evaluations: lists in any order, another divisor of AP, known λ and γ."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ames_lite.cli import evaluate
from ames_lite.cli.compose import compose
from ames_lite.datasets.image_lists import read_image_list
from ames_lite.io.checkpoint import HeadMeta, save_head
from ames_lite.models.published import PUBLISHED_HEADS
from ames_lite.records import Neighbors
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.neighbor_lists import read_neighbors, write_neighbors
from benchmarks.frontier import command as frontier
from tests.conftest import TinyWorld
from tests.helpers import main_of
from tests.models.seeded import seeded_head
from tests.stores.published.forms import of_store, write_published
from tools.view import command as view

FLOOR = ["model=mutual_nn", "report_queries=0", "desc_name=sift", "lamb=0.5", "temp=1.0"]


def lists_of(world: TinyWorld, name: str = "synthetic") -> tuple[Any, Any, Neighbors]:
    names = [read_image_list(world.folder(name) / f"{s}.txt").names for s in ("query", "gallery")]
    return *names, read_neighbors(world.folder(name) / "nn_sift_vlad.hdf5", *names)


def written(path: Path, world: TinyWorld, ids: Any, sims: Any, name: str = "synthetic") -> Path:
    queries, gallery, _ = lists_of(world, name)
    return write_neighbors(path, Neighbors(ids, sims, len(gallery)), queries, gallery, {})


def run(world: TinyWorld, output: Path, *more: str) -> dict[str, Any]:
    given = [*FLOOR, "dataset=synthetic", f"data_root={world.root}", f"output_dir={output}"]
    return evaluate.run(compose("evaluate", [*given, *more]))


@pytest.mark.parametrize("suffix", ["hdf5", "pkl"])
def test_lists_that_do_not_fall_are_evaluated_in_their_order(
    tiny_world: TinyWorld, tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As reranked lists are published: another order, the similarities of the first stage."""
    ids, sims = lists_of(tiny_world)[2].ids, lists_of(tiny_world)[2].sims
    mixed = ids.copy(), sims.copy()
    for part in mixed:
        part[:, :9] = part[:, 8::-1]
    path = written(tmp_path / f"nn.{suffix}", tiny_world, *mixed)
    found = run(tiny_world, tmp_path / "a", f"neighbors={path}", "num_rerank=5")
    said = f"nn.{suffix}: the similarities of {len(ids)} of {len(ids)} lists do not fall"
    assert caplog.text.count(said) == 1 and "the lists keep their order" in caplog.text
    falling = written(tmp_path / f"falling.{suffix}", tiny_world, mixed[0], sims)
    caplog.clear()
    same = run(tiny_world, tmp_path / "b", f"neighbors={falling}", "num_rerank=5")
    assert found["global"] == same["global"] != run(tiny_world, tmp_path / "c")["global"]
    assert caplog.text == ""


def test_check_store_notes_lists_that_do_not_fall(
    tiny_world: TinyWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    *_, found = lists_of(tiny_world)
    path = written(tmp_path / "nn.hdf5", tiny_world, found.ids, found.sims[:, ::-1])
    given = ["dataset=synthetic", "desc_name=sift", f"data_root={tiny_world.root}"]
    assert main_of("check_store")([*given, f"neighbors={path}"]) == 0
    assert f"of {len(found.ids)} lists do not fall" in capsys.readouterr().out


def test_the_divisor_of_ap_is_said_where_lists_are_shorter_than_the_positives(
    tiny_world: TinyWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    *_, found = lists_of(tiny_world)
    whole = run(tiny_world, tmp_path / "whole")
    assert whole["short_lists"] == {} and "ap_divisor" not in capsys.readouterr().out
    published = run(tiny_world, tmp_path / "whole published", "ap_divisor=published")
    assert published["global"] == whole["global"] and published["rows"] == whole["rows"]
    capsys.readouterr()
    # ten images, as the precisions look so far; four queries get more positives than that
    path = written(tmp_path / "nn.hdf5", tiny_world, found.ids[:, :10], found.sims[:, :10])
    root = tmp_path / "data"
    shutil.copytree(tiny_world.folder(), root / "synthetic")
    truth = json.loads((root / "synthetic" / "gnd_synthetic.json").read_text())
    gallery = lists_of(tiny_world)[1]
    for query in truth["queries"][:4]:
        query |= {"easy": [], "hard": list(gallery[:20]), "junk": []}
    (root / "synthetic" / "gnd_synthetic.json").write_text(json.dumps(truth))
    given = [f"data_root={root}", f"neighbors={path}", "num_rerank=10"]
    official = run(tiny_world, tmp_path / "official", *given)
    said = capsys.readouterr().out
    assert official["config"]["ap_divisor"] == "official"
    assert official["short_lists"] == {"medium": 4, "hard": 4}
    assert "lists have 10 images" in said and "4 of 6 (medium), 4 of 6 (hard)" in said
    other = run(tiny_world, tmp_path / "published", *given, "ap_divisor=published")
    assert "min(positives, images listed)" in capsys.readouterr().out
    for one, two in zip(official["per_query"][:4], other["per_query"][:4], strict=True):
        assert two["global_ap"] == pytest.approx(2 * one["global_ap"])
        assert two["ap"] == pytest.approx(2 * one["ap"])
    assert other["per_query"][4:] == official["per_query"][4:]
    both = f"results=[{tmp_path / 'official'},{tmp_path / 'published'}]"
    assert main_of("compare")([both]) == 1
    assert "other ap_divisor: official, published" in capsys.readouterr().err


@pytest.fixture(scope="module")
def wide_world(tiny_world: TinyWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny world with descriptors as wide as DINOv2's: zeros behind."""
    root = tmp_path_factory.mktemp("wide")
    shutil.copytree(tiny_world.folder(), root / "synthetic")
    for split in ("query", "gallery"):
        path = root / "synthetic" / f"sift_{split}_local.hdf5"
        given = DescriptorStore.open(tiny_world.folder() / path.name)
        path.unlink()
        size = (given.max_count, 768, "float16", given.provenance)
        with DescriptorStore.create(path, given.names, *size) as store:
            for row, name in enumerate(given.names):
                one = given.read(row)
                wide = np.pad(one.descriptors, ((0, 0), (0, 640)))
                store.append(name, replace(one, descriptors=wide))
    return root


@pytest.mark.parametrize("name", ["dinov2_ames", "dinov2_ames_dist"])
def test_a_published_head_has_the_ensemble_of_its_name(
    name: str, wide_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = seeded_head(dim_in=768, binary=PUBLISHED_HEADS[name].binary, num_layers=1)
    path, lamb, temp = tmp_path / f"{name}.pt", *PUBLISHED_HEADS[name][2:]
    torch.save({"state": head.state_dict(), "optim": None, "epoch": 9}, path)
    where = ["dataset=synthetic", "desc_name=sift", f"data_root={wide_world}", "num_rerank=5"]
    where += ["query_desc_num=20", "gallery_desc_num=20", "report_queries=0"]
    assert main_of("evaluate")([*where, f"weights={path}", f"output_dir={tmp_path / 'a'}"]) == 0
    said = capsys.readouterr().out
    assert f"λ {lamb:g}, γ {temp:g}: published for {name}, chosen on gldv2-val" in said
    found = json.loads((tmp_path / "a" / "results.json").read_text())
    row = found["rows"][0]
    assert (row["lamb"], row["temp"], row["role"]) == (lamb, temp, "frozen")
    assert row["tuned_on"] == "gldv2-val" and found["ensemble_source"] == f"published for {name}"
    given = [f"weights={path}", "lamb=0.9", f"output_dir={tmp_path / 'b'}"]
    assert main_of("evaluate")([*where, *given]) == 0
    found = json.loads((tmp_path / "b" / "results.json").read_text())
    assert (found["rows"][0]["temp"], found["rows"][0]["role"]) == (temp, "given")
    assert found["ensemble_source"] == f"lamb given, the other published for {name}"
    # under another name nothing is assumed: the message has the line to paste
    renamed = path.rename(tmp_path / "my head (1).pt")
    words = [*where, f"weights='{renamed}'", f"output_dir={tmp_path / 'c'}"]
    capsys.readouterr()
    assert main_of("evaluate")(words) == 1
    said = capsys.readouterr().err
    for one, form in PUBLISHED_HEADS.items():
        assert f"{one} lamb={form.lamb:g} temp={form.temp:g}" in said
    (line,) = re.findall("remedy: +python scripts/evaluate.py (.*)", said)
    assert main_of("evaluate")(shlex.split(line)) == 0
    found = json.loads((tmp_path / "c" / "results.json").read_text())
    assert (found["rows"][0]["lamb"], found["rows"][0]["temp"]) == (lamb, temp)
    assert found["ensemble_source"] == "given"


def test_an_own_head_without_an_ensemble_gets_none(
    wide_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_head(tmp_path / "dinov2_ames", seeded_head(dim_in=768, num_layers=1), HeadMeta())
    where = ["dataset=synthetic", "desc_name=sift", f"data_root={wide_world}"]
    assert main_of("evaluate")([*where, f"weights={tmp_path / 'dinov2_ames'}"]) == 1
    assert "remedy:   choose them on a validation set" in capsys.readouterr().err


def with_lost_positions(world: TinyWorld, root: Path) -> Path:
    """The tiny world with queries in the published form, whose positions are of their crops."""
    shutil.copytree(world.folder(), root / "synthetic")
    path = root / "synthetic" / "sift_query_local.hdf5"
    with DescriptorStore.open(path) as store:
        given = of_store(store)
    path.unlink()
    write_published(path, replace(given, xy=given.xy * 4.19), "flat float16")
    gallery = root / "synthetic" / "sift_gallery_local.hdf5"
    with DescriptorStore.open(gallery) as store:
        given = of_store(store)
    gallery.unlink()
    write_published(gallery, given, "flat float16")
    return root


def test_unknown_positions_stop_ransac_and_pictures_and_nothing_else(
    tiny_world: TinyWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = with_lost_positions(tiny_world, tmp_path / "data")
    where = ["dataset=synthetic", "desc_name=sift", f"data_root={root}"]
    assert main_of("check_store")([*where, "neighbors=vlad"]) == 0
    said = capsys.readouterr().out
    assert "6 images have positions outside the image" in said and "no faults" in said
    for head in ("mutual_nn", "chamfer"):
        found, same = (
            run(tiny_world, tmp_path / f"{head}{i}", f"model={head}", "num_rerank=5", *more)
            for i, more in enumerate(([], [f"data_root={root}"]))
        )
        assert found["rows"] == same["rows"]
    capsys.readouterr()
    stopped = ["model=ransac", "lamb=0.5", "temp=1.0", f"output_dir={tmp_path / 'ransac'}"]
    for code, words in (
        (main_of("evaluate"), stopped),
        (view.main, ["split=query", "what=[weights]"]),
    ):
        assert code([*where, *words]) == 1
        said = capsys.readouterr().err
        assert "sift_query_local.hdf5" in said and "positions are unknown" in said
        assert f"extract_descriptors.py dataset=synthetic desc_name=sift data_root={root}" in said


@pytest.mark.parametrize("command", [main_of("evaluate"), main_of("tune"), frontier.main])
def test_a_divisor_that_is_none_is_refused(
    command: Any, tiny_world: TinyWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["dataset=synthetic-val", "desc_name=sift", f"data_root={tiny_world.root}"]
    given += ["weights=[weights/sift_elvis]"] if command is frontier.main else ["model=mutual_nn"]
    assert command([*given, "ap_divisor=mine"]) == 1
    assert "official or published" in capsys.readouterr().err
