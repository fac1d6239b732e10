"""What is compared: results under a name, of one run or of several that differ in their seed alone.

Input: results (schema 1), as read. Output: an `Entry`, or an error that names two files and the
first thing in which they differ. A seed shows in the weights, so runs of one entry have other
weights and agree in all else that a figure depends on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ames_lite.errors import BadInput
from ames_lite.evaluation.metrics import DIVISORS

MAY_DIFFER = frozenset(  # keys of a configuration that runs of one entry need not share
    {"seed", "output_dir", "weights", "data_root", "images", "device", "report_queries"}
    | {"exports", "export_setting", "export_top"}
    | {"resume", "max_memory", "threads", "compile", "scores"}
)
OFFICIAL = DIVISORS[0]
SAME_DIGESTS = ("query_names", "gallery_names", "query_store", "gallery_store")


@dataclass(frozen=True)
class Entry:
    """Results under one name: of one run, or of several that differ in their seed alone.

    files: where each run's results came from, for messages. mixed: let the runs differ. Raises
    BadInput that names two files and the first thing in which they differ.
    """

    name: str
    files: tuple[str, ...]
    runs: tuple[Mapping[str, Any], ...]
    mixed: bool = False

    def __post_init__(self) -> None:
        if not self.runs or len(self.runs) != len(self.files):
            raise BadInput(f"'{self.name}' has {len(self.runs)} results, {len(self.files)} files")
        for file, run in zip(self.files[1:], self.runs[1:], strict=True):
            self._check_alike(self.files[0], self.runs[0], file, run)

    def _check_alike(
        self, file: str, run: Mapping[str, Any], other_file: str, other: Mapping[str, Any]
    ) -> None:
        first, second = _identity(run), _identity(other)
        needed = ("dataset", "rows", "metrics") if self.mixed else tuple(first | second)
        for key in needed:
            if first.get(key) != second.get(key):
                raise BadInput(
                    f"runs of '{self.name}' differ in {key}: {first.get(key)!r} in {file}, "
                    f"{second.get(key)!r} in {other_file}",
                    expected="runs that differ in their seed alone",
                    remedy="compare them as entries of their own, or give mixed=true",
                )
        weights = run["digests"].get("weights")
        same = weights is not None and weights == other["digests"].get("weights")
        if same and not self.mixed:
            raise BadInput(
                f"runs of '{self.name}' have the same weights: {file} and {other_file}",
                expected="runs of heads that were trained with several seeds",
            )


def _identity(run: Mapping[str, Any]) -> dict[str, Any]:
    """What runs of one entry have in common, by name."""
    config = {key: value for key, value in run["config"].items() if key not in MAY_DIFFER}
    return {
        **config,
        "ap_divisor": _divisor(run),
        **{key: run[key] for key in ("dataset", "desc_name", "model")},
        "rows": [row["num_rerank"] for row in run["rows"]],
        "metrics": list(run["global"]),
        **{f"the digest {key}": run["digests"].get(key) for key in SAME_DIGESTS},
    }


def _divisor(run: Mapping[str, Any]) -> str:
    """What AP is over, where that has a part in the numbers: official is the same otherwise."""
    return str(run["config"].get("ap_divisor", OFFICIAL)) if run.get("short_lists") else OFFICIAL


def check_comparable(entry: Entry, other: Entry) -> None:
    """Raises BadInput, naming both files, where queries, gallery or metrics are not the same."""
    first, second = entry.runs[0], other.runs[0]
    files = f"{entry.files[0]} and {other.files[0]}"
    for key in ("query_names", "gallery_names"):
        here, there = first["digests"].get(key), second["digests"].get(key)
        if here != there:
            what = f"two results of {first['dataset']} have other {key}: {here}, {there}"
            raise BadInput(what, where=files, expected="results over the same image lists")
    names = [{q["name"] for q in run["per_query"]} for run in (first, second)]
    if names[0] and names[1] and names[0] != names[1]:
        odd = [sorted(names[i] - names[1 - i])[:1] for i in (0, 1)]
        what = f"two results of {first['dataset']} have other queries: {odd[0]} against {odd[1]}"
        raise BadInput(what, where=files, expected="results over the same queries")
    if _divisor(first) != _divisor(second):
        what = f"two results of {first['dataset']} have other ap_divisor: "
        what += f"{_divisor(first)}, {_divisor(second)}, and lists shorter than the positives"
        raise BadInput(what, where=files, expected="one definition of AP: evaluate anew")
    if list(first["global"]) != list(second["global"]):
        what = f"two results of {first['dataset']} have other metrics: "
        what += f"{', '.join(first['global'])} against {', '.join(second['global'])}"
        raise BadInput(what, where=files, expected="results of the same protocol")
