"""What an evaluation prints and writes: its table, the report, the exports and results.json. The
report of a global ranking (model=none) shows successes and the furthest of the failures.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ames_lite.cli.failures import choose
from ames_lite.cli.schema.evaluation import Evaluate
from ames_lite.cli.shell import RESULTS, as_list, print_table
from ames_lite.evaluation.data import ListData, excluded
from ames_lite.evaluation.evaluator import check_exports, write_exports
from ames_lite.evaluation.pair_view import PairViews
from ames_lite.evaluation.passes import Cell
from ames_lite.evaluation.protocols import Protocol, footnotes
from ames_lite.evaluation.report import Shown, write_report
from ames_lite.evaluation.results_file import NO_MODEL, Rankings, say_without_descriptors
from ames_lite.evaluation.significance import bootstrap_mean
from ames_lite.io.json_file import write_json_file
from ames_lite.records import PairScores

Lines = Sequence[tuple[str, dict[str, float]]]  # of a report: names and metrics
SHOWN = 10  # queries of a kind in the report of a global ranking


def exports_of(config: Evaluate, protocol: Protocol) -> tuple[list[str], str]:
    """`exports=`, and the setting whose ranking is written. Raises BadInput."""
    forms = as_list(config.exports or [])
    return forms, check_exports(forms, protocol, config.export_setting, config.export_top)


def finish(
    config: Evaluate,
    folder: Path,
    data: ListData,
    scores: PairScores,
    results: dict[str, Any],
    comparisons: Lines,
    views: PairViews | None = None,
) -> dict[str, Any]:
    """Print the table; write the report, the exports and, last, results.json; return the results.
    comparisons: further lines of the report; views: explains pairs to it.
    """
    show(results, config.seed)
    where = folder / RESULTS
    found = Rankings(data.protocol, data.ground_truth, data.neighbors, scores, results, where)
    if min(excluded(data).values()) == len(data.ground_truth.query_names):
        print("no query has a positive: nothing is measured")
    elif config.report_queries:
        _report(config, data, found, comparisons, views)
    (forms, setting), model = exports_of(config, data.protocol), results["model"]
    tag, top = f"{config.neighbors if model == NO_MODEL else model}-{setting}", config.export_top
    exported = (folder, forms, data, scores, Cell.of(results["rows"][0]))
    for path in write_exports(*exported, tag=tag, setting=setting, top=top):
        print(f"export:  {path}")
    print(f"results: {write_json_file(where, results)}")
    return results


def _report(
    config: Evaluate, data: ListData, found: Rankings, comparisons: Lines, views: PairViews | None
) -> None:
    shown = Shown(config.report_queries, config.report_images, config.report_pairs)
    how: dict[str, Any] = {}
    if found.results["model"] == NO_MODEL:
        setting, shown = data.protocol.main_settings[0], replace(shown, pairs=0)
        picked, notes = choose(found, 0, setting, min(SHOWN, config.report_queries))
        print("\n".join(notes))
        how = {"setting": setting, "picked": picked}
    path, root = found.where.with_name("report.html"), config.images or data.files.image_root
    page = write_report(path, found, root, shown, views, comparisons=comparisons, **how)
    print(f"report:  {page}")


def show(results: dict[str, Any], seed: int) -> None:
    """Print the table: the global ranking, then every row; below it the gain with its interval."""
    names = [name for name in results["global"] if not name.startswith("mp@")]
    header = ["", "num_rerank", "λ", "γ", "", *names]
    rows: list[list[object]] = [["global", *["-"] * 3, "", *(results["global"][n] for n in names)]]
    reranked = [row for row in results["rows"] if row["num_rerank"]]
    for row in reranked:
        cells = [row["metrics"][name] for name in names]
        settings = [row["num_rerank"], f"{row['lamb']:g}", f"{row['temp']:g}", row["role"]]
        rows.append([results["model"], *settings, *cells])
    print_table(header, rows)
    for sentence in say_without_descriptors(results):
        print(sentence)
    if results["rows"][0]["role"] == "oracle":
        print("oracle: a grid on a test set; whoever picks its best row has tuned on the test set")
    for note in footnotes(names, results["counted"]):
        print(f"  {note}")
    if reranked:
        print(_gain(results, seed))


def _gain(results: dict[str, Any], seed: int) -> str:
    """What the first row gains over the global ranking, with its interval, in words."""
    aps = [(q["global_ap"], q["ap"]) for q in results["per_query"]]
    gains = np.array([np.nan if None in both else both[1] - both[0] for both in aps], np.float64)
    row = results["rows"][0]
    tuned = f"λ, γ tuned on {row['tuned_on']}" if row["tuned_on"] else "λ, γ as given"
    if np.isnan(gains).all():
        what = "no query counts in all settings of the main metric"
        return f"first row against global: {what}; {tuned}"
    gain = bootstrap_mean(gains, seed=seed)
    return (
        f"first row against global, mean AP of {gain.counted} queries: {gain.mean:+.4f} "
        f"[{gain.low:+.4f}, {gain.high:+.4f}] (95 %, bootstrap); "
        f"{gain.excluded} queries without positives; {tuned}"
    )
