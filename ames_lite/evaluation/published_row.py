"""One published evaluation as a record: its numbers, the settings and files they came from.

Metrics and tolerances are fractions; a number published to one decimal of a per cent is known to
±0.0005, and the files it came from are float16 and were scored on another machine, which moves mAP
by up to FLOAT16. Recall is a share of queries: descriptors made anew, and a vocabulary from another
random start, may decide some otherwise (`recall_tolerance`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ROUNDING = 0.0005  # published to 0.1 points
FLOAT16 = 0.001  # logits that are off by 0.01 move mAP on ROxford and RParis by up to 0.0007
QUERIES, SHARE = 2, 0.005  # that may fall otherwise, whichever is more: a choice, not a measurement
GLOBAL, RERANKED = "global", "reranked"


@dataclass(frozen=True)
class NeededFile:
    """A file of a data root. names: relative to it, any of which will do; page: where from."""

    what: str
    names: tuple[str, ...]
    page: str


@dataclass(frozen=True)
class Reproduction:
    """One published evaluation.

    name: unique; group: names several rows at once; source: where the numbers stand; settings: keys
    of `evaluate` and the values that they were published with; expected: metric to fraction;
    tolerance: the largest absolute difference that is a success; weights: the head, relative to the
    data root, or None for a model without; weights_sha256: None where no hash is published;
    published_stores: the descriptors are published files, not extracted anew.

    ranking: of what the numbers are, the reranked list or the global one; the global one needs
    lists and ground truth alone. made: what the provenance of its neighbour lists has to say;
    counts: images a side; unstated: what the source does not say, or what differs for certain.
    """

    name: str
    group: str
    source: str
    settings: Mapping[str, Any]
    expected: Mapping[str, float]
    files: tuple[NeededFile, ...]
    weights: str | None = None
    weights_sha256: str | None = None
    tolerance: float = ROUNDING + FLOAT16
    published_stores: bool = True
    ranking: str = RERANKED
    made: Mapping[str, Any] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    unstated: tuple[str, ...] = ()


def recall_tolerance(queries: int, rounding: float = ROUNDING) -> float:
    """What a recall over so many queries may differ by.

    >>> round(recall_tolerance(71), 4), recall_tolerance(6816)
    (0.0287, 0.0055)
    """
    return rounding + max(SHARE, QUERIES / queries)
