"""Ground truth files: the native `gnd_{dataset}.json` and the official `gnd_*.pkl`.

In both, images are matched by name to the image lists in use, never by position alone: the
result's rows are rows of those lists, in their order, whatever order the file has. A gallery list
may hold more images than the file knows (distractors); a query list may not.

    {"queries": [{"name", "bbox"?, "positives", "junk"? or "easy", "hard", "junk": [names]}]}

The official pickle has `gnd` (per query `bbx`, and `easy`, `hard`, `junk` or `ok`, perhaps with
`junk`: rows of `imlist`), `imlist` and `qimlist` (names without extension). Where the last two are
absent, as in files with `ok`, rows are rows of the given lists.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.datasets.names import match_names
from ames_lite.errors import BadInput, MissingFile
from ames_lite.io.json_file import read_json_file
from ames_lite.records import GroundTruth
from ames_lite.stores.published.safe_pickle import NUMPY_ARRAYS, read_pickle, text_of

Box = tuple[float, float, float, float]
GRADES = ("easy", "hard", "junk")
NATIVE = '{"queries": [{"name", "bbox"?, "positives", "junk"? or "easy", "hard", "junk": [names]}]}'
OFFICIAL = (
    '{"gnd": [{"bbx"?, "easy", "hard", "junk" or "ok", "junk"?: [rows]}], "imlist", "qimlist"}'
)


class _Entry(NamedTuple):
    """One query of a file: its rows of the gallery list in use, by grade."""

    bbox: Box | None
    rows: dict[str, npt.NDArray[np.int64]]  # of GRADES, or of "positives" and perhaps "junk"


def read_ground_truth(
    path: str | Path,
    query_names: Sequence[str],
    gallery_names: Sequence[str],
    *,
    skip_last: int = 0,
) -> GroundTruth:
    """Ground truth whose query q and gallery rows are those of the given image lists.

    `.json` is read as native, `.pkl` as official. skip_last: so many queries at the end of an
    official file are not those of the list (GLDv2's private ones). Raises MissingFile where there
    is no file; BadInput, naming the file and the list, where they disagree about an image, and
    where the file does not follow its schema.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFile("ground truth is missing", where=path, expected="gnd_*.json or gnd_*.pkl")
    if path.suffix not in (".json", ".pkl"):
        raise BadInput(f"ground truth ends in '{path.suffix}'", where=path, expected=".json, .pkl")
    if path.suffix == ".json":
        file_names, entries = _read_native(path, query_names, gallery_names)
    else:
        file_names, entries = _read_official(path, query_names, gallery_names, skip_last)
    order = np.empty(len(query_names), np.int64)
    order[_match_queries(path, file_names, query_names)] = np.arange(len(query_names))
    return _assemble(path, [entries[i] for i in order], query_names, gallery_names)


def _match_queries(
    path: Path, file_names: Sequence[str], query_names: Sequence[str]
) -> npt.NDArray[np.int64]:
    """The list's row of each query of the file; every query must be on both sides, once."""
    if len(set(file_names)) != len(file_names):
        twice = next(name for name in file_names if file_names.count(name) > 1)
        raise BadInput(f"query '{twice}' stands twice", where=path, expected="every query once")
    rows = match_names(
        file_names, query_names, wanted_from=f"queries of {path}", available_from="the query list"
    )
    if len(rows) != len(query_names):
        missing = sorted(set(range(len(query_names))) - set(rows.tolist()))
        raise BadInput(
            f"{path} has {len(rows)} queries, the query list {len(query_names)}: "
            f"'{query_names[missing[0]]}' has no ground truth",
            where=path,
            expected="the same queries in both",
        )
    return rows


def _assemble(
    path: Path,
    entries: Sequence[_Entry],
    query_names: Sequence[str],
    gallery_names: Sequence[str],
) -> GroundTruth:
    graded = {"positives" not in entry.rows for entry in entries}
    if len(graded) > 1:
        expected = "one form for all queries"
        raise BadInput("some queries have grades, others not", where=path, expected=expected)
    none = np.zeros(0, np.int64)
    try:
        return GroundTruth(
            query_names=tuple(query_names),
            gallery_names=tuple(gallery_names),
            easy=tuple(e.rows.get("positives", e.rows.get("easy", none)) for e in entries),
            hard=tuple(e.rows.get("hard", none) for e in entries),
            junk=tuple(e.rows.get("junk", none) for e in entries),
            bbox=tuple(e.bbox for e in entries),
            graded=graded != {False},
        )
    except BadInput as error:
        raise BadInput(f"ground truth contradicts itself: {error}", where=path) from error


# ---------------------------------------------------------------- native


def _read_native(
    path: Path, query_names: Sequence[str], gallery_names: Sequence[str]
) -> tuple[list[str], list[_Entry]]:
    content = read_json_file(path, NATIVE)
    _require(isinstance(content, dict) and set(content) == {"queries"}, "wrong keys", path, NATIVE)
    queries = content["queries"]
    _require(isinstance(queries, list), "'queries' is no list", path, NATIVE)
    for number, query in enumerate(queries):
        _check_native(query, f"{path}, query {number}")
    named = dict.fromkeys(chain.from_iterable(q[key] for q in queries for key in _lists_of(q)))
    rows = match_names(
        list(named), gallery_names, wanted_from=str(path), available_from="the gallery list"
    )
    row_of = dict(zip(named, rows.tolist(), strict=True))
    entries = []
    for query in queries:
        by_grade = {
            key: np.array([row_of[name] for name in query[key]], np.int64)
            for key in _lists_of(query)
        }
        bbox = _bbox(query.get("bbox"), f"{path}, query '{query['name']}'")
        entries.append(_Entry(bbox, by_grade))
    return [query["name"] for query in queries], entries


def _lists_of(query: dict[str, Any]) -> tuple[str, ...]:
    return tuple(query.keys() & {"positives", "junk"}) if "positives" in query else GRADES


def _check_native(query: object, where: str) -> None:
    _require(isinstance(query, dict), "a query is no object", where, NATIVE)
    assert isinstance(query, dict)  # for the type checker: it cannot see through _require
    keys = set(query) - {"bbox"}
    known = ({"name", "positives"}, {"name", "positives", "junk"}, {"name", *GRADES})
    _require(keys in known, f"keys {keys}", where, NATIVE)
    _require(isinstance(query["name"], str), "'name' is no text", where, NATIVE)
    for key in _lists_of(query):
        names = query[key]
        fine = isinstance(names, list) and all(isinstance(name, str) for name in names)
        _require(fine, f"'{key}' is no list of names", where, NATIVE)


# ---------------------------------------------------------------- official


def official_names(path: str | Path) -> tuple[list[str], list[str]]:
    """The names of queries and gallery that an official file brings (`qimlist`, `imlist`).

    Raises MissingFile; BadInput where it brings none.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFile("ground truth is missing", where=path, expected=OFFICIAL)
    content = read_pickle(path, NUMPY_ARRAYS)
    _require(isinstance(content, dict), "no dict", path, OFFICIAL)
    assert isinstance(content, dict)
    queries, gallery = (_names(content.get(key), key, path) for key in ("qimlist", "imlist"))
    return queries, gallery


def _read_official(
    path: Path, query_names: Sequence[str], gallery_names: Sequence[str], skip_last: int = 0
) -> tuple[list[str], list[_Entry]]:
    content = read_pickle(path, NUMPY_ARRAYS)
    fine = isinstance(content, dict) and isinstance(content.get("gnd"), list)
    _require(fine, "no list 'gnd'", path, OFFICIAL)
    assert isinstance(content, dict)
    images = _names(content.get("imlist", gallery_names), "imlist", path)
    queries = _names(content.get("qimlist", query_names), "qimlist", path)
    entries = content["gnd"][: len(content["gnd"]) - skip_last]
    if "qimlist" in content:
        queries = queries[: len(queries) - skip_last]
    _require(
        len(queries) == len(entries),
        f"'gnd' has {len(entries)} entries for {len(queries)} queries"
        + (f", the last {skip_last} left out" if skip_last else ""),
        f"{path} against {'its qimlist' if 'qimlist' in content else 'the query list'}",
        "one entry a query",
    )
    row_of = match_names(
        images,
        gallery_names,
        wanted_from=f"imlist of {path}",
        available_from="the gallery list",
    )
    found = [
        _official_entry(entry, row_of, f"{path}, query '{name}'")
        for name, entry in zip(queries, entries, strict=True)
    ]
    return queries, found


def _official_entry(entry: object, row_of: npt.NDArray[np.int64], where: str) -> _Entry:
    _require(isinstance(entry, dict), "an entry of 'gnd' is no dict", where, OFFICIAL)
    assert isinstance(entry, dict)
    plain = "ok" in entry
    fine = plain != any(grade in entry for grade in ("easy", "hard"))
    fine = fine and (plain or all(grade in entry for grade in GRADES))
    _require(fine, f"keys {sorted(map(str, entry))}", where, OFFICIAL)
    keys = {"ok": "positives"} if plain else {grade: grade for grade in GRADES}
    if plain and "junk" in entry:
        keys["junk"] = "junk"
    rows = {ours: row_of[_rows(entry[key], len(row_of), key, where)] for key, ours in keys.items()}
    return _Entry(_bbox(entry.get("bbx"), where), rows)


def _names(names: object, key: str, path: Path) -> list[str]:
    fine = isinstance(names, list | tuple) and all(isinstance(name, str | bytes) for name in names)
    _require(fine, f"'{key}' is no list of names", path, OFFICIAL)
    assert isinstance(names, list | tuple)
    names = [text_of(name) if isinstance(name, bytes) else name for name in names]
    if len(set(names)) != len(names):
        raise BadInput(f"'{key}' names an image twice", where=path, expected="unique names")
    return names


def _rows(rows: object, count: int, key: str, where: str) -> npt.NDArray[np.int64]:
    if isinstance(rows, np.ndarray):
        fine = rows.ndim == 1 and (rows.size == 0 or np.issubdtype(rows.dtype, np.integer))
    else:  # a bool is an int to Python, and a row to nobody
        fine = isinstance(rows, list | tuple) and all(
            isinstance(row, int | np.integer) and not isinstance(row, bool) for row in rows
        )
    _require(fine, f"'{key}' is no list of rows", where, OFFICIAL)
    values = np.asarray(rows)
    if values.size == 0:
        return np.zeros(0, np.int64)
    low, high = int(values.min()), int(values.max())
    expected = f"rows 0 to {count - 1} of the image list"
    _require(0 <= low and high < count, f"'{key}' names rows {low} to {high}", where, expected)
    return values.astype(np.int64)


# ---------------------------------------------------------------- both


def _bbox(values: object, where: str) -> Box | None:
    if values is None:
        return None
    parts = values if isinstance(values, list | tuple | np.ndarray) else ()
    numbers = [float(part) for part in parts if isinstance(part, int | float | np.number)]
    x1, y1, x2, y2 = numbers if len(numbers) == 4 else (0.0, 0.0, 0.0, 0.0)
    fine = bool(np.isfinite(numbers).all()) and x1 < x2 and y1 < y2
    _require(fine, f"bounding box {values}", where, "[x1, y1, x2, y2] in pixels, x1 < x2, y1 < y2")
    return (x1, y1, x2, y2)


def _require(condition: bool, what: str, where: str | Path, expected: str) -> None:
    if not condition:
        raise BadInput(what, where=where, expected=expected)


def write_ground_truth(path: str | Path, ground_truth: GroundTruth) -> Path:
    """Write the native JSON, one query a line, under a temporary name, then rename it."""
    path = Path(path)
    gallery = ground_truth.gallery_names
    lines = []
    any_junk = any(len(rows) for rows in ground_truth.junk)
    for q, name in enumerate(ground_truth.query_names):
        entry: dict[str, object] = {"name": name}
        if ground_truth.bbox[q] is not None:
            entry["bbox"] = ground_truth.bbox[q]
        grades = {grade: grade for grade in GRADES}
        if not ground_truth.graded:
            grades = {"easy": "positives"} | ({"junk": "junk"} if any_junk else {})
        for grade, key in grades.items():
            entry[key] = [gallery[row] for row in getattr(ground_truth, grade)[q]]
        lines.append(json.dumps(entry, ensure_ascii=False))
    partial = path.with_name(path.name + ".partial")
    partial.write_text('{"queries": [\n' + ",\n".join(lines) + "\n]}\n", encoding="utf-8")
    os.replace(partial, path)
    return path
