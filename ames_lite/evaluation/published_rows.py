"""The rows of published.yaml: AMES' table and recall of place recognition, as `Reproduction`s."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ames_lite.evaluation.published_row import (
    GLOBAL,
    ROUNDING,
    NeededFile,
    Reproduction,
    recall_tolerance,
)
from ames_lite.models.published import PUBLISHED_HEADS

SERVER = "http://ptak.felk.cvut.cz/personal/sumapave/public/ames"
REPOSITORY = "https://github.com/pavelsuma/ames"
REVISITOP = "http://cmp.felk.cvut.cz/revisitop"
FOLDERS = {"roxford": "roxford5k", "rparis": "rparis6k"}
RECALLS = (1, 5, 10, 20)
_FILE: dict[str, Any] = yaml.safe_load(
    Path(__file__).with_name("published.yaml").read_text(encoding="utf-8")
)
PAGES: dict[str, str] = _FILE["pages"]
PLACES: dict[str, dict[str, Any]] = _FILE["places"]  # by dataset=


def _ames_row(head: str, dataset: str, medium: float, hard: float) -> Reproduction:
    folder, desc_name = FOLDERS[dataset], head.split("_")[0]
    lists = f"{REPOSITORY} (data/{folder}), or {_prepare(dataset)}"
    near = [f"nn_{desc_name}_superglobal.{form}" for form in ("pkl", "hdf5")]
    near = ["nn_superglobal.pkl", *near, "nn_superglobal.hdf5"]
    files = (
        ("list of the queries", lists, "test_query.txt", "query.txt"),
        ("list of the gallery", lists, "test_gallery.txt", "gallery.txt"),
        ("ground truth", REVISITOP, f"gnd_{folder}.pkl", f"gnd_{folder}.json"),
        ("descriptors of the queries", f"{SERVER}/data", f"{desc_name}_query_local.hdf5"),
        ("descriptors of the gallery", f"{SERVER}/data", f"{desc_name}_gallery_local.hdf5"),
        ("SuperGlobal's neighbours", f"{SERVER}/data", *near),
    )
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
        expected={"map_medium": _fraction(medium), "map_hard": _fraction(hard)},
        weights=f"networks/{head}.pt",
        files=(
            *_needed(folder, files),
            NeededFile("head", (f"networks/{head}.pt",), f"{SERVER}/networks"),
        ),
    )


def _recall_row(
    entry: Mapping[str, Any], text: str, percent: Sequence[float | None]
) -> Reproduction:
    """text: a dataset, or <dataset>:swap for its other direction."""
    dataset, _, swap = text.partition(":")
    place, end = PLACES[dataset], "_swapped" if swap else ""
    group, folder = entry["group"], f"{place['folder']}{end}"

    def filled(template: str) -> str:
        return template.format(**PAGES, dataset=dataset, domain=place["domain"], group=group)

    desc_name, kind = map(filled, entry["lists"])
    layout = f"{PAGES[place['page']]} and then {_prepare(dataset)}{' swap=true' if swap else ''}"
    near = [f"nn_{desc_name}_{kind}.{form}" for form in ("hdf5", "pkl")]
    files = (
        ("list of the queries", layout, "query.txt", "test_query.txt"),
        ("list of the gallery", layout, "gallery.txt", "test_gallery.txt"),
        ("ground truth", layout, f"gnd_{folder}.json", f"gnd_{folder}.pkl"),
        ("neighbour lists", filled(entry["made_by"]), *near),
    )
    named = zip(RECALLS, percent, strict=False)
    return Reproduction(
        name=f"{group}.{dataset}{end}",
        group=group,
        source=filled(entry["source"]),
        settings={"dataset": dataset, "desc_name": desc_name, "neighbors": kind}
        | ({"swap": True} if swap else {}),
        expected={f"recall@{k}": _fraction(value) for k, value in named if value is not None},
        files=_needed(folder, files),
        tolerance=recall_tolerance(place["query"], entry.get("rounding", ROUNDING)),
        published_stores=False,
        ranking=GLOBAL,
        made=entry.get("made", {}),
        counts={side: place[side] for side in ("query", "gallery")},
        unstated=tuple(map(filled, entry.get("unstated", ()))),
    )


def _prepare(dataset: str) -> str:
    return f"{PAGES['prepare']} dataset={dataset}"


def _needed(folder: str, files: Sequence[tuple[str, ...]]) -> tuple[NeededFile, ...]:
    """files: what, page, and names in the folder."""
    return tuple(
        NeededFile(what, tuple(f"{folder}/{name}" for name in names), page)
        for what, page, *names in files
    )


def _fraction(percent: float) -> float:
    return round(percent / 100, 6)


AMES_ROWS: dict[str, Reproduction] = {
    row.name: row
    for row in (
        _ames_row(head, dataset, *percent)
        for head, found in _FILE["ames"].items()
        for dataset, percent in found.items()
    )
}
PLACE_ROWS: dict[str, Reproduction] = {
    row.name: row
    for row in (
        _recall_row(entry, text, percent)
        for entry in _FILE["recall"]
        for text, percent in entry["percent"].items()
    )
}
