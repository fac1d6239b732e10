"""Grids over num_rerank, lamb and temp, from logits that were computed once. On the set that is
reported they are oracles: choose on another set and carry the choice over in tuned.json, which
holds for one model and its weights alone.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from ames_lite.errors import existing_file, explained, require
from ames_lite.evaluation.metrics import JUNK, POSITIVE, Floats
from ames_lite.evaluation.passes import Cell, evaluate_passes, prepare_passes
from ames_lite.evaluation.protocols import Retrieval
from ames_lite.io import remedies
from ames_lite.io.json_file import read_json_file, write_json_file
from ames_lite.records import PairScores
from ames_lite.reranking.calibration import Outcome
from ames_lite.reranking.cascade import Cascade, fit_cascade
from ames_lite.reranking.ensemble import ensemble_scores


@dataclass(frozen=True)
class Row(Cell):
    """A cell with what it reached: metrics and main_ap [Q] as of `Evaluation`."""

    metrics: dict[str, float]
    main_ap: Floats = field(default_factory=lambda: np.zeros(0), compare=False, repr=False)


def grid(
    lists: Retrieval,
    scores: PairScores,
    *,
    num_reranks: Iterable[int],
    lambs: Iterable[float],
    temps: Iterable[float],
) -> list[Row]:
    """The metrics of every combination, temp fastest. BadInput for none, or out of range."""
    cells = [Cell(*values) for values in product(num_reranks, lambs, temps)]
    require(cells, "a grid has no cells", "values for num_rerank, lamb and temp")
    passes = prepare_passes(lists, scores, max(cell.num_rerank for cell in cells))
    rows = []
    for cell in cells:
        found = evaluate_passes(passes, lists.protocol, cell)
        rows.append(Row(cell.num_rerank, cell.lamb, cell.temp, found.metrics, found.main_ap))
    return rows


def _orders(row: Row, rows: Sequence[Row]) -> bool:
    """Whether the γ of a row has a part in the order: with λ = 0 the smallest stands for all."""
    of_logits = (r.temp for r in rows if r.lamb == 0 and r.num_rerank == row.num_rerank)
    return row.lamb > 0 or row.temp == min(of_logits)


def best(rows: Sequence[Row], metric: str) -> Row:
    """The row with the highest metric, first of equals; with λ = 0 only the smallest γ counts."""
    require(rows, "there is no row to choose from", "a grid with cells")
    known = all(metric in row.metrics for row in rows)
    require(known, f"no metric '{metric}'", ", ".join(rows[0].metrics))
    counted = [r for r in rows if _orders(r, rows) and not math.isnan(r.metrics[metric])]
    require(counted, f"'{metric}' is undefined in every row", "queries with positives")
    return max(counted, key=lambda row: row.metrics[metric])


def outcome(data: Retrieval, scores: PairScores, cell: Cell, setting: str | None = None) -> Outcome:
    """Of the first num_rerank candidates; setting: of a graded protocol, None: medium."""
    passes = prepare_passes(data, scores, cell.num_rerank)
    one = passes[setting or data.protocol.main_settings[0]]
    final = ensemble_scores(one.sims, one.logits, cell.lamb, cell.temp)
    return Outcome(final, one.labels == POSITIVE, one.labels != JUNK)


def learn_cascade(
    lists: Retrieval, scores: PairScores, cell: Cell, cheap: PairScores, model: str, weights: str
) -> Cascade:
    """From the scores of a head, and of a cheaper one (its name, its digest), on the same set."""
    passes, found = prepare_passes(lists, cheap, cell.num_rerank), outcome(lists, scores, cell)
    logits = passes[lists.protocol.main_settings[0]].logits
    return fit_cascade(model, weights, logits, found.scores, found.counted)


@dataclass(frozen=True)
class Tuned(Cell):
    """What tuning chose."""

    tuned_on: str  # the validation set
    model: str
    weights: str  # digest
    metric: str
    value: float  # that was reached there, a fraction in [0, 1]

    def check(self, model: str, weights: str, path: str | Path) -> None:
        """Raise BadInput where it was chosen for another model."""
        for what, mine, its in (("model", model, self.model), ("weights", weights, self.weights)):
            said = f"tuned with {what} {its}, this run has {mine}"
            expected = f"what was chosen with the same {what}"
            remedy = f"{remedies.TUNE} with this model"
            require(mine == its, said, expected, where=path, remedy=remedy)


def write_tuned(path: str | Path, tuned: Tuned) -> Path:
    """Write the choice; returns the path."""
    return write_json_file(path, {"schema": 1, **asdict(tuned)}, overwrite=False)


def read_tuned(path: str | Path) -> Tuned:
    """The choice at `path`, a file or a run directory with it. Raises MissingFile, BadInput."""
    path = Path(path).expanduser()
    path = path / "tuned.json" if path.is_dir() else path
    existing_file(path, "a choice of tuning is missing", remedy=remedies.TUNE)
    content: Any = read_json_file(path, "tuned.json", remedies.TUNE)
    what, kinds = "this is no choice of tuning", (ValueError, TypeError, AssertionError)
    with explained(what, kinds, where=path, expected="tuned.json", remedy=remedies.TUNE):
        assert isinstance(content, dict) and content.pop("schema", None) == 1
        tuned = Tuned(**content)
        assert isinstance(tuned.num_rerank, int)
        assert all(isinstance(v, str) for v in (tuned.tuned_on, tuned.model, tuned.weights))
    return tuned
