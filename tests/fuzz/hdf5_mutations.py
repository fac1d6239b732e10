"""Changes of HDF5 files made with h5py: valid HDF5 that says something else, or nothing usable."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.fuzz.structured import NUMBERS, Changed, Random, one_of

Change = Callable[[h5py.File, Random], str]


def _names(file: h5py.File) -> list[str]:
    found: list[str] = []
    file.visit(found.append)
    return found or ["/"]


def _any(file: h5py.File, rng: Random) -> str:
    return str(one_of(rng, _names(file)))


def _data(file: h5py.File, rng: Random) -> tuple[str, Any]:
    """The name of a data set that is not empty, and its values."""
    sets = [n for n in _names(file) if n in file and isinstance(file[n], h5py.Dataset)]
    name = one_of(rng, [n for n in sets if file[n].size] or sets)
    return name, file[name][()]


def _replace(file: h5py.File, name: str, values: Any, **how: Any) -> None:
    attributes = dict(file[name].attrs)
    del file[name]
    made = file.create_dataset(name, data=values, **how)
    for key, value in attributes.items():
        made.attrs[key] = value


def drop(file: h5py.File, rng: Random) -> str:
    name = _any(file, rng)
    del file[name]
    return f"{name} dropped"


def rename(file: h5py.File, rng: Random) -> str:
    name = _any(file, rng)
    file.move(name, f"{name}x")
    return f"{name} renamed"


def exchange(file: h5py.File, rng: Random) -> str:
    """Two data sets change names."""
    one, other = _any(file, rng), _any(file, rng)
    if one != other:
        file.move(one, "held")
        file.move(other, one)
        file.move("held", other)
    return f"{one} and {other} exchanged"


def retype(file: h5py.File, rng: Random) -> str:
    name, values = _data(file, rng)
    kind = one_of(rng, ("f8", "f2", "i8", "u1", "S4", "c8", "?", ">i4"))
    try:
        with np.errstate(all="ignore"):
            converted = np.asarray(values).astype(kind)
    except (TypeError, ValueError):  # records, texts
        converted = np.zeros(np.shape(values), kind)
    _replace(file, name, converted)
    return f"{name} as {kind}"


def reshape(file: h5py.File, rng: Random) -> str:
    name, values = _data(file, rng)
    values = np.asarray(values)
    shapes = [(-1,), (1, -1), values.shape[::-1], (*values.shape, 1)]
    shape = one_of(rng, shapes)
    how = one_of(rng, ("shape", "fewer", "more", "none"))
    if how == "shape" or values.ndim == 0:
        values = values.reshape(shape)
    elif how == "fewer":
        values = values[:-1]
    elif how == "more":
        values = np.concatenate([values, values[-1:]])
    else:
        values = values[:0]
    _replace(file, name, values)
    return f"{name}: {how}, {list(values.shape)}"


def declare(file: h5py.File, rng: Random) -> str:
    """A data set of an enormous shape, of which nothing was written."""
    name, values = _data(file, rng)
    values = np.asarray(values)
    shape = [*(values.shape or (1,))]
    shape[int(rng.integers(len(shape)))] = int(one_of(rng, (10**6, 10**9, 10**12, 2**40)))
    del file[name]
    chunks = tuple(min(side, 64) for side in shape) if rng.integers(2) else None
    file.create_dataset(name, tuple(shape), values.dtype, chunks=chunks)
    return f"{name} declared as {shape}"


def relink(file: h5py.File, rng: Random) -> str:
    name, other = _any(file, rng), _any(file, rng)
    links = {
        "hard": file[other],
        "soft": h5py.SoftLink(f"/{other}"),
        "itself": h5py.SoftLink(f"/{name}"),
        "nowhere": h5py.SoftLink("/nowhere"),
        "external": h5py.ExternalLink("/etc/hostname", "/x"),
        "type": np.dtype("f4"),
    }
    how = one_of(rng, list(links))
    target = links[how]
    del file[name]
    file[name] = target
    return f"{name} is a link: {how} {other}"


def stored_elsewhere(file: h5py.File, rng: Random) -> str:
    """Raw values in another file, or a virtual data set that maps itself."""
    name, values = _data(file, rng)
    values = np.asarray(values)
    shape, kind = values.shape or (1,), values.dtype
    del file[name]
    if rng.integers(2) and kind.kind != "O":
        size = max(1, int(np.prod(shape)) * kind.itemsize)
        file.create_dataset(name, shape, kind, external=[("/dev/zero", 0, size)])
        return f"{name} lies in /dev/zero"
    layout = h5py.VirtualLayout(shape, kind)
    layout[...] = h5py.VirtualSource(".", name, shape)
    file.create_virtual_dataset(name, layout)
    return f"{name} maps itself"


def attribute(file: h5py.File, rng: Random) -> str:
    holders = [file, *(file[name] for name in _names(file) if name in file)]
    holder = one_of(rng, [one for one in holders if len(one.attrs)] or [file])
    names = list(holder.attrs) or ["complete"]
    name = str(one_of(rng, [*names, "complete"]))
    values = (1, 0, -1, 2**40, 0.5, "", "x", "{}", "[1]", "[" * 900, np.bytes_(b"\xff"))
    if rng.integers(5) == 0 and name in holder.attrs:
        del holder.attrs[name]
        return f"attribute {name} dropped"
    odd: Any = one_of(
        rng, (*values, np.arange(3), h5py.Empty("f4"), np.zeros(0), np.float32("nan"))
    )
    holder.attrs[name] = odd
    return f"attribute {name} is {odd!r:.40}"


def attribute_text(file: h5py.File, rng: Random) -> str:
    """A number or letter within the text of an attribute."""
    texts = {name: value for name, value in file.attrs.items() if isinstance(value, str) and value}
    if not texts:
        return attribute(file, rng)
    name = one_of(rng, sorted(texts))
    at = int(rng.integers(len(texts[name])))
    letter = one_of(rng, '019ax"{}[],')
    file.attrs[name] = texts[name][:at] + letter + texts[name][at + 1 :]
    return f"attribute {name}, letter {at} is {letter}"


def _wrong(values: Any, rng: Random) -> Any:
    """The values with one of them changed."""
    flat = np.array(values).reshape(-1)
    at = int(rng.integers(len(flat)))
    if flat.dtype.names or flat.dtype.kind in "OSU":
        flat[at] = flat[int(rng.integers(len(flat)))]
    elif flat.dtype.kind in "iu":
        info = np.iinfo(flat.dtype)
        flat[at] = one_of(rng, [n for n in (0, 1, *NUMBERS) if info.min <= n <= info.max])
    elif flat.dtype.kind == "b":
        flat[at] = not flat[at]
    else:
        flat[at] = one_of(rng, (0, 1, -1, np.nan, np.inf, 0.5, flat[at] * 2))
    return flat.reshape(np.shape(values))


def one_value(file: h5py.File, rng: Random) -> str:
    """One wrong value, in place."""
    name, values = _data(file, rng)
    file[name][...] = _wrong(values, rng)
    return f"{name}: one value"


def rewrite(file: h5py.File, rng: Random) -> str:
    """Chunked, compressed or big-endian, with one wrong value or none."""
    name, values = _data(file, rng)
    values = np.asarray(values)
    wrong = bool(rng.integers(4))
    values = _wrong(values, rng) if wrong else values
    how = one_of(rng, ("chunks", "gzip", "big", "shuffle"))
    options: dict[str, Any] = {}
    if values.ndim and values.dtype.kind not in "OSU":
        if how == "big":
            values = values.astype(values.dtype.newbyteorder(">"))
        else:
            options = {"chunks": tuple(max(1, (side + 1) // 2) for side in values.shape)}
            options |= {"compression": "gzip"} if how == "gzip" else {}
            options |= {"shuffle": True} if how == "shuffle" else {}
    _replace(file, name, values, **options)
    return f"{name} rewritten ({how}), {'one wrong value' if wrong else 'the same values'}"


def swap_rows(file: h5py.File, rng: Random) -> str:
    name, values = _data(file, rng)
    if not np.ndim(values) or len(values) < 2:
        return one_value(file, rng)
    one, other = (int(row) for row in rng.choice(len(values), 2, replace=False))
    values[[one, other]] = values[[other, one]]
    file[name][...] = values
    return f"{name}: rows {one} and {other} swapped"


def foreign_row(file: h5py.File, rng: Random) -> str:
    """A row as another file could have it: of values that stand elsewhere in this one."""
    name, values = _data(file, rng)
    if not np.ndim(values) or len(values) < 2:
        return one_value(file, rng)
    row = int(rng.integers(len(values)))
    values[row] = np.roll(values.reshape(-1), 1 + row).reshape(values.shape)[row]
    file[name][...] = values
    return f"{name}: another row {row}"


def whole_rows(file: h5py.File, rng: Random) -> str:
    """Two rows are swapped in all data sets of the rows, checksums too: a forger's work."""
    sets = {n: file[n] for n in _names(file) if n in file and isinstance(file[n], h5py.Dataset)}
    lengths = [len(one) for one in sets.values() if one.ndim]
    count = max(set(lengths), key=lengths.count)
    one, other = (int(row) for row in rng.choice(max(2, count), 2, replace=False))
    for data in sets.values():
        if data.ndim and len(data) == count > 1:
            values = data[()]
            values[[one, other]] = values[[other, one]]
            data[...] = values
    return f"rows {one} and {other} swapped everywhere"


def finish(file: h5py.File, rng: Random) -> str:
    """A file that was not ended is called complete."""
    file.attrs["complete"] = np.uint8(1)
    return "called complete"


FORGERS = (whole_rows,)


def _structural(change: Change) -> Callable[[bytes, Random], Changed]:
    def apply(whole: bytes, rng: Random) -> Changed:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.hdf5"
            path.write_bytes(whole)
            with h5py.File(path, "r+") as file:
                said = change(file, rng)
            return Changed(f"{change.__name__}: {said}", path.read_bytes(), change in FORGERS)

    return apply


HDF5 = tuple(
    _structural(change)
    for change in (
        *(one_value, rewrite, attribute, drop, swap_rows, retype, foreign_row, reshape, relink),
        *(attribute_text, declare, rename, one_value, exchange, stored_elsewhere, whole_rows),
        *(rewrite, finish),
    )
)
