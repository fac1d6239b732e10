"""ROxford from its images and its ground truth alone: lists, boxes, and the documented commands."""

from __future__ import annotations

import json
import os
import pickle
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ames_lite.cli import evaluate, prepare_set
from ames_lite.cli.compose import compose
from ames_lite.cli.shell import dataset_files
from ames_lite.datasets.ground_truth import read_ground_truth
from ames_lite.datasets.image_lists import read_image_list
from ames_lite.io import checkpoint
from ames_lite.io.images import save_jpeg
from ames_lite.models import published
from benchmarks.reproduce import command as reproduce
from benchmarks.reproduce.rows import AMES_ROWS
from tests.cli.planted import local_images, plant, write_lists
from tests.helpers import main_of, shared_file
from tests.models.seeded import seeded_head
from tests.stores.published.forms import write_published

ROOT = Path(__file__).resolve().parents[2]
QUERIES = [f"all_souls_{i:06d}" for i in range(3)]
GALLERY = [f"oxford_{i:06d}" for i in (7, 3, 9, 1, 12, 4, 5, 6, 8, 11, 10, 2)]  # in no order
MAINS: dict[str, Callable[[list[str]], int]] = {
    "scripts/prepare_set.py": main_of("prepare_set"),
    "extract/extract_descriptors.py": main_of("extract_descriptors"),
    "extract/prepare_topk_global.py": main_of("prepare_topk_global"),
    "scripts/evaluate.py": main_of("evaluate"),
    "scripts/reproduce.py": reproduce.main,
}


def official(root: Path, folder: str = "roxford5k") -> Path:
    """Images and ground truth, laid out as published: nothing else."""
    place = root / folder
    (place / "jpg").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in QUERIES + GALLERY:
        noise = rng.integers(0, 256, (90, 120, 3), np.uint8)
        save_jpeg(place / "jpg" / f"{name}.jpg", noise, quality=80)
    gnd = [
        {"bbx": [10.5, 5.0, 100.5, 80.0], "easy": [q], "hard": [q + 3, 9], "junk": [q + 6]}
        for q in range(3)
    ]
    content = {"gnd": gnd, "imlist": GALLERY, "qimlist": QUERIES}
    (place / f"gnd_{folder}.pkl").write_bytes(pickle.dumps(content, 3))
    return place


@pytest.mark.parametrize("dataset, folder", [("roxford", "roxford5k"), ("rparis", "rparis6k")])
def test_lists_are_those_of_the_ground_truth(
    dataset: str, folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = official(tmp_path, folder)
    given = [f"dataset={dataset}", f"data_root={tmp_path}"]
    assert main_of("evaluate")([*given, "model=mutual_nn"]) == 1
    said = capsys.readouterr().err
    assert f"remedy:   python scripts/prepare_set.py dataset={dataset} data_root={tmp_path}" in said
    for _ in range(2):  # again: the same lists are no conflict
        assert main_of("prepare_set")(given) == 0
    said = capsys.readouterr().out
    assert "3 queries, 12 gallery images" in said and "9 positives" in said
    files = dataset_files(compose("evaluate", given))
    lists = [read_image_list(files.image_list(side)).names for side in ("query", "gallery")]
    assert lists == [tuple(f"jpg/{name}.jpg" for name in names) for names in (QUERIES, GALLERY)]
    truth = read_ground_truth(files.ground_truth(), *lists)
    assert [rows.tolist() for rows in truth.hard] == [[3, 9], [4, 9], [5, 9]]
    assert set(truth.bbox) == {(10.5, 5.0, 100.5, 80.0)}
    assert sorted(path.name for path in place.iterdir()) == [
        *("gallery.txt", f"gnd_{folder}.pkl", "jpg", "query.txt")
    ]


def test_published_lists_are_kept(tmp_path: Path) -> None:
    place = official(tmp_path)
    for side, names in (("query", QUERIES), ("gallery", GALLERY)):
        lines = [f"jpg/{name}.jpg,0,120,90" for name in names]
        (place / f"test_{side}.txt").write_text("\n".join(lines))
    given = ["dataset=roxford", f"data_root={tmp_path}"]
    assert main_of("prepare_set")(given) == 0
    assert not (place / "query.txt").exists()
    (place / "test_query.txt").write_text("jpg/other.jpg,0,120,90")
    assert main_of("prepare_set")(given) == 1


def test_what_is_missing_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = official(tmp_path)
    given = ["dataset=roxford", f"data_root={tmp_path}"]
    for name in (GALLERY[4], GALLERY[7]):
        (place / "jpg" / f"{name}.jpg").unlink()
    assert main_of("prepare_set")(given) == 1
    said = capsys.readouterr().err
    assert f"2 of 12 listed images are absent, first 'jpg/{GALLERY[4]}.jpg'" in said
    (place / "gnd_roxford5k.pkl").unlink()
    assert main_of("prepare_set")(given) == 1
    said = capsys.readouterr().err
    assert "gnd_roxford5k.pkl" in said and "github.com/filipradenovic/revisitop" in said
    assert not (place / "gallery.txt").exists()


def test_both_parts_of_a_set_with_distractors_are_prepared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    official(tmp_path)
    more = tmp_path / "revisitop1m"
    names = ["6/4a.jpg", "6/b 1.jpg", "7/c.png"]
    for name in names:
        (more / "jpg" / name).parent.mkdir(parents=True, exist_ok=True)
        (more / "jpg" / name).write_bytes(b"an image")
    (more / "revisitop1m.txt").write_text("\n".join(names) + "\n")
    given = ["dataset=roxford+1m", f"data_root={tmp_path}"]
    assert main_of("prepare_set")(given) == 0
    assert "3 gallery images, documented are 1001001" in capsys.readouterr().out
    assert read_image_list(more / "gallery.txt").names == tuple(f"jpg/{name}" for name in names)
    assert (tmp_path / "roxford5k" / "query.txt").is_file() and not (more / "query.txt").exists()
    assert main_of("evaluate")([*given, "model=mutual_nn"]) == 1
    said = capsys.readouterr().err
    assert f"append_distractors.py dataset=roxford+1m desc_name=dinov2 data_root={tmp_path}" in said
    (more / "jpg" / names[1]).unlink()
    assert main_of("prepare_set")(["dataset=revisitop1m", f"data_root={tmp_path}"]) == 1
    assert "revisitop1m.txt, line 2" in capsys.readouterr().err


def documented() -> list[list[str]]:
    """The commands of docs/roxford.md, in order, as words."""
    text = (ROOT / "docs" / "roxford.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    return [shlex.split(line)[1:] for block in blocks for line in block.splitlines()]


def test_the_documented_commands_lead_from_the_official_files_to_the_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stand-ins: a tiny network with random weights, a head for it, planted SuperGlobal lists."""
    monkeypatch.chdir(tmp_path)
    place = official(tmp_path / "data")
    form = published.PUBLISHED_HEADS["dinov2_ames"]._replace(dim_in=32)
    for module in (published, checkpoint):
        monkeypatch.setattr(module, "PUBLISHED_HEADS", {"dinov2_ames": form})
    head = tmp_path / "data" / "networks" / "dinov2_ames.pt"
    head.parent.mkdir()
    state = seeded_head(dim_in=32, num_layers=1).state_dict()
    torch.save({"state": state, "optim": None, "epoch": 9}, head)
    ran = []
    for script, *words in documented():
        ran.append(Path(script).name)
        if "global=superglobal" in words:
            order = np.stack([np.random.default_rng(q).permutation(12) for q in range(3)])
            write_lists(place, order, np.linspace(1, 0, 36).reshape(3, 12))
            continue
        replaced = [word for word in words if not word.startswith("backbone.arguments.detector=")]
        replaced.append(f"data_root={tmp_path / 'data'}")
        if script == "extract/extract_descriptors.py":
            replaced += ["backbone=tiny_random", "workers=1"]
        assert MAINS[script](replaced) == (4 if script == "scripts/reproduce.py" else 0), script
    said = capsys.readouterr().out
    assert ran == [
        *("prepare_set.py", "extract_descriptors.py", "extract_globals.py"),
        *("prepare_topk_global.py", "prepare_topk_global.py", "evaluate.py", "reproduce.py"),
    ]
    assert "λ 0.5, γ 0.2: published for dinov2_ames, chosen on gldv2-val" in said
    assert "first setting that differs: the query store: the authors' file published" in said


def test_the_documented_figures_are_those_of_the_rows() -> None:
    text = (ROOT / "docs" / "roxford.md").read_text(encoding="utf-8")
    for name, form in published.PUBLISHED_HEADS.items():
        rows = [AMES_ROWS[f"{name}.{dataset}"].expected for dataset in ("roxford", "rparis")]
        values = [f"{100 * row[m]:.1f}" for row in rows for m in ("map_medium", "map_hard")]
        line = f"| `{name}` | {form.lamb:.2f}, {form.temp:.2f} | {' | '.join(values)} |"
        assert line in text


def test_the_official_file_and_its_images_reach_the_official_evaluation(tmp_path: Path) -> None:
    planted = plant("roxford5k")
    place = tmp_path / "roxford5k"
    (place / "jpg").mkdir(parents=True)
    save_jpeg(tmp_path / "one.jpg", np.zeros((8, 8, 3), np.uint8), quality=80)
    for name in planted.queries + planted.gallery:
        os.link(tmp_path / "one.jpg", place / name)
    (place / "gnd_roxford5k.pkl").write_bytes(planted.path.read_bytes())
    given = ["dataset=roxford", f"data_root={tmp_path}"]
    made = prepare_set.run(compose("prepare_set", given))
    assert made.counts() == {"query": 70, "gallery": 4993}
    files = dataset_files(compose("evaluate", given))
    lists = [read_image_list(files.image_list(side)).names for side in ("query", "gallery")]
    assert lists == [tuple(planted.queries), tuple(planted.gallery)]
    published_gallery = shared_file("ground_truth/roxford5k_test_gallery.txt")
    assert read_image_list(published_gallery).names == lists[1]
    truth = read_ground_truth(files.ground_truth(), *lists)
    assert all(box is not None and box[0] < box[2] for box in truth.bbox)
    for split, words in (("query", planted.query_words), ("gallery", planted.gallery_words)):
        path = place / f"dinov2_{split}_local.hdf5"
        write_published(path, local_images(words, packed=True), "packed records")
    write_lists(place, planted.ranking, np.broadcast_to(planted.sims, planted.ranking.shape))
    options = ["model=chamfer", "num_rerank=5", "lamb=1.0", "temp=1.0", "report_queries=0"]
    given += [*options, f"output_dir={tmp_path / 'run'}"]
    found = evaluate.run(compose("evaluate", given))
    wanted = json.loads(shared_file("fixtures/revisitop_expected.json").read_text())
    for setting in ("easy", "medium", "hard"):
        expected = wanted["roxford5k/planted"][setting]["map"]
        assert found["global"][f"map_{setting}"] == pytest.approx(expected, abs=1e-12)
        assert found["rows"][0]["metrics"][f"map_{setting}"] == pytest.approx(expected, abs=1e-12)
