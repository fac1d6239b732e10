"""Pairs a line: CSV of our own, hloc, kapture; and the texts of VPR-methods-evaluation."""

import csv
import io
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import TextIO

from ames_lite.errors import explained
from ames_lite.io.writing import csv_writer
from ames_lite.stores.candidates.entries import Entry, Lines, Ranked, short

SCORES = ("score", "sim", "similarity", "distance")  # columns: the first that is there
HEADER = f"a CSV with the columns query,gallery[,rank][,{' or '.join(SCORES)}]"
TITLES = ("Query path:", "Predictions paths:", "Positives paths:")
KAPTURE = "# kapture format: 1.1\n# query_image, map_image, score\n"


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
