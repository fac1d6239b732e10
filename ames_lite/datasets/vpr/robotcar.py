"""Oxford RobotCar as a MATLAB file: `dbStruct` with names, positions and the distance threshold.

Fields: dbImage and qImage (names), locDb and locQ (metres, [2, N] or [N, 2]), numDb, numQ,
posDistThr. Images lie in a folder beside it. The convention to know: without a radius that of the
file is used. The sole owner of MATLAB files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.io import loadmat

from ames_lite.datasets.vpr.dataset import PlaceSet, make_place_set
from ames_lite.datasets.vpr.folders import check_present, line_of
from ames_lite.datasets.vpr.positives import by_position
from ames_lite.errors import BadInput, MissingFile

FIELDS = ("dbImage", "locDb", "qImage", "locQ", "numDb", "numQ", "posDistThr")
EXPECTED = f"a MATLAB file with dbStruct: {', '.join(FIELDS)}"


def read_robotcar(
    root: Path,
    *,
    structure: str,
    images: str,
    radius: float | None = None,
    nearest: int | None = None,
) -> PlaceSet:
    """Positives by distance; radius None: posDistThr of the file, unless `nearest` is given.

    Raises MissingFile; BadInput where fields are missing or contradict each other, and where
    listed images are absent.
    """
    path = root / structure
    fields = _read_structure(path)
    query_names, query = _side(fields, "q", path)
    gallery_names, gallery = _side(fields, "db", path)
    for names, field in ((query_names, "qImage"), (gallery_names, "dbImage")):
        names[:] = [f"{images}/{name}" for name in names]
        check_present(root, names, line_of(path, field))
    if radius is None and nearest is None:
        radius = _threshold(fields, path)
    found = by_position(query, gallery, radius, nearest)
    return make_place_set(query_names, gallery_names, found, [f"radius: {radius} m"])


def _read_structure(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise MissingFile("a file of the set is missing", where=path, expected=EXPECTED)
    try:
        fields = loadmat(str(path), simplify_cells=True)["dbStruct"]
    except Exception as error:  # of a damaged file nearly anything is raised
        raise BadInput(f"cannot be read ({error})", where=path, expected=EXPECTED) from error
    missing = [name for name in FIELDS if not isinstance(fields, dict) or name not in fields]
    if missing:
        what = f"dbStruct lacks {', '.join(missing)}"
        raise BadInput(what, where=path, expected=EXPECTED)
    return dict(fields)


def _side(
    fields: dict[str, Any], side: str, path: Path
) -> tuple[list[str], npt.NDArray[np.float64]]:
    """Names and positions [N, 2] of queries ("q") or gallery ("db")."""
    suffix = side.capitalize()
    names = [str(name).strip() for name in np.atleast_1d(fields[f"{side}Image"]).ravel().tolist()]
    count = np.asarray(fields[f"num{suffix}"])
    if count.size != 1 or int(count.ravel()[0]) != len(names):
        what = f"{side}Image has {len(names)} names and num{suffix} is {count.ravel().tolist()}"
        raise BadInput(what, where=path, expected="as many names as it says")
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        what = f"{side}Image names '{repeated}' twice"
        raise BadInput(what, where=path, expected="every image once")
    return names, _positions(fields[f"loc{suffix}"], len(names), f"loc{suffix}", path)


def _positions(values: Any, count: int, field: str, path: Path) -> npt.NDArray[np.float64]:
    array = np.asarray(values)
    if array.ndim == 1 and count == 1:
        array = array[:, None]
    if array.shape == (2, count):  # as MATLAB has it; with two images both would fit
        array = array.T
    fine = array.shape == (count, 2) and array.dtype.kind in "iuf"
    if not fine or not np.isfinite(array).all():
        what = f"{field} is {list(array.shape)} ({array.dtype.name})"
        raise BadInput(what, where=path, expected=f"[2, {count}] or [{count}, 2] finite metres")
    return array.astype(np.float64)


def _threshold(fields: dict[str, Any], path: Path) -> float:
    value = np.asarray(fields["posDistThr"])
    if value.size != 1 or value.dtype.kind not in "iuf" or not 0 < float(value.ravel()[0]) < np.inf:
        what = f"posDistThr is {value.ravel().tolist()}"
        raise BadInput(what, where=path, expected="one distance in metres")
    return float(value.ravel()[0])
