"""The table that an evaluation prints: the global ranking, then every row."""

from typing import Any

import numpy as np

from ames_lite.cli.shell import print_table
from ames_lite.evaluation.protocols import footnotes
from ames_lite.evaluation.results_file import say_without_descriptors
from ames_lite.evaluation.significance import bootstrap_mean


def show(results: dict[str, Any], seed: int) -> None:
    """Print the table: the global ranking, then every row; below it the gain with its interval."""
    names = [name for name in results["global"] if not name.startswith("mp@")]
    header = ["", "num_rerank", "λ", "γ", "", *names]
    rows: list[list[object]] = [
        ["global", "-", "-", "-", "", *(results["global"][name] for name in names)]
    ]
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
