"""Candidate lists in JSON: tables of queries, as ranx, mteb and we write them, and JSON lines."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from ames_lite.errors import require
from ames_lite.io.json_file import parse_json
from ames_lite.stores.candidates.entries import Entry, Lines, Ranked

TABLE = "{query: [names]}, {query: [[name, score]]} or {query: {name: score}}"
LINE = '{"query": name, "candidates": [{"id": name, "score": number}, …]}'
META = "mteb_model_meta"  # beside it mteb has {subset: {split: table}}


def read_table(path: Path) -> Any:
    content = parse_json(Lines(path).read(), path, TABLE)
    for _ in range(2 if isinstance(content, dict) and META in content else 0):
        require(isinstance(content, dict), "no table of mteb", where=path, expected=TABLE)
        parts = {key: part for key, part in content.items() if key != META}
        several = f"there are several subsets or splits: {', '.join(parts)}"
        require(len(parts) == 1, several, where=path, expected="one of them")
        content = next(iter(parts.values()))
    require(isinstance(content, dict), "no table of queries", where=path, expected=TABLE)
    return content


def read_json(path: Path) -> Iterator[Entry]:
    for query, rows in read_table(path).items():
        where = f"{path}, query '{query}'"
        require(isinstance(rows, list | dict), "no list", where=where, expected=TABLE)
        pairs = rows.items() if isinstance(rows, dict) else rows
        yield Entry(query)
        for row in pairs:
            fine = isinstance(row, str) or (isinstance(row, list | tuple) and len(row) == 2)
            require(fine, f"a candidate is {row!r:.80}", where=where, expected=TABLE)
            name, score = (row, None) if isinstance(row, str) else row
            yield _entry(query, name, score, where, TABLE)


def read_lines(path: Path) -> Iterator[Entry]:
    lines = Lines(path)
    for text in lines:
        if not text.strip():
            continue
        one, where = parse_json(text, lines.here, LINE), lines.here
        fine = isinstance(one, dict) and isinstance(one.get("query"), str)
        rows: Any = one.get("candidates") if fine else None
        fine = isinstance(rows, list) and all(isinstance(row, dict) for row in rows)
        require(fine, "no list of candidates", where=where, expected=LINE)
        yield Entry(one["query"], line=lines.number)
        for row in rows:
            parts = row.get("id"), row.get("score"), where, LINE
            yield _entry(one["query"], *parts)._replace(line=lines.number)


def _entry(query: str, name: Any, score: Any, where: str, expected: str) -> Entry:
    fine = isinstance(name, str) and (score is None or type(score) in (int, float))
    require(fine, f"a candidate is {name!r:.80}, {score!r}", where=where, expected=expected)
    return Entry(query, name, score)


def _numbers(one: Ranked) -> Iterable[tuple[str, float]]:
    return ((name, float(text)) for name, text in one.texts())


TABLES: dict[str, Callable[[Ranked], Any]] = {
    "json": lambda one: one.names,
    "json_scores": lambda one: list(map(list, _numbers(one))),
    "run": lambda one: dict(_numbers(one)),
}


def write_json(file: TextIO, lists: Iterable[Ranked], tag: str, form: str = "json") -> None:
    before = "{\n"
    for one in lists:
        file.write(f"{before}{json.dumps(one.query)}: {json.dumps(TABLES[form](one))}")
        before = ",\n"
    file.write("\n}\n" if before == ",\n" else "{}\n")


def write_lines(file: TextIO, lists: Iterable[Ranked], tag: str) -> None:
    for one in lists:
        named = [{"id": name, "score": score} for name, score in _numbers(one)]
        file.write(json.dumps({"query": one.query, "candidates": named}) + "\n")
