"""Scores that several runs share: a folder of `scores.hdf5` files under names made of digests.

A file is found by all that its logits depend on and may hold more pairs than are asked for; what
scoring took is kept with the scores, with the machine that it was timed on.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ames_lite.evaluation import evaluator
from ames_lite.evaluation.data import EvaluationData
from ames_lite.evaluation.evaluator import Pairs, Work
from ames_lite.io.digest import array_digest
from ames_lite.processes import Processes
from ames_lite.records import PairScores
from ames_lite.reranking.scorer import PairScorer, ScoringOptions
from ames_lite.stores.pair_scores import read_pair_scores, read_provenance

WARM_UP = 32  # pairs that are scored, and forgotten, before anything is timed


@dataclass(frozen=True, eq=False)
class CachedScores:
    """Scores, and the run that made them.

    num_rerank: what it scored for; seconds_per_pair: reading, encoding and scoring, None where
    nothing was timed; timed_on: device and precision, in words; reused: whether an earlier run made
    them.
    """

    scores: PairScores
    num_rerank: int
    seconds_per_pair: float | None
    timed_on: str
    reused: bool


class ScoreCache:
    """The scores in a folder, which is made when the first are written."""

    def __init__(self, folder: Path, processes: Processes) -> None:
        self.folder, self._processes = folder, processes
        self._warm: set[str] = set()

    def scores(
        self, data: EvaluationData, scorer: PairScorer, num_rerank: int, options: ScoringOptions
    ) -> CachedScores:
        """The logits of all pairs that reranking so many needs; an interrupted run is resumed.

        Raises as `evaluator.score`.
        """
        work = Work(data, scorer, num_rerank, options)
        known, pairs = work.digests, work.pairs
        key = _short(json.dumps(known, sort_keys=True))
        path = self.folder / f"{key}_{_short(array_digest(np.stack(pairs)))}.hdf5"
        found = self._find(key, known, pairs) if self._processes.first else None
        reused = self._processes.from_first("" if found is None else str(found))
        if reused:
            path = Path(reused)
        else:
            self._warm_up(data, scorer, options, pairs)
            if self._processes.first:
                self.folder.mkdir(parents=True, exist_ok=True)
            evaluator.score(work, path, self._processes, goes_on="the same command")
            self._processes.wait()  # until the first one has written
        made = read_provenance(path)
        rate = made.get("pairs_per_second")
        return CachedScores(
            read_pair_scores(path, known),
            made.get("num_rerank", num_rerank),
            None if rate is None else 1 / rate,
            made.get("timed_on", "unknown"),
            bool(reused),
        )

    def _find(self, key: str, known: dict[str, str], pairs: Pairs) -> Path | None:
        """The smallest file with all these pairs."""
        files = (p for p in self.folder.glob(f"{key}_*.hdf5") if ".partial" not in p.name)
        for path in sorted(files, key=lambda path: (path.stat().st_size, path.name)):
            if evaluator.lacking_pairs(read_pair_scores(path, known), pairs) == 0:
                return path
        return None

    def _warm_up(
        self, data: EvaluationData, scorer: PairScorer, options: ScoringOptions, pairs: Pairs
    ) -> None:
        """Have done what is slow the first time only."""
        if scorer.digest not in self._warm:
            self._warm.add(scorer.digest)
            query, gallery = (rows[:WARM_UP] for rows in pairs)
            scorer.score(*data.stores, query, gallery, options)


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
