"""The rows of published.yaml: AMES' table, the sets of ELViS, lists of other methods, and recall of
place recognition, as fractions.

A number published to one decimal of a per cent is known to ±0.0005, and the files it came from are
float16 and were scored on another machine. Recall is a share of queries: descriptors made anew, and
a vocabulary from another random start, may decide some otherwise (`recall_tolerance`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ames_lite.models.published import PUBLISHED_HEADS

ROUNDING = 0.0005  # published to 0.1 points
FLOAT16 = 0.001  # logits that are off by 0.01 move mAP on ROxford and RParis by up to 0.0007
QUERIES, SHARE = 2, 0.005  # that may fall otherwise, whichever is more: a choice, not a measurement
GLOBAL, RERANKED = "global", "reranked"
ELVIS, LISTS = "elvis", "lists"
RECALLS = ("recall@1", "recall@5", "recall@10", "recall@20")
_FILE: dict[str, Any] = yaml.safe_load(
    Path(__file__).with_name("published.yaml").read_text(encoding="utf-8")
)
PAGES: dict[str, str] = _FILE["pages"]
PLACES: dict[str, dict[str, Any]] = _FILE["places"]  # by dataset=
MEANS: dict[str, dict[str, Any]] = _FILE["means"]  # figures over several rows


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
    of `evaluate` and the values that they were published with; expected: metric to fraction, None:
    only in MEANS; tolerance: the largest absolute difference that is a success; weights: the head,
    relative to the data root, or None for a model without; published_stores: the descriptors are
    published files, not extracted anew. No hash of any published file is known.

    ranking: of what the numbers are, the reranked list or the global one; the global one needs
    lists and ground truth alone. made: what the provenance of its neighbour lists has to say;
    counts: images a side; unstated: what the source does not say, or what differs for certain.
    """

    name: str
    group: str
    source: str
    settings: Mapping[str, Any]
    expected: Mapping[str, float | None]
    files: tuple[NeededFile, ...]
    weights: str | None = None
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


def _row(
    section: str, entry: Mapping[str, Any], text: str, percent: Sequence[float | str | None]
) -> Reproduction:
    """text: a dataset, or <dataset>:swap for its other direction."""
    dataset, _, swap = text.partition(":")
    group, place, end = entry["group"], PLACES[dataset], "_swapped" if swap else ""
    words = {**PAGES, **place, "dataset": dataset, "group": group}
    words |= {"layout": PAGES[place["page"]], "folder": f"{place['folder']}{end}"}
    words["swap"] = " swap=true" if swap else ""

    def filled(template: str) -> str:
        return template.format(**words)

    words["desc_name"], words["neighbors"] = map(filled, entry["lists"])
    words["made_by"] = filled(entry.get("made_by", ""))
    files = tuple(
        NeededFile(filled(what), tuple(map(filled, names)), filled(page))
        for what, page, *names in _FILE["files"][section]
    )
    settings = {key: words[key] for key in ("dataset", "desc_name", "neighbors")}
    settings |= entry.get("more", {})
    metrics = zip(entry.get("metrics", RECALLS), percent, strict=False)
    common = {
        "name": f"{group}.{dataset}{end}",
        "group": group,
        "source": filled(entry["source"]),
        "expected": {
            key: None if isinstance(v, str) else round(v / 100, 6)
            for key, v in metrics
            if v is not None
        },
        "files": files,
        "unstated": tuple(map(filled, entry.get("unstated", ()))),
    }
    if section in (RERANKED, ELVIS):
        settings |= entry["settings"]
        if (head := PUBLISHED_HEADS.get(group)) is not None:
            settings |= {"lamb": head.lamb, "temp": head.temp}
        return Reproduction(**common, settings=settings, weights=files[-1].names[0])
    rounding = entry.get("rounding", ROUNDING)
    made_elsewhere = section == LISTS  # the lists themselves are what is compared
    return Reproduction(
        **common,
        settings=settings | ({"swap": True} if swap else {}),
        tolerance=rounding if made_elsewhere else recall_tolerance(place["query"], rounding),
        published_stores=False,
        ranking=GLOBAL,
        made=entry.get("made", {}),
        counts={side: place[side] for side in ("query", "gallery") if side in place},
    )


def _rows(section: str) -> dict[str, Reproduction]:
    rows = (
        _row(section, entry, text, percent)
        for entry in _FILE[section]
        for text, percent in entry["percent"].items()
    )
    return {row.name: row for row in rows}


AMES_ROWS, PLACE_ROWS, ELVIS_ROWS, LIST_ROWS = map(_rows, (RERANKED, GLOBAL, ELVIS, LISTS))
