"""Forged HDF5 files are refused by name before anything is read from them, or asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ames_lite.datasets.check import Report, check_store
from ames_lite.errors import MissingFile
from ames_lite.stores import hdf5
from ames_lite.stores.published.store import open_store
from tests.fuzz import kinds
from tests.hostile import assert_refused, outcome_of
from tests.stores.files import read_globals

SHAPE = (9, 6, 21)
ONES = np.ones(SHAPE, np.float32)
HUGE = (10**12, 6, 21)


def pipe(path: Path) -> str:
    """Reading it would not end."""
    os.mkfifo(path.with_name("pipe"))
    return str(path.with_name("pipe"))


def elsewhere(path: Path) -> str:
    with h5py.File(path.with_name("other.hdf5"), "w") as file:
        file["features"] = ONES
    return "other.hdf5"


def raw(file: h5py.File, name: str, path: Path) -> None:
    file.create_dataset(name, SHAPE, "f4", external=[(pipe(path), 0, ONES.nbytes)])


def virtual(
    file: h5py.File, name: str, source: str, inner: str, shape: tuple[int, ...] = SHAPE
) -> None:
    layout = h5py.VirtualLayout(shape, "f4")
    layout[:9] = h5py.VirtualSource(source, inner, SHAPE, "f4")
    file.create_virtual_dataset(name, layout)


def in_a_circle(file: h5py.File, path: Path) -> None:
    with h5py.File(path.with_name("other.hdf5"), "w", libver="latest") as other:
        virtual(other, "features", path.name, "features")
    virtual(file, "features", "other.hdf5", "features")


def chain(file: h5py.File, path: Path) -> None:
    file["d300"] = ONES
    for at in range(300):
        virtual(file, f"d{at}" if at else "features", ".", f"d{at + 1}")


def inside(file: h5py.File, name: str, make: Callable[[], object]) -> None:
    """A virtual data set of one in the same file."""
    make()
    virtual(file, "features", ".", name)


def linked(file: h5py.File, target: str) -> None:
    file["x"] = h5py.ExternalLink(target, "/features")


FORGED: dict[str, Callable[[h5py.File, Path], object]] = {
    "a link to another file": lambda f, p: f.__setitem__(
        "features", h5py.ExternalLink(elsewhere(p), "/features")
    ),
    "a link to a pipe": lambda f, p: f.__setitem__(
        "features", h5py.ExternalLink(pipe(p), "/features")
    ),
    "a link through a group of another file": lambda f, p: (
        f.__setitem__("g", h5py.ExternalLink(elsewhere(p), "/")),
        f.__setitem__("features", h5py.SoftLink("g/features")),
    ),
    "links in circles": lambda f, p: (
        f.__setitem__("features", h5py.SoftLink("/a")),
        f.__setitem__("a", h5py.SoftLink("features")),
    ),
    "values in a pipe": lambda f, p: raw(f, "features", p),
    "virtual over itself": lambda f, p: virtual(f, "features", ".", "features"),
    "virtual over its own name": lambda f, p: virtual(f, "features", p.name, "features"),
    "virtual in a circle of files": in_a_circle,
    "virtual in a circle": lambda f, p: (
        virtual(f, "features", ".", "x"),
        virtual(f, "x", ".", "features"),
    ),
    "virtual 300 deep": chain,
    "virtual over a pipe": lambda f, p: virtual(f, "features", pipe(p), "features"),
    "virtual over a link": lambda f, p: inside(f, "x", lambda: linked(f, elsewhere(p))),
    "virtual over a link to a pipe": lambda f, p: inside(f, "x", lambda: linked(f, pipe(p))),
    "virtual over values in a pipe": lambda f, p: inside(f, "x", lambda: raw(f, "x", p)),
    "virtual and far too long": lambda f, p: virtual(f, "features", elsewhere(p), "features", HUGE),
    "too long, never written": lambda f, p: f.create_dataset("features", HUGE, "f4"),
    "compressed, too long, never written": lambda f, p: f.create_dataset(
        "features", HUGE, "f4", chunks=(100, 6, 21), compression="gzip"
    ),
    "compressed, one chunk of many written": lambda f, p: f.create_dataset(
        "features", (10**7, 6, 21), "f4", chunks=(10**4, 6, 21), compression="gzip"
    ).__setitem__(0, 1),
}


def check(path: Path) -> object:
    """What a check finds, as the error that reading it would be."""
    report = Report()
    check_store(path, None, report)
    for _, what in report.findings:
        raise MissingFile(what)
    return "nothing was found"


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_file_is_refused_by_name_at_once(tmp_path: Path, what: str) -> None:
    path = tmp_path / "a.hdf5"
    with h5py.File(path, "w", libver="latest") as file:
        FORGED[what](file, path)
    assert_refused(lambda: kinds.read_all(open_store(path, kinds.NAMES)), path)
    assert_refused(lambda: read_globals(path, names=kinds.NAMES), path)
    assert_refused(lambda: check(path), path)


def test_a_pipe_is_no_store(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    pipe(path)
    assert "is no file" in assert_refused(lambda: hdf5.open_foreign(path), path)


def test_links_within_a_file_are_followed(tmp_path: Path) -> None:
    path = tmp_path / "a.hdf5"
    with h5py.File(path, "w") as file:
        file["g/inner/values"] = ONES
        file["g/near"] = h5py.SoftLink("inner/values")
        file["h"] = h5py.SoftLink("/g")
        file["features"] = h5py.SoftLink("h/near")
    with open_store(path, kinds.NAMES) as store:
        assert store.num_rows == 9  # type: ignore[attr-defined]


@pytest.mark.parametrize("depth", [1, 4])
def test_chunks_may_be_spread_over_chunks(tmp_path: Path, depth: int) -> None:
    path = tmp_path / "a.hdf5"
    with h5py.File(path, "w", libver="latest") as file:
        file[f"d{depth}"] = ONES
        for at in range(depth):
            virtual(file, f"d{at}" if at else "features", ".", f"d{at + 1}")
    with open_store(path, kinds.NAMES) as store:
        assert store.num_rows == 9  # type: ignore[attr-defined]


def test_what_compresses_to_nearly_nothing_is_read(tmp_path: Path) -> None:
    path, shape = tmp_path / "a.hdf5", (1 << 17, 6, 32)  # 96 MiB in less than 96 KiB
    with h5py.File(path, "w", libver="latest") as file:
        options: Any = {"compression": "gzip", "compression_opts": 9, "shuffle": True}
        made = file.create_dataset("features", shape, "f4", chunks=(1 << 13, 6, 32), **options)
        for at in range(0, len(made), 1 << 13):
            made[at : at + (1 << 13)] = 0
    assert path.stat().st_size * 1000 < np.prod(shape) * 4
    with hdf5.open_foreign(path) as opened:
        assert opened["features"].shape == shape


ATTRIBUTES: dict[str, Callable[[h5py.File], object]] = {
    "text that is no UTF-8": lambda file: file.attrs.create(
        "odd", b"\xff\xfe", dtype=h5py.string_dtype()
    ),
    "a reference": lambda file: file.attrs.__setitem__("odd", file.ref),
    "no value": lambda file: file.attrs.__setitem__("odd", h5py.Empty("f4")),
    "records": lambda file: file.attrs.__setitem__("odd", np.zeros(2, [("a", "f4"), ("b", "S3")])),
    "a time": lambda file: h5py.h5a.create(
        file.id, b"odd", h5py.h5t.UNIX_D32LE, h5py.h5s.create(h5py.h5s.SCALAR)
    ),
    "deep JSON": lambda file: file.attrs.__setitem__("checksums", np.bytes_("[" * 10_000)),
    "checksums of another kind": lambda file: file.attrs.__setitem__(
        "checksums", np.bytes_('{"name": [1]}')
    ),
}


@pytest.mark.parametrize("what", ATTRIBUTES)
def test_an_odd_attribute_of_a_store_is_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "a.hdf5"
    kinds.native(path).close()
    with h5py.File(path, "r+") as file:
        ATTRIBUTES[what](file)
    assert_refused(lambda: kinds.read_all(open_store(path, kinds.NAMES)), path)


PARTS = ("name", "status", "count", "descriptors", "weight", "checksum")
INSTEAD: dict[str, Callable[[h5py.File, str], object]] = {
    "a group": lambda file, name: file.create_group(name),
    "no values": lambda file, name: file.__setitem__(name, h5py.Empty("f4")),
    "a type": lambda file, name: file.__setitem__(name, np.dtype("f4")),
    "one number": lambda file, name: file.__setitem__(name, 3.0),
    "a link to nowhere": lambda file, name: file.__setitem__(name, h5py.SoftLink("/nowhere")),
    "ragged": lambda file, name: file.create_dataset(name, (9,), h5py.string_dtype()),
}


@pytest.mark.parametrize("what", INSTEAD)
def test_what_is_no_data_set_is_refused_in_every_place(tmp_path: Path, what: str) -> None:
    whole = tmp_path / "whole.hdf5"
    kinds.native(whole).close()
    for part in PARTS:
        path = tmp_path / f"{part}.hdf5"
        path.write_bytes(whole.read_bytes())
        with h5py.File(path, "r+") as file:
            del file[part]
            INSTEAD[what](file, part)
        came = outcome_of(lambda path=path: open_store(path, None), tmp_path / "outcome")
        assert came.refused and str(path) in came.said and f"'{part}'" in came.said
