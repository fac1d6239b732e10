"""Published numbers beside what came out here, and the first thing that differs.

No hash of any published file is known: the settings in effect can be told, but not whose files were
read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ames_lite.errors import ConfigError
from ames_lite.io.provenance import ABSENT, ORIGIN
from benchmarks.reproduce.rows import (
    AMES_ROWS,
    ELVIS_ROWS,
    GLOBAL,
    LIST_ROWS,
    MEANS,
    PLACE_ROWS,
    ROUNDING,
    NeededFile,
    Reproduction,
)

ROWS: dict[str, Reproduction] = {**AMES_ROWS, **ELVIS_ROWS, **LIST_ROWS, **PLACE_ROWS}


@dataclass(frozen=True)
class Outcome:
    """One metric of a row: fractions; expected is None where none was printed, obtained where it is
    undefined.
    """

    row: str
    metric: str
    expected: float | None
    obtained: float | None
    tolerance: float

    @property
    def difference(self) -> float | None:
        """Obtained minus expected."""
        if self.obtained is None or self.expected is None:
            return None
        return self.obtained - self.expected

    @property
    def inside(self) -> bool:
        """Whether the number was reproduced, or none was printed; the last digit of a float does
        not decide.
        """
        if self.expected is None:
            return True
        return self.difference is not None and abs(self.difference) <= self.tolerance + 1e-9


def outcomes(row: Reproduction, results: Mapping[str, Any]) -> list[Outcome]:
    """Every expected metric beside what results (schema 1) have in their first row, or globally."""
    of_lists = row.ranking == GLOBAL
    found = results["global"] if of_lists else results["rows"][0]["metrics"]
    return [
        Outcome(row.name, metric, expected, found.get(metric), row.tolerance)
        for metric, expected in row.expected.items()
    ]


def means(found: Sequence[Outcome]) -> list[Outcome]:
    """The figures of MEANS whose rows are all among these outcomes."""
    of_rows = {(one.row, one.metric): one for one in found}
    made = []
    for name, mean in MEANS.items():
        parts = [of_rows.get((row, mean["metric"])) for row in mean["of"]]
        values = [one.obtained for one in parts if one is not None and one.obtained is not None]
        if all(parts):
            obtained = sum(values) / len(values) if len(values) == len(parts) else None
            expected = round(mean["percent"] / 100, 6)
            tolerance = max((one.tolerance for one in parts if one), default=ROUNDING)
            made.append(Outcome(name, mean["metric"], expected, obtained, tolerance))
    return made


def first_difference(row: Reproduction, results: Mapping[str, Any]) -> str | None:
    """The first setting in effect that is not the row's, with both values; None: all that can be
    told are the row's. What has no published value to compare with (`unknowns`) is not among them.
    """
    for what, published, here in _compared(row, results):
        if published != here:
            return f"{what}: {published} published, {here} here"
    return None


def _compared(
    row: Reproduction, results: Mapping[str, Any]
) -> Iterator[tuple[str, object, object]]:
    """What can be told: what it is, as published, and here."""
    for side, count in row.counts.items():
        yield f"{side} images", count, results["counts"][side]
    for side in ("query", "gallery") if row.published_stores else ():
        made = json.loads(results["digests"].get(f"{side}_store", "{}"))
        here = f"one extracted anew ({_described(made)})"
        of_authors = "the authors' file"
        yield f"the {side} store", of_authors, of_authors if made.get("origin") == ORIGIN else here
    in_effect = _in_effect(results)
    for key, published in row.settings.items():
        yield key, published, in_effect.get(key)
    made = _lists_made(results)
    for key, published in row.made.items() if made.get("origin") != ORIGIN else ():
        yield f"{key} of the neighbour lists", published, made.get(key, ABSENT)


def _in_effect(results: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an evaluation by the keys of rows."""
    config = results["config"]
    first = results["rows"][0] if results.get("rows") else {}
    dataset = config["dataset"]
    model = {"model": config["model"]["name"]} if "model" in config else {}
    known = {"dataset": dataset["option"], "swap": bool(dataset.get("swap"))}
    if isinstance(config.get("k"), list):
        known["k"] = json.dumps(config["k"], separators=(",", ":"))
    return {**config, **first, **known, **model}


def _lists_made(results: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(results["digests"].get("neighbors_made", "{}"))
    return made


def _described(made: Mapping[str, Any]) -> str:
    keys = ("backbone", "variant", "detector", "image_size", "top_k")
    told = [f"{key} {made[key]}" for key in keys if made.get(key) is not None]
    return ", ".join(told) or "it says nothing of what made it"


def unknowns(row: Reproduction, results: Mapping[str, Any]) -> list[str]:
    """What cannot be compared: no hash of it is published, or the source does not say."""
    unknown = []
    if row.weights is not None:
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
