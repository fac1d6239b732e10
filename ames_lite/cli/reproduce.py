"""`python scripts/reproduce.py <row>`: a published evaluation again, and how near it came.

Exit code 4 where a number is outside its tolerance, 1 with one list of all that is missing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ames_lite.cli import evaluate
from ames_lite.cli.compose import Config, compose
from ames_lite.cli.shell import (
    command,
    data_root,
    dataset_files,
    print_table,
    protocol_of,
    run_dir,
    stamped_dir,
)
from ames_lite.errors import ConfigError, MissingFile
from ames_lite.evaluation import reproduction
from ames_lite.evaluation.evaluator import evaluate_lists
from ames_lite.evaluation.published_rows import GLOBAL, Reproduction
from ames_lite.evaluation.reproduction import Outcome
from ames_lite.evaluation.results_file import write_results

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


def run(config: Config) -> list[Outcome]:
    """Evaluate the rows asked for, print what came out and return it; row=list prints all rows."""
    if config["row"] == ALL:
        show_rows(list(reproduction.ROWS.values()))
        return []
    rows = reproduction.find_rows(config["row"], reproduction.ROWS)
    root = data_root(config)
    changed = {key: config[key] for key in MAY_CHANGE if config[key] is not None}
    lists = [key for key, value in changed.items() if isinstance(value, list)]
    if lists:
        raise ConfigError(f"{lists[0]}={changed[lists[0]]}", expected="one value: nothing is tried")
    refuse_unused(rows, [*changed, *(["weights"] if config["weights"] else [])])
    refuse_missing(rows, root, replaced=[*changed, *(["weights"] if config["weights"] else [])])
    base = Path(config["output_dir"] or stamped_dir("reproduce")).expanduser()
    found = []
    for row in rows:
        evaluation = compose_row(row, changed, config["device"])
        evaluation["data_root"], evaluation["output_dir"] = str(root), str(base / row.name)
        if row.weights is not None:
            evaluation["weights"] = config["weights"] or str(root / row.weights)
        results = evaluate_row(row, evaluation)
        came = reproduction.outcomes(row, results)
        show(row, came)
        difference = reproduction.first_difference(row, results)
        print(f"first setting that differs: {difference or 'none that can be told'}")
        for unknown in reproduction.unknowns(row, results):
            print(f"not to be told: {unknown}")
        found += came
    return found


def compose_row(row: Reproduction, changed: Config, device: str) -> Config:
    """The configuration of the evaluation: the row's settings, but for those that were changed."""
    settings = {**row.settings, **changed, "device": device, "report_queries": 0}
    settings["ap_divisor"] = "published"  # the numbers compared with; whole lists give the same
    paths = {key: settings.pop(key) for key in ("neighbors",)}  # may hold what overrides may not
    return {**compose("evaluate", [f"{key}={value}" for key, value in settings.items()]), **paths}


def evaluate_row(row: Reproduction, config: Config) -> dict[str, Any]:
    """Evaluate; of a global ranking, which no descriptor is read for, into global.json."""
    if row.ranking != GLOBAL:
        return evaluate.run(config)
    lists = dataset_files(config), protocol_of(config)
    results = evaluate_lists(*lists, config["neighbors"], config)
    write_results(run_dir(config, "reproduce") / "global.json", results)
    return results


def refuse_unused(rows: Sequence[Reproduction], changed: Sequence[str]) -> None:
    """Raises ConfigError for settings of reranking where nothing is reranked."""
    unused = [key for key in changed if key not in OF_LISTS]
    of_lists = [row.name for row in rows if row.ranking == GLOBAL]
    if unused and of_lists:
        what = f"{unused[0]}= changes nothing of {of_lists[0]}, the numbers of a global ranking"
        raise ConfigError(what, expected=f"{', '.join(OF_LISTS)}= at most")


def refuse_missing(rows: Sequence[Reproduction], root: Path, replaced: Sequence[str]) -> None:
    """Raises MissingFile that lists, once each, all files that the rows need and that are absent.

    replaced: settings given by the user (weights, neighbors), whose file of the row is not needed.
    """
    lines: dict[str, None] = {}
    for row in rows:
        for needed in reproduction.missing_files(row, root):
            is_head = row.weights in needed.names
            is_list = any(Path(name).name.startswith("nn_") for name in needed.names)
            if (is_head and "weights" in replaced) or (is_list and "neighbors" in replaced):
                continue
            lines[f"  {root / needed.names[0]}\n    {needed.what}, from {needed.page}"] = None
    if lines:
        names = ", ".join(row.name for row in rows)
        listed = "\n".join(lines)
        count = "1 file is" if len(lines) == 1 else f"{len(lines)} files are"
        raise MissingFile(f"{count} missing for {names}:\n{listed}")


def show(row: Reproduction, came: Sequence[Outcome]) -> None:
    """Print expected, obtained and difference, in points, of every metric of a row."""
    print(f"\n{row.name}: {row.source}")
    cells: list[list[object]] = [
        [
            one.metric,
            _points(one.expected),
            _points(one.obtained),
            _points(one.difference, "+"),
            f"±{_points(one.tolerance)}",
            "yes" if one.inside else "NO",
        ]
        for one in came
    ]
    print_table(["points", "expected", "obtained", "difference", "tolerance", "inside"], cells)


def show_rows(rows: Sequence[Reproduction]) -> None:
    """Print every row with its numbers and settings."""
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
