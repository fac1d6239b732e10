"""`python scripts/tune.py`: num_rerank, λ and γ chosen on a validation set, into tuned.json, which
`scripts/evaluate.py tuned=` reads; λ, γ and the calibration also into a native head's meta.json.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ames_lite.cli.evaluate import numbers_of, open_data, open_scorer, open_weights
from ames_lite.cli.schema.evaluation import Tune
from ames_lite.cli.scoring_run import check_validation_set, run_folder, scores_in, scoring
from ames_lite.cli.shell import as_list, dataset_files, print_table, protocol_of
from ames_lite.errors import BadInput, check_config
from ames_lite.evaluation import tuning
from ames_lite.evaluation.data import EvaluationData
from ames_lite.evaluation.evaluator import Work
from ames_lite.evaluation.tuning import Row, Tuned, best, grid
from ames_lite.io.checkpoint import is_native, load_head, save_meta
from ames_lite.processes import Processes
from ames_lite.records import PairScores
from ames_lite.reranking.calibration import Outcome, fit_calibration
from ames_lite.reranking.cascade import Cascade
from ames_lite.reranking.scorer import PairScorer, ScoringOptions

TUNED = "tuned.json"


class Scored(NamedTuple):
    """A validation set with the logits of all pairs, and every cell of the grid on it."""

    rows: list[Row]
    scorer: PairScorer
    data: EvaluationData
    scores: PairScores
    folder: Path
    cheap: tuple[PairScorer, PairScores] | None  # of cascade=

    def outcome(self, row: Row) -> Outcome:
        return tuning.outcome(self.data, self.scores, row)

    def cascade(self, row: Row) -> Cascade | None:
        """What is learnt of cascade=, None without it."""
        if self.cheap is None:
            return None
        scorer, scores = self.cheap
        return tuning.learn_cascade(self.data, self.scores, row, scores, scorer.name, scorer.digest)


def run(config: Tune) -> Row:
    """Choose and, for a head, freeze; returns the row. Several processes share the scoring."""
    with scoring(config) as (config, processes, options):
        scored = score_grid(config, processes, options)
        row = best(scored.rows, scored.data.protocol.main)
        if processes.first:
            _keep(config, scored, row)
        return row


def score_grid(config: Tune, processes: Processes, options: ScoringOptions) -> Scored:
    """Every cell of the grid on a validation set, and what it was computed from."""
    files = dataset_files(config)
    check_validation_set("dataset", config.dataset)
    kept = config.weights is not None and is_native(config.weights)
    expected = "weights=<a native head>; save_pretrained makes one of a published head"
    check_config(config.cascade is None or kept, "cascade= is kept in a meta.json", expected)
    scorer, _ = open_scorer(config.model, config.desc_name, config.weights)
    numbers, protocol = numbers_of(config.num_rerank), protocol_of(config)
    data, numbers = open_data(files, protocol, config.neighbors, numbers, processes)
    first = None if config.cascade is None else open_weights(config.cascade, config.desc_name)[0]
    folder = run_folder(config, "tune", processes, TUNED)
    work = Work(data, scorer, max(numbers), options)
    scores, _ = scores_in(folder, work, processes)
    cheap = None
    if first is not None:
        found, _ = first.score(*data.stores, *work.pairs, options, processes=processes)
        cheap = first, found
    lambs, temps = as_list(config.lamb), as_list(config.temp)
    rows = grid(data, scores, num_reranks=numbers, lambs=lambs, temps=temps)
    return Scored(rows, scorer, data, scores, folder, cheap)


def _keep(config: Tune, scored: Scored, row: Row) -> None:
    scorer, metric = scored.scorer, scored.data.protocol.main
    option, value = config.dataset.option, row.metrics[metric]
    cell = (row.num_rerank, row.lamb, row.temp)
    print_table(["chosen", "num_rerank", "λ", "γ", metric], [[scorer.name, *cell, value]])
    tuned, frozen = Tuned(*cell, option, scorer.name, scorer.digest, metric, value), None
    if config.weights is not None and is_native(config.weights):
        outcomes = {option: scored.outcome(row)}
        frozen = freeze(config.weights, row, outcomes, scored.cascade(row))
    print(f"frozen in {tuning.write_tuned(scored.folder / TUNED, tuned)}")  # last: it ends the run
    if frozen is not None:
        print(f"      and {frozen}")


def freeze(
    weights: Path, row: Row, outcomes: Mapping[str, Outcome], cascade: Cascade | None = None
) -> Path:
    """Write λ, γ, the sets that they were tuned on, the calibration (it is said where nothing can
    be calibrated) and the cascade into a head's meta.json.
    """
    _, meta = load_head(weights)
    try:
        calibration = fit_calibration(outcomes)
    except BadInput as error:
        print(f"not calibrated: {str(error).splitlines()[0]}")
        kept = None
    else:
        print(
            f"calibrated: expected calibration error {calibration.pairs.error:.4f} of pairs, "
            f"{calibration.first.error:.4f} of first places, on queries left out"
        )
        kept = calibration.as_json()
    tuned_on = {"tuned_on": "+".join(outcomes), "tuned_num_rerank": row.num_rerank}
    found = None
    if cascade is not None:
        found = cascade.as_json()
        print(
            f"cascade: {cascade.share:.1%} of pairs have a logit of {cascade.least:.4g} or more by "
            f"{cascade.model}, and so have {cascade.recall:.1%} of the first {cascade.top} images"
        )
    meta = replace(meta, lamb=row.lamb, temp=row.temp, calibration=kept, cascade=found)
    return save_meta(weights, replace(meta, provenance={**meta.provenance, **tuned_on}))
