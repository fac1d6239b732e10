"""`python scripts/plot.py results=<run>`: plots of what evaluate, tune and train left."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ames_lite.cli.failures import opened
from ames_lite.cli.schema.evaluation import Plot
from ames_lite.cli.shell import run_dir
from ames_lite.errors import ConfigError, check_config, existing_file, explained
from ames_lite.evaluation import plots
from ames_lite.evaluation.figures import save_figure
from ames_lite.evaluation.plots import KINDS as OF_RESULTS
from ames_lite.evaluation.plots import Draw, plots_of
from ames_lite.evaluation.results_file import read_results, results_path
from ames_lite.io.checkpoint import load_head
from ames_lite.reranking.calibration import Calibration

KINDS = (*OF_RESULTS, "scatter", "training", "reliability")


def run(config: Plot) -> list[Path]:
    """All plots, drawn before the first one is written; returns their paths."""
    drawn = {kind: draw() for kind, draw in _chosen(config).items()}
    folder = run_dir(config, "plots", f"{list(drawn)[-1]}.{config.form}")
    paths = [save_figure(one, folder / f"{kind}.{config.form}") for kind, one in drawn.items()]
    print("\n".join(f"{path.stem}: {path}" for path in paths))
    return paths


def _chosen(config: Plot) -> dict[str, Draw]:
    """What is asked for, or all that can be drawn of what is given. Raises ConfigError."""
    asked = KINDS if config.kinds is None else config.kinds
    unknown = sorted(set(asked) - set(KINDS))
    check_config(not unknown, f"kinds= has {', '.join(unknown)}", f"some of {', '.join(KINDS)}")
    able: dict[str, Draw] = {}
    if config.results is not None:
        able |= _of_run(config, config.results)
        if config.against is not None:
            both = results_path(config.results), results_path(config.against)
            able["scatter"] = partial(_scatter, *both)
    elif config.against is not None:
        raise ConfigError("against= is given alone", expected="results=<run> beside it")
    if config.training is not None:
        able["training"] = partial(_training, config.training)
    if config.weights is not None:
        able["reliability"] = partial(_reliability, config.weights)
    check_config(able, "nothing to plot is given", "results=, training= or weights=")
    missing = [kind for kind in asked if kind not in able]
    what = f"kinds= has {', '.join(missing)}, for which something is missing"
    expected = "results=<run>, against=<another run>, training=<run>, weights=<a calibrated head>; "
    expected += "for ensemble a run with several λ or γ, for num_rerank with several num_rerank"
    check_config(config.kinds is None or not missing, what, expected)
    return {kind: able[kind] for kind in asked if kind in able}


def _of_run(config: Plot, run: Path) -> dict[str, Draw]:
    opening = opened(config, run)
    found, place = opening.read(), opening.place
    able = plots_of(found, place, opening.setting, found.row(place))
    what = f"no query has a correct image in setting={opening.setting}"
    check_config(able, what, "another setting=")
    return able


def _scatter(*paths: Path) -> Figure:
    """Of the first row of two runs."""
    runs = [read_results(path) for path in paths]
    aps = [{one["name"]: one["ap"] for one in run["per_query"]} for run in runs]
    same = runs[0]["dataset"] == runs[1]["dataset"] and aps[0].keys() == aps[1].keys()
    both = " and ".join(str(run["dataset"]) for run in runs)
    what = f"the two runs are of {both}, or of other queries"
    check_config(same, what, "two evaluations of one data set", where=paths[1])
    known = [name for name in aps[0] if all(found[name] is not None for found in aps)]
    check_config(known, "no query has an AP in both runs", "queries with positives")
    one, other = (np.array([found[name] for name in known], np.float64) for found in aps)
    title = str(runs[0]["dataset"])
    return plots.ap_scatter((_called(runs[0]), _called(runs[1])), (one, other), title)


def _called(results: Mapping[str, Any]) -> str:
    row = results["rows"][0]
    return f"{results['model']}, {results['desc_name']}, {row['num_rerank']} reranked"


def _training(folder: Path) -> Figure:
    ended = folder / "epochs.jsonl"  # of no epoch yet, there is none
    steps, epochs = _lines(folder / "log.jsonl"), _lines(ended) if ended.is_file() else []
    check_config(steps, "the training has no step yet", "a run of scripts/train.py", where=folder)
    return plots.training_curves(steps, epochs, folder.absolute().name)


def _lines(path: Path) -> list[dict[str, Any]]:
    existing_file(path.absolute(), "this is no training run", expected="its log.jsonl")
    expected = "in each line a JSON table with its epoch"
    with explained("a line is damaged: {}", Exception, where=path, expected=expected):
        lines = path.read_text(encoding="utf-8").splitlines()
        return [{**line, "epoch": int(line["epoch"])} for line in map(json.loads, lines)]


def _reliability(weights: Path) -> Figure:
    _, meta = load_head(weights)
    remedy = f"python scripts/tune.py weights={weights} dataset=<a validation set>"
    expected, fine = "a calibration in its meta.json", meta.calibration is not None
    check_config(fine, "the head is not calibrated", expected, where=weights, remedy=remedy)
    found = Calibration.from_json(meta.calibration)
    curves = {"pairs": found.pairs, "first places": found.first}
    return plots.reliability_diagram(curves, weights.name)
