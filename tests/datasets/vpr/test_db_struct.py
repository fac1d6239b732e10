"""A MATLAB file that promises more than it holds is refused, soon and without its memory."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from ames_lite.datasets.vpr.db_struct import read_db_struct
from ames_lite.errors import BadInput


def test_a_size_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "db.mat"
    savemat(path, {"dbStruct": {"utmDb": np.zeros((2, 7)), "numImages": 7}})
    size = struct.pack("<ii", 2, 7)
    whole = path.read_bytes()
    assert whole.count(size) == 1
    path.write_bytes(whole.replace(size, struct.pack("<ii", 2, 2**30)))
    with pytest.raises(BadInput, match=r"cannot be read(.|\n)*db\.mat(.|\n)*a MATLAB file with"):
        read_db_struct(tmp_path, structure="db.mat", images="")


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "db.mat"
    savemat(path, {"dbStruct": {"utmDb": np.zeros((2, 700))}}, do_compression=True)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BadInput, match=r"cannot be read(.|\n)*db\.mat"):
        read_db_struct(tmp_path, structure="db.mat", images="")
