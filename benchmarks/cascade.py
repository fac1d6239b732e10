"""What a cascade saves and costs: from runs of scripts/evaluate.py, of two heads on the same sets.

    python -m benchmarks.cascade <validation run> <of the cheaper head> <test run> <…> …

The bound is learnt on the first two runs, as scripts/tune.py learns it, and applied to all. λ and γ
are those of the first row of a run; of ROxford-like sets the medium setting counts.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from ames_lite.cli.compose import compose
from ames_lite.cli.failures import opened
from ames_lite.cli.shell import exit_code, print_table
from ames_lite.errors import check_config, require
from ames_lite.evaluation.passes import Cell, evaluate_passes, prepare_passes
from ames_lite.evaluation.results_file import Rankings
from ames_lite.evaluation.significance import bootstrap_mean
from ames_lite.evaluation.tuning import learn_cascade, outcome
from ames_lite.records import NO_EVIDENCE
from ames_lite.reranking.cascade import Cascade
from ames_lite.reranking.ensemble import stable_descending

HEADER = ["run", "pairs", "scored", "first 10 kept", "mAP", "of the cascade", "points"]


def both(run: Path, cheap_run: Path) -> tuple[Rankings, Rankings]:
    """Rankings of one set by a head and by a cheaper one. Raises BadInput for different sets."""
    found, cheap = (
        opened(compose("failures", [f"results={one}"]), one).read() for one in (run, cheap_run)
    )
    for key in ("query_names", "gallery_names"):
        same = found.results["digests"][key] == cheap.results["digests"][key]
        require(same, f"the runs have other {key}", where=cheap_run, expected=f"the set of {run}")
    return found, cheap


def row(name: str, found: Rankings, cheap: Rankings, cascade: Cascade) -> list[object]:
    """A row of the table."""
    cell, setting = Cell.of(found.results["rows"][0]), found.protocol.main_settings[0]
    whole, first = (prepare_passes(found, one.scores, cell.num_rerank) for one in (found, cheap))
    passing = {key: cascade.passes(one.logits) for key, one in first.items()}
    cut = {
        key: replace(one, logits=np.where(passing[key], one.logits, np.float32(NO_EVIDENCE)))
        for key, one in whole.items()
    }
    before, after = (evaluate_passes(p, found.protocol, cell).main_ap for p in (whole, cut))
    main, told = passing[setting], outcome(found, found.scores, cell)
    best = stable_descending(np.where(told.counted, told.scores, -np.inf))[:, : cascade.top]
    kept = np.take_along_axis(main, best, axis=1)[np.take_along_axis(told.counted, best, axis=1)]
    gain = bootstrap_mean(100 * (after - before), seed=0)
    points = f"{gain.mean:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]"
    shares = main.mean(), kept.mean(), np.nanmean(before), np.nanmean(after)
    return [name, main.size, *shares, points]


def main() -> None:
    runs = [Path(word) for word in sys.argv[1:]]
    check_config(len(runs) >= 2 and len(runs) % 2 == 0, f"{len(runs)} runs", "pairs of runs")
    pairs = [both(one, cheap) for one, cheap in zip(runs[::2], runs[1::2], strict=True)]
    (found, cheap), cell = pairs[0], Cell.of(pairs[0][0].results["rows"][0])
    cascade = learn_cascade(found, found.scores, cell, cheap.scores, cheap.results["model"], "")
    names = [str(run) for run in runs[::2]]
    rows = [row(name, *pair, cascade) for name, pair in zip(names, pairs, strict=True)]
    print_table(HEADER, rows)
    print(f"learnt: a logit of {cascade.least:.4g} or more by {cascade.model}")


if __name__ == "__main__":
    sys.exit(exit_code(main))
