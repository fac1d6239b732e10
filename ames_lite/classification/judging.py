"""How good a classifier is: by side, by class, by image; and how honest its probabilities are."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ames_lite.classification.data import SIDES, TEST, TRAIN, VAL, Ids, Labelled
from ames_lite.classification.models import Classifier, Floats, negative_log
from ames_lite.evaluation.significance import Interval, bootstrap_mean
from ames_lite.reranking.calibration import Curve, reliability


@dataclass(frozen=True, eq=False)
class Judged:
    """A classifier and its figures: accuracy by side, test with interval, reliability curves."""

    classifier: Classifier
    probabilities: Floats
    accuracy: dict[str, float]
    test: Interval
    val_loss: float
    curves: dict[str, Curve]

    @property
    def order(self) -> tuple[float, float]:
        """Ascending, the best first: by the validation side."""
        return -self.accuracy["val"], self.val_loss

    def row(self) -> dict[str, Any]:
        """Of a table."""
        found, low, high = self.classifier, self.test.low, self.test.high
        return {
            "classifier": found.name,
            "clusters": "all" if found.clusters is None else len(found.clusters),
            "dim": found.network.arguments["dim"],
            **self.accuracy,
            "95 % of test": f"{low:.3f} to {high:.3f}",
            **{f"ECE {key}": curve.error for key, curve in self.curves.items()},
        }


def judge(classifier: Classifier, data: Labelled, seed: int) -> Judged:
    """data: with whole descriptors."""
    both = {"before": replace(classifier, temperature=1.0), "calibrated": classifier}
    found = {key: one.probabilities(data.vectors) for key, one in both.items()}
    val, test = data.side == VAL, data.side == TEST
    right = found["before"].argmax(axis=1) == data.labels
    curves = {
        key: Curve((0, 1), (0, 1), reliability(p[test].max(axis=1), right[test]))
        for key, p in found.items()
    }
    return Judged(
        classifier,
        found["calibrated"],
        {side: float(right[data.side == at].mean()) for at, side in enumerate(SIDES)},
        bootstrap_mean(right[test].astype(np.float64), seed=seed),
        negative_log(found["calibrated"][val], data.labels[val]),
        curves,
    )


def confusion_of(data: Labelled, judged: Judged) -> Ids:
    """Test images [C, C] by class and predicted class."""
    counts, test = np.zeros((len(data.classes),) * 2, np.int64), data.side == TEST
    np.add.at(counts, (data.labels[test], judged.probabilities[test].argmax(axis=1)), 1)
    return counts


def class_rows(data: Labelled, confusion: Ids) -> list[dict[str, Any]]:
    """Of every class how many images there are, precision and recall; None where undefined."""
    keys = ("class", "train", "test", "precision", "recall")
    trained = np.bincount(data.labels[data.side == TRAIN]).tolist()
    tested, said = confusion.sum(axis=1).tolist(), confusion.sum(axis=0).tolist()
    right = [
        (hits / of_said if of_said else None, hits / of if of else None)
        for hits, of_said, of in zip(np.diag(confusion).tolist(), said, tested, strict=True)
    ]
    rows = zip(data.classes, trained, tested, right, strict=True)
    return [dict(zip(keys, (*row, *shares), strict=True)) for *row, shares in rows]


def image_rows(data: Labelled, judged: Judged) -> list[dict[str, Any]]:
    keys = ("name", "side", "class", "predicted", "probability")
    classes, p = np.array(data.classes), judged.probabilities
    columns = [np.array(SIDES)[data.side], classes[data.labels], classes[p.argmax(axis=1)]]
    rows = zip(data.names, *(one.tolist() for one in (*columns, p.max(axis=1))), strict=True)
    return [dict(zip(keys, row, strict=True)) for row in rows]
