"""Validation between epochs is an evaluation of its own, and it changes no training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ames_lite.datasets.layout import DatasetFiles
from ames_lite.evaluation.data import load_data
from ames_lite.evaluation.evaluator import Work, score
from ames_lite.evaluation.passes import Cell, evaluate_passes, prepare_passes
from ames_lite.io.checkpoint import load_head
from ames_lite.models import AMES
from ames_lite.reranking.scorer import PairScorer, ScoringOptions
from ames_lite.training.trainer import LAMBS, TEMPS, Validation, best_epoch
from tests.conftest import TinyWorld
from tests.training.test_trainer import RECIPE, trainer_of


def validation_of(world: TinyWorld) -> Validation:
    files = DatasetFiles(world.root, "synthetic-val", "synthetic-val", "sift", page="")
    data = load_data(files, "revisitop", "vlad", 10)
    return Validation(data, "synthetic-val", 10, ScoringOptions(24, 24))


def test_the_figure_is_the_best_of_the_grid_by_the_evaluator(
    tiny_world: TinyWorld, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    head = AMES(dim_in=128, dim=32, num_layers=2, dim_feedforward=32)
    validation = validation_of(tiny_world)
    found = validation(head)
    data, scorer = validation.data, PairScorer(head, "ames", "digest")
    scores, _ = score(Work(data, scorer, 10, validation.options), tmp_path / "s.hdf5")
    passes = prepare_passes(data, scores, 10)

    def value(lamb: float, temp: float) -> float:
        return evaluate_passes(passes, data.protocol, Cell(10, lamb, temp)).metrics["map"]

    assert found["val"] == max(value(lamb, temp) for lamb in LAMBS for temp in TEMPS)
    assert found["val"] == value(found["lamb"], found["temp"])


def test_validation_changes_no_weight_and_keeps_the_best(
    tiny_world: TinyWorld, tmp_path: Path
) -> None:
    plain = trainer_of(tiny_world, tmp_path / "plain")
    plain.fit()
    watched = trainer_of(tiny_world, tmp_path / "watched")
    watched.validation = validation_of(tiny_world)
    folder = watched.fit()
    for name, values in load_head(tmp_path / "plain")[0].state_dict().items():
        assert torch.equal(values, load_head(folder)[0].state_dict()[name])
    curve = [json.loads(line) for line in (folder / "epochs.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in curve] == [1, 2]
    best, meta = load_head(folder / "best")
    chosen = max(curve, key=lambda line: line["val"])
    assert meta.provenance["validation"] == {"epoch": chosen["epoch"], "map": chosen["val"]}
    assert meta.provenance["tuned_on"] == "synthetic-val"
    assert (meta.lamb, meta.temp) == (chosen["lamb"], chosen["temp"])
    of_epoch = load_head(folder / f"epoch_{chosen['epoch']:03d}")[0].state_dict()
    assert all(torch.equal(v, of_epoch[name]) for name, v in best.state_dict().items())


def test_the_first_of_equal_epochs_is_the_best() -> None:
    curve = [{"epoch": 1, "val": float("nan")}, {"epoch": 2, "val": 0.5}, {"epoch": 3, "val": 0.5}]
    assert best_epoch(curve)["epoch"] == 2
    with pytest.raises(ValueError, match="no epoch was validated"):
        best_epoch([{"epoch": 1}])


def test_a_head_per_epoch_is_what_the_curve_says(tiny_world: TinyWorld, tmp_path: Path) -> None:
    trainer = trainer_of(tiny_world, tmp_path, RECIPE)
    trainer.validation = validation_of(tiny_world)
    trainer.fit()
    for line in trainer.curve:
        head, _ = load_head(tmp_path / f"epoch_{line['epoch']:03d}")
        assert trainer.validation(head)["val"] == line["val"]
