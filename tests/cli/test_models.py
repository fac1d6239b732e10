"""`model=elvis` and `model=chamfer` in the commands, and what does not go together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ames_lite.cli import evaluate, train, tune
from ames_lite.cli.compose import compose
from ames_lite.errors import BadInput, ConfigError
from ames_lite.io.checkpoint import HeadMeta, load_head, save_head
from ames_lite.models import ELViS
from tests.conftest import TinyWorld
from tests.models.seeded import seeded_head
from tests.reranking.packing import pack_store

SMALL = ["model.arguments.dim=32", "epochs=2", "batch_size=24", "max_count=24", "min_each=2"]


def train_overrides(world: TinyWorld, folder: Path, *more: str) -> list[str]:
    given = ["dataset=synthetic-train", "desc_name=sift", "neighbors=vlad", "lr=0.003"]
    return [*given, f"data_root={world.root}", f"output_dir={folder}", *more]


def evaluate_overrides(world: TinyWorld, folder: Path, *more: str) -> list[str]:
    given = ["dataset=synthetic", "desc_name=sift", "num_rerank=10", "report_queries=0"]
    return [*given, f"data_root={world.root}", f"output_dir={folder}", *more]


@pytest.fixture(scope="module")
def elvis(tiny_world: TinyWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("elvis") / "train"
    given = train_overrides(tiny_world, folder, "model=elvis", "warmup=0.1", "min_count=8", *SMALL)
    return train.run(compose("train", given))


def test_training_lowers_the_loss_of_elvis(elvis: Path) -> None:
    head, meta = load_head(elvis)
    assert isinstance(head, ELViS) and head.count_padding and meta.desc_name == "sift"
    losses = [json.loads(line)["loss"] for line in (elvis / "log.jsonl").read_text().splitlines()]
    assert sum(losses[-5:]) < sum(losses[:5])


def test_elvis_is_tuned_and_evaluated(tiny_world: TinyWorld, elvis: Path, tmp_path: Path) -> None:
    weights = f"weights={elvis}"
    given = ["model=elvis", weights, f"data_root={tiny_world.root}", "num_rerank=10"]
    row = tune.run(compose("tune", [*given, f"output_dir={tmp_path / 'tune'}"]))
    assert load_head(elvis)[1].temp == row.temp
    given = evaluate_overrides(tiny_world, tmp_path / "run", "model=elvis", weights)
    results = evaluate.run(compose("evaluate", given))
    assert results["model"] == "elvis" and results["rows"][0]["tuned_on"] == "synthetic-val"
    assert 0 < results["rows"][0]["metrics"]["map_medium"] <= 1


def test_chamfer_is_tuned_and_evaluated_without_weights(
    tiny_world: TinyWorld, tmp_path: Path
) -> None:
    given = ["model=chamfer", f"data_root={tiny_world.root}", "num_rerank=10"]
    row = tune.run(compose("tune", [*given, f"output_dir={tmp_path / 'tune'}"]))
    chosen = ["model=chamfer", f"lamb={row.lamb}", f"temp={row.temp}"]
    results = evaluate.run(
        compose("evaluate", evaluate_overrides(tiny_world, tmp_path / "run", *chosen))
    )
    written = json.loads((tmp_path / "run" / "results.json").read_text())
    assert written["model"] == "chamfer" and written["digests"]["weights"] == "chamfer {}"
    assert 0 < results["rows"][0]["metrics"]["map_medium"] <= 1


@pytest.mark.parametrize(
    "words, message",
    [
        (["model=elvis", "start=itq"], "(?s)start=itq.*'elvis'.*one of published, random"),
        (["model=elvis", "start=correspondences"], "(?s)start=correspondences.*'elvis'"),
        (["model=chamfer"], "(?s)model=chamfer has no parameters.*ames, elvis"),
        (["model=ransac"], "(?s)model=ransac has no parameters.*ames, elvis"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_a_run_begins(
    words: list[str], message: str, tiny_world: TinyWorld, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        train.run(compose("train", train_overrides(tiny_world, tmp_path / "run", *words)))
    assert not (tmp_path / "run").exists()


def test_model_and_weights_must_be_of_one_head(
    tiny_world: TinyWorld, elvis: Path, tmp_path: Path
) -> None:
    save_head(tmp_path / "ames", seeded_head(dim_in=128, num_layers=1), HeadMeta("sift"))
    wrong = {
        f"model=ames weights={elvis}": "(?s)of the head 'elvis', model is 'ames'.*model=elvis",
        f"model=elvis weights={tmp_path / 'ames'}": "of the head 'ames', model is 'elvis'",
        f"model=chamfer weights={elvis}": "model=chamfer takes no weights=",
        f"model=ransac weights={elvis}": "model=ransac takes no weights=",
    }
    for words, message in wrong.items():
        more = [*words.split(), "lamb=0.5", "temp=1.0"]
        with pytest.raises(ConfigError, match=message):
            evaluate.run(
                compose("evaluate", evaluate_overrides(tiny_world, tmp_path / "run", *more))
            )
    given = evaluate_overrides(tiny_world, tmp_path / "run", "model=elvis", "lamb=0.5", "temp=1.0")
    with pytest.raises(ConfigError, match="(?s)model=elvis needs trained weights.*train.py.*elvis"):
        evaluate.run(compose("evaluate", given))
    assert not (tmp_path / "run").exists()


def test_a_packed_training_store_is_no_place_to_rotate(
    tiny_world: TinyWorld, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "synthetic-train"
    folder.mkdir()
    source = tiny_world.folder("synthetic-train")
    for name in ("train.txt", "nn_sift_vlad.hdf5"):
        (folder / name).symlink_to(source / name)
    pack_store(source / "sift_local.hdf5", folder / "sift_local.hdf5")
    packed = TinyWorld(tmp_path)
    more = ["model=elvis", "epochs=1", *SMALL[2:]]
    with pytest.raises(BadInput, match="(?s)packed bits.*rotate=0.0"):
        given = train_overrides(packed, tmp_path / "refused", *more, "rotate=1.0")
        train.run(compose("train", given))
    path = train.run(compose("train", train_overrides(packed, tmp_path / "run", *more)))
    assert load_head(path)[0].arguments["dim_in"] == 128
    binary = ["model.arguments.binary=true", "model.arguments.num_layers=1", "epochs=1"]
    path = train.run(
        compose("train", train_overrides(packed, tmp_path / "binary", *binary, *SMALL[2:]))
    )
    assert load_head(path)[0].arguments["binary"]
    assert "packed bits skip the projection" in caplog.text
