"""Plots of an evaluation, of a training run and of a calibration, for papers: one figure each; and
which of them a run allows. A colour is a list: global, reranked. Axis letters: Q queries, K ranked
images.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, PercentFormatter, StrMethodFormatter

from ames_lite.evaluation import figures
from ames_lite.evaluation.figures import GREY, HUES, MEDIUM, PALE, SMALL, plain, titled_figure
from ames_lite.evaluation.metrics import Floats, Hits, best_ranks
from ames_lite.evaluation.passes import Cell
from ames_lite.evaluation.protocols import Evaluation
from ames_lite.evaluation.results_file import Rankings
from ames_lite.evaluation.significance import bootstrap_mean
from ames_lite.evaluation.tuning import outcome
from ames_lite.reranking.calibration import Curve

SIZE = (5.6, 4.2)  # inches
WIDE = (9.6, 4.2)
BLUE, VERMILION = HUES[4], HUES[5]
LISTS = {"global": GREY, "reranked": BLUE}
TONE = "0.3"  # of a note
LEVELS = np.linspace(0, 1, 101)  # of recall
DEEPEST = 100  # k of recall@k
BINS = 40
SMOOTH = 51  # steps that a training curve is averaged over
Rows = Sequence[Mapping[str, Any]]  # of results.json
KINDS = ("scores", "precision_recall", "recall", "num_rerank", "ensemble")
ORACLE = "chosen on this set"
Draw = Callable[[], Figure]


def score_histogram(right: Floats, wrong: Floats, title: str, note: str) -> Figure:
    """Scores of the reranked candidates that are right and that are wrong, each of area 1."""
    figure, axes = _one(title, "score", "density", note)
    edges = np.histogram_bin_edges(np.concatenate([right, wrong]), BINS).tolist()
    for values, hue, name in ((wrong, VERMILION, "wrong"), (right, BLUE, "right")):
        if len(values):
            label = f"{name}: {len(values)}"
            axes.hist(values, edges, density=True, color=hue, alpha=0.6, label=label)
    axes.legend(frameon=False, fontsize=SMALL)
    return figure


def precision_recall(lists: Mapping[str, Hits], title: str, note: str) -> Figure:
    """Mean over queries of the interpolated precision: the best at that recall or a higher one."""
    figure, axes = _one(title, "recall", "precision", note)
    for name, hits in lists.items():
        axes.plot(LEVELS, interpolated_precision(hits), color=LISTS[name], label=name)
    return _shares(figure, axes, both=True)


def interpolated_precision(hits: Hits) -> Floats:
    """[LEVELS], mean over the queries that have a positive (Manning et al., 2008, section 8.4)."""
    found = []
    for q in np.flatnonzero(hits.num_positives):
        ranks = hits.rank[hits.query == q]
        precision = np.arange(1, len(ranks) + 1) / (ranks + 1)
        best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
        needed = np.ceil(LEVELS * hits.num_positives[q] - 1e-9).astype(np.int64)
        found.append(best[np.minimum(np.maximum(needed - 1, 0), len(ranks))])
    return np.asarray(np.mean(found, axis=0))


def recall_at_k(lists: Mapping[str, Hits], misses: bool, title: str, note: str) -> Figure:
    """Share of the queries with any positive among the first k; misses: of all queries."""
    figure, axes = _one(title, "k", "recall@k", note)
    k = np.arange(1, min(DEEPEST, *(hits.length for hits in lists.values())) + 1)
    for name, hits in lists.items():
        first = best_ranks(hits)
        counted = first if misses else first[hits.num_positives > 0]
        shares = (counted[None] <= k[:, None]).mean(axis=1)
        axes.step(k, shares, where="post", color=LISTS[name], label=name)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    return _shares(figure, axes)


def ensemble_map(rows: Rows, metric: str, title: str, note: str) -> Figure:
    """The metric, in percent, of each λ and γ that was swept; the best cell is framed."""
    lambs, temps = (sorted({row[key] for row in rows}) for key in ("lamb", "temp"))
    values = np.full((len(lambs), len(temps)), np.nan)
    for row in rows:
        at = lambs.index(row["lamb"]), temps.index(row["temp"])
        values[at] = 100 * _number(row["metrics"][metric])
    figure, axes = _one(title, "γ", "λ", note, (max(SIZE[0], 0.7 * len(temps) + 2), SIZE[1]))
    axes.grid(False)
    drawn = axes.imshow(values, cmap="cividis", origin="lower", aspect="auto")
    axes.set_xticks(range(len(temps)), [f"{x:g}" for x in temps])
    axes.set_yticks(range(len(lambs)), [f"{x:g}" for x in lambs])
    middle = (np.nanmin(values) + np.nanmax(values)) / 2
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
            tone = "white" if value < middle else "black"
            axes.text(j, i, f"{value:.1f}", ha="center", va="center", color=tone, fontsize=SMALL)
    best = np.unravel_index(int(np.nanargmax(values)), values.shape)
    axes.plot(best[1], best[0], "s", markersize=26, markerfacecolor="none", color=VERMILION)
    figure.colorbar(drawn, ax=axes).set_label(plain(f"{metric}, percent"), fontsize=MEDIUM)
    return figure


def metric_by_num_rerank(rows: Rows, before: float, metric: str, title: str, note: str) -> Figure:
    """The metric against the number of reranked candidates, from 0: the global ranking."""
    figure, axes = _one(title, "reranked candidates", f"{metric}, percent", note)
    counts = [row["num_rerank"] for row in rows]
    values = [_number(row["metrics"][metric]) for row in rows]
    places = sorted(zip(counts, values, strict=True))
    x, y = zip((0, before), *places, strict=True)
    axes.plot(x, 100 * np.array(y), "o-", color=BLUE, markersize=4)
    axes.axhline(100 * before, color=GREY, linestyle=":", linewidth=1)
    return figure


def ap_scatter(names: tuple[str, str], aps: tuple[Floats, Floats], title: str) -> Figure:
    """The average precision of every query in two runs, and the interval of the mean difference."""
    figure, axes = _one(title, f"AP: {names[0]}", f"AP: {names[1]}", size=(4.8, 5.0))
    difference = aps[1] - aps[0]
    found = bootstrap_mean(difference, seed=0)
    axes.plot([0, 1], [0, 1], color=PALE, linewidth=1)
    for chosen, hue, word in (
        (difference > 0, BLUE, "higher"),
        (difference < 0, VERMILION, "lower"),
        (difference == 0, GREY, "the same"),
    ):
        label = f"{word}: {int(chosen.sum())}"
        look: dict[str, Any] = {"markersize": 4, "alpha": 0.7, "markeredgewidth": 0}
        axes.plot(aps[0][chosen], aps[1][chosen], "o", color=hue, label=label, **look)
    value, low, high = (100 * x for x in found[:3])
    said = f"mean difference {value:+.1f} [{low:+.1f}, {high:+.1f}] points, 95 %"
    axes.set_title(said, fontsize=SMALL, loc="left", color=TONE)
    axes.set_aspect("equal")
    return _shares(figure, axes, both=True)


def training_curves(steps: Rows, epochs: Rows, title: str) -> Figure:
    """Loss and accuracy of every step, averaged over SMOOTH of them; val where it was measured."""
    figure = titled_figure(WIDE, title)
    panels = figure.subplots(1, 2)
    for axes, key in zip(panels, ("loss", "accuracy"), strict=True):
        values = np.array([_number(row.get(key)) for row in steps])
        axes.plot(np.arange(len(values)), values, color=PALE, linewidth=0.6)
        window = min(SMOOTH, len(values))
        smooth = np.convolve(values, np.ones(window) / window, mode="valid")
        axes.plot(np.arange(len(smooth)) + window // 2, smooth, color=BLUE, label=key)
        _label(axes, "step", key)
    measured = [row for row in epochs if row.get("val") is not None]
    if measured:
        last = {row["epoch"]: number for number, row in enumerate(steps)}  # the step it ends with
        x = [last.get(row["epoch"] - 1, len(steps) - 1) for row in measured]
        y = [_number(row["val"]) for row in measured]
        panels[1].plot(x, y, "o-", color=VERMILION, markersize=4, label="validation")
        panels[1].legend(frameon=False, fontsize=SMALL)
    return figure


def reliability_diagram(curves: Mapping[str, Curve], title: str) -> Figure:
    """Predicted probability against the share that was right, of two curves by name."""
    figure = titled_figure(WIDE, title)
    for axes, (name, curve) in zip(figure.subplots(1, 2), curves.items(), strict=True):
        bins = [one for one in curve.reliability if one.pairs]
        axes.plot([0, 1], [0, 1], color=PALE, linewidth=1)
        axes.plot([b.predicted for b in bins], [b.observed for b in bins], "o-", color=BLUE)
        for one in bins:
            place = (one.predicted, one.observed)
            words = {"textcoords": "offset points", "xytext": (4, -9), "color": GREY}
            axes.annotate(str(one.pairs), place, fontsize=SMALL - 1, **words)
        axes.set_title(f"{name}: calibration error {curve.error:.4f}", fontsize=MEDIUM, loc="left")
        _label(axes, "predicted", "share that was right")
    return figure


def _one(
    title: str, x: str, y: str, note: str = "", size: tuple[float, float] = SIZE
) -> tuple[Figure, Axes]:
    """One pair of axes; note: below the title."""
    figure = titled_figure(size, title)
    axes = figure.subplots()
    axes.set_title(plain(note), fontsize=SMALL, loc="left", color=TONE)
    _label(axes, x, y)
    return figure, axes


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(plain(x), fontsize=MEDIUM)
    axes.set_ylabel(plain(y), fontsize=MEDIUM)
    figures.style_axes(axes)


def _shares(figure: Figure, axes: Axes, *, both: bool = False) -> Figure:
    """Axes of fractions from 0 to 1, and the legend."""
    for one in (axes.yaxis, *([axes.xaxis] if both else [])):
        one.set_major_formatter(PercentFormatter(1))
    axes.set_ylim(-0.02, 1.02)
    if both:
        axes.set_xlim(-0.02, 1.02)
    else:
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.legend(frameon=False, fontsize=SMALL)
    return figure


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


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
        "scores": lambda: score_histogram(*_scores(found, place, setting), title, note),
        "precision_recall": lambda: precision_recall(lists, title, note),
        "recall": lambda: recall_at_k(lists, protocol.misses, title, note),
    }
    if not row["num_rerank"]:
        del able["scores"]
    whole = title.removesuffix(graded)
    column = [one for one in rows if (one["lamb"], one["temp"]) == (row["lamb"], row["temp"])]
    grid = [one for one in rows if one["num_rerank"] == row["num_rerank"]]
    if len({one["num_rerank"] for one in column}) > 1:
        value, draw = results["global"][metric], metric_by_num_rerank
        able["num_rerank"] = lambda: draw(column, value, metric, whole, cell)
    if len({(one["lamb"], one["temp"]) for one in grid}) > 1:
        framed = f"{count}; framed: the best{oracle}"
        able["ensemble"] = lambda: ensemble_map(grid, metric, whole, framed)
    return able


def _scores(found: Rankings, place: int, setting: str) -> tuple[Floats, Floats]:
    """Of the reranked candidates: those of right ones, and of wrong ones; junk is neither."""
    one = outcome(found, found.scores, Cell.of(found.results["rows"][place]), setting)
    scores = one.scores.astype(np.float64)
    return scores[one.counted & one.right], scores[one.counted & ~one.right]
