"""families.csv: rows in, one number for each image out, or an error with the line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ames_lite.datasets.image_lists import read_families, write_families
from ames_lite.errors import BadInput, MissingFile

LABELS = np.array([7, 3, 7, -1, 10, 3])


def test_images_have_equal_numbers_where_their_labels_have_one_family(tmp_path: Path) -> None:
    families = {3: "stairs", 7: "lobby", 10: "stairs", -1: "lobby, east", 5: "elsewhere"}
    path = tmp_path / "families.csv"
    write_families(path, [(label, family, "a", "b") for label, family in families.items()])
    found = read_families(path, LABELS)
    said = [families[label] for label in LABELS.tolist()]
    for i, one in enumerate(said):
        assert [bool(found[i] == other) for other in found] == [one == other for other in said]


def test_a_table_of_a_spreadsheet_is_read(tmp_path: Path) -> None:
    path = tmp_path / "families.csv"
    text = "\ufeffFamily ; Label;note\r\nx;3;\r\n\r\n x;7;hm\r\ny;-1;\r\nz;10;\r\n"
    path.write_text(text, encoding="utf-8", newline="")
    found = read_families(path, LABELS)
    assert found[0] == found[1] and len(set(found.tolist())) == 3


WRONG = {
    "label,family\n3,a\n7,a\n": "2 labels of the training list have no family: -1, 10",
    "label,family\n3,a\n03,a\n7,a\n-1,a\n10,a\n": r"'3' is listed twice, first in .*line 2",
    "label,family\n3,a\nx,a\n": "label is 'x'(.|\n)*line 3",
    "label,family\n3,a\n7, \n": "family is ''(.|\n)*line 3",
    "label,group\n3,a\n": "the header 'label,group' lacks family(.|\n)*label,family",
    "label,family\n": "a header and no rows",
    "": "an empty file",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_bad_table_is_refused_with_its_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "families.csv"
    path.write_text(text)
    with pytest.raises(BadInput, match=WRONG[text]):
        read_families(path, LABELS)
    with pytest.raises(MissingFile, match="missing: the families"):
        read_families(tmp_path / "none.csv", LABELS)
