"""The frontier command on the tiny world: cells as evaluate has them, and nothing scored twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ames_lite.cli import evaluate
from ames_lite.cli.compose import compose
from ames_lite.cli.evaluate import open_scorer
from ames_lite.errors import BadInput, ConfigError, MissingFile, UserError
from ames_lite.evaluation import evaluator
from ames_lite.evaluation.tuning import Tuned, write_tuned
from ames_lite.io.checkpoint import HeadMeta, load_head, save_head, save_meta
from ames_lite.models import AMES
from ames_lite.reranking.tasks import PairTask
from benchmarks.frontier import command as frontier
from tests.conftest import TinyWorld

FROZEN = HeadMeta("sift", lamb=0.4, temp=0.7, provenance={"tuned_on": "synthetic-val"})


@pytest.fixture
def heads(tmp_path: Path) -> list[Path]:
    """A head with float tokens and one with bits."""
    paths = []
    for name, binary in (("fp", False), ("bits", True)):
        torch.manual_seed(0)
        head = AMES(dim_in=128, dim=32, num_layers=1, dim_feedforward=32, binary=binary)
        save_head(tmp_path / name, head, FROZEN)
        paths.append(tmp_path / name)
    return paths


def run(world: TinyWorld, folder: Path, heads: list[Path], *more: str) -> dict[str, object]:
    given = ["dataset=synthetic", "desc_name=sift", f"data_root={world.root}", "device=cpu"]
    given += [f"weights=[{','.join(str(path) for path in heads)}]", f"cache={folder.parent}/cache"]
    given += ["num_rerank=[5,12]", "descriptors=[8,20]", "query_desc_num=15", *more]
    return frontier.run(compose("frontier", [*given, f"output_dir={folder}"]))


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The num_rerank of everything that is scored from now on."""
    real, calls = evaluator.score, []

    def score(work: evaluator.Work, *rest: object, **more: object):
        calls.append(work.num_rerank)
        return real(work, *rest, **more)

    monkeypatch.setattr(evaluator, "score", score)
    return calls


@pytest.mark.slow
def test_cells_are_those_of_evaluate(
    tiny_world: TinyWorld,
    heads: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls = counted(monkeypatch)
    results = run(tiny_world, tmp_path / "run", heads)
    assert calls == [12] * 4, "one scoring a head and number of descriptors"
    rows = results["rows"]
    assert [(r["head"], r["descriptors"], r["num_rerank"]) for r in rows] == [
        (head, count, num)
        for head in ("ames", "ames_binary")
        for count in (8, 20)
        for num in (5, 12)
    ]
    for row in rows:
        path = heads[row["head"] == "ames_binary"]
        words = ["dataset=synthetic", "desc_name=sift", f"data_root={tiny_world.root}"]
        words += [f"weights={path}", f"num_rerank={row['num_rerank']}", "report_queries=0"]
        words += ["query_desc_num=15", f"gallery_desc_num={row['descriptors']}", "device=cpu"]
        name = f"{row['head']}{row['descriptors']}{row['num_rerank']}"
        alone = evaluate.run(compose("evaluate", [*words, f"output_dir={tmp_path / name}"]))
        assert alone["rows"][0]["metrics"] == row["metrics"]
        assert (row["lamb"], row["temp"], row["role"]) == (0.4, 0.7, "frozen")
        assert row["tuned_on"] == "synthetic-val" and not row["reused"]
        assert row["ms_per_query"] > 0 and row["ms_measured"] == (row["num_rerank"] == 12)
        width = 4 if row["head"] == "ames_binary" else 64
        assert row["bytes_per_image"] <= width * row["descriptors"]
    assert rows[0]["ms_per_query"] / rows[1]["ms_per_query"] == pytest.approx(5 / 12)
    assert results["global"] == alone["global"] and results["metric"] == "map"
    kept = json.loads((tmp_path / "run" / "frontier.json").read_text())
    assert kept["rows"] == json.loads(json.dumps(rows)) and kept["schema"] == 1
    assert set(kept["fronts"]) == {"bytes_per_image", "ms_per_query"}
    assert (tmp_path / "run" / "frontier.png").read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert "whoever picks a row from a front has tuned on the test set" in said
    assert "ames_binary: λ, γ tuned on synthetic-val" in said and "0 of 8 rows" in said


@pytest.mark.slow
def test_what_was_scored_is_not_scored_again(
    tiny_world: TinyWorld, heads: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = counted(monkeypatch)
    first = run(tiny_world, tmp_path / "a", heads[:1])
    assert calls == [12, 12]
    smaller = run(tiny_world, tmp_path / "b", heads[:1], "num_rerank=[3,5]", "descriptors=[20]")
    again = run(tiny_world, tmp_path / "c", heads[:1], "lamb=0.9", "temp=0.1")
    assert calls == [12, 12] and all(row["reused"] for row in smaller["rows"] + again["rows"])
    same = {(r["descriptors"], r["num_rerank"]): r for r in first["rows"]}[20, 5]
    found = smaller["rows"][1]
    assert found["metrics"] == same["metrics"] and found["ms_per_query"] == same["ms_per_query"]
    assert not found["ms_measured"] and found["timed_on"] == same["timed_on"]
    assert {row["role"] for row in again["rows"]} == {"given"}
    more = run(tiny_world, tmp_path / "d", heads, "num_rerank=[12,15]", "descriptors=[20]")
    assert calls == [12, 12, 15, 15], "a larger num_rerank, another head"
    assert [row["reused"] for row in more["rows"]] == [False] * 4
    torch.manual_seed(1)
    other = AMES(dim_in=128, dim=32, num_layers=1, dim_feedforward=32)
    save_head(tmp_path / "other", other, FROZEN)
    run(tiny_world, tmp_path / "e", [tmp_path / "other"], "descriptors=[20]", "num_rerank=15")
    run(tiny_world, tmp_path / "f", heads[:1], "descriptors=[20]", "query_desc_num=14")
    assert calls[4:] == [15, 12], "other weights, other settings"


@pytest.mark.slow
def test_an_interrupted_frontier_goes_on_where_it_stopped(
    tiny_world: TinyWorld,
    heads: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    real, stop = PairTask.put, [True]

    def put(self: PairTask, pairs: object, logits: object) -> None:
        real(self, pairs, logits)  # type: ignore[arg-type]
        if stop[0] and self._kept is not None and list((tmp_path / "cache").glob("*[0-9a-f].hdf5")):
            raise KeyboardInterrupt

    monkeypatch.setattr(PairTask, "put", put)
    with pytest.raises(KeyboardInterrupt):
        run(tiny_world, tmp_path / "a", heads[:1])
    assert "the same command goes on" in caplog.text
    assert len(list((tmp_path / "cache").glob("*.partial.hdf5"))) == 1
    stop[0] = False
    resumed = run(tiny_world, tmp_path / "b", heads[:1])
    assert [row["reused"] for row in resumed["rows"]] == [True, True, False, False]
    assert not list((tmp_path / "cache").glob("*.partial.hdf5"))
    whole = run(tiny_world, tmp_path / "c", heads[:1], f"cache={tmp_path / 'fresh'}")
    for one, two in zip(resumed["rows"], whole["rows"], strict=True):
        assert one["metrics"] == two["metrics"]


def test_a_choice_of_tuning_is_for_the_head_that_it_was_made_with(
    tiny_world: TinyWorld, heads: list[Path], tmp_path: Path
) -> None:
    config = compose("evaluate", [f"weights={heads[1]}", "desc_name=sift"])
    digest = open_scorer(config.model, config.desc_name, config.weights)[0].digest
    tuned = Tuned(9, 0.25, 2.0, "another-val", "ames", digest, "map", 0.5)
    path = write_tuned(tmp_path / "tuned.json", tuned)
    few = ["num_rerank=5", "descriptors=8", f"tuned=[{path}]"]
    results = run(tiny_world, tmp_path / "a", heads, *few)
    assert [(h["lamb"], h["tuned_on"]) for h in results["heads"]] == [
        (0.4, "synthetic-val"),
        (0.25, "another-val"),
    ]
    write_tuned(tmp_path / "tuned2.json", replace(tuned, weights="others"))
    with pytest.raises(ConfigError, match="tuned2.json is for none of the heads"):
        run(tiny_world, tmp_path / "b", heads, *few[:2], f"tuned={tmp_path / 'tuned2.json'}")


@pytest.mark.parametrize(
    "override, kind, message",
    [
        ("weights=[]", MissingFile, "no head to look at.*train.py desc_name=sift"),
        ("weights=[{0},{0}]", ConfigError, "names a head twice"),
        ("weights=nowhere", MissingFile, "no head here"),
        ("descriptors=[]", ConfigError, "descriptors is empty"),
        ("descriptors=[8,0]", ConfigError, "descriptors=0"),
        ("num_rerank=[0]", ConfigError, "num_rerank"),
        ("lamb=[0.1,0.2]", ConfigError, "lists.*nothing is chosen here"),
        ("lamb=2", BadInput, "lamb is 2"),
        ("metric=mAP", ConfigError, "no metric 'mAP'.*map_medium"),
        ("query_desc_num=few", ConfigError, "query_desc_num=few"),
        ("max_memory=0", ConfigError, "max_memory=0"),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_work(
    override: str,
    kind: type[UserError],
    message: str,
    tiny_world: TinyWorld,
    heads: list[Path],
    tmp_path: Path,
) -> None:
    with pytest.raises(kind, match=f"(?s){message}"):
        run(tiny_world, tmp_path / "run", heads, override.format(heads[0]))
    assert not (tmp_path / "run").exists() and not (tmp_path / "cache").exists()


def test_a_head_of_other_descriptors_or_without_a_choice_is_refused(
    tiny_world: TinyWorld, heads: list[Path], tmp_path: Path
) -> None:
    _, meta = load_head(heads[0])
    save_meta(heads[0], replace(meta, lamb=None))
    with pytest.raises(ConfigError, match="(?s)λ and γ are unknown.*tune.py weights="):
        run(tiny_world, tmp_path / "a", heads)
    save_meta(heads[0], replace(meta, desc_name="dinov2"))
    with pytest.raises(ConfigError, match="trained on 'dinov2', desc_name is 'sift'"):
        run(tiny_world, tmp_path / "b", heads)


def test_more_than_there_is_is_clamped_and_said(
    tiny_world: TinyWorld, heads: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["descriptors=[60,900]", "num_rerank=[39,4000]", "query_desc_num=0"]
    results = run(tiny_world, tmp_path / "run", heads[:1], *more, "metric=map_hard")
    assert {row["descriptors"] for row in results["rows"]} == {60}
    assert {row["query_descriptors"] for row in results["rows"]} == {60}
    said = capsys.readouterr().out
    assert said.count("descriptors=900 is more than the store has: 60 are taken") == 1
    assert said.count("num_rerank=4000 is more than the gallery") == 1
    assert results["metric"] == "map_hard"
