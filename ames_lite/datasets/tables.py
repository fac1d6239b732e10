"""CSV tables of labels, pairs, positions and the like, as people and spreadsheets write them.

The header decides which form a file has, by our names of columns or other people's (`cells`),
which is said in a note; a form chosen by name may have further columns, which are ignored. Names of
files are kept as they are; labels lose the blanks around them, words of a choice their capitals. A
column `images` lists images between blanks: it becomes one row an image.
"""

import re
import unicodedata
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.datasets.cells import IGNORED, both_of, column_of, plain, read_cells, taken_as
from ames_lite.errors import BadInput, existing_file, require
from ames_lite.io.images import IMAGE_SUFFIXES

LIMIT = 2**62  # of integers: sums and differences of two stay in int64


class Form(NamedTuple):
    """One form of a file: its kind, the columns it must have, those it may have."""

    kind: str
    required: tuple[str, ...]
    optional: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return self.required + self.optional

    def __str__(self) -> str:
        return f"{','.join(self.required)}{''.join(f'[,{n}]' for n in self.optional)} ({self.kind})"


FORMS = (
    Form("labels", ("file", "label"), ("split", "grade", "scene")),
    Form("labels", ("label", "images"), ()),
    Form("pairs", ("query", "gallery"), ("relevant", "grade")),
    Form("pairs", ("file", "images"), ("usage",)),
    Form("coordinates", ("file", "x", "y"), ("split",)),
    Form("coordinates", ("file", "lat", "lon"), ("split",)),
    Form("frames", ("file", "frame"), ("split",)),
)
NAMES, CHOICES = ("file", "query", "gallery", "images"), ("split", "grade", "relevant", "usage")
USAGE = ("public", "private", "ignored")  # of Kaggle's solutions; the last are no queries
NUMBERS = ("x", "y", "lat", "lon")
KINDS = tuple(dict.fromkeys(form.kind for form in FORMS))


def describe_forms(kind: str | None = None, forms: Sequence[Form] = FORMS) -> str:
    """The headers of a kind, or of all: required columns, optional ones in brackets."""
    return "; ".join(str(form) for form in forms if kind in (None, form.kind))


@dataclass(frozen=True, eq=False)
class Table:
    """A CSV file: columns, each with one text a row; the line of each row; notes on reading."""

    path: Path
    kind: str
    columns: dict[str, list[str]]
    lines: list[int]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.lines)

    def where(self, row: int) -> str:
        return f"{self.path}, line {self.lines[row]}"

    def of_rows(self, rows: npt.NDArray[np.int64]) -> "Table":
        chosen = rows.tolist()
        columns = {name: [cells[row] for row in chosen] for name, cells in self.columns.items()}
        return replace(self, columns=columns, lines=[self.lines[row] for row in chosen])

    def choices(self, column: str, allowed: Sequence[str]) -> list[str]:
        expected = " or ".join(f"'{word}'" for word in allowed)
        return self._checked(column, allowed.__contains__, expected)

    def filled(self, column: str, expected: str) -> list[str]:
        return self._checked(column, str.strip, expected)

    def numbers(self, column: str) -> npt.NDArray[np.float64]:
        cells = self._checked(column, _is_finite, "a finite number, with a decimal point")
        return np.array([float(cell) for cell in cells])

    def integers(self, column: str) -> npt.NDArray[np.int64]:
        cells = self._checked(column, _is_whole, "a whole number")
        return np.array([int(cell) for cell in cells], np.int64)

    def _checked(self, column: str, fine: Callable[[str], object], expected: str) -> list[str]:
        """A column whose cells are all fine. Raises BadInput with the line of the first other."""
        for row, cell in enumerate(self.columns[column]):
            if not fine(cell):
                raise BadInput(f"{column} is '{cell}'", where=self.where(row), expected=expected)
        return self.columns[column]


def _is_finite(text: str) -> bool:
    try:
        return "_" not in text and bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _is_whole(text: str) -> bool:
    digits = text.strip().removeprefix("-")
    return digits.isascii() and digits.isdigit() and int(digits) < LIMIT


def read_table(path: str | Path, kind: str | None = None, forms: Sequence[Form] = FORMS) -> Table:
    """Read a table of one of the forms (kind: which). MissingFile; BadInput with the line."""
    path, expected = Path(path), f"a CSV with one of the headers {describe_forms(kind, forms)}"
    remedy = "labels=folders where its folders are the classes, and images=<the folder>"
    what = "a folder is given as labels"
    require(not path.is_dir(), what, where=path, expected=expected, remedy=remedy)
    existing_file(path, f"missing: the {kind or 'labels'}", expected=expected)
    words = {word for form in forms for word in form.columns}

    def count(cell: str) -> int:
        return 2 if both_of(cell, words) else int(column_of(cell, words) is not None)

    (first, *rows), (_, *lines), separator, notes = read_cells(path, count, expected)
    notes += _split_positions(first, rows, lines, words, path)
    written = [cell.strip() for cell in first]
    header = taken_as(written, words, f"{path}, line 1")
    form = _choose_form(header, ",".join(written), kind, path, forms)
    require(rows, "a header and no rows", where=path, expected=expected)
    for row, line in zip(rows, lines, strict=True):
        what = f"a row has {len(row)} cells, the header {len(header)}"
        hint = f"{','.join(written)}; a text with a comma in quotes, decimals with a point"
        require(len(row) == len(header), what, where=f"{path}, line {line}", expected=hint)
    pairs = zip(written, header, strict=True)
    notes += [f"column {theirs} is taken as {ours}" for theirs, ours in pairs if theirs != ours]
    columns = dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))
    kept = {name: cells for name, cells in columns.items() if name in form.columns}
    for name in [name for name in form.columns if name in kept]:
        kept[name], more = _tidied(name, kept[name], separator)
        notes += more
    ignored = [name or "one without a name" for name in header if name not in kept]
    notes += [f"columns ignored: {', '.join(ignored)}"] * bool(ignored)
    table = Table(path, form.kind, kept, lines, tuple(notes))
    for column in form.required if forms is not FORMS else ():
        table.filled(column, f"a CSV with the header {','.join(form.required)}")
    return _one_each(table) if "images" in kept else table


def _split_positions(
    header: list[str], rows: list[list[str]], lines: list[int], words: Collection[str], path: Path
) -> list[str]:
    """Make two columns of one such as `lat; lon`, in place; notes. BadInput for a cell of one."""
    notes = []
    for at, cell in [*enumerate(header)][::-1]:
        if found := both_of(cell, words):
            *both, between = found
            notes.append(f"column {cell.strip()} is taken as {' and '.join(both)}")
            for row, line in zip(rows, lines, strict=True):
                text = "".join(row[at : at + 1]).strip()
                parts = text.split(between.strip() or None) if text else ["", ""]
                what, where = f"{cell.strip()} is '{text}'", f"{path}, line {line}"
                require(len(parts) == 2, what, where=where, expected=f"two, as '{cell.strip()}'")
                row[at : at + 1] = parts
            header[at : at + 1] = both
    return notes


def _one_each(table: Table) -> Table:
    """One row for each of the images that a row lists; none where it says None. Of a Kaggle
    solution the public queries come first, and those that are ignored are left out.
    """
    columns, notes, order = table.columns, table.notes, [*range(len(table))]
    if "usage" in columns:
        usage = table.choices("usage", USAGE)
        order.sort(key=lambda row: USAGE.index(usage[row]))
        order = order[: len(order) - usage.count(USAGE[-1])]
        notes += (", ".join(f"{usage.count(word)} {word}" for word in USAGE) + " queries",)
    lists = [cell.split() if cell.strip() != "None" else [] for cell in columns["images"]]
    empty = sum(not lists[row] for row in order)
    notes += (f"{empty} rows list no image: left out",) * bool(empty)
    made = table.of_rows(np.repeat(order, [len(lists[row]) for row in order]))
    first, second = ("label", "file") if table.kind == "labels" else ("query", "gallery")
    kept = {first: made.columns["label" if first == "label" else "file"]}
    kept[second] = [image for row in order for image in lists[row]]
    return replace(made, columns=kept, notes=notes)


def _tidied(name: str, column: list[str], separator: str) -> tuple[list[str], list[str]]:
    """A column without what means nothing in it, and what is said of that."""
    if name in NAMES:
        return column, []
    if name in CHOICES:
        return [cell.strip().lower() for cell in column], []
    if name in NUMBERS:
        has_comma = any(re.fullmatch(r"[+-]?\d*,\d+", cell.strip()) for cell in column)
        if separator == "," or not has_comma or any("." in cell for cell in column):
            return column, []
        said = f"decimal commas in {name} are taken as points"
        return [cell.replace(",", ".") for cell in column], [said]
    plain = [unicodedata.normalize("NFC", cell.strip()) for cell in column]
    changed = [cell for cell, other in zip(column, plain, strict=True) if cell != other]
    many = "1 label is" if len(changed) == 1 else f"{len(changed)} labels are"
    how = "taken without blanks around and in Unicode's form NFC"
    return plain, [f"{many} {how}, first '{cell}'" for cell in changed[:1]]


def _choose_form(
    header: Sequence[str], shown: str, kind: str | None, path: Path, forms: Sequence[Form]
) -> Form:
    """The form that fits; shown: the header as it is written. Raises BadInput."""
    where, expected = f"{path}, line 1", f"one of {describe_forms(kind, forms)}"
    there, what = {*header}, f"the header '{shown}' names a column twice"
    require(len(there) == len(header), what, where=where, expected=expected)
    fitting = [form for form in forms if kind in (None, form.kind) and {*form.required} <= there]
    if len(fitting) != 1:
        what = f"the header '{shown}' fits " + ("no form" if not fitting else "several forms")
        if len(forms) == 1:
            missing = [name for name in forms[0].required if name not in header]
            what = f"the header '{shown}' lacks {', '.join(missing)}"
        if any(name.lower().endswith(IMAGE_SUFFIXES) for name in header):
            what += ": the first line is a row already"
        remedy = "say which by kind=" if len({form.kind for form in fitting}) > 1 else None
        remedy = "kind=qrels, where these are TREC qrels" if len(shown.split()) == 4 else remedy
        raise BadInput(what, where=where, expected=expected, remedy=remedy)
    form = fitting[0]
    unknown = [name for name in header if name not in form.columns and plain(name) not in IGNORED]
    what = f"the header '{shown}' has columns of no form: {', '.join(unknown)}"
    remedy = f"leave them out, or ignore them by kind={form.kind}"
    require(not unknown or kind, what, where=where, expected=expected, remedy=remedy)
    what = "the header has both 'relevant' and 'grade'"
    expected = "one of the two: a grade says that it is relevant"
    require(not {"relevant", "grade"} <= there, what, where=where, expected=expected)
    return form
