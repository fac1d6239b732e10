"""`python scripts/reproduce.py <row>`: a published evaluation again, and how near it came.

Exit code 4 where a number is outside its tolerance, 1 with one list of all that is missing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ames_lite.cli import evaluate
from ames_lite.cli.compose import compose
from ames_lite.cli.schema.evaluation import Evaluate
from ames_lite.cli.shell import command, data_root, print_table, stamped_dir
from ames_lite.errors import ConfigError, MissingFile
from ames_lite.evaluation.results_file import NO_MODEL
from benchmarks.reproduce import outcomes as reproduction
from benchmarks.reproduce.outcomes import Outcome
from benchmarks.reproduce.rows import GLOBAL, Reproduction
from benchmarks.schema import Reproduce

OUTSIDE = 4
ALL = "list"
MAY_CHANGE = (  # settings of a row that a user may replace: the run then says so
    *("neighbors", "num_rerank", "lamb", "temp"),
    *("query_desc_num", "gallery_desc_num", "precision"),
)
OF_LISTS = ("neighbors",)  # of these, what a global ranking has


def main(overrides: Sequence[str] | None = None) -> int:
    """The command."""
    found: list[Outcome] = []
    words = sys.argv[1:] if overrides is None else overrides
    given = [f"row={word}" if word.replace(".", "_").isidentifier() else word for word in words]
    code = command("reproduce", lambda config: found.extend(run(config)), given)
    return OUTSIDE if code == 0 and not all(one.inside for one in found) else code


def run(config: Reproduce) -> list[Outcome]:
    """Evaluate the rows asked for, print what came out and return it; row=list prints all rows."""
    if config.row == ALL:
        _show_rows(list(reproduction.ROWS.values()))
        return []
    rows, root = reproduction.find_rows(config.row, reproduction.ROWS), data_root(config)
    changed = {key: value for key in MAY_CHANGE if (value := getattr(config, key)) is not None}
    for key, value in changed.items():
        if isinstance(value, list):
            raise ConfigError(f"{key}={value}", expected="one value: nothing is tried")
    given = [*changed, *(["weights"] if config.weights else [])]
    _refuse_unused(rows, given)
    _refuse_missing(rows, root, given)
    base = config.output_dir or stamped_dir("reproduce")
    found = []
    for row in rows:
        asked = _compose(row, changed, config.device)
        asked.data_root, asked.output_dir = root, base / row.name
        if row.weights is not None:
            asked.weights = config.weights or root / row.weights
        results = evaluate.run(asked)
        came = reproduction.outcomes(row, results)
        _show(row, came)
        difference = reproduction.first_difference(row, results)
        print(f"first setting that differs: {difference or 'none that can be told'}")
        for unknown in reproduction.unknowns(row, results):
            print(f"not to be told: {unknown}")
        found += came
    found += reproduction.means(found)
    if len(rows) > 1:
        print()
        _show_outcomes("row", found)
    return found


def _compose(row: Reproduction, changed: dict[str, Any], device: str) -> Evaluate:
    """The configuration of the evaluation: the row's settings, but for those that were changed."""
    settings = {**row.settings, **changed, "device": device, "report_queries": 0}
    settings["ap_divisor"] = "published"  # the numbers compared with; whole lists give the same
    if row.ranking == GLOBAL:
        settings["model"] = NO_MODEL
    neighbors = settings.pop("neighbors")  # may hold what overrides may not
    composed: Evaluate = compose("evaluate", [f"{key}={value}" for key, value in settings.items()])
    return replace(composed, neighbors=neighbors)


def _refuse_unused(rows: Sequence[Reproduction], given: Sequence[str]) -> None:
    """Raises ConfigError for settings of reranking where nothing is reranked."""
    unused = [key for key in given if key not in OF_LISTS]
    of_lists = [row.name for row in rows if row.ranking == GLOBAL]
    if unused and of_lists:
        what = f"{unused[0]}= changes nothing of {of_lists[0]}, the numbers of a global ranking"
        raise ConfigError(what, expected=f"{', '.join(OF_LISTS)}= at most")


def _refuse_missing(rows: Sequence[Reproduction], root: Path, given: Sequence[str]) -> None:
    """Raises MissingFile that lists, once each, all files that the rows need and that are absent.

    given: settings by the user; the row's own head or lists are not needed where one replaces them.
    """
    lines: dict[str, None] = {}
    for row in rows:
        for needed in reproduction.missing_files(row, root):
            is_list = any(Path(name).name.startswith("nn_") for name in needed.names)
            replaced = "weights" if row.weights in needed.names else "neighbors" if is_list else ""
            if replaced not in given:
                lines[f"  {root / needed.names[0]}\n    {needed.what}, from {needed.page}"] = None
    if lines:
        names, listed = ", ".join(row.name for row in rows), "\n".join(lines)
        count = "1 file is" if len(lines) == 1 else f"{len(lines)} files are"
        raise MissingFile(f"{count} missing for {names}:\n{listed}")


def _show(row: Reproduction, came: Sequence[Outcome]) -> None:
    print(f"\n{row.name}: {row.source}")
    _show_outcomes("points", came)


def _show_outcomes(title: str, came: Sequence[Outcome]) -> None:
    """title: of the first column, the row of each outcome beside its metric, or the metric."""
    cells: list[list[object]] = [
        [
            one.metric if title == "points" else f"{one.row} {one.metric}",
            _points(one.expected),
            _points(one.obtained),
            _points(one.difference, "+"),
            f"±{_points(one.tolerance)}",
            "yes" if one.inside else "NO",
        ]
        for one in came
    ]
    print_table([title, "expected", "obtained", "difference", "tolerance", "inside"], cells)


def _show_rows(rows: Sequence[Reproduction]) -> None:
    kept = ("neighbors", "num_rerank", "query_desc_num", "gallery_desc_num", "lamb", "temp")
    cells: list[list[object]] = [
        [
            row.name,
            ", ".join(f"{name} {_points(value)}" for name, value in row.expected.items()),
            f"±{_points(row.tolerance)}",
            *(str(row.settings.get(key, "-")) for key in kept),
        ]
        for row in rows
    ]
    print_table(["row", "expected (points)", "tolerance", *kept], cells)


def _points(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{100 * value:{sign}.2f}"
