"""Plans: bytes as they are written, seconds from a probe, nothing written, advice where it is too
much."""

from __future__ import annotations

from pathlib import Path

import pytest

from ames_lite.cli import main, planning, run
from ames_lite.cli.compose import compose
from ames_lite.cli.planning import plan
from ames_lite.errors import BadInput, ConfigError
from tests.cli.test_place_recognition import TINY_CLS
from tests.conftest import TinyWorld
from tests.datasets.vpr.miniatures import MINIATURES


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ames_lite.cli.probes.LEAST", 0.0)


def files_of(root: Path) -> set[tuple[Path, int]]:
    return {(path, path.stat().st_mtime_ns) for path in root.rglob("*") if path.is_file()}


def test_extraction_is_planned_to_the_byte_of_its_data(
    tiny_world: TinyWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_of(tiny_world.root)
    words = ["dataset=synthetic", "desc_name=sift", f"data_root={tiny_world.root}", "workers=1"]
    arguments = ["backbone.arguments.top_k=60"]
    assert run("extract", [*words, *arguments, "plan=true"]) == 0
    said = capsys.readouterr().out
    assert "extraction, query" in said and "extraction, gallery" in said and "free at" in said
    needs = plan("extract_descriptors", compose("extract_descriptors", [*words, *arguments]))
    for need, side in zip(needs, ("query", "gallery"), strict=True):
        size = (tiny_world.folder() / f"sift_{side}_local.hdf5").stat().st_size
        assert need.seconds and need.memory > 0 and need.disk <= size <= need.disk + 64 * 1024
    assert files_of(tiny_world.root) == before


def test_neighbours_and_scoring_are_planned_from_their_files(tiny_world: TinyWorld) -> None:
    root = f"data_root={tiny_world.root}"
    words = ["dataset=synthetic", "desc_name=sift", root]
    (knn,) = plan("prepare_topk_global", compose("prepare_topk_global", words))
    assert knn.seconds and knn.seconds < 10 and knn.disk > 0
    cells = ["model=mutual_nn", "num_rerank=5", "lamb=0.5", "temp=0.1"]
    (scoring,) = plan("evaluate", compose("evaluate", [*words, *cells]))
    assert scoring.seconds and scoring.work.endswith("images") and scoring.disk % 12 == 0


def test_training_is_planned_by_its_steps(tiny_world: TinyWorld) -> None:
    before = files_of(tiny_world.root)
    words = ["dataset=synthetic-train", "desc_name=sift", f"data_root={tiny_world.root}"]
    words += ["neighbors=vlad", "min_each=1", "epochs=3", "batch_size=4", "batch_unit=triplets"]
    words += ["max_count=20", "model.arguments.dim=16", "model.arguments.num_layers=1"]
    (need,) = plan("train", compose("train", [*words, "val_dataset=null", "start=random"]))
    steps, per = need.work.split(" steps of ")
    assert int(steps) % 3 == 0 and per == "4 triplets" and need.seconds
    assert files_of(tiny_world.root) == before


def test_a_plan_of_place_recognition_names_every_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    MINIATURES["amstertime"].write(tmp_path, side=96)
    words = ["experiment=amstertime", "rerankers=[none]", *TINY_CLS, f"data_root={tmp_path}"]
    monkeypatch.setattr("sys.argv", ["ames", "plan", "place_recognition", *words])
    assert main() == 0
    said = capsys.readouterr().out
    for name in ("amstertime: extraction, query", "amstertime_swapped: neighbours (kNN)"):
        assert name in said
    assert "3 x 3, 32-d" in said and not list(tmp_path.rglob("*.hdf5"))


def test_missing_weights_are_stood_in_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    MINIATURES["amstertime"].write(tmp_path, side=48)
    root = f"data_root={tmp_path}"
    run("prepare_set", ["dataset=amstertime", root])
    words = ["dataset=amstertime", "backbone=dinov2_vits14", "outputs=[global]", root]
    small = ["backbone.arguments.image_size=[28,28]", "workers=1", "plan=true"]
    assert run("extract_descriptors", [*words, *small]) == 0
    assert "random ones of the same shapes" in capsys.readouterr().out


def test_what_does_not_fit_has_advice(
    tiny_world: TinyWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ames_lite.stores.row_layout.free_bytes", lambda path: 10)
    monkeypatch.setattr(planning, "machine_mib", lambda: 1.0)
    words = ["dataset=synthetic", "desc_name=sift", f"data_root={tiny_world.root}"]
    plan("prepare_topk_global", compose("prepare_topk_global", words))
    said = capsys.readouterr().out
    assert "does not fit the disk: fewer descriptors" in said
    assert "does not fit the memory: a smaller variant" in said and "half the side" in said


def test_what_cannot_be_planned_says_so(tiny_world: TinyWorld, tmp_path: Path) -> None:
    words = ["dataset=synthetic", "desc_name=sift", f"data_root={tiny_world.root}"]
    with pytest.raises(ConfigError, match="with source=store"):
        plan("extract_globals", compose("extract_globals", words))
    with pytest.raises(BadInput, match="is missing|no image|not found|there"):
        given = [*words, f"images={tmp_path}"]
        plan("extract_descriptors", compose("extract_descriptors", given))
