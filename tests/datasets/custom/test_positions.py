"""Positions: what is none is left out and said, degrees in the columns of metres are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from ames_lite.datasets.custom.labels import Values, read_positions
from ames_lite.datasets.tables import read_table
from ames_lite.errors import BadInput

TOWNS = ("14.4200,50.0870", "16.6000,49.2000", "18.2800,49.8300")


def placed(folder: Path, columns: str, *cells: str, radius: float = 25.0) -> Values:
    path = folder / "l.csv"
    rows = [f"{number}.jpg,{cell}" for number, cell in enumerate(cells)]
    path.write_text("\n".join([f"file,{columns}", *rows]))
    return read_positions(read_table(path), radius)


@pytest.mark.parametrize("swapped", [False, True])
def test_degrees_are_no_metres(swapped: bool, tmp_path: Path) -> None:
    cells = [",".join(town.split(",")[:: -1 if swapped else 1]) for town in TOWNS]
    with pytest.raises(BadInput, match=r"(?s)look like degrees.*lat and lon"):
        placed(tmp_path, "x,y", *cells)
    assert any("degrees belong" in note for note in placed(tmp_path, "x,y", *cells, radius=1).notes)


@pytest.mark.parametrize(
    "cells", [("0,0", "3,4"), ("0,0", "100,50", "0.5,0.5"), ("499638,6958015", "499640,6958020")]
)
def test_metres_are_taken_without_a_word(cells: tuple[str, ...], tmp_path: Path) -> None:
    made = placed(tmp_path, "x,y", *cells)
    assert len(made.values) == len(cells) and len(made.notes) == 1


@pytest.mark.parametrize("empty", ["0,0", "0.0,-0", ",", "nan,NaN", " , "])
def test_an_image_without_a_position_is_left_out(empty: str, tmp_path: Path) -> None:
    for columns, here in (("lat,lon", "50.1,14.4"), ("x,y", "499638,6958015")):
        made = placed(tmp_path, columns, here, empty, here, empty)
        assert made.table.columns["file"] == ["0.jpg", "2.jpg"] and made.table.lines == [2, 4]
        assert made.values.shape == (2, 2)
        assert made.notes[0].startswith("2 images have no position")


def test_half_a_position_and_none_at_all_are_refused(tmp_path: Path) -> None:
    for cells in ("50.1,", "nan,14", "50.1,east"):
        with pytest.raises(BadInput, match=r"(?s)l\.csv, line 3.*finite number"):
            placed(tmp_path, "lat,lon", "50,14", cells)
    with pytest.raises(BadInput, match="no image has a position"):
        placed(tmp_path, "lat,lon", "0,0", ",")


def test_degrees_out_of_range_say_what_they_may_be(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="swapped"):
        placed(tmp_path, "lat,lon", "120,50")
    with pytest.raises(BadInput, match="columns x and y"):
        placed(tmp_path, "lat,lon", "499638,6958015")
