"""`families.csv`: which labels of a training set look alike or belong together.

It stands beside `train.txt` and has a row for each label there: `label,family`, further columns are
ignored. Images of another label of the same family are no negatives in training.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ames_lite.datasets.names import check_once
from ames_lite.datasets.tables import Form, Table, read_table
from ames_lite.errors import BadInput

FORM = Form("families", ("label", "family"), ())
HEADER = ("label", "family", "instance", "kind")  # as written; the last two are for people


def read_form(path: Path, form: Form) -> Table:
    """A table of one form, its required columns without empty cells. Raises as `read_table`."""
    table = read_table(path, form.kind, (form,))
    for column in form.required:
        table.filled(column, f"a CSV with the header {','.join(form.required)}")
    return table


def read_families(path: Path, labels: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """The family of every image, as a number [N]; labels [N].

    Raises BadInput where a label has no row or two.
    """
    table = read_form(path, FORM)
    numbers = table.integers("label")
    check_once(map(str, numbers), table.where, expected="one row for each label")  # 07 is 7
    families = np.unique(table.columns["family"], return_inverse=True)[1]
    order = np.argsort(numbers)
    place = np.minimum(np.searchsorted(numbers[order], labels), len(numbers) - 1)
    rows = order[place]
    absent = np.unique(labels[numbers[rows] != labels])
    if len(absent):
        few = ", ".join(map(str, absent[:3]))
        what = f"{len(absent)} labels of the training list have no family: {few}"
        raise BadInput(what, where=path, expected="a row label,family for each label")
    found: npt.NDArray[np.int64] = families[rows].astype(np.int64)
    return found


def write_families(path: Path, rows: Iterable[tuple[int, str, str, str]]) -> None:
    """Write rows of HEADER; `read_families` reads them."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows(rows)
