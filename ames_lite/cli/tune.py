"""`python scripts/tune.py`: num_rerank, λ and γ chosen on a validation set, and frozen.

They go into `tuned.json` of the run, which `scripts/evaluate.py tuned=` reads; λ and γ also into
the meta.json of a native head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ames_lite.cli.compose import Config
from ames_lite.cli.evaluate import clamp, numbers_of, open_scorer
from ames_lite.cli.scoring_run import scoring_options
from ames_lite.cli.shell import as_list, command, dataset_files, print_table, protocol_of, run_dir
from ames_lite.errors import ConfigError
from ames_lite.evaluation import evaluator
from ames_lite.evaluation.evaluator import EvaluationData
from ames_lite.evaluation.tuning import Row, best, grid
from ames_lite.io.checkpoint import is_native, load_head, save_meta
from ames_lite.io.tuned import Tuned, write_tuned
from ames_lite.records import PairScores
from ames_lite.runtime import pick_device

LAMBS = tuple(i / 10 for i in range(11))
TEMPS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


def main(overrides: Sequence[str] | None = None) -> int:
    """The command."""
    return command("tune", run, overrides)


def run(config: Config) -> Row:
    """Choose and, for a head, freeze; returns the chosen row."""
    files, dataset = dataset_files(config), config["dataset"]
    if dataset["role"] != "val":
        raise ConfigError(
            f"dataset={dataset['option']} has the role '{dataset['role']}'",
            expected="a validation set (role: val): nothing is tuned on what is reported",
        )
    numbers = numbers_of(config["num_rerank"])
    scorer, _ = open_scorer(config)
    data = evaluator.load(files, protocol_of(config), config["neighbors"], max(numbers))
    numbers = clamp(numbers, data)
    folder = run_dir(config, "tune")
    options = scoring_options(config, pick_device(config["device"]))
    scores, _ = evaluator.score(data, scorer, max(numbers), options, folder / "scores.hdf5")
    row = choose(data, scores, numbers, as_list(config["lamb"]), as_list(config["temp"]))
    metric = data.protocol.main
    cells = [[scorer.name, row.num_rerank, row.lamb, row.temp, row.metrics[metric]]]
    print_table(["chosen", "num_rerank", "λ", "γ", metric], cells)
    tuned = Tuned(
        row.num_rerank,
        row.lamb,
        row.temp,
        dataset["option"],
        scorer.name,
        scorer.digest,
        metric,
        row.metrics[metric],
    )
    print(f"frozen in {write_tuned(folder / 'tuned.json', tuned)}")
    if config["weights"] is not None and is_native(config["weights"]):
        print(f"      and {freeze(Path(config['weights']), row, dataset['option'])}")
    return row


def choose(
    data: EvaluationData,
    scores: PairScores,
    num_reranks: Sequence[int],
    lambs: Sequence[float] = LAMBS,
    temps: Sequence[float] = TEMPS,
) -> Row:
    """The cell of the grid with the highest main metric of the protocol; the first of equals."""
    rows = grid(
        data.neighbors,
        data.ground_truth,
        scores,
        num_reranks=num_reranks,
        lambs=lambs,
        temps=temps,
        protocol=data.protocol,
    )
    return best(rows, data.protocol.main)


def freeze(weights: Path, row: Row, tuned_on: str) -> Path:
    """Write λ, γ and what they were tuned on into the head's meta.json."""
    _, meta = load_head(weights)
    provenance = {**meta.provenance, "tuned_on": tuned_on, "tuned_num_rerank": row.num_rerank}
    return save_meta(weights, replace(meta, lamb=row.lamb, temp=row.temp, provenance=provenance))
