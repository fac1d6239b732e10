"""Ground truth files: the native `gnd_{dataset}.json` and the official `gnd_*.pkl`.

In both, images are matched by name to the image lists in use: the result's rows are rows of those
lists, whatever order the file has. A gallery list may hold more images than the file knows
(distractors); a query list may not.

The official pickle has `gnd` (per query `bbx`, and `easy`, `hard`, `junk` or `ok`, perhaps with
`junk`: rows of `imlist`), `imlist` and `qimlist` (names without extension). Where the last two are
absent, as in files with `ok`, rows are rows of the given lists.
"""

import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, existing_file, explained, require
from ames_lite.io.json_file import read_json_file
from ames_lite.io.names import check_once, line_of, match_names
from ames_lite.io.writing import replacing
from ames_lite.records import GroundTruth
from ames_lite.stores.published.safe_pickle import NUMPY_ARRAYS, read_pickle, text_of

Box = tuple[float, float, float, float]
GRADES = ("easy", "hard", "junk")
NATIVE = '{"queries": [{"name", "bbox"?, "positives", "junk"? or "easy", "hard", "junk": [names]}]}'
OFFICIAL = '{"gnd": [{"bbx"?, "easy", "hard", "junk" or "ok", "junk"?: [rows]}], '
OFFICIAL += '"imlist", "qimlist"}'
UNGRADED = {"positives": "easy", "ok": "easy"}  # to the record's lists
Rows = npt.NDArray[np.int64]
Names = Sequence[str]


class _Entry(NamedTuple):
    """One query of a file: its rows of the gallery list in use, by grade."""

    name: str
    bbox: Box | None
    rows: dict[str, Rows]


def read_ground_truth(
    path: str | Path, query_names: Names, gallery_names: Names, *, skip_last: int = 0
) -> GroundTruth:
    """Ground truth, native or official, by the rows of these image lists. skip_last: so many
    queries at the end of an official file (GLDv2's private ones) are not in the list. Raises
    MissingFile; BadInput where file and lists disagree about an image.
    """
    path = existing_file(path, "ground truth is missing", expected="gnd_*.json or gnd_*.pkl")
    if path.suffix == ".json":
        entries = _read_native(path, gallery_names)
    elif path.suffix == ".pkl":
        entries = _read_official(path, query_names, gallery_names, skip_last)
    else:
        raise BadInput(f"ground truth ends in '{path.suffix}'", where=path, expected=".json, .pkl")
    entries = _in_order(path, entries, query_names)
    graded, expected = {"hard" in entry.rows for entry in entries}, "one form for all queries"
    require(len(graded) < 2, "some queries have grades, others not", where=path, expected=expected)
    none = np.zeros(0, np.int64)
    easy, hard, junk = (tuple(e.rows.get(grade, none) for e in entries) for grade in GRADES)
    names = tuple(query_names), tuple(gallery_names)
    boxes = tuple(entry.bbox for entry in entries)
    with explained("ground truth contradicts itself: {}", where=path):
        return GroundTruth(*names, easy, hard, junk, boxes, graded != {False})


def _in_order(path: Path, entries: Sequence[_Entry], names: Sequence[str]) -> list[_Entry]:
    """The entries in the order of the query list; every query must be on both sides, once."""
    file_names = [entry.name for entry in entries]
    check_once(file_names, line_of(path, "query"), expected="every query once")
    rows = match_names(file_names, names, f"queries of {path}", "the query list")
    entry_of = dict(zip(rows.tolist(), entries, strict=True))
    counts = f"{path} has {len(entries)} queries, the query list {len(names)}"
    for row, name in enumerate(names):
        what = f"{counts}: '{name}' has no ground truth"
        require(row in entry_of, what, where=path, expected="the same queries in both")
    return [entry_of[row] for row in range(len(names))]


def _read_native(path: Path, gallery_names: Sequence[str]) -> list[_Entry]:
    content = read_json_file(path, NATIVE)
    fine = isinstance(content, dict) and set(content) == {"queries"}
    require(fine, "wrong keys", where=path, expected=NATIVE)
    queries = content["queries"]
    require(isinstance(queries, list), "'queries' is no list", where=path, expected=NATIVE)
    lists = [_native_lists(query, f"{path}, query {row}") for row, query in enumerate(queries)]
    named = list(dict.fromkeys(chain.from_iterable(chain(*(one.values() for one in lists)))))
    rows = match_names(named, gallery_names, str(path), "the gallery list")
    row_of = dict(zip(named, rows.tolist(), strict=True))
    entries = []
    for query, by_key in zip(queries, lists, strict=True):
        rows_of = {k: np.array([row_of[n] for n in names], np.int64) for k, names in by_key.items()}
        bbox = _bbox(query.get("bbox"), f"{path}, query '{query['name']}'")
        found = {UNGRADED.get(key, key): rows for key, rows in rows_of.items()}
        entries.append(_Entry(query["name"], bbox, found))
    return entries


def _native_lists(query: Any, where: str) -> dict[str, list[str]]:
    """The lists of names of a query, by key. Raises BadInput where it breaks the schema."""
    require(isinstance(query, dict), "a query is no object", where=where, expected=NATIVE)
    lists = {key: names for key, names in query.items() if key not in ("bbox", "name")}
    fine = "name" in query and set(lists) in _forms("positives")
    require(fine, f"keys {set(query) - {'bbox'}}", where=where, expected=NATIVE)
    require(isinstance(query["name"], str), "'name' is no text", where=where, expected=NATIVE)
    for key, names in lists.items():
        fine = _is_list(names, str)
        require(fine, f"'{key}' is no list of names", where=where, expected=NATIVE)
    return lists


def _forms(plain: str) -> tuple[set[str], ...]:
    """The keys that a query may have; plain: what its positives without grades are called."""
    return {plain}, {plain, "junk"}, set(GRADES)


def official_names(path: str | Path) -> tuple[list[str], list[str]]:
    """The names of queries and gallery that an official file brings (`qimlist`, `imlist`)."""
    path = existing_file(path, "ground truth is missing", expected=OFFICIAL)
    content: Any = read_pickle(path, NUMPY_ARRAYS)
    require(isinstance(content, dict), "no dict", where=path, expected=OFFICIAL)
    queries, gallery = (_names(content.get(key), key, path) for key in ("qimlist", "imlist"))
    return queries, gallery


def _read_official(path: Path, query: Names, gallery: Names, skip_last: int) -> list[_Entry]:
    content: Any = read_pickle(path, NUMPY_ARRAYS)
    fine = isinstance(content, dict) and isinstance(content.get("gnd"), list)
    require(fine, "no list 'gnd'", where=path, expected=OFFICIAL)
    images = _names(content.get("imlist", gallery), "imlist", path)
    queries = _names(content.get("qimlist", query), "qimlist", path)
    entries = content["gnd"][: len(content["gnd"]) - skip_last]
    if "qimlist" in content:
        queries = queries[: len(queries) - skip_last]
    skipped = f", the last {skip_last} left out" if skip_last else ""
    what = f"'gnd' has {len(entries)} entries for {len(queries)} queries{skipped}"
    where = f"{path} against {'its qimlist' if 'qimlist' in content else 'the query list'}"
    require(len(queries) == len(entries), what, where=where, expected="one entry a query")
    row_of = match_names(images, gallery, f"imlist of {path}", "the gallery list")
    return [_official_entry(*one, row_of, path) for one in zip(queries, entries, strict=True)]


def _official_entry(name: str, entry: Any, row_of: Rows, path: Path) -> _Entry:
    where = f"{path}, query '{name}'"
    require(isinstance(entry, dict), "an entry of 'gnd' is no dict", where=where, expected=OFFICIAL)
    keys, what = set(entry) & {"ok", *GRADES}, f"keys {sorted(map(str, entry))}"
    require(keys in _forms("ok"), what, where=where, expected=OFFICIAL)
    rows = {UNGRADED.get(k, k): row_of[_rows(entry[k], len(row_of), k, where)] for k in keys}
    return _Entry(name, _bbox(entry.get("bbx"), where), rows)


def _names(names: Any, key: str, path: Path) -> list[str]:
    fine = _is_list(names, str | bytes)
    require(fine, f"'{key}' is no list of names", where=path, expected=OFFICIAL)
    names = [text_of(name) if isinstance(name, bytes) else name for name in names]
    check_once(names, line_of(path, f"{key}, name"))
    return list(names)


def _is_list(values: object, of: Any) -> bool:
    return isinstance(values, list | tuple) and all(isinstance(value, of) for value in values)


def _rows(rows: Any, count: int, key: str, where: str) -> Rows:
    if isinstance(rows, np.ndarray):
        fine = rows.ndim == 1 and (rows.size == 0 or rows.dtype.kind in "iu")
    else:  # a bool is an int to Python, and a row to nobody
        fine = _is_list(rows, int | np.integer) and not any(isinstance(row, bool) for row in rows)
    require(fine, f"'{key}' is no list of rows", where=where, expected=OFFICIAL)
    with explained(kinds=OverflowError, where=where, expected=OFFICIAL):
        values = np.asarray(rows, np.int64)
    if values.size and not 0 <= values.min() <= values.max() < count:
        what = f"'{key}' names rows {values.min()} to {values.max()}"
        raise BadInput(what, where=where, expected=f"rows 0 to {count - 1} of the image list")
    return values


def _bbox(values: Any, where: str) -> Box | None:
    if values is None:
        return None
    parts = values if isinstance(values, list | tuple | np.ndarray) else ()
    numbers = [float(part) for part in parts if isinstance(part, int | float | np.number)]
    x1, y1, x2, y2 = numbers if len(numbers) == 4 else (0.0, 0.0, 0.0, 0.0)
    fine = bool(np.isfinite(numbers).all()) and x1 < x2 and y1 < y2
    expected = "[x1, y1, x2, y2] in pixels, x1 < x2, y1 < y2"
    require(fine, f"bounding box {values}", where=where, expected=expected)
    return (x1, y1, x2, y2)


def write_ground_truth(path: str | Path, ground_truth: GroundTruth) -> Path:
    """Write the native JSON, one query a line, under a temporary name, then rename it."""
    path, gallery = Path(path), ground_truth.gallery_names
    keys = {grade: grade for grade in GRADES}
    if not ground_truth.graded:
        junk = {"junk": "junk"} if any(map(len, ground_truth.junk)) else {}
        keys = {"easy": "positives", **junk}
    lines = []
    for q, (name, box) in enumerate(zip(ground_truth.query_names, ground_truth.bbox, strict=True)):
        entry: dict[str, object] = {"name": name} if box is None else {"name": name, "bbox": box}
        for grade, key in keys.items():
            entry[key] = [gallery[row] for row in getattr(ground_truth, grade)[q]]
        lines.append(json.dumps(entry, ensure_ascii=False))
    with replacing(path, overwrite=True) as partial:
        partial.write_text('{"queries": [\n' + ",\n".join(lines) + "\n]}\n", encoding="utf-8")
    return path
