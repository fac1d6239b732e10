"""An evaluation opened again from results.json, scores.hdf5 and the files it read.

Name lists and scores must have the digests of results.json, and a row must give its metrics again.
No descriptor is opened: the stores may be gone.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ames_lite.datasets.layout import DatasetFiles
from ames_lite.errors import BadInput, MissingFile
from ames_lite.evaluation.data import SIDES, find_files, read_lists
from ames_lite.evaluation.passes import Cell, evaluate_passes, prepare_passes
from ames_lite.evaluation.protocols import Evaluation, Protocol, Retrieval
from ames_lite.io.digest import names_digest
from ames_lite.records import PairScores
from ames_lite.stores.neighbor_lists import read_neighbors
from ames_lite.stores.pair_scores import read_pair_scores

SAME = 1e-6  # metrics of another machine may differ in their last digits
REMEDY = "evaluate again, or name the run's own files by data_root=, neighbors= or scores="


@dataclass(frozen=True, eq=False)
class Reread(Retrieval):
    """What the rankings of a run follow from; where: its results.json, for messages."""

    scores: PairScores
    results: Mapping[str, Any]
    where: Path

    def row(self, place: int) -> tuple[Evaluation, Evaluation]:
        """The global ranking and a row of results.json, evaluated again.

        Raises BadInput where their metrics differ.
        """
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
            if not (abs(came - wanted) <= SAME or (math.isnan(came) and math.isnan(wanted))):
                raise BadInput(
                    f"{name} of {what} is {wanted:.6f} there, and {came:.6f} by the files of today",
                    where=self.where,
                    expected="the neighbour lists and the ground truth that the run read",
                    remedy=REMEDY,
                )


def reread(
    results: Mapping[str, Any],
    where: Path,
    files: DatasetFiles,
    protocol: Protocol,
    neighbors: str,
    scores: Path,
) -> Reread:
    """Read the files of a run; where: its results.json. Raises MissingFile that names all that is
    missing; BadInput where lists or scores are not those of results.json.
    """
    paths = find_files(files, neighbors, stores=False, scores=lambda: _scores_file(scores))
    lists = read_lists(paths)
    for side, listed in zip(SIDES, lists, strict=True):
        there, here = results["digests"].get(f"{side}_names"), names_digest(listed.names)
        if there != here:
            raise BadInput(
                f"the run had another {side} list: its digest is {there} there, {here} here",
                where=f"{where} against {paths[side]}",
                expected="the image lists that the run read",
                remedy=REMEDY,
            )
    truth = files.read_truth(*(images.names for images in lists))
    near = read_neighbors(paths["neighbors"], truth.query_names, truth.gallery_names)
    found = read_pair_scores(paths["scores"], results["digests"], remedy=REMEDY)
    return Reread(protocol, truth, near, found, results, where)


def _scores_file(path: Path) -> Path:
    if not path.is_file():
        raise MissingFile(
            "missing: the scores of the run",
            where=path.absolute(),
            expected="scores.hdf5, which evaluate.py writes beside results.json",
            remedy="scores=<where they are now>, or evaluate again",
        )
    return path
