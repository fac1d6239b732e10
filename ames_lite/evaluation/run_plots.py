"""Which plots a run allows: for `ames plot` and for the report."""

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

from ames_lite.evaluation import plots
from ames_lite.evaluation.metrics import Floats
from ames_lite.evaluation.passes import Cell
from ames_lite.evaluation.protocols import Evaluation
from ames_lite.evaluation.results_file import Rankings
from ames_lite.evaluation.tuning import outcome

KINDS = ("scores", "precision_recall", "recall", "num_rerank", "ensemble")
ORACLE = "chosen on this set"
Draw = Callable[[], Figure]


def plots_of(
    found: Rankings, place: int, setting: str, evaluated: tuple[Evaluation, Evaluation]
) -> dict[str, Draw]:
    """Those of KINDS that a row allows: num_rerank and ensemble want several values. Without a
    positive in the setting, none. evaluated: by `Rankings.row`.
    """
    results, protocol = found.results, found.protocol
    rows, row, metric = results["rows"], results["rows"][place], protocol.main
    before, after = evaluated
    if not after.hits[setting].num_positives.any():
        return {}
    lists = {"global": before.hits[setting]}
    if row["num_rerank"]:
        lists["reranked"] = after.hits[setting]
    graded = f", {setting}" if protocol.graded else ""
    title = f"{results['dataset']}, {results['desc_name']}, {results['model']}{graded}"
    oracle = f" ({ORACLE})" if row.get("role") == "oracle" else ""
    count = f"{row['num_rerank']} reranked"
    cell = f"λ {row['lamb']:g}, γ {row['temp']:g}{oracle}"
    note = f"{count}, {cell}" if row["num_rerank"] else "not reranked"
    able: dict[str, Draw] = {
        "scores": lambda: plots.score_histogram(*_scores(found, place, setting), title, note),
        "precision_recall": lambda: plots.precision_recall(lists, title, note),
        "recall": lambda: plots.recall_at_k(lists, protocol.misses, title, note),
    }
    if not row["num_rerank"]:
        del able["scores"]
    whole = title.removesuffix(graded)
    column = [one for one in rows if (one["lamb"], one["temp"]) == (row["lamb"], row["temp"])]
    grid = [one for one in rows if one["num_rerank"] == row["num_rerank"]]
    if len({one["num_rerank"] for one in column}) > 1:
        value, draw = results["global"][metric], plots.metric_by_num_rerank
        able["num_rerank"] = lambda: draw(column, value, metric, whole, cell)
    if len({(one["lamb"], one["temp"]) for one in grid}) > 1:
        framed = f"{count}; framed: the best{oracle}"
        able["ensemble"] = lambda: plots.ensemble_map(grid, metric, whole, framed)
    return able


def _scores(found: Rankings, place: int, setting: str) -> tuple[Floats, Floats]:
    """Of the reranked candidates: those of right ones, and of wrong ones; junk is neither."""
    one = outcome(found, found.scores, Cell.of(found.results["rows"][place]), setting)
    scores = one.scores.astype(np.float64)
    return scores[one.counted & one.right], scores[one.counted & ~one.right]
