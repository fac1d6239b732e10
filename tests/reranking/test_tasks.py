"""Who scores which pairs, and what is kept of a run that ends half-way."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from ames_lite.cli import evaluate
from ames_lite.cli.compose import compose
from ames_lite.errors import BadInput
from ames_lite.models import Chamfer
from ames_lite.processes import Processes
from ames_lite.reranking import pair_scoring
from ames_lite.reranking.scorer import PairScorer, ScoringOptions
from ames_lite.reranking.tasks import PairTask, gallery_blocks
from ames_lite.reranking.verification import MutualNearest
from ames_lite.stores import pair_scores
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.pair_scores import PartialScores, read_pair_scores
from tests.conftest import TinyWorld
from tests.helpers import forked

ROOT = Path(__file__).resolve().parents[2]
DIGESTS = {"weights": "abc", "pairs": "def"}
OPTIONS = ScoringOptions(20, 15, block_images=2)


def stores(world: TinyWorld) -> list[DescriptorStore]:
    folder = world.folder()
    return [DescriptorStore.open(folder / f"sift_{s}_local.hdf5") for s in ("query", "gallery")]


def some_pairs(count: int = 90) -> tuple[np.ndarray, np.ndarray]:
    chosen = np.random.default_rng(0).choice(6 * 40, count, replace=False)
    return chosen // 40, chosen % 40


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that is finished is written at once."""
    monkeypatch.setattr(pair_scores, "FLUSH_SECONDS", 0.0)


class Alike(Processes):
    """One of several processes, whose exchanges are not made."""

    def total(self, values: np.ndarray, how: object = None) -> np.ndarray:
        return values


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_processes_share_the_pairs_by_gallery_row_without_duplicates(size: int) -> None:
    query, gallery = some_pairs()
    tasks = [PairTask(query, gallery, None, Alike(rank, size)) for rank in range(size)]
    np.testing.assert_array_equal(np.concatenate([task.todo for task in tasks]), np.arange(90))
    rows = [set(task.gallery[task.todo].tolist()) for task in tasks]
    assert sum(len(part) for part in rows) == len(set().union(*rows))
    if size <= 3:
        assert min(len(task.todo) for task in tasks) > 90 // size - 15


def test_more_processes_than_gallery_rows_leave_some_idle() -> None:
    tasks = [PairTask(np.arange(5), np.zeros(5, int), None, Alike(rank, 4)) for rank in range(4)]
    assert sorted(len(task.todo) for task in tasks) == [0, 0, 0, 5]


def test_blocks_are_runs_of_unique_rows_with_all_their_pairs() -> None:
    gallery = np.sort(some_pairs()[1])
    for size in (1, 4, 100):
        blocks = gallery_blocks(gallery, np.arange(5, 90), size)
        assert np.concatenate(blocks).tolist() == list(range(5, 90))
        rows = [np.unique(gallery[pairs]) for pairs in blocks]
        np.testing.assert_array_equal(np.concatenate(rows), np.unique(gallery[5:]))
        assert {len(one) for one in rows[:-1]} <= {size} and len(rows[-1]) <= size


def interrupted_after(
    blocks: int, world: TinyWorld, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Score until so many blocks are finished, then be interrupted."""
    left = [blocks]
    real = PairTask.put

    def put(self: PairTask, pairs: np.ndarray, logits: np.ndarray) -> None:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        real(self, pairs, logits)

    with monkeypatch.context() as patch:
        patch.setattr(PairTask, "put", put)
        kept = PartialScores(output, DIGESTS)
        with pytest.raises(KeyboardInterrupt):
            PairScorer(Chamfer()).score(*stores(world), *some_pairs(), OPTIONS, kept=kept)


def test_what_an_interrupted_run_finished_is_not_done_again(
    tiny_world: TinyWorld,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    output = tmp_path / "scores.hdf5"
    interrupted_after(5, tiny_world, output, monkeypatch)
    gallery = np.sort(some_pairs()[1])
    finished = int((gallery < np.unique(gallery)[10]).sum())
    assert f"{finished} of 90 pairs are scored and kept in" in caplog.text
    assert f"resume=true output_dir={tmp_path}" in caplog.text
    assert not output.exists()
    with pytest.raises(BadInput, match="schema"):  # nobody takes it for the whole
        read_pair_scores(tmp_path / "scores.partial.hdf5", DIGESTS)
    kept = PartialScores(output, DIGESTS)
    scores, cost = PairScorer(Chamfer()).score(
        *stores(tiny_world), *some_pairs(), OPTIONS, kept=kept
    )
    expected, whole = PairScorer(Chamfer()).score(*stores(tiny_world), *some_pairs(), OPTIONS)
    np.testing.assert_array_equal(scores.logit, expected.logit)
    assert (cost.pairs, cost.pairs_kept) == (90 - finished, finished)
    assert cost.encoded_gallery == whole.encoded_gallery - 10
    kept.remove()
    assert not list(tmp_path.iterdir())


def test_a_verifier_is_resumed_too(
    tiny_world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier, calls = MutualNearest(0.7), [0]
    expected, _ = PairScorer(verifier).score(*stores(tiny_world), *some_pairs())
    real = MutualNearest.score

    def score(self: MutualNearest, *sides: object) -> float:
        calls[0] += 1
        if calls[0] == 31:
            raise KeyboardInterrupt
        return real(self, *sides)  # type: ignore[arg-type]

    monkeypatch.setattr(MutualNearest, "score", score)
    for attempt in range(2):
        kept = PartialScores(tmp_path / "scores.hdf5", DIGESTS)
        if attempt == 0:
            with pytest.raises(KeyboardInterrupt):
                PairScorer(verifier).score(*stores(tiny_world), *some_pairs(), kept=kept)
        else:
            found, cost = PairScorer(verifier).score(*stores(tiny_world), *some_pairs(), kept=kept)
    np.testing.assert_array_equal(found.logit, expected.logit)
    assert calls[0] == 91 and (cost.pairs, cost.pairs_kept) == (60, 30)
    assert cost.bytes_read == cost.unique_bytes > 0


@pytest.mark.parametrize("key", ["weights", "pairs"])
def test_a_run_of_something_else_is_not_continued(
    key: str, tiny_world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "scores.hdf5"
    interrupted_after(2, tiny_world, output, monkeypatch)
    kept = PartialScores(output, DIGESTS | {key: "other"})
    with pytest.raises(BadInput, match=f"(?s)another {key}: {DIGESTS[key]} there, other here"):
        PairScorer(Chamfer()).score(*stores(tiny_world), *some_pairs(), OPTIONS, kept=kept)


def test_a_damaged_partial_file_is_refused(
    tiny_world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "scores.hdf5"
    interrupted_after(2, tiny_world, output, monkeypatch)
    path = tmp_path / "scores.partial.hdf5"
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(BadInput, match="(?s)cannot be opened.*scores.partial.hdf5.*remove the"):
        PartialScores(output, DIGESTS).read(90)


def test_a_store_that_is_cut_short_costs_nothing_that_was_finished(
    tiny_world: TinyWorld, tmp_path: Path, at_once: None
) -> None:
    whole = stores(tiny_world)
    data = whole[1].path.read_bytes()
    (tmp_path / "gallery.hdf5").write_bytes(data)
    cut = DescriptorStore.open(tmp_path / "gallery.hdf5")
    real, calls = cut.read_descriptors, [0]

    def harming(rows: np.ndarray, count: int) -> object:
        calls[0] += 1
        if calls[0] == 12:
            with cut.path.open("r+b") as file:
                file.truncate(len(data) // 2)
        return real(rows, count)

    cut.read_descriptors = harming  # type: ignore[method-assign,assignment]
    output = tmp_path / "run" / "scores.hdf5"
    with pytest.raises(BadInput, match="when it was opened|file is shorter than its data"):
        kept = PartialScores(output, DIGESTS)
        PairScorer(Chamfer()).score(whole[0], cut, *some_pairs(), OPTIONS, kept=kept)
    logit, done = PartialScores(output, DIGESTS).read(90)
    expected, _ = PairScorer(Chamfer()).score(*whole, *some_pairs(), OPTIONS)
    order = np.lexsort((expected.query, expected.gallery))
    assert 0 < done.sum() < 90
    np.testing.assert_array_equal(logit[done], expected.logit[order][done])


def killed_after_flushes(left: int, words: list[str]) -> None:
    """An evaluation of blocks of three images that dies after so many flushes."""
    real = pair_scores.PartialScores.flush

    def flush(self: pair_scores.PartialScores) -> None:
        nonlocal left
        real(self)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    pair_scores.FLUSH_SECONDS, pair_scoring.MOST_IMAGES = 0.0, 3
    pair_scores.PartialScores.flush = flush  # type: ignore[method-assign]
    evaluate.run(compose("evaluate", words))


def test_a_killed_run_goes_on_and_gives_the_same_scores(
    tiny_world: TinyWorld, tmp_path: Path
) -> None:
    given = ["dataset=synthetic", "desc_name=sift", f"data_root={tiny_world.root}"]
    given += ["model=chamfer", "num_rerank=20", "lamb=0.5", "temp=1.0", "report_queries=0"]
    folder = tmp_path / "run"
    words = [*given, f"output_dir={folder}"]
    assert forked(lambda: killed_after_flushes(4, words)) == -signal.SIGKILL
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["config.yaml", "overrides.yaml", "run.log", "scores.partial.hdf5"]
    resumed = evaluate.run(compose("evaluate", [*given, f"output_dir={folder}"]))
    whole = evaluate.run(compose("evaluate", [*given, f"output_dir={tmp_path / 'whole'}"]))
    assert resumed["rows"] == whole["rows"] and resumed["digests"] == whole["digests"]
    assert resumed["cost"]["pairs_kept"] > 0
    total = resumed["cost"]["pairs"] + resumed["cost"]["pairs_kept"]
    assert total == whole["cost"]["pairs"] and whole["cost"]["pairs_kept"] == 0
    both = [
        read_pair_scores(f / "scores.hdf5", whole["digests"]) for f in (folder, tmp_path / "whole")
    ]
    np.testing.assert_array_equal(both[0].logit, both[1].logit)
    assert not list(folder.glob("*partial*"))
    with pytest.raises(BadInput, match="the run has ended"):
        evaluate.run(compose("evaluate", [*given, f"output_dir={folder}", "resume=true"]))
