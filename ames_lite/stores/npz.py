"""Files of a few arrays with provenance, `.npz`, written whole and read without pickle.

The provenance is a flat dict as JSON bytes, an array `provenance` (uint8); a list of names or the
like is JSON bytes, too.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, MissingFile, require
from ames_lite.io.json_file import parse_json
from ames_lite.io.provenance import Provenance, check_provenance
from ames_lite.io.writing import replacing

Arrays = Mapping[str, npt.NDArray[Any]]


class ArrayFile(NamedTuple):
    """A kind of file: what it is called, its arrays of numbers with their axes, its JSON."""

    what: str
    arrays: Mapping[str, str]
    json: str = ""

    def write(
        self,
        path: str | Path,
        arrays: Arrays,
        provenance: Mapping[str, Any],
        values: Any = None,
        *,
        overwrite: bool = False,
    ) -> Path:
        """Write the arrays as float32, and values as the JSON; returns the path."""
        stored: dict[str, npt.NDArray[Any]] = {
            name: arrays[name].astype(np.float32) for name in self.arrays
        }
        texts = {self.json: json.dumps(values)} if self.json else {}
        texts["provenance"] = json.dumps(check_provenance(provenance), sort_keys=True)
        stored |= {name: np.frombuffer(text.encode(), np.uint8) for name, text in texts.items()}
        with replacing(path, overwrite) as partial, open(partial, "wb") as file:
            np.savez(file, **stored)  # type: ignore[arg-type]  # the stub takes a name for a flag
        return Path(path)

    def read(self, path: str | Path, remedy: str) -> tuple[dict[str, Any], Provenance]:
        """The arrays, float32, and the provenance. Raises MissingFile or BadInput."""
        found, made = self._load(path, tuple(self.arrays), remedy)
        for name, values in found.items():
            check_numbers(values, name, self.arrays[name], path, remedy)
        return {name: values.astype(np.float32) for name, values in found.items()}, made

    def read_json(self, path: str | Path, remedy: str) -> Any:
        """The value of the JSON. Raises MissingFile or BadInput."""
        found, _ = self._load(path, (self.json,), remedy)
        return parse_json(bytes(found[self.json]), path, f"'{self.json}' as JSON bytes", remedy)

    def _load(
        self, path: str | Path, names: tuple[str, ...], remedy: str
    ) -> tuple[dict[str, npt.NDArray[Any]], Provenance]:
        what = f"the {self.what} is missing"
        require(Path(path).is_file(), what, where=path, remedy=remedy, kind=MissingFile)
        try:
            with np.load(path, allow_pickle=False) as file:
                made = check_provenance(json.loads(bytes(array_of(file, "provenance"))))
                return {name: array_of(file, name) for name in names}, made
        except Exception as error:  # of a damaged archive nearly anything is raised
            wanted = ", ".join(f"'{name}' {self.arrays.get(name, '[bytes]')}" for name in names)
            what = f"the {self.what} cannot be read: {error or type(error).__name__}"
            expected = f"an .npz file with {wanted} and 'provenance'"
            raise BadInput(what, where=path, expected=expected, remedy=remedy) from error


def array_of(file: Mapping[str, Any], name: str) -> npt.NDArray[Any]:
    """An array of an open archive, which gives other content as bytes. Raises ValueError."""
    array = file[name]
    if not isinstance(array, np.ndarray):
        raise ValueError(f"'{name}' is no array")
    return array


def check_numbers(
    values: npt.NDArray[Any], name: str, axes: str, path: str | Path, remedy: str
) -> None:
    """Raise BadInput for anything but finite floating-point numbers with these axes: "[C, D]"."""
    fits = values.ndim == axes.count(",") + 1 and values.size > 0 and values.dtype.kind == "f"
    what = f"{name} are {list(values.shape)} ({values.dtype.name})"
    what += ", with NaN or infinite entries" if fits else ""
    finite, expected = fits and np.isfinite(values).all(), f"{axes} finite floating-point numbers"
    require(finite, what, where=path, expected=expected, remedy=remedy)
