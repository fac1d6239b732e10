"""scripts/release.py: one command from a seed to a folder that can be shipped, and again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ames_lite.cli.compose import compose
from ames_lite.errors import BadInput, ConfigError, MissingFile
from ames_lite.evaluation.tuning import Row
from ames_lite.io.checkpoint import load_head
from ames_lite.io.digest import file_digest
from tools.release import sift as release


def given(root: Path, model: str, *more: str) -> list[str]:
    small = ["epochs=1", "max_count=16", "min_count=8", "model.arguments.dim=16", "batch_size=8"]
    small += ["model.arguments.dim_feedforward=16"] if model == "ames" else []
    return [
        *(f"model={model}", "landmarks=20", "share=0.1", "workers=1", f"train={small}"),
        *(f"data_root={root / 'data'}", f"output_dir={root / model}"),
        *(f"weights={root / 'weights' / model}", f"teacher={root / 'weights' / 'elvis'}", *more),
    ]


@pytest.mark.slow
def test_a_release_is_made_of_a_seed_and_goes_on_where_it_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release.run(compose("release", given(tmp_path, "ames", "until=prepare")))
    assert not (tmp_path / "ames" / "train").exists()
    with pytest.raises(MissingFile, match=r"(?s)taught by another.*release.py model=elvis"):
        release.run(compose("release", given(tmp_path, "ames")))
    for model in ("elvis", "ames"):
        release.run(compose("release", given(tmp_path, model, "until=train")))
        before = (tmp_path / model / "train" / "weights.safetensors").stat().st_mtime_ns
        capsys.readouterr()
        release.run(compose("release", given(tmp_path, model, "until=tune")))
        said = capsys.readouterr().out
        assert said.count(" ames tune ") == 2 and " ames evaluate " not in said
        release.run(compose("release", given(tmp_path, model)))
        said = capsys.readouterr().out
        evaluated = said.count(" ames evaluate ")  # baselines: of all worlds, once
        assert evaluated == (18 if model == "elvis" else 6)
        assert said.count(" ames tune ") == (4 if model == "elvis" else 0)
        assert (tmp_path / model / "train" / "weights.safetensors").stat().st_mtime_ns == before
        folder = tmp_path / "weights" / model
        head, meta = load_head(folder)
        assert meta.lamb is not None and meta.temp is not None
        assert meta.provenance["tuned_on"] == "rich-val+synthetic-val"
        names = {path.name for path in folder.iterdir()}
        wanted = {"weights.safetensors", "meta.json", "README.md", "curve.json"}
        assert names == wanted | {"vlad_sift_rich-train.npz"}
        figures = json.loads((tmp_path / model / "figures.json").read_text())
        worlds = [f"{world}, seed {seed}" for seed in (0, 1, 2) for world in ("rich", "synthetic")]
        assert list(figures["test"]) == worlds
        drawn = [figures["test"][world]["ransac"]["global"]["map_medium"] for world in worlds]
        assert len(set(drawn)) == 6  # each is another
        assert all(
            set(models) == {"mutual_nn", "ransac", model} for models in figures["test"].values()
        )
        card = (folder / "README.md").read_text()
        assert f"model={model} seed=0" in card and "{" not in card
        assert " of 20 landmarks" not in card  # whole styles alone
        assert "pictures of 16 landmarks" in card and "night; 0 of them are fronts" in card
        assert head.arguments["dim"] == 16
        assert ("taught by" in card) == (model == "ames")
        weights = tmp_path / "weights" / "elvis" / "weights.safetensors"
        taught = meta.provenance["release"].get("teacher_sha256")
        assert taught == (file_digest(weights) if model == "ames" else None)
    vocabularies = [
        (tmp_path / "weights" / m / release.VOCABULARY).read_bytes() for m in ("elvis", "ames")
    ]
    assert vocabularies[0] == vocabularies[1]
    capsys.readouterr()
    release.run(compose("release", given(tmp_path, "ames", "other_seeds=[1,2,3]")))
    said = capsys.readouterr().out
    assert said.count(" ames train ") == said.count(" ames tune ") == 0
    assert said.count(" ames evaluate ") == 6  # two baselines and the head on two worlds
    assert "other_seeds=[1, 2, 3]" in (tmp_path / "weights" / "ames" / "README.md").read_text()
    release.run(compose("release", given(tmp_path, "ames")))
    assert " s] ames " not in capsys.readouterr().out  # nothing is done twice


def test_what_was_made_of_an_older_training_goes_with_it(tmp_path: Path) -> None:
    def stop(*_: object) -> None:
        raise StopIteration

    folder = tmp_path / "ames"
    (folder / "head").mkdir(parents=True)
    stale = [folder / "head" / "meta.json", folder / "figures_ames.json"]
    for path in stale:
        path.write_text("{}")
    config = compose("release", given(tmp_path, "ames"))
    with pytest.raises(StopIteration):
        release._train(stop, config, folder)  # type: ignore[arg-type]
    assert not any(path.exists() for path in stale)


def test_a_taught_head_shares_the_vocabulary_of_its_teacher(tmp_path: Path) -> None:
    def stop(*_: object) -> None:
        raise StopIteration

    teacher, root = tmp_path / "weights" / "elvis", tmp_path / "data"
    teacher.mkdir(parents=True)
    (teacher / release.VOCABULARY).write_bytes(b"of the teacher")
    config = compose("release", given(tmp_path, "ames", "until=prepare"))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(StopIteration):
        patch.setattr(release, "_prepare", stop)
        release.run(config)
    assert release.world_vocabulary(root).read_bytes() == b"of the teacher"
    (teacher / release.VOCABULARY).write_bytes(b"of another")
    with pytest.raises(BadInput, match=r"(?s)another VLAD vocabulary.*vlad_sift.*teacher="):
        release.run(config)


@pytest.mark.parametrize(
    "override, message",
    [
        ("model=chamfer", "ames, elvis"),
        ("until=half", "prepare, baselines, train, tune, evaluate, write"),
        ("landmarks=2", "at least 8 landmarks"),
        ("other_seeds=[1,1]", "different whole numbers"),
        ("other_seeds=[0]", "different whole numbers"),
        ("share=0.0", r"a share in \(0, 1\]"),
        ("model.arguments.num_layers=7", r"train=\['model.arguments"),
    ],
)
def test_what_cannot_be_released_is_refused(override: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        release.run(compose("release", [override, f"output_dir={tmp_path / 'run'}"]))
    assert not (tmp_path / "run").exists()


def test_what_is_chosen_is_the_order_and_not_its_rounding() -> None:
    def rows(*values: float) -> list[Row]:
        temps = (1.0, 0.1)
        return [Row(10, 0.0, t, {"map": v}) for t, v in zip(temps, values, strict=True)]

    assert release.best_together([rows(0.9, 0.7), rows(0.1, 0.1)], "map").temp == 0.1


def test_what_is_chosen_is_best_on_all_validation_worlds_together() -> None:
    def rows(*values: float) -> list[Row]:
        return [
            Row(10, lamb, 0.1, {"map": v}) for lamb, v in zip((0.0, 0.5, 1.0), values, strict=True)
        ]

    found = release.best_together([rows(0.9, 0.7, 0.1), rows(0.1, 0.5, 0.6)], "map")
    assert found.lamb == 0.5 and found.metrics["map"] == pytest.approx(0.6)
