"""What a cascade saves and costs: from runs of scripts/evaluate.py, of two heads on the same sets.

    python -m benchmarks.cascade <validation run> <of the cheaper head> <test run> <…> …

The bound is learnt on the first two runs, as scripts/tune.py learns it, and applied to all. λ and γ
are those of the first row of a run; of ROxford-like sets the medium setting counts.
"""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ames_lite.cli.compose import compose
from ames_lite.cli.failures import opened
from ames_lite.cli.shell import exit_code, print_table
from ames_lite.errors import check_config
from ames_lite.evaluation.passes import Cell, RerankPass, evaluate_passes, prepare_passes
from ames_lite.evaluation.results_file import Rankings
from ames_lite.evaluation.significance import bootstrap_mean
from ames_lite.evaluation.tuning import outcome
from ames_lite.records import NO_EVIDENCE
from ames_lite.reranking.cascade import Cascade, fit_cascade
from ames_lite.reranking.ensemble import stable_descending

HEADER = ["run", "pairs", "scored", "first 10 kept", "mAP", "of the cascade", "points"]


class Both(NamedTuple):
    """A set, ranked by a head and by a cheaper one."""

    found: Rankings
    cell: Cell
    passes: Mapping[str, RerankPass]
    cheap: Mapping[str, RerankPass]
    cheap_model: str

    @property
    def setting(self) -> str:
        return self.found.protocol.main_settings[0]


def both(run: Path, cheap_run: Path) -> Both:
    """Raises BadInput where they are of different sets."""
    found, cheap = (
        opened(compose("failures", [f"results={one}"]), one).read() for one in (run, cheap_run)
    )
    cell = Cell.of(found.results["rows"][0])
    passes, of_cheap = (
        prepare_passes(found, one.scores, cell.num_rerank) for one in (found, cheap)
    )
    return Both(found, cell, passes, of_cheap, cheap.results["model"])


def learnt(given: Both) -> Cascade:
    """Of a validation set."""
    told = outcome(given.found, given.found.scores, given.cell)
    logits = given.cheap[given.setting].logits
    return fit_cascade(given.cheap_model, "", logits, told.scores, told.counted)


def row(name: str, given: Both, cascade: Cascade) -> list[object]:
    """A row of the table."""
    passing = {key: cascade.passes(one.logits) for key, one in given.cheap.items()}
    cut = {
        key: replace(one, logits=np.where(passing[key], one.logits, np.float32(NO_EVIDENCE)))
        for key, one in given.passes.items()
    }
    before, after = (
        evaluate_passes(p, given.found.protocol, given.cell).main_ap for p in (given.passes, cut)
    )
    main, told = passing[given.setting], outcome(given.found, given.found.scores, given.cell)
    first = stable_descending(np.where(told.counted, told.scores, -np.inf))[:, : cascade.top]
    kept = np.take_along_axis(main, first, axis=1)[np.take_along_axis(told.counted, first, axis=1)]
    gain = bootstrap_mean(100 * (after - before), seed=0)
    points = f"{gain.mean:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]"
    return [
        name,
        main.size,
        main.mean(),
        kept.mean(),
        np.nanmean(before),
        np.nanmean(after),
        points,
    ]


def main() -> None:
    runs = [Path(word) for word in sys.argv[1:]]
    check_config(len(runs) >= 2 and len(runs) % 2 == 0, f"{len(runs)} runs", "pairs of runs")
    pairs = {one.name: both(one, cheap) for one, cheap in zip(runs[::2], runs[1::2], strict=True)}
    cascade = learnt(next(iter(pairs.values())))
    print_table(HEADER, [row(name, given, cascade) for name, given in pairs.items()])
    print(f"learnt: a logit of {cascade.least:.4g} or more by {cascade.model}")


if __name__ == "__main__":
    sys.exit(exit_code(main))
