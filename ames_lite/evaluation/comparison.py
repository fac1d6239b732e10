"""Many results.json compared: every row with its role and its difference to a baseline. Intervals
and p-values need average precision per query, which results hold for their first row.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ames_lite.errors import BadInput, require
from ames_lite.evaluation import significance
from ames_lite.evaluation.metrics import DIVISORS
from ames_lite.evaluation.results_file import role_of

Dicts = Sequence[Mapping[str, Any]]
GLOBAL = "global"
MAY_DIFFER = frozenset(  # keys of a configuration that runs of one entry need not share
    {"seed", "output_dir", "weights", "data_root", "images", "device"}
    | {"report_queries", "report_images", "report_pairs"}
    | {"exports", "export_setting", "export_top"}
    | {"resume", "max_memory", "threads", "compile", "scores"}
)
LISTS = ("query_names", "gallery_names")
COMPARABLE = {  # what results of one data set share, and what is expected where they do not
    **dict.fromkeys(LISTS, "results over the same image lists"),
    "ground_truth": "results by the same ground truth: evaluate again by one of the two",
    "queries": "results over the same queries",
    "ap_divisor": "one definition of AP: evaluate again (lists shorter than the positives)",
    "metrics": "results of the same protocol",
}
DIGEST = "the digest "
UNSAID = ("queries", "ground_truth", "neighbors")  # by results of older versions
SETTINGS = ("model", "num_rerank", "lamb", "temp", "role")


@dataclass(frozen=True)
class Entry:
    """Results under one name, of runs that differ in their seed alone; else BadInput says why."""

    name: str
    files: tuple[str, ...]  # of each run, for messages
    runs: tuple[Mapping[str, Any], ...]
    mixed: bool = False  # let the runs differ

    def __post_init__(self) -> None:
        for file, run in zip(self.files[1:], self.runs[1:], strict=True):
            self._check_alike(file, run)

    def _check_alike(self, file: str, run: Mapping[str, Any]) -> None:
        first, second = _identity(self.runs[0]), _identity(run)
        for key in ("dataset", "rows", "metrics") if self.mixed else tuple(first | second):
            here, there = first.get(key), second.get(key)
            unsaid = None in (here, there) and key.removeprefix(DIGEST) in UNSAID
            if here != there and not unsaid:
                both = f"{here!r} in {self.files[0]}, {there!r} in {file}"
                what = f"runs of '{self.name}' differ in {key}: {both}"
                remedy = "compare them as entries of their own, or give mixed=true"
                raise BadInput(what, expected="runs that differ in their seed alone", remedy=remedy)
        weights = [one["digests"].get("weights") for one in (self.runs[0], run)]
        fine = self.mixed or weights[0] is None or weights[0] != weights[1]
        what = f"runs of '{self.name}' have the same weights: {self.files[0]} and {file}"
        require(fine, what, "runs of heads that were trained with several seeds")


def _identity(run: Mapping[str, Any]) -> dict[str, Any]:
    digests = (*LISTS, "query_store", "gallery_store", "ground_truth", "neighbors")
    return {
        **{key: value for key, value in run["config"].items() if key not in MAY_DIFFER},
        **{key: run[key] for key in ("dataset", "desc_name", "model")},
        "rows": [row["num_rerank"] for row in run["rows"]],
        **{key: _fact(run, key) for key in ("ap_divisor", "metrics")},
        **{f"{DIGEST}{key}": _fact(run, key) for key in digests},
    }


def _fact(run: Mapping[str, Any], key: str) -> Any:
    """One of COMPARABLE. The divisor of AP counts where lists are short, else all are the same."""
    if key == "queries":
        return sorted(query["name"] for query in run["per_query"])
    if key == "metrics":
        return list(run["global"])
    if key == "ap_divisor":
        return str(run["config"].get(key, DIVISORS[0])) if run.get("short_lists") else DIVISORS[0]
    return {**run["digests"], **run.get("read", {})}.get(key)


def _check_comparable(entry: Entry, other: Entry) -> None:
    for key, expected in COMPARABLE.items():
        here, there = (_fact(one.runs[0], key) for one in (entry, other))
        if here == there or (key in UNSAID and not (here and there)):
            continue
        if isinstance(here, list):
            here, there = (
                [name for name in one if name not in two][:1]
                for one, two in ((here, there), (there, here))
            )
        what = f"two results of {entry.runs[0]['dataset']} have other {key}: {here}, {there}"
        raise BadInput(what, where=f"{entry.files[0]} and {other.files[0]}", expected=expected)


@dataclass(frozen=True)
class Difference:
    """A metric minus the baseline's; interval and test where queries are paired."""

    value: float
    interval: significance.Interval | None = None
    p: float | None = None  # of the sign-flip test


@dataclass(frozen=True, eq=False)
class Line:
    """One row of one entry."""

    name: str
    settings: Mapping[str, str]  # SETTINGS as text, as runs may have chosen otherwise
    metrics: Mapping[str, significance.Spread | None]  # None where undefined
    difference: Difference | None = None  # None for the baseline itself, or undefined
    ap: Mapping[str, float] | None = None  # by query name, of first rows alone


@dataclass(frozen=True)
class Block:
    """The lines of one data set; metric: what the differences are of."""

    dataset: str
    metric: str
    baseline: str
    lines: tuple[Line, ...]
    counted: str | None = None  # which queries the means are over


def compare(
    entries: Sequence[Entry], *, baseline: str = GLOBAL, metric: str | None = None, seed: int = 0
) -> list[Block]:
    """A block for each data set. baseline: the name of an entry, or `global`: the own global
    ranking. metric: None: the mean of average precision per query. Raises BadInput.
    """
    require(entries, "no results to compare", "at least one results.json")
    names = [entry.name for entry in entries]
    distinct = len(set(names)) == len(names) and GLOBAL not in names
    require(distinct, f"the names {', '.join(names)}", f"distinct, none '{GLOBAL}'")
    by_dataset: dict[str, list[Entry]] = {}
    for entry in entries:
        by_dataset.setdefault(entry.runs[0]["dataset"], []).append(entry)
    return [_block(inside, baseline, metric, seed) for inside in by_dataset.values()]


def _block(entries: Sequence[Entry], baseline: str, metric: str | None, seed: int) -> Block:
    first = entries[0].runs[0]
    for entry in entries[1:]:
        _check_comparable(entries[0], entry)
    of_queries = _ap_metric(list(first["global"]))
    metric = metric or of_queries
    what = f"{first['dataset']} has no metric '{metric}'"
    require(metric in first["global"], what, ", ".join(first["global"]))
    before = [_global_line(entry) for entry in entries]
    pairs: list[tuple[Line, Line | None]] = [(line, None) for line in _distinct(before)]
    for entry, of_entry in zip(entries, before, strict=True):
        rows = enumerate(entry.runs[0]["rows"])
        pairs += [(_row_line(entry, i), of_entry) for i, row in rows if row["num_rerank"]]
    base = next((line for line, _ in pairs if line.name == baseline), None)
    if base is None:
        files = ", ".join(entry.files[0] for entry in entries)
        what = f"the baseline '{baseline}' is not among the results of {first['dataset']}: {files}"
        expected = "a baseline of the same data set, or none: the global ranking of each"
        raise BadInput(what, expected=expected)
    lines = []
    for line, own in pairs:
        against = own if baseline == GLOBAL else base
        if against is not None and line is not against:
            paired = metric == of_queries
            line = replace(line, difference=_difference(line, against, metric, paired, seed))
        lines.append(line)
    return Block(first["dataset"], metric, baseline, tuple(lines), first.get("counted"))


def _ap_metric(names: Sequence[str]) -> str:
    """The metric that the average precision per query belongs to.

    >>> _ap_metric(["map_easy", "mp@1_easy", "map"]), _ap_metric(["map@100", "map@100_public"])
    ('map', 'map@100')
    """
    return next((name for name in names if re.fullmatch(r"map(@\d+)?", name)), names[0])


def role_in_words(run: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """How the row's num_rerank, lamb and temp came to be: what a reader may conclude from it."""
    if row["tuned_on"] is not None:
        return f"tuned on {row['tuned_on']}"
    dataset = run["config"].get("dataset")
    dataset_role = dataset.get("role", "test") if isinstance(dataset, dict) else "test"
    role = row.get("role") or role_of(dataset_role, len(run["rows"]), None)
    return {"given": "as given", "grid": "grid on val"}.get(role, role)


def _row_line(entry: Entry, i: int) -> Line:
    rows = [run["rows"][i] for run in entry.runs]
    pairs = zip(entry.runs, rows, strict=True)
    said = [{**row, "model": run["model"], "role": role_in_words(run, row)} for run, row in pairs]
    ap = _per_query(entry.runs, "ap") if i == 0 else None
    return _line(entry.name, said, [row["metrics"] for row in rows], ap)


def _global_line(entry: Entry) -> Line:
    runs = entry.runs
    if all(run["global"] == runs[0]["global"] for run in runs[1:]):
        runs = runs[:1]
    unset = {**dict.fromkeys(SETTINGS, "-"), "role": "not reranked"}
    settings = [{**unset, "model": run["config"].get("neighbors", "-")} for run in runs]
    return _line(GLOBAL, settings, [run["global"] for run in runs], _per_query(runs, "global_ap"))


def _line(name: str, settings: Dicts, metrics: Dicts, ap: Mapping[str, float] | None) -> Line:
    """settings, metrics: of each run; a metric that is undefined in one of them is None."""
    spreads: dict[str, significance.Spread | None] = {}
    for metric in metrics[0]:
        values = [value for one in metrics if (value := one.get(metric)) is not None]
        spreads[metric] = significance.mean_std(values) if len(values) == len(metrics) else None
    texts = {key: _common(one[key] for one in settings) for key in SETTINGS}
    return Line(name, texts, spreads, ap=ap)


def _common(values: Iterable[Any]) -> str:
    texts = (f"{value:g}" if isinstance(value, float) else str(value) for value in values)
    return "/".join(dict.fromkeys(texts))


def _distinct(lines: Sequence[Line]) -> list[Line]:
    distinct: dict[str, Line] = {}
    for line in lines:
        means = {name: one and one.mean for name, one in line.metrics.items()}
        distinct.setdefault(f"{line.settings['model']} {means}", line)
    return list(distinct.values())


def _per_query(runs: Dicts, key: str) -> dict[str, float] | None:
    """Average precision by query name, the mean over runs; nan where undefined."""
    first, *others = ({q["name"]: q[key] for q in run["per_query"]} for run in runs)
    if not first or any(set(other) != set(first) for other in others):
        return None
    values = {name: [run[name] for run in (first, *others)] for name in first}
    return {name: math.nan if None in v else float(np.mean(v)) for name, v in values.items()}


def _difference(line: Line, base: Line, metric: str, paired: bool, seed: int) -> Difference | None:
    first, second = base.metrics.get(metric), line.metrics.get(metric)
    if first is None or second is None:
        return None
    value = second.mean - first.mean
    if not paired or line.ap is None or base.ap is None:
        return Difference(value)
    gains = np.array([ap - base.ap[name] for name, ap in line.ap.items()], np.float64)
    if np.isnan(gains).all():
        return Difference(value)
    interval = significance.bootstrap_mean(gains, seed=seed)
    return Difference(value, interval, significance.sign_flip_test(gains, seed=seed))


def mean_block(blocks: Sequence[Block]) -> Block | None:
    """The mean over sets, line by line, without intervals; None for other metrics or lines."""
    first = blocks[0]
    shapes = {(b.metric, *((line.name, *line.metrics) for line in b.lines)) for b in blocks}
    if len(blocks) < 2 or len(shapes) > 1:
        return None
    lines = tuple(map(_mean_line, zip(*(block.lines for block in blocks), strict=True)))
    counted = None if len({block.counted for block in blocks}) > 1 else first.counted
    return Block(f"mean of {len(blocks)} sets", first.metric, first.baseline, lines, counted)


def _mean_line(lines: Sequence[Line]) -> Line:
    metrics: dict[str, significance.Spread | None] = {}
    for name in lines[0].metrics:
        found = [value.mean for line in lines if (value := line.metrics[name]) is not None]
        whole = len(found) == len(lines)
        metrics[name] = significance.Spread(float(np.mean(found)), math.nan, 1) if whole else None
    changes = [line.difference.value for line in lines if line.difference is not None]
    change = Difference(float(np.mean(changes))) if len(changes) == len(lines) else None
    texts = {key: _common(line.settings[key] for line in lines) for key in SETTINGS}
    return Line(lines[0].name, texts, metrics, change)
