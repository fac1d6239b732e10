"""The commands as a user gives them: on the tiny world, and with what is missing or wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ames_lite.cli import evaluate, train, tune
from ames_lite.cli.compose import compose
from ames_lite.errors import ConfigError
from ames_lite.evaluation.tuning import Row
from ames_lite.io.checkpoint import HeadMeta, load_head, save_head
from ames_lite.io.digest import file_digest
from ames_lite.io.images import save_jpeg
from ames_lite.io.json_file import read_json_file
from ames_lite.models import ELViS
from ames_lite.reranking.calibration import Calibration, Outcome
from ames_lite.reranking.cascade import Cascade
from ames_lite.stores.descriptor_store import DescriptorStore
from tests.conftest import TinyWorld
from tests.helpers import ROOT, in_process
from tests.processes import Child

SMALL = [
    "experiment=sift_synthetic",
    "epochs=1",
    "max_count=16",
    "model.arguments.dim=32",
    "model.arguments.dim_feedforward=32",
]


@pytest.fixture(scope="module")
def head(tiny_world: TinyWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head trained for one epoch, its λ and γ tuned."""
    folder = tmp_path_factory.mktemp("runs")
    where = f"data_root={tiny_world.root}"
    path = train.run(compose("train", [*SMALL, where, f"output_dir={folder / 'train'}"]))
    given = [f"weights={path}", where, "num_rerank=10", f"output_dir={folder / 'tune'}"]
    tune.run(compose("tune", given))
    return path


@pytest.mark.parametrize(
    "words, names",
    [
        (
            ["scripts/train.py", "desc_name=dinov2"],
            ["gldv2/train.txt", "dinov2_local.hdf5", "nn_dinov2_cls.hdf5", "google-landmark"],
        ),
        (
            ["scripts/evaluate.py", "dataset=roxford", "num_rerank=1600"],
            ["test_query.txt", "gnd_roxford5k.pkl", "dinov2_gallery_local.hdf5", "revisitop"],
        ),
    ],
)
def test_an_empty_data_root_gives_one_message_and_exit_code_1(
    words: list[str], names: list[str], tmp_path: Path
) -> None:
    done = in_process(tmp_path, *words, f"data_root={tmp_path}")
    assert done.returncode == 1 and done.stdout == ""
    assert "missing: " in done.stderr and "Traceback" not in done.stderr
    for name in [*names, str(tmp_path), "python extract/"]:
        assert name in done.stderr
    assert not list(tmp_path.iterdir())


def test_wrong_words_give_exit_code_1_and_help_gives_0(tmp_path: Path) -> None:
    done = in_process(tmp_path, "scripts/evaluate.py", "dataset=nowhere")
    assert done.returncode == 1 and "roxford" in done.stderr and "Traceback" not in done.stderr
    done = in_process(tmp_path, "scripts/evaluate.py", "--help")
    assert done.returncode == 0 and "num_rerank" in done.stdout


@pytest.mark.parametrize("script", ["scripts/evaluate.py", "extract/extract_descriptors.py"])
def test_a_script_runs_from_any_directory(script: str, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / script), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and f"usage: {Path(script).stem}" in done.stdout


def test_evaluation_writes_results_and_a_report(
    tiny_world: TinyWorld, head: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # with plots
    given = ["dataset=synthetic", "desc_name=sift", f"data_root={tiny_world.root}"]
    given += [f"weights={head}", "num_rerank=[10,1000]", f"output_dir={tmp_path / 'run'}"]
    results = evaluate.run(compose("evaluate", given))
    written = read_json_file(tmp_path / "run" / "results.json", "results")
    assert written == json.loads(json.dumps(results))
    assert written["schema"] == 1 and written["model"] == "ames"
    assert [row["num_rerank"] for row in written["rows"]] == [10, 40]
    assert all(row["tuned_on"] == "synthetic-val" for row in written["rows"])
    assert {"map", "map_easy", "map_medium", "map_hard", "mp@1_medium"} <= set(written["global"])
    assert len(written["per_query"]) == 6 and written["cost"]["pairs"] > 0
    assert (tmp_path / "run" / "scores.hdf5").is_file()
    page = (tmp_path / "run" / "report.html").read_text()
    assert "<html" in page and '<div class="plots">' in page


def test_lamb_1_reports_the_global_ranking(
    tiny_world: TinyWorld, head: Path, tmp_path: Path
) -> None:
    given = ["dataset=synthetic", "desc_name=sift", f"data_root={tiny_world.root}"]
    given += [f"weights={head}", "num_rerank=20", "lamb=1.0", "temp=1.0", "report_queries=0"]
    results = evaluate.run(compose("evaluate", [*given, f"output_dir={tmp_path / 'run'}"]))
    # medium takes its junk out before and after; the order of what is left is the global one
    assert results["rows"][0]["metrics"] == pytest.approx(results["global"])


@pytest.mark.parametrize("model", ["mutual_nn", "ransac"])
def test_the_baselines_are_models_like_any_other(
    model: str, tiny_world: TinyWorld, tmp_path: Path
) -> None:
    given = ["dataset=synthetic", "desc_name=sift", f"data_root={tiny_world.root}"]
    given += [f"model={model}", "num_rerank=10", "lamb=0.5", "temp=0.1", "report_queries=0"]
    results = evaluate.run(compose("evaluate", [*given, f"output_dir={tmp_path / 'run'}"]))
    assert results["model"] == model
    value = results["rows"][0]["metrics"]["map_medium"]
    assert value is not None and 0 < value <= 1


def test_tuning_freezes_what_the_evaluation_reads(head: Path) -> None:
    _, meta = load_head(head)
    assert meta.lamb is not None and meta.temp is not None
    assert meta.provenance["tuned_on"] == "synthetic-val"
    calibration = Calibration.from_json(meta.calibration)
    assert list(calibration.absent) == ["synthetic-val"]
    assert 0 <= calibration.probability(np.array([[0.0]]))[0, 0] <= 1


def test_tuning_with_a_cheaper_head_keeps_what_a_search_may_leave_out(
    tiny_world: TinyWorld, head: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(head, tmp_path / "head")
    torch.manual_seed(0)
    cheap = save_head(tmp_path / "cheap", ELViS(dim_in=128), HeadMeta("sift")).parent
    given = ["dataset=synthetic-val", "desc_name=sift", f"data_root={tiny_world.root}"]
    given += [f"weights={copy}", f"cascade={cheap}", f"output_dir={tmp_path / 'run'}"]
    with pytest.raises(ConfigError, match=r"cascade= is kept in a meta\.json"):
        tune.run(compose("tune", [*given[:3], f"cascade={cheap}", "model=chamfer"]))
    tune.run(compose("tune", [*given, "num_rerank=20", "lamb=0", "temp=1"]))
    learnt = Cascade.from_json(load_head(copy)[1].cascade)
    assert learnt.model == "elvis" and learnt.weights == file_digest(cheap / "weights.safetensors")
    assert 0.5 <= learnt.share <= 1  # ten of twenty pass in any case
    assert f"cascade: {learnt.share:.1%} of pairs" in capsys.readouterr().out


def test_where_no_candidate_is_right_the_head_is_frozen_without_a_calibration(
    head: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(head, tmp_path / "head")
    nothing = np.zeros((3, 4))
    outcome = Outcome(nothing, nothing > 0, nothing == 0)
    tune.freeze(copy, Row(4, 0.3, 0.2, {}), {"synthetic-val": outcome})
    _, meta = load_head(copy)
    assert (meta.lamb, meta.temp, meta.calibration) == (0.3, 0.2, None)
    assert "not calibrated: 0 of 12 candidates are right" in capsys.readouterr().out


def test_nothing_is_tuned_on_a_test_set(tiny_world: TinyWorld, head: Path, tmp_path: Path) -> None:
    given = ["dataset=synthetic", f"weights={head}", f"data_root={tiny_world.root}"]
    done = in_process(tmp_path, "scripts/tune.py", *given)
    assert done.returncode == 1 and "role: val" in done.stderr


def test_a_run_never_overwrites_another(tiny_world: TinyWorld, head: Path, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    given = ["dataset=synthetic", "desc_name=sift", f"data_root={tiny_world.root}"]
    given += [f"weights={head}", f"output_dir={tmp_path}"]
    done = in_process(tmp_path, "scripts/evaluate.py", *given)
    assert done.returncode == 1 and "in use" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["note.txt"]


@pytest.mark.parametrize(
    "wrong, message", [("lamb=1.5", "lamb is 1.5"), ("num_rerank=0", "num_rerank=0")]
)
def test_wrong_settings_are_refused_before_a_run_begins(
    wrong: str, message: str, tiny_world: TinyWorld, tmp_path: Path
) -> None:
    given = ["dataset=synthetic", "desc_name=sift", f"data_root={tiny_world.root}"]
    given += ["model=mutual_nn", "lamb=0.5", "temp=0.1", f"output_dir={tmp_path / 'run'}"]
    given = [g for g in given if g.split("=")[0] != wrong.split("=")[0]] + [wrong]
    done = in_process(tmp_path, "scripts/evaluate.py", *given)
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_an_output_dir_that_is_a_file_is_refused(tiny_world: TinyWorld, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    given = ["dataset=synthetic", "desc_name=sift", f"data_root={tiny_world.root}"]
    given += ["model=mutual_nn", "lamb=0.5", "temp=0.1", f"output_dir={tmp_path / 'run'}"]
    done = in_process(tmp_path, "scripts/evaluate.py", *given)
    assert done.returncode == 1 and "in use" in done.stderr and "Traceback" not in done.stderr


def test_a_head_of_other_descriptors_is_refused(
    tiny_world: TinyWorld, head: Path, tmp_path: Path
) -> None:
    for suffix in ("query_local", "gallery_local"):
        source = tiny_world.folder() / f"sift_{suffix}.hdf5"
        target = tmp_path / "synthetic" / f"other_{suffix}.hdf5"
        target.parent.mkdir(exist_ok=True)
        target.symlink_to(source)
    for name in ("query.txt", "gallery.txt", "gnd_synthetic.json"):
        (tmp_path / "synthetic" / name).symlink_to(tiny_world.folder() / name)
    (tmp_path / "synthetic" / "nn_other_vlad.hdf5").symlink_to(
        tiny_world.folder() / "nn_sift_vlad.hdf5"
    )
    given = ["dataset=synthetic", "desc_name=other", f"data_root={tmp_path}", f"weights={head}"]
    done = in_process(tmp_path, "scripts/evaluate.py", *given, f"output_dir={tmp_path / 'run'}")
    assert done.returncode == 1 and "trained on 'sift'" in done.stderr


def bad_images(folder: Path) -> list[str]:
    """Two good images, and between them one of every kind that cannot be described."""
    rng = np.random.default_rng(0)
    for name in ("first.jpg", "last.jpg"):
        save_jpeg(folder / name, rng.integers(0, 255, (60, 80, 3)).astype(np.uint8), 90)
    whole = (folder / "first.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("no image")
    for name, size in (("dot", (1, 1)), ("thin", (10_000, 3)), ("huge", (10_000, 10_000))):
        Image.new("1", size).save(folder / f"{name}.png")
    bad = ["truncated.jpg", "empty.jpg", "text.jpg", "dot.png", "thin.png", "huge.png"]
    return ["first.jpg", *bad, "missing.jpg", "last.jpg"]


@pytest.mark.parametrize("backbone", ["sift", "tiny_random"])
def test_extraction_names_every_bad_image_and_keeps_its_row(backbone: str, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    names = bad_images(folder)
    (folder / "train.txt").write_text("".join(f"{name},0\n" for name in names))
    given = ["dataset=folder", "name=own", f"data_root={tmp_path}", f"backbone={backbone}"]
    given += ["splits=[train]", "device=cpu"]
    done = in_process(tmp_path, "extract/extract_descriptors.py", *given)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "7 of 9 images failed" in done.stderr
    for name in names[1:-1]:
        assert f"  {name}: " in done.stderr, name
    again = [*given, "on_bad_image=skip", "overwrite=true"]
    done = in_process(tmp_path, "extract/extract_descriptors.py", *again)
    assert done.returncode == 0 and "7 of 9 images failed" in done.stderr
    store = DescriptorStore.open(folder / f"{backbone}_local.hdf5")
    assert store.names == tuple(names)
    assert store.status.tolist() == [1, *[2] * 7, 1] and store.read(8).count > 0
    (folder / "train.txt").write_text("first.jpg,0\nlast.jpg,0\nfirst.jpg,0\n")
    done = in_process(tmp_path, "extract/extract_descriptors.py", *again)
    assert done.returncode == 1 and "'first.jpg'" in done.stderr
    assert DescriptorStore.open(folder / f"{backbone}_local.hdf5").names == tuple(names)


WRITER = """
import sys, time
from pathlib import Path
from ames_lite.stores.descriptor_store import DescriptorStore

path = Path(sys.argv[1])
with DescriptorStore.create(path, sys.argv[2:], 10, 128, "float16", {}) as store:
    (path.parent / "open").touch()
    while not (path.parent / "close").exists():
        time.sleep(0.02)
"""


def test_a_store_that_another_process_writes_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    names = bad_images(folder)[::8]
    (folder / "train.txt").write_text("".join(f"{name},0\n" for name in names))
    given = ["dataset=folder", "name=own", f"data_root={tmp_path}", "splits=[train]"]
    writer = Child(WRITER, str(folder / "sift_local.hdf5"), *names)
    while not (folder / "open").exists():
        assert writer.poll() is None, writer.communicate()
        time.sleep(0.02)
    for more in ([], ["overwrite=true"]):
        options = [*given, "backbone=sift", *more]
        done = in_process(tmp_path, "extract/extract_descriptors.py", *options)
        assert done.returncode == 1 and "written by another process" in done.stderr
    (folder / "close").touch()
    writer.communicate()
    assert writer.returncode == 0
