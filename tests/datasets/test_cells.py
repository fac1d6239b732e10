"""Headers that other people write are taken as ours, which is said; doubtful ones are refused."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest

from ames_lite.datasets.cells import IGNORED, SPELLINGS, column_of
from ames_lite.datasets.tables import FORMS, read_table
from ames_lite.errors import BadInput
from tests.datasets.test_tables import README

OURS = {column for form in FORMS for column in form.columns}


def written(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_spelling_is_of_one_column_that_a_form_has() -> None:
    theirs = [spelling for spelled in SPELLINGS.values() for spelling in spelled]
    assert len({*theirs}) == len(theirs) and {*SPELLINGS} <= OURS
    assert not {*theirs} & OURS and not {*theirs} & {*IGNORED}
    assert [column_of(spelling, OURS) for spelling in theirs] == [
        column for column, spelled in SPELLINGS.items() for _ in spelled
    ]


@pytest.mark.parametrize("file", ["image_path", "filename", "image", "id", "path", "img"])
@pytest.mark.parametrize("label", ["landmark_id", "class", "category", "place_id"])
def test_a_guessed_header_is_read_as_ours_and_said(file: str, label: str, tmp_path: Path) -> None:
    table = read_table(written(tmp_path, f"{file},{label}\na.jpg,x\nb.jpg,y\n"))
    assert table.columns == {"file": ["a.jpg", "b.jpg"], "label": ["x", "y"]}
    assert table.notes == (f"column {file} is taken as file", f"column {label} is taken as label")


@pytest.mark.parametrize(
    "text",
    [
        *('"file", "label"\n"a b.jpg", "x"', " Image Path,LABEL\na b.jpg, x"),
        *("'filename','class'\na b.jpg,x", "Image-Path;class_id\na b.jpg;x"),
        *("label|img\nx|a b.jpg", "file\tlandmark id\na b.jpg\tx"),
        *("file,label,url\na b.jpg,x,http://h", ",file,label\n0,a b.jpg,x"),
    ],
)
def test_blanks_quotes_capitals_and_known_extras_change_nothing(text: str, tmp_path: Path) -> None:
    assert read_table(written(tmp_path, text)).columns == {"file": ["a b.jpg"], "label": ["x"]}


def test_quotes_behind_blanks_are_quotes_where_the_header_has_them(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, '"file", "label"\n"a, b.jpg", "x, y"\n'))
    assert table.columns == {"file": ["a, b.jpg"], "label": ["x, y"]}


@pytest.mark.parametrize(
    "header, cell",
    [
        *product(["lat; lon", "Latitude;Longitude", '"lat; lon"'], ["50.1; 14.4", " 50.1;14.4 "]),
        *[("lat lon", "50.1  14.4"), ("lat/lon", "50.1/14.4"), ('"lat, lon"', '"50.1, 14.4"')],
        *[("lon; lat", "14.4; 50.1"), ('" lat ; lng "', "50.1 ; 14.4")],
    ],
)
def test_a_position_in_one_cell_is_two_columns(header: str, cell: str, tmp_path: Path) -> None:
    table = read_table(written(tmp_path, f"image_path,{header}\na.jpg,{cell}\nb.jpg,\n"))
    position = table.columns["lat"][0], table.columns["lon"][0]
    assert [float(x) for x in position] == [50.1, 14.4] and table.columns["lat"][1] == ""
    assert any("is taken as lat and lon" in n or "as lon and lat" in n for n in table.notes)


def test_utm_is_x_and_y_apart_or_in_one_cell(tmp_path: Path) -> None:
    apart = read_table(written(tmp_path, "id,utm_east,utm_north\na,499638.99,6958015.36\n"))
    one = read_table(written(tmp_path, "id,utm_east/utm_north\na,499638.99/6958015.36\n"))
    assert apart.columns == one.columns and apart.kind == "coordinates"


@pytest.mark.parametrize("header", ["query_id,index_id", "query,reference", "Query Path,database"])
def test_pairs_have_their_spellings_too(header: str, tmp_path: Path) -> None:
    table = read_table(written(tmp_path, f"{header}\nq,g\n"))
    assert table.kind == "pairs" and table.columns == {"query": ["q"], "gallery": ["g"]}


def test_a_header_in_doubt_is_refused_with_both_columns(tmp_path: Path) -> None:
    for header, both in (
        ("image_path,id,label", "'image_path' and 'id' may both be file"),
        ("file,Class,landmark_id", "'Class' and 'landmark_id' may both be label"),
    ):
        with pytest.raises(BadInput, match=rf"{both}(.|\n)*labels\.csv, line 1(.|\n)*call the"):
            read_table(written(tmp_path, f"{header}\na,b,c\n"))
    with pytest.raises(BadInput, match="several forms"):
        read_table(written(tmp_path, "image,class,latitude,longitude\na,b,1,2\n"))
    with pytest.raises(BadInput, match=r"columns of no form: id"):  # file is ours, id is another's
        read_table(written(tmp_path, "file,id,label\na,1,x\n"))


def test_half_a_position_in_a_cell_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"lat; lon is '50\.1'(.|\n)*line 3"):
        read_table(written(tmp_path, "file,lat; lon\na,1; 2\nb,50.1\n"))


def test_the_headers_that_the_documentation_shows_are_read(tmp_path: Path) -> None:
    row = next(line for line in README.splitlines() if line.startswith("| tables of any project |"))
    shown = re.findall(r"`([^`]+)`", row)
    assert len(shown) == 5
    for header in shown:
        cells = ["1; 2" if "; " in cell else "1" for cell in header.split(",")]
        table = read_table(written(tmp_path, f"{header}\n{','.join(cells)}\n"))
        assert all("is taken as" in note for note in table.notes) and table.notes
