"""The forms of data/README.md are read as it says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from ames_lite.datasets.tables import FORMS, KINDS, describe_forms, read_table
from ames_lite.errors import BadInput

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
        assert re.search(rf"`{','.join(form.required)}[`[]", README)
    assert {read_table(write(tmp_path, example)).kind for example in EXAMPLES} == set(KINDS)
    assert all(len(example.splitlines()) == 3 for example in EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_read_row_by_row(example: str, tmp_path: Path) -> None:
    table = read_table(write(tmp_path, example))
    header = example.splitlines()[0].split(",")
    if "images" in header:  # one row an image: the first row lists two, the second one or none
        assert table.lines == [2, 2, 3][: len(table)] and "images" not in table.columns
        return
    assert len(table) == 2 and table.lines == [2, 3] and table.notes == ()
    assert list(table.columns) == header
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


def test_what_is_no_text_or_no_csv_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    for damage in (b"file,label\na\0b,x\n", b'file,label\n"a"b,x\n', b"PK\x03\x04\0\0", b"\0" * 9):
        path.write_bytes(damage)
        with pytest.raises(BadInput, match=r"(?s)not a (CSV|text)|workbook.*labels\.csv"):
            read_table(path)


PLAIN = "file,label,split\né/01.jpg,church,query\n02.jpg,tower,gallery\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends_change_nothing(encoding: str, ends: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(PLAIN.replace("\n", ends).encode(encoding))
    table = read_table(path)
    assert table.columns == read_table(write(tmp_path, PLAIN)).columns and table.lines == [2, 3]
    assert bool(table.notes) == encoding.startswith("utf-16")


@pytest.mark.parametrize(
    "text",
    [
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        "sep=;\n" + PLAIN.replace(",", ";"),
        PLAIN.replace("file,label", " File,LABEL"),
        PLAIN.replace("\n", ",,\n") + ",,,,\n\n",
        PLAIN.replace("church", " church ").replace("query", "Query"),
        '"file","label","split"\n"é/01.jpg","church","query"\n"02.jpg","tower","gallery"\n',
    ],
)
def test_what_spreadsheets_write_is_read(text: str, tmp_path: Path) -> None:
    expected = read_table(write(tmp_path, PLAIN)).columns
    assert read_table(write(tmp_path, text)).columns == expected


def test_what_is_read_otherwise_is_said(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(PLAIN.replace(",", ";").replace("file", "File").encode("cp1252"))
    encoding, header = read_table(path).notes
    assert "cp1252" in encoding and "semicolons" in encoding
    assert header == "column File is taken as file"


def test_decimal_commas_are_points_where_cells_are_not_between_commas(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "file;lat;lon\na;48,85;2,35\nb;48,9;-2\n"))
    assert table.numbers("lat").tolist() == [48.85, 48.9] and len(table.notes) == 3
    with pytest.raises(BadInput, match="decimals with a point"):
        read_table(write(tmp_path, "file,lat,lon\na,48,85,2,35\n"))


def test_the_forms_are_listed_in_words() -> None:
    assert "file,label[,split][,grade][,scene] (labels)" in describe_forms()
    assert describe_forms("frames") == "file,frame[,split] (frames)"
