"""`dbStruct` of a MATLAB file: the lists of NetVLAD's releases (Pittsburgh, Tokyo) and of AnyLoc's.

Names of both sides, their metres and a distance.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.datasets import rules
from ames_lite.datasets.relation import Relation
from ames_lite.datasets.vpr.by_position import Side, relate
from ames_lite.errors import existing_file, explained, require
from ames_lite.io.names import check_once, check_present, line_of

Fields = dict[str, npt.NDArray[Any]]
ANYLOC = ("dbImage", "locDb", "qImage", "locQ", "numDb", "numQ", "posDistThr")
NETVLAD = ("dbImageFns", "utmDb", "qImageFns", "utmQ", "numImages", "numQueries", "posDistThr")
# In a process of its own, as a damaged file can bring SciPy down or ask for any memory; NaN and
# infinity are kept.
READ_MATLAB = """
import json, sys
if sys.platform != "win32":
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
from scipy.io import loadmat
read = loadmat(sys.argv[1], variable_names=["dbStruct"], simplify_cells=True)["dbStruct"]
read = {key: value for key, value in dict(read).items() if key in sys.argv[2:]}
sys.stdout.reconfigure(encoding="utf-8")
json.dump(read, sys.stdout, default=lambda value: value.tolist())
"""
SECONDS = 300  # that reading may take
MATLAB = f"a MATLAB file with dbStruct: {', '.join(NETVLAD)}, or {', '.join(ANYLOC)}"
HDF5 = (b"MATLAB 7.3", b"\x89HDF")
AS_V7 = "in MATLAB: load it, then save('<name>.mat', 'dbStruct', '-v7')"


def read_db_struct(
    root: Path,
    *,
    structure: str,
    images: str,  # the folder that names are in; "": the set's
    query_images: str | None = None,  # that of queries, where it is another
    radius: float | None = None,  # None: posDistThr of the file, unless `nearest` is given
    nearest: int | None = None,
) -> Relation:
    """`dbStruct` of a MATLAB file has names, positions (metres, [2, N] or [N, 2]), a threshold."""
    path = root / structure
    fields = _read_structure(path)
    places = {"q": images if query_images is None else query_images, "db": images}
    query, gallery = (_side(fields, side, path, root, place) for side, place in places.items())
    if radius is None and nearest is None:
        value = fields["posDistThr"].ravel()
        fine = value.size == 1 and value.dtype.kind in "iuf" and 0 < float(value[0]) < np.inf
        what = f"posDistThr is {value.tolist()}"
        require(fine, what, where=path, expected="one distance in metres")
        radius = float(value[0])
    return replace(relate(query, gallery, radius, nearest), notes=(f"radius: {radius} m",))


def _read_structure(path: Path) -> Fields:
    existing_file(path, "a file of the set is missing", expected=MATLAB)
    with path.open("rb") as file:
        what = "a MATLAB 7.3 file, which is HDF5"
        require(not file.read(10).startswith(HDF5), what, where=path, expected=MATLAB, remedy=AS_V7)
    argv = [sys.executable, "-c", READ_MATLAB, str(path), *ANYLOC, *NETVLAD]
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # threads would take what memory there may be
    with explained(kinds=subprocess.TimeoutExpired, where=path, expected=MATLAB):
        done = subprocess.run(argv, capture_output=True, encoding="utf-8", env=env, timeout=SECONDS)
    said = done.stderr.strip().split("\n")[-1] or "the reader crashed"
    require(done.returncode == 0, f"cannot be read ({said})", where=path, expected=MATLAB)
    fields = json.loads(done.stdout)
    names = NETVLAD if NETVLAD[0] in fields else ANYLOC
    missing = [name for name in names if name not in fields]
    require(not missing, f"dbStruct lacks {', '.join(missing)}", where=path, expected=MATLAB)
    with explained("dbStruct has ragged fields ({})", ValueError, where=path, expected=MATLAB):
        return {ours: np.asarray(fields[name]) for ours, name in zip(ANYLOC, names, strict=True)}


def _side(fields: Fields, side: str, path: Path, root: Path, folder: str) -> Side:
    listed, number, place = f"{side}Image", f"num{side.capitalize()}", f"loc{side.capitalize()}"
    texts = fields[listed].ravel().tolist()
    names = [f"{folder}/{str(name).strip()}".lstrip("/") for name in texts]
    others = [f"{name.removesuffix('.jpg')}.png" for name in names]
    if others and not (root / names[0]).is_file() and (root / others[0]).is_file():
        names = others  # Tokyo 24/7: .jpg in the file, .png on disk
    count = fields[number].ravel().tolist()
    what = f"{listed} has {len(names)} names and {number} is {count}"
    require(count == [len(names)], what, where=path, expected="as many names as it says")
    check_once(names, line_of(path, listed))
    check_present(root, names, line_of(path, listed))
    array = fields[place]
    if array.ndim == 1 and len(names) == 1:
        array = array[:, None]
    if array.shape == (2, len(names)):  # as MATLAB has it; with two images both would fit
        array = array.T
    fine = array.shape == (len(names), 2) and array.dtype.kind in "iuf"
    what = f"{place} is {list(array.shape)} ({array.dtype.name})"
    expected = f"[2, {len(names)}] or [{len(names)}, 2] finite metres"
    require(fine and rules.are_metres(array), what, where=path, expected=expected)
    return names, array.astype(np.float64)
