"""Candidate lists as texts: pairs a line (CSV of our own, hloc, kapture), the texts of
VPR-methods-evaluation, JSON tables of queries, as ranx, mteb and we write them, JSON lines, and
TREC runs, `query Q0 name rank score run` a line, and qrels; the owner of ir_measures.

Readers of TREC sort a run by score, so the scores written fall strictly: ties, and scores that rise
behind the reranked part, are lowered by the least step that float32 keeps. Blanks and control
characters in names are written as in URLs (`%20`), and `%` as `%25`. Ranks count from 1.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, NamedTuple, TextIO
from urllib.parse import quote, unquote

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, ConfigError, explained, require
from ames_lite.io.json_file import parse_json
from ames_lite.io.writing import csv_writer

Floats = npt.NDArray[np.float32]
ODD_NAMES = "surrogatepass"  # a path that is not UTF-8 on disk reaches Python as surrogates
SCORES = ("score", "sim", "similarity", "distance")  # columns: the first that is there
HEADER = f"a CSV with the columns query,gallery[,rank][,{' or '.join(SCORES)}]"
TITLES = ("Query path:", "Predictions paths:", "Positives paths:")
KAPTURE = "# kapture format: 1.1\n# query_image, map_image, score\n"
TABLE = "{query: [names]}, {query: [[name, score]]} or {query: {name: score}}"
LINE = '{"query": name, "candidates": [{"id": name, "score": number}, …]}'
META = "mteb_model_meta"  # beside it mteb has {subset: {split: table}}
LEAST_STEP = np.float32(2.0**-24)  # half a unit in the last place of 1
BLOCK = 256  # lists whose scores are lowered together
TREC = {  # of ir_measures: what a line has besides query and name, and how all of it is written
    "run": ("score", "a TREC run", "query Q0 name rank score run, between blanks"),
    "qrels": ("relevance", "TREC qrels", "query iteration name relevance, between blanks"),
}


class Entry(NamedTuple):
    """A candidate of a query, or a query alone (name None), whose list may be empty."""

    query: str
    name: str | None = None
    score: float | None = None
    line: int = 0  # from 1; 0: the form has no lines


class Ranked(NamedTuple):
    """A list to write. numbers: of the first images, by column; the last one ranks them all."""

    query: str
    names: list[str]
    numbers: dict[str, Floats]

    def texts(self) -> Iterator[tuple[str, str]]:
        """Each name, and its score in the fewest digits that give the float32 back."""
        return zip(self.names, map(short, [*self.numbers.values()][-1]), strict=True)

    def scored(self) -> list[tuple[str, float]]:
        """Each name, and its score as JSON has it."""
        return [(name, float(text)) for name, text in self.texts()]


def short(value: np.float32) -> str:
    """The fewest digits that give this float32 back."""
    return np.format_float_positional(value, unique=True, trim="0")


class Lines:
    """The lines of a text, which know where they are; for ir_measures a file is what has `read`."""

    def __init__(self, path: Path) -> None:
        with explained("not a text in UTF-8 ({})", UnicodeDecodeError, where=path):
            text = path.read_bytes().decode("utf-8-sig", ODD_NAMES)
        self.path, self.number, self._text = path, 0, io.StringIO(text, newline="\n")
        self.read = self._text.read

    def __iter__(self) -> Iterator[str]:
        for self.number, line in enumerate(self._text, 1):  # noqa: B020
            yield line

    @property
    def here(self) -> str:
        return f"{self.path}, line {self.number}"

    def number_of(self, text: str) -> float:
        """Raises BadInput for no number."""
        with explained("{}", ValueError, where=self.here, expected="a number"):
            return float(text)

    def refuse(self, what: str, expected: str) -> BadInput:
        return BadInput(what, where=self.here, expected=expected)


def read_csv(path: Path) -> Iterator[Entry]:
    lines = Lines(path)
    rows = csv.DictReader(io.StringIO(lines.read(), newline=""), strict=True)
    with explained("not a CSV ({})", csv.Error, where=path, expected=HEADER):
        header, lines.number = rows.fieldnames or (), 1
        if not {"query", "gallery"} <= set(header) or len(set(header)) < len(header):
            raise lines.refuse(f"the header is '{','.join(header)}'", HEADER)
        column = next((name for name in SCORES if name in header), None)
        for row in rows:
            lines.number = rows.line_num
            if None in row or None in row.values():
                raise lines.refuse("a row of another number of cells than the header", HEADER)
            score = None if column is None else lines.number_of(row[column])
            yield Entry(row["query"], row["gallery"], score, lines.number)


def write_csv(file: TextIO, lists: Iterable[Ranked], tag: str, ranked: bool = False) -> None:
    """ranked: with the rank of each image."""
    writer = csv_writer(file)
    for n, one in enumerate(lists):
        if n == 0:
            writer.writerow(("query", *["rank"] * ranked, "gallery", *one.numbers))
        rows = zip_longest(one.names, *(map(short, v) for v in one.numbers.values()), fillvalue="")
        writer.writerows((one.query, *[k] * ranked, *row) for k, row in enumerate(rows, start=1))


def read_pairs(path: Path, separator: str | None = None) -> Iterator[Entry]:
    """Names of a query and an image, and their score where it is there. separator: None: blanks."""
    lines = Lines(path)
    for line in lines:
        fields = [field.strip() for field in line.split(separator)]
        if not line.strip() or (separator and line.startswith("#")):
            continue
        if len(fields) not in (2, 3) or not all(fields):
            what = f"{len(fields)} fields in '{line.strip():.80}'"
            raise lines.refuse(what, "query, gallery, score (or without), nothing between in names")
        score = lines.number_of(fields[2]) if len(fields) == 3 else None
        yield Entry(fields[0], fields[1], score, lines.number)


def write_pairs(
    file: TextIO, lists: Iterable[Ranked], tag: str, between: str = " ", scores: bool = True
) -> None:
    file.write(KAPTURE * (between != " "))
    for one in lists:
        rows: Iterable[tuple[str, ...]] = one.texts() if scores else zip(one.names, strict=True)
        file.writelines(between.join((one.query, *row)) + "\n" for row in rows)


def read_predictions(path: Path) -> Iterator[Entry]:
    """`preds/000.txt`, one a query, or the folder of them."""
    for lines in map(Lines, sorted(path.rglob("*.txt")) if path.is_dir() else [path]):
        title, query = "", ""
        for text in (line.rstrip("\r\n") for line in lines):
            if text in TITLES:
                title = text
            elif text and title == TITLES[0]:
                query = text
                yield Entry(query)
            elif text and title == TITLES[1]:
                yield Entry(query, text)


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
    for text in filter(str.strip, lines):
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


def write_json(file: TextIO, lists: Iterable[Ranked], tag: str, form: str = "json") -> None:
    before = "{\n"
    for one in lists:
        table: Any = one.names if form == "json" else one.scored()
        table = dict(table) if form == "run" else table
        file.write(f"{before}{json.dumps(one.query)}: {json.dumps(table)}")
        before = ",\n"
    file.write("\n}\n" if before == ",\n" else "{}\n")


def write_lines(file: TextIO, lists: Iterable[Ranked], tag: str) -> None:
    for one in lists:
        named = [{"id": name, "score": score} for name, score in one.scored()]
        file.write(json.dumps({"query": one.query, "candidates": named}) + "\n")


def read_trec(path: Path, form: str = "run") -> Iterator[Entry]:
    """The lines of a run, or of qrels (score: the relevance)."""
    try:
        import ir_measures
    except ImportError as error:
        remedy = "pip install 'ames_lite[trec]'"
        raise ConfigError("ir_measures reads TREC files", remedy=remedy) from error
    (number, what, expected), lines = TREC[form], Lines(path)
    found = getattr(ir_measures, f"read_trec_{form}")(lines)
    while True:
        try:
            one = next(found, None)
        except ValueError as error:
            raise lines.refuse(f"no line of {what} ({error})", expected) from error
        if one is None:
            return
        query, name = (unquote(text, errors=ODD_NAMES) for text in one[:2])
        yield Entry(query, name, getattr(one, number), lines.number)


def write_trec(file: TextIO, lists: Iterable[Ranked], tag: str) -> None:
    run, rest = escaped(tag), iter(lists)
    while block := list(islice(rest, BLOCK)):
        scores = np.zeros((len(block), max(len(one.names) for one in block)), np.float32)
        for row, one in zip(scores, block, strict=True):
            row[: len(one.names)] = [*one.numbers.values()][-1]
        for one, falling in zip(block, falling_scores(scores), strict=True):
            query, images = escaped(one.query), map(escaped, one.names)
            pairs = enumerate(zip(images, falling, strict=False), start=1)
            file.writelines(f"{query} Q0 {name} {k} {s:.9g} {run}\n" for k, (name, s) in pairs)


def falling_scores(scores: Floats) -> Floats:
    """Scores [Q, K] that fall strictly along each row: lowered where they do not."""
    falling = scores.astype(np.float32)  # a copy
    for k in range(1, falling.shape[1]):
        before = falling[:, k - 1]
        step = np.maximum(np.spacing(np.abs(before)), LEAST_STEP)
        falling[:, k] = np.minimum(falling[:, k], before - step)
    return falling


def escaped(name: str) -> str:
    plain = (char.isprintable() and not char.isspace() and char != "%" for char in name)
    pairs = zip(name, plain, strict=True)
    return "".join(char if kept else quote(char, errors=ODD_NAMES) for char, kept in pairs)
