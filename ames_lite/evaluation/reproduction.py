"""Published numbers as data, beside what came out here, and the first thing that differs.

Each `Reproduction` is one evaluation with its expected metrics; ROWS holds all by name: AMES' table
here, place recognition in published_places.py. The convention to know: no hash of any published
file is known, so what is in effect can be told, but not that it is the published file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ames_lite.errors import ConfigError
from ames_lite.evaluation import published_places
from ames_lite.evaluation.published_row import (
    FLOAT16,
    GLOBAL,
    ROUNDING,
    NeededFile,
    Reproduction,
)
from ames_lite.io.provenance import ABSENT
from ames_lite.models.published import PUBLISHED_HEADS
from ames_lite.stores.published.store import ORIGIN

__all__ = ["FLOAT16", "GLOBAL", "ROUNDING", "NeededFile", "Reproduction"]

SERVER = "http://ptak.felk.cvut.cz/personal/sumapave/public/ames"
REPOSITORY = "https://github.com/pavelsuma/ames"


@dataclass(frozen=True)
class Outcome:
    """One metric of a row: fractions; obtained is None where it is undefined."""

    row: str
    metric: str
    expected: float
    obtained: float | None
    tolerance: float

    @property
    def difference(self) -> float | None:
        """Obtained minus expected."""
        return None if self.obtained is None else self.obtained - self.expected

    @property
    def inside(self) -> bool:
        """Whether the number was reproduced; the last digit of a float does not decide."""
        return self.difference is not None and abs(self.difference) <= self.tolerance + 1e-9


def outcomes(row: Reproduction, results: Mapping[str, Any]) -> list[Outcome]:
    """Every expected metric beside what results (schema 1) have in their first row, or globally."""
    of_lists = row.ranking == GLOBAL
    found = results["global"] if of_lists else results["rows"][0]["metrics"]
    return [
        Outcome(row.name, metric, expected, found.get(metric), row.tolerance)
        for metric, expected in row.expected.items()
    ]


def first_difference(row: Reproduction, results: Mapping[str, Any]) -> str | None:
    """The first setting in effect that is not the row's, with both values; None: all that can be
    told are the row's. What has no published value to compare with (`unknowns`) is not among them.
    """
    for side, count in row.counts.items():
        if results["counts"][side] != count:
            return _differs(f"{side} images", count, results["counts"][side])
    digests = results["digests"]
    if row.weights_sha256 not in (None, digests.get("weights")):
        return _differs("the weights' sha256", row.weights_sha256, digests.get("weights"))
    for side in ("query", "gallery"):
        made = json.loads(digests.get(f"{side}_store", "{}"))
        if row.published_stores and made.get("origin") != ORIGIN:
            here = f"one extracted anew ({_described(made)})"
            return _differs(f"the {side} store", "the authors' file", here)
    in_effect = _in_effect(results)
    for key, published in row.settings.items():
        if in_effect.get(key) != published:
            return _differs(key, published, in_effect.get(key))
    made = _lists_made(results)
    for key, published in row.made.items():
        if made.get("origin") != ORIGIN and made.get(key, ABSENT) != published:
            return _differs(f"{key} of the neighbour lists", published, made.get(key, ABSENT))
    return None


def _in_effect(results: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an evaluation by the keys of rows."""
    config = results["config"]
    first = results["rows"][0] if results.get("rows") else {}
    dataset = config["dataset"]
    model = {"model": config["model"]["name"]} if "model" in config else {}
    known = {"dataset": dataset["option"], "swap": bool(dataset.get("swap"))}
    return {**config, **first, **known, **model}


def _lists_made(results: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(results["digests"].get("neighbors_made", "{}"))
    return made


def _described(made: Mapping[str, Any]) -> str:
    """What a store says of itself, in a few words."""
    keys = ("backbone", "variant", "detector", "image_size", "top_k")
    told = [f"{key} {made[key]}" for key in keys if made.get(key) is not None]
    return ", ".join(told) or "it says nothing of what made it"


def _differs(what: str, published: object, here: object) -> str:
    return f"{what}: {published} published, {here} here"


def unknowns(row: Reproduction, results: Mapping[str, Any]) -> list[str]:
    """What cannot be compared: no hash of it is published, or the source does not say."""
    unknown = []
    if row.weights is not None and row.weights_sha256 is None:
        unknown.append(f"weights: no hash is published; sha256 {results['digests']['weights']}")
    if row.published_stores:
        unknown.append("descriptors and neighbour lists: no hash is published")
    if row.ranking == GLOBAL and _lists_made(results).get("origin") == ORIGIN:
        unknown.append("neighbour lists: the published form says nothing of what made them")
    return [*unknown, *row.unstated]


def missing_files(row: Reproduction, data_root: Path) -> list[NeededFile]:
    """The needed files that are under none of their names."""
    return [
        needed
        for needed in row.files
        if not any((data_root / name).is_file() for name in needed.names)
    ]


def find_rows(name: str, rows: Mapping[str, Reproduction]) -> list[Reproduction]:
    """The row of that name, or all of the group. Raises ConfigError that lists what exists."""
    found = [row for row in rows.values() if name in (row.name, row.group)]
    if not found:
        groups = dict.fromkeys(row.group for row in rows.values())
        raise ConfigError(f"there is no row '{name}'", expected=", ".join([*groups, *rows, "list"]))
    return found


def _ames(head: str, dataset: str, medium: float, hard: float) -> Reproduction:
    """A row of the AMES table: percentages as printed."""
    folder = {"roxford": "roxford5k", "rparis": "rparis6k"}[dataset]
    desc_name = head.split("_")[0]

    def needed(what: str, page: str, *names: str) -> NeededFile:
        return NeededFile(what, tuple(f"{folder}/{name}" for name in names), page)

    made = f"python scripts/prepare_set.py dataset={dataset}"
    lists, official = (
        f"{REPOSITORY} (data/{folder}), or {made}",
        "http://cmp.felk.cvut.cz/revisitop",
    )
    near = [f"nn_{desc_name}_superglobal.{form}" for form in ("pkl", "hdf5")]
    near.append("nn_superglobal.hdf5")
    gallery_local, query_local = (f"{desc_name}_{s}_local.hdf5" for s in ("gallery", "query"))
    return Reproduction(
        name=f"{head}.{dataset}",
        group=head,
        source=f"AMES (ECCV 2024), mAP in {REPOSITORY}",
        settings={
            "dataset": dataset,
            "desc_name": desc_name,
            "model": "ames",
            "neighbors": "superglobal",
            "num_rerank": 1600,
            "query_desc_num": 600,
            "gallery_desc_num": 600,
            "lamb": PUBLISHED_HEADS[head].lamb,
            "temp": PUBLISHED_HEADS[head].temp,
            "precision": "fp32",
        },
        expected={"map_medium": round(medium / 100, 6), "map_hard": round(hard / 100, 6)},
        weights=f"networks/{head}.pt",
        files=(
            needed("list of the queries", lists, "test_query.txt", "query.txt"),
            needed("list of the gallery", lists, "test_gallery.txt", "gallery.txt"),
            needed("ground truth", official, f"gnd_{folder}.pkl", f"gnd_{folder}.json"),
            needed("descriptors of the queries", f"{SERVER}/data", query_local),
            needed("descriptors of the gallery", f"{SERVER}/data", gallery_local),
            needed("SuperGlobal's neighbours", f"{SERVER}/data", "nn_superglobal.pkl", *near),
            NeededFile("head", (f"networks/{head}.pt",), f"{SERVER}/networks"),
        ),
    )


# Source: the table of the AMES repository; reranked is SuperGlobal's list.
AMES_ROWS: dict[str, Reproduction] = {
    row.name: row
    for row in (
        _ames("dinov2_ames", "roxford", medium=92.7, hard=83.7),
        _ames("dinov2_ames", "rparis", medium=95.2, hard=90.6),
        _ames("dinov2_ames_dist", "roxford", medium=91.1, hard=82.2),
        _ames("dinov2_ames_dist", "rparis", medium=95.2, hard=90.2),
        _ames("cvnet_ames", "roxford", medium=89.2, hard=78.7),
        _ames("cvnet_ames", "rparis", medium=93.4, hard=86.8),
        _ames("cvnet_ames_dist", "roxford", medium=88.8, hard=77.5),
        _ames("cvnet_ames_dist", "rparis", medium=93.2, hard=86.3),
    )
}
ROWS: dict[str, Reproduction] = {**AMES_ROWS, **published_places.ROWS}
