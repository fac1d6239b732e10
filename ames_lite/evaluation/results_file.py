"""results.json: what an evaluation found, written, and read back checked against its schema; the
evaluation opened again, with scores.hdf5 and the files it read. Name lists and scores must have the
digests of results.json, and a row must give its metrics again; descriptor stores may be gone.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ames_lite.datasets.layout import DatasetFiles
from ames_lite.errors import existing_file, require
from ames_lite.evaluation.data import find_files, list_digests, read_digests, read_lists
from ames_lite.evaluation.passes import Cell, evaluate_passes, prepare_passes
from ames_lite.evaluation.protocols import Evaluation, Protocol, Retrieval
from ames_lite.io import remedies
from ames_lite.io.json_file import read_json_file
from ames_lite.records import GroundTruth, PairScores
from ames_lite.stores.descriptor_store import say_empty
from ames_lite.stores.neighbor_lists import read_neighbors
from ames_lite.stores.pair_scores import read_pair_scores

SCHEMA = 1
NO_MODEL = "none"  # of results in which nothing is reranked
# by side {"of": number of images, "names": [...]}: their pairs have the logit NO_EVIDENCE, so that
# only the global similarity ranks them
WITHOUT_DESCRIPTORS = "without_descriptors"
CALLED = {"query": "queries", "gallery": "gallery images"}
REAL, TEXT = int | float, str | None
METRICS = {...: int | float | None}  # ...: every key
FORM: dict[str, Any] = {  # [a form]: a list of such
    **dict.fromkeys(("dataset", "desc_name", "model"), str),
    **{"config": dict, "global": METRICS, "digests": {...: TEXT}, "read": {...: str}},
    "rows": [{"num_rerank": int, "lamb": REAL, "temp": REAL, "tuned_on": TEXT, "metrics": METRICS}],
    "per_query": [{"name": str, "global_ap": REAL | None, "ap": REAL | None}],
}
NO_SCORES = PairScores(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32))
SAME = 1e-6  # metrics of another machine may differ in their last digits
ANEW = "evaluate again, or name the run's own files by data_root=, neighbors= or scores="


def role_of(dataset_role: str, cells: int, tuned_on: str | None) -> str:
    """frozen (chosen elsewhere), given by hand, or of a grid (cells of λ and γ): on a test set
    an oracle, as whoever picks from it has tuned on the test set.
    """
    if cells > 1:
        return "oracle" if dataset_role == "test" else "grid"
    return "given" if tuned_on is None else "frozen"


def results_path(path: str | Path) -> Path:
    """The file itself: a run directory stands for its results.json."""
    path = Path(path).expanduser()
    return path / "results.json" if path.is_dir() else path


def read_results(path: str | Path) -> dict[str, Any]:
    """The results. Raises MissingFile; BadInput for another schema or what is not as it says."""
    path, remedy = results_path(path), remedies.RESULTS
    existing_file(path.absolute(), "there are no results here", remedy=remedy)
    results = read_json_file(path, "results.json")
    expected = f"results of schema {SCHEMA}"
    schema = results.get("schema") if isinstance(results, dict) else None
    require(schema == SCHEMA, f"schema is {schema!r}", expected, where=path)
    results.setdefault("read", {})  # older versions did not say it
    wrong = [
        f"{key} (each with {', '.join(form[0])})" if isinstance(form, list) else key
        for key, form in FORM.items()
        if not _fits(results.get(key), form)
    ]
    what = f"absent, empty or of a wrong type: {', '.join(wrong) or 'rows'}"
    require(not wrong and results["rows"], what, expected, where=path, remedy=remedy)
    return results


def _fits(value: Any, form: Any) -> bool:
    if isinstance(form, list):
        return isinstance(value, list) and all(_fits(one, form[0]) for one in value)
    if not isinstance(form, dict):
        return isinstance(value, form)
    if not isinstance(value, dict):
        return False
    named = {key: one for key, one in form.items() if key is not ...}
    named = named or dict.fromkeys(value, form[...])
    return all(key in value and _fits(value[key], one) for key, one in named.items())


def say_without_descriptors(results: Mapping[str, Any]) -> list[str]:
    """A sentence a side that has any; none for results of older versions."""
    found = results.get(WITHOUT_DESCRIPTORS, {})
    return [
        f"{say_empty(found[side]['names'], found[side]['of'], what)} (ranked by the global "
        "similarity alone)"
        for side, what in CALLED.items()
        if found.get(side, {}).get("names")
    ]


@dataclass(frozen=True, eq=False)
class Rankings(Retrieval):
    """What the rankings of a run follow from; where: its results.json, for messages."""

    scores: PairScores
    results: Mapping[str, Any]
    where: Path

    def row(self, place: int) -> tuple[Evaluation, Evaluation]:
        """The global ranking and a row, evaluated again. BadInput where their metrics differ."""
        row, before = self.results["rows"][place], self.evaluate()
        self._compare("global", self.results["global"], before)  # other files: before any lookup
        cell = Cell.of(row)
        passes = prepare_passes(self, self.scores, cell.num_rerank)
        after = evaluate_passes(passes, self.protocol, cell)
        self._compare(f"row {place + 1}", row["metrics"], after)
        return before, after

    def _compare(self, what: str, said: Mapping[str, float | None], found: Evaluation) -> None:
        for name, value in said.items():
            came = found.metrics.get(name, math.nan)
            wanted = math.nan if value is None else value
            same = abs(came - wanted) <= SAME or (math.isnan(came) and math.isnan(wanted))
            both = f"is {wanted:.6f} there, and {came:.6f} by the files of today"
            expected = "the neighbour lists and the ground truth that the run read"
            require(same, f"{name} of {what} {both}", expected, where=self.where, remedy=ANEW)


def reread(
    results: Mapping[str, Any],
    where: Path,
    files: DatasetFiles,
    protocol: Protocol,
    neighbors: str,
    scores: Path,
) -> Rankings:
    """Read the files of a run; where: its results.json. Raises MissingFile that names all that is
    missing; BadInput where lists or scores are not those of results.json.
    """
    expected = "scores.hdf5, which evaluate.py writes beside results.json"
    remedy = "scores=<where they are now>, or evaluate again"
    missing = {"what": "missing: the scores of the run", "expected": expected, "remedy": remedy}
    found_at = partial(existing_file, scores.absolute(), **missing)
    more = {} if results["model"] == NO_MODEL else {"scores": found_at}
    paths = find_files(files, neighbors, stores=False, **more)
    truth, found = check_read(results, where, files, paths), NO_SCORES
    near = read_neighbors(paths["neighbors"], truth.query_names, truth.gallery_names)
    if more:
        found = read_pair_scores(paths["scores"], results["digests"], remedy=ANEW)
    return Rankings(protocol, truth, near, found, results, where)


def check_read(
    results: Mapping[str, Any], where: Path, files: DatasetFiles, paths: Mapping[str, Path]
) -> GroundTruth:
    """The ground truth. BadInput where files, by their digests, are not those that the run read."""
    names = [images.names for images in read_lists(paths)]
    truth = files.read_truth(*names)
    said = {**results["digests"], **results["read"]}  # of older versions not all of it
    for key, here in {**list_digests(*names), **read_digests(truth, paths["neighbors"])}.items():
        path, there = paths[key.removesuffix("_names").replace("_", " ")], said.get(key, here)
        what = f"the run had another {path.name}: its digest is {there} there, {here} here"
        both, expected = f"{where} against {path}", "the files that the run read"
        require(there == here, what, expected, where=both, remedy=ANEW)
    return truth
