"""The forms of data/README.md are read as it says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.io.own_truth_tables import FORMS, KINDS, describe_forms, read_table

README = (Path(__file__).resolve().parents[2] / "data" / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```csv\n(.*?)```", README, re.DOTALL)


def write(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_form_has_an_example_of_three_lines(tmp_path: Path) -> None:
    shown = [set(example.splitlines()[0].split(",")) for example in EXAMPLES]
    for form in FORMS:
        assert any(set(form.required) <= header for header in shown), form
        assert any(set(form.optional) <= header for header in shown) or form.kind == "pairs"
        assert (
            f"CSV `{','.join(form.required)}[" in README or f"`{','.join(form.required)}[" in README
        )
    assert {read_table(write(tmp_path, example)).kind for example in EXAMPLES} == set(KINDS)
    assert all(len(example.splitlines()) == 3 for example in EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_read_row_by_row(example: str, tmp_path: Path) -> None:
    table = read_table(write(tmp_path, example))
    assert len(table) == 2 and table.lines == [2, 3] and table.ignored == ()
    assert list(table.columns) == example.splitlines()[0].split(",")
    for column in set(table.columns) & {"x", "y", "lat", "lon"}:
        assert np.isfinite(table.numbers(column)).all()
    if "frame" in table.columns:
        assert table.integers("frame").tolist() == [10, 11]


def test_lines_are_counted_over_blank_ones_and_text_in_quotes(tmp_path: Path) -> None:
    text = '\ufefffile,x,y\r\n\r\n"two\nlines.jpg",1,2\r\n" a.jpg",3,-4.5e1\r\n'
    path = tmp_path / "labels.csv"
    path.write_bytes(text.encode())
    table = read_table(path)
    assert table.columns["file"] == ["two\nlines.jpg", " a.jpg"]  # nothing is stripped
    assert table.where(1) == f"{path}, line 5"
    assert table.numbers("y").tolist() == [2, -45]


@pytest.mark.parametrize("cell", ["nan", "inf", "-inf", "", "1,5", "1_0", "0x1", "1 2"])
def test_a_cell_that_is_no_number_is_named(cell: str, tmp_path: Path) -> None:
    table = read_table(write(tmp_path, f'file,x,y\na,1,2\nb,"{cell}",2\n'))
    with pytest.raises(BadInput, match=r"x is '(.|\n)*line 3(.|\n)*finite"):
        table.numbers("x")


@pytest.mark.parametrize("cell", ["1.0", "", "--1", "one", "²", "١", "9" * 30])
def test_a_cell_that_is_no_whole_number_is_named(cell: str, tmp_path: Path) -> None:
    table = read_table(write(tmp_path, f"file,frame\na,-1\nb,{cell}\n"))
    with pytest.raises(BadInput, match=r"frame is '(.|\n)*line 3"):
        table.integers("frame")


def test_text_that_is_not_utf8_or_has_a_zero_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    for damage in (b"file,label\n\xff,x\n", b'file,label\n"a"b,x\n', "é".encode("utf-16")):
        path.write_bytes(damage)
        with pytest.raises(BadInput, match=r"not a CSV in UTF-8(.|\n)*labels\.csv"):
            read_table(path)


def test_the_forms_are_listed_in_words() -> None:
    assert "file,label[,split][,grade] (labels)" in describe_forms()
    assert describe_forms("frames") == "file,frame[,split] (frames)"
