"""How much of an explanation is true, on a rendered world, whose geometry is known.

    python -m benchmarks.explanations <run directory of scripts/evaluate.py on it> …

Of the queries whose first image (medium, by the first row) is correct: the share of the weight, and
of the matches, on points that are the same point of the landmark (within 5 % of the longer side);
the boxes whose IoU with what is visible of the landmark is at least .5, and how many the whole
image would have as a box; the median time of an explanation.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.cli.evaluate import open_scorer
from ames_lite.cli.failures import opened
from ames_lite.cli.schema.evaluation import Evaluate, OfResults
from ames_lite.cli.schema.values import built
from ames_lite.cli.shell import exit_code, print_table
from ames_lite.datasets.relation import SIDES
from ames_lite.errors import check_config, existing_file
from ames_lite.evaluation.passes import Cell, rerank_setting
from ames_lite.evaluation.protocols import setting_positives
from ames_lite.io.arrays import read_npz
from ames_lite.io.json_file import read_json_file
from ames_lite.records import LocalDescriptors
from ames_lite.reranking.explain import Box, PairExplanation, explain
from ames_lite.reranking.verification import pixels
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.synthetic import WorldSpec
from ames_lite.synthetic.views import project
from ames_lite.synthetic.world import visible_box, world_facade

NEAR, LEAST_IOU = 0.05, 0.5
HEADER = ["model", "queries", "weight", "matches", "boxes", "whole image", "ms"]


class Measured(NamedTuple):
    """Of one pair."""

    weight: float
    matches: float
    iou: float
    whole: float  # IoU of the whole image
    seconds: float


class Geometry:
    """Where the landmark is in the images of a world."""

    def __init__(self, folder: Path) -> None:
        self.spec = WorldSpec(**read_json_file(folder / "world.json", "a rendered world")["spec"])
        self.found = read_npz(existing_file(folder / "geometry.npz", "this is no rendered world"))
        self.row = {name: row for row, name in enumerate(self.found["name"].tolist())}

    def homography(self, name: str) -> npt.NDArray[np.float64]:
        return np.asarray(self.found["homography"][self.row[name]])

    def box(self, name: str, size: tuple[int, int]) -> Box:
        row = self.row[name]
        facade = world_facade(self.spec, int(self.found["label"][row])).size
        return visible_box(self.homography(name), self.found["visible"][row], size, facade)

    def true(
        self, names: tuple[str, str], places: Sequence[npt.NDArray[Any]], within: float
    ) -> npt.NDArray[np.bool_]:
        """[M], whether places [M, 2] of two images are one point of the landmark."""
        there, back = (self.homography(name) for name in names)
        mapped = project(back @ np.linalg.inv(there), places[0].astype(np.float64))
        errors = np.hypot(*(mapped - places[1]).T)
        return np.asarray(errors < within)


def iou(one: Box, other: Box) -> float:
    """
    >>> iou((0, 0, 2, 2), (1, 0, 3, 2)), iou((0, 0, 1, 1), (2, 2, 3, 3))
    (0.3333333333333333, 0.0)
    """
    a, b = np.array([one, other]).reshape(2, 2, 2)
    sides = np.minimum(a[1], b[1]) - np.maximum(a[0], b[0])
    inside = float(np.prod(sides.clip(0)))
    return inside / float(np.prod(a[1] - a[0]) + np.prod(b[1] - b[0]) - inside)


def measured(run: Path) -> tuple[str, list[Measured]]:
    """The model's name, and every pair."""
    ran, files, setting, place, read = opened(OfResults(row=1), run)
    found = read()
    results, row = found.results, found.results["rows"][place]
    of_model = built(Evaluate, {key: results["config"][key] for key in ("model", "weights")})
    scorer, _ = open_scorer(of_model.model, ran.desc_name, of_model.weights)
    ranking = rerank_setting(found, found.scores, setting, Cell.of(row))
    geometry, truth = Geometry(files.root), found.ground_truth
    stores = [DescriptorStore.open(files.local(side)) for side in SIDES]
    told = []
    for q, right in enumerate(setting_positives(truth, setting)):
        first = int(ranking.ids[q, 0])
        if first in right:
            counts = row["query_desc_num"], row["gallery_desc_num"]
            query, image = (
                s.read(r, n) for s, r, n in zip(stores, (q, first), counts, strict=True)
            )
            began = time.perf_counter()
            found_out = explain(scorer.model, query, image, truth.bbox[q] if truth.bbox else None)
            seconds = time.perf_counter() - began
            names = truth.query_names[q], truth.gallery_names[first]
            told.append(Measured(*_truth(found_out, geometry, names, (query, image)), seconds))
    return str(results["model"]), told


def _truth(
    found: PairExplanation,
    geometry: Geometry,
    names: tuple[str, str],
    images: tuple[LocalDescriptors, LocalDescriptors],
) -> tuple[float, float, float, float]:
    size, matches = images[1].size, found.matches()
    some = np.argwhere(found.weights > 0)
    shares = []
    for rows, weight in ((some, found.weights[tuple(some.T)]), (matches, np.ones(len(matches)))):
        places = [pixels(image)[rows[:, side]] for side, image in enumerate(images)]
        true = geometry.true(names, places, NEAR * max(size))
        shares.append(float(weight[true].sum()) / max(float(weight.sum()), 1e-9))
    box, whole = geometry.box(names[1], size), (0.0, 0.0, float(size[1]), float(size[0]))
    overlap = 0.0 if found.box is None else iou(found.box, box)
    return shares[0], shares[1], overlap, iou(whole, box)


def main(runs: Sequence[str]) -> None:
    rows, expected = [], "run directories of scripts/evaluate.py on a rendered world"
    check_config(runs, "no run is given", expected)
    for run in runs:
        name, pairs = measured(Path(run))
        check_config(pairs, "no query has a correct first image", expected, where=run)
        table = np.array(pairs)
        reached = (table[:, 2:4] >= LEAST_IOU).mean(axis=0)
        shares = [*table[:, :2].mean(axis=0), *reached]
        milliseconds = 1000 * float(np.median(table[:, 4]))
        rows.append([name, len(table), *(f"{x:.2f}" for x in shares), f"{milliseconds:.0f}"])
    print_table(HEADER, rows)


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:])))
