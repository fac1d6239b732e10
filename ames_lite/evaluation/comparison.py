"""One table out of many results: every row with its role, and its difference to a baseline.

Input: results (schema 1) under names; output: one block a data set, whose lines hold every row of
every file. Nothing is picked and nothing left out. Metrics are fractions; an interval and a p-value
need average precision per query, which results hold for their first row alone, so other rows have a
bare difference; runs of one entry differ in their seed, are averaged metric by metric and query by
query, and must otherwise have been made alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ames_lite.errors import BadInput
from ames_lite.evaluation.comparison_entries import Entry, check_comparable
from ames_lite.evaluation.results_file import role_of
from ames_lite.evaluation.significance import (
    Interval,
    SignFlip,
    Spread,
    mean_std,
    paired_bootstrap,
    sign_flip_test,
)

GLOBAL = "global"


@dataclass(frozen=True)
class Difference:
    """A metric minus the baseline's, as fractions; interval and test where queries are paired."""

    value: float
    interval: Interval | None = None
    test: SignFlip | None = None


@dataclass(frozen=True)
class Line:
    """One row of one entry. num_rerank, lamb and temp as text: runs may have chosen otherwise."""

    name: str
    model: str
    num_rerank: str
    lamb: str
    temp: str
    role: str
    metrics: Mapping[str, Spread | None]  # None: undefined
    difference: Difference | None  # None: the baseline itself, or undefined


@dataclass(frozen=True)
class Block:
    """The lines of one data set; metric: what the differences are of."""

    dataset: str
    metric: str
    baseline: str
    lines: tuple[Line, ...]
    counted: str | None = None  # which queries the means are over


def compare(
    entries: Sequence[Entry],
    *,
    baseline: str = GLOBAL,
    metric: str | None = None,
    seed: int = 0,
    resamples: int = 10_000,
) -> list[Block]:
    """Blocks of all entries, one a data set, in the order of the entries.

    baseline: the name of an entry, whose first row is it, or `global`: every entry's own global
    ranking. metric: what differences are of; None: the one that average precision per query belongs
    to. Raises BadInput, naming both files, where entries of one data set have other queries or
    metrics, and where a data set lacks the baseline.
    """
    if not entries:
        raise BadInput("no results to compare", expected="at least one results.json")
    names = [entry.name for entry in entries]
    if len(set(names)) != len(names) or GLOBAL in names:
        raise BadInput(f"the names {', '.join(names)}", expected=f"distinct, none '{GLOBAL}'")
    blocks = []
    for dataset in dict.fromkeys(entry.runs[0]["dataset"] for entry in entries):
        inside = [entry for entry in entries if entry.runs[0]["dataset"] == dataset]
        blocks.append(_block(dataset, inside, baseline, metric, (seed, resamples)))
    return blocks


def _block(
    dataset: str,
    entries: Sequence[Entry],
    baseline: str,
    metric: str | None,
    options: tuple[int, int],
) -> Block:
    for entry in entries[1:]:
        check_comparable(entries[0], entry)
    known = list(entries[0].runs[0]["global"])
    metric = ap_metric(known) if metric is None else metric
    if metric not in known:
        raise BadInput(f"{dataset} has no metric '{metric}'", expected=", ".join(known))
    rows = [row for entry in entries for row in _rows(entry)]
    rows = [*_distinct_globals(entries), *rows]
    base = [row for row in rows if row.entry == baseline]  # of several rows the first
    if not base:
        raise BadInput(
            f"the baseline '{baseline}' is not among the results of {dataset}: "
            f"{', '.join(entry.files[0] for entry in entries)}",
            expected="a baseline of the same data set, or none: the global ranking of each",
        )
    lines = []
    for row in rows:
        against = row.own_global if baseline == GLOBAL else base[0]
        difference = None
        if against is not None and row is not against:
            difference = _difference(row, against, metric, known, options)
        lines.append(row.line(difference))
    counted = entries[0].runs[0].get("counted")
    return Block(dataset, metric, baseline, tuple(lines), counted)


def ap_metric(names: Sequence[str]) -> str:
    """The metric that the average precision per query belongs to.

    >>> ap_metric(["map_easy", "mp@1_easy", "map"]), ap_metric(["map@100", "map@100_public"])
    ('map', 'map@100')
    """
    for name in names:
        if name == "map" or re.fullmatch(r"map@\d+", name):
            return name
    return names[0]


def role_in_words(run: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """How the row's num_rerank, lamb and temp came to be: what a reader may conclude from it."""
    if row["tuned_on"] is not None:
        return f"tuned on {row['tuned_on']}"
    dataset = run["config"].get("dataset")
    dataset_role = dataset.get("role", "test") if isinstance(dataset, dict) else "test"
    role = row.get("role") or role_of(dataset_role, len(run["rows"]), None)
    return {"given": "as given", "grid": "grid on val"}.get(role, role)


@dataclass(frozen=True, eq=False)
class _Row:
    """A line before its difference is known. ap: by query name, of first rows alone."""

    entry: str
    model: str
    num_rerank: str
    lamb: str
    temp: str
    role: str
    metrics: Mapping[str, Spread | None]
    ap: Mapping[str, float] | None
    own_global: _Row | None

    def line(self, difference: Difference | None) -> Line:
        return Line(
            name=self.entry,
            model=self.model,
            num_rerank=self.num_rerank,
            lamb=self.lamb,
            temp=self.temp,
            role=self.role,
            metrics=self.metrics,
            difference=difference,
        )


def _rows(entry: Entry) -> list[_Row]:
    own_global, rows = _global_row(entry), []
    for i in range(len(entry.runs[0]["rows"])):
        each = [run["rows"][i] for run in entry.runs]
        row = _Row(
            entry=entry.name,
            model=_common(run["model"] for run in entry.runs),
            num_rerank=_common(row["num_rerank"] for row in each),
            lamb=_common(row["lamb"] for row in each),
            temp=_common(row["temp"] for row in each),
            role=_common(
                role_in_words(run, row) for run, row in zip(entry.runs, each, strict=True)
            ),
            metrics=_spreads([row["metrics"] for row in each]),
            ap=_per_query(entry, "ap") if i == 0 else None,
            own_global=own_global,
        )
        rows.append(row)
    return rows


def _global_row(entry: Entry) -> _Row:
    """The global ranking, which runs of one entry have in common as a rule: then it is one run."""
    first, *others = entry.runs
    if all(run["global"] == first["global"] for run in others):
        entry = Entry(entry.name, entry.files[:1], (first,))
    return _Row(
        entry=GLOBAL,
        model=_common(run["config"].get("neighbors", "-") for run in entry.runs),
        num_rerank="-",
        lamb="-",
        temp="-",
        role="not reranked",
        metrics=_spreads([run["global"] for run in entry.runs]),
        ap=_per_query(entry, "global_ap"),
        own_global=None,
    )


def _distinct_globals(entries: Sequence[Entry]) -> list[_Row]:
    """The global rankings of all entries, equal ones once."""
    distinct: dict[str, _Row] = {}
    for entry in entries:
        row = _global_row(entry)
        means = {name: one and one.mean for name, one in row.metrics.items()}
        distinct.setdefault(f"{row.model} {means}", row)
    return list(distinct.values())


def _common(values: Iterable[Any]) -> str:
    """The value that all share, or all that there are."""
    texts = (f"{value:g}" if isinstance(value, float) else str(value) for value in values)
    return "/".join(dict.fromkeys(texts))


def _spreads(metrics: Sequence[Mapping[str, float | None]]) -> dict[str, Spread | None]:
    """Mean and deviation of every metric over runs; None where one of them has it undefined."""
    found: dict[str, Spread | None] = {}
    for name in metrics[0]:
        values = [value for one in metrics if (value := one.get(name)) is not None]
        found[name] = mean_std(values) if len(values) == len(metrics) else None
    return found


def _per_query(entry: Entry, key: str) -> dict[str, float] | None:
    """Average precision by query name, the mean over runs; nan where undefined."""
    first, *others = ({q["name"]: q[key] for q in run["per_query"]} for run in entry.runs)
    if not first or any(set(other) != set(first) for other in others):
        return None
    values = {name: [run[name] for run in (first, *others)] for name in first}
    return {name: float("nan") if None in v else float(np.mean(v)) for name, v in values.items()}


def _difference(
    row: _Row, against: _Row, metric: str, known: Sequence[str], options: tuple[int, int]
) -> Difference | None:
    first, second = against.metrics.get(metric), row.metrics.get(metric)
    if first is None or second is None:
        return None
    value = second.mean - first.mean
    if metric != ap_metric(known) or row.ap is None or against.ap is None:
        return Difference(value)
    here = np.array(list(row.ap.values()), np.float64)
    there = np.array([against.ap[name] for name in row.ap], np.float64)
    if np.isnan(here - there).all():
        return Difference(value)
    seed, resamples = options
    interval = paired_bootstrap(there, here, seed=seed, resamples=resamples)
    test = sign_flip_test(there, here, seed=seed, resamples=10 * resamples)
    return Difference(value, interval, test)
