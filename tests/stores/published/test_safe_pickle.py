import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ames_lite.errors import BadInput, MissingFile
from ames_lite.stores.published.safe_pickle import (
    NO_GLOBALS,
    NUMPY_ARRAYS,
    OBJECT_ARRAYS,
    read_pickle,
)
from tests.helpers import shared_file

PLAIN = {"gnd": [{"bbx": [1.5, 2, 3, 4], "ok": [1, 2], "none": None}], "names": ["a", "ü"]}


class Attack:
    """Unpickled without care, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return os.mkdir, (str(self.marker),)


def write(path: Path, content: object, protocol: int = 3) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_comes_back(tmp_path: Path, protocol: int) -> None:
    assert read_pickle(write(tmp_path / "p.pkl", PLAIN, protocol)) == PLAIN


@pytest.mark.parametrize("allowed", [NO_GLOBALS, NUMPY_ARRAYS])
@pytest.mark.parametrize("protocol", range(6))
def test_a_tampered_pickle_is_refused_and_runs_nothing(
    tmp_path: Path, allowed: Any, protocol: int
) -> None:
    marker = tmp_path / "ran"
    content = {**PLAIN, "imlist": Attack(marker)}
    path = write(tmp_path / "gnd.pkl", content, protocol)
    with pytest.raises(BadInput, match=r"mkdir(.|\n)*gnd\.pkl"):
        read_pickle(path, allowed)
    assert not marker.exists()


def test_numpy_needs_to_be_allowed(tmp_path: Path) -> None:
    path = write(tmp_path / "p.pkl", np.arange(3))
    with pytest.raises(BadInput, match=r"numpy\._core\.multiarray\._reconstruct"):
        read_pickle(path)


@pytest.mark.parametrize("core", [b"numpy._core", b"numpy.core"])
@pytest.mark.parametrize("dtype", ["?", "u1", "i2", "<i8", ">i4", "f2", "f4", ">f8"])
def test_arrays_and_scalars_come_back(tmp_path: Path, core: bytes, dtype: str) -> None:
    array = (np.arange(12).reshape(3, 4) % 5).astype(dtype)
    content = [array, np.asfortranarray(array), array[:0], array[1, 2]]
    stream = pickle.dumps(content, 3).replace(b"cnumpy._core.", b"c" + core + b".")
    (tmp_path / "p.pkl").write_bytes(stream)
    came = read_pickle(tmp_path / "p.pkl", NUMPY_ARRAYS)
    assert isinstance(came, list)
    for got, wanted in zip(came, content, strict=True):
        # NumPy itself turns what it unpickles to the machine's byte order
        assert got.dtype == wanted.dtype.newbyteorder("=") and got.shape == wanted.shape
        np.testing.assert_array_equal(got, wanted)


def test_reading_an_array_changes_no_dtype_of_numpy(tmp_path: Path) -> None:
    before = np.dtype("i8").str, np.dtype("f8").str
    big = write(tmp_path / "p.pkl", [np.arange(3, dtype=">i8"), np.arange(3, dtype=">f8")])
    read_pickle(big, NUMPY_ARRAYS)
    assert (np.dtype("i8").str, np.dtype("f8").str) == before


@pytest.mark.parametrize(
    "array",
    [
        np.array([None, {}], object),
        np.zeros(2, [("a", "i4"), ("b", "f4")]),
        np.array(["text"]),
        np.array(["2020-01-01"], "datetime64[D]"),
    ],
    ids=["objects", "structured", "text", "dates"],
)
def test_arrays_of_anything_but_numbers_are_refused(tmp_path: Path, array: Any) -> None:
    with pytest.raises(BadInput, match=r"p\.pkl"):
        read_pickle(write(tmp_path / "p.pkl", array), NUMPY_ARRAYS)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("core", [b"numpy._core", b"numpy.core"])
def test_arrays_of_every_protocol_come_back(tmp_path: Path, protocol: int, core: bytes) -> None:
    content = {"ok": np.array([0, 233]), "junk": np.zeros(0, np.int64), "one": np.float64(0.1)}
    content |= {"bytes": b"\x00\xe9", "none": b"", "name": "é.jpg"}
    stream = pickle.dumps(content, protocol)
    if protocol < 4:  # later ones give lengths
        stream = stream.replace(b"cnumpy._core.", b"c" + core + b".")
    (tmp_path / "p.pkl").write_bytes(stream)
    came = read_pickle(tmp_path / "p.pkl", NUMPY_ARRAYS)
    assert isinstance(came, dict) and list(came) == list(content)
    for key, wanted in content.items():
        np.testing.assert_array_equal(came[key], wanted)


def _python2(rows: bytes, name: bytes) -> bytes:
    """{name: int64 array of these bytes, "names": [name, u"é"]} as Python 2 pickled it."""

    def string(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + string(b"b") + b"tR"
    kind = b"cnumpy\ndtype\n(" + string(b"i8") + b"K\x00K\x01tR(K\x03" + string(b"<") + b"NNNJ"
    kind += b"\xff" * 4 + b"J" + b"\xff" * 4 + b"K\x00tb"
    state = b"(K\x01(K" + bytes([len(rows) // 8]) + b"t" + kind + b"\x89" + string(rows) + b"tb"
    names = b"](" + string(name) + b"X\x02\x00\x00\x00\xc3\xa9e"
    return b"\x80\x02}(" + string(name) + made + state + string(b"names") + names + b"u."


@pytest.mark.parametrize("row", [2, 127, 128, 233, 0xC3A9, 2**62 - 1])
@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "latin1"])
def test_numbers_and_names_of_python_2_come_back(tmp_path: Path, row: int, encoding: str) -> None:
    name = "e.jpg" if encoding == "ascii" else "é.jpg"
    stream = _python2(np.array([0, row], "<i8").tobytes(), name.encode(encoding))
    (tmp_path / "p.pkl").write_bytes(stream)
    came = read_pickle(tmp_path / "p.pkl", NUMPY_ARRAYS)
    assert isinstance(came, dict) and came["names"] == [name, "é"]
    np.testing.assert_array_equal(came[name], [0, row])


def test_arrays_of_objects_of_python_2_come_back(tmp_path: Path) -> None:
    array = np.empty(3, object)
    array[:] = ["a", [1, "a"], np.arange(2)]
    stream = pickle.dumps(array, 2).replace(b"X\x01\x00\x00\x00a", b"U\x01\xe9")
    (tmp_path / "p.pkl").write_bytes(stream)
    came = read_pickle(tmp_path / "p.pkl", OBJECT_ARRAYS)
    assert isinstance(came, np.ndarray) and came[:2].tolist() == ["é", [1, "é"]]
    np.testing.assert_array_equal(came[2], [0, 1])


def test_strings_of_python_2_that_hold_themselves_end(tmp_path: Path) -> None:
    stream = b"\x80\x02](U\x01\xe9h\x00e."  # a list that holds itself
    (tmp_path / "p.pkl").write_bytes(stream.replace(b"](", b"]q\x00("))
    came = read_pickle(tmp_path / "p.pkl")
    assert isinstance(came, list) and came[0] == "é" and came[1] is came


def _array_stream(
    shape: bytes, dtype: bytes = b"i8", data: bytes = b"C\x08" + b"\x00" * 8
) -> bytes:
    """The pickle of an array, by hand: shape and data are opcodes, and need not agree."""
    dtype_ops = b"cnumpy\ndtype\n(V" + dtype + b"\nI00\nI01\ntR"
    made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntC\x01btR"
    return b"\x80\x03" + made + b"(I1\n" + shape + dtype_ops + b"I00\n" + data + b"tb."


def test_the_stream_made_by_hand_is_right(tmp_path: Path) -> None:
    (tmp_path / "p.pkl").write_bytes(_array_stream(b"(I1\nt"))
    came = read_pickle(tmp_path / "p.pkl", NUMPY_ARRAYS)
    np.testing.assert_array_equal(np.asarray(came), [0])


@pytest.mark.parametrize(
    "stream",
    [
        _array_stream(b"(I2\nt"),
        _array_stream(b"(I-1\nt"),
        _array_stream(b"(I-1\nI-1\nt"),
        _array_stream(b"(I4294967296\nI4294967296\nt"),
        _array_stream(b"(I1\nt", dtype=b"O8", data=b"(Nl"),
        _array_stream(b"(I1\nt", dtype=b"V8"),
        _array_stream(b"(I1\nt", data=b"N"),
        b"\x80\x03cnumpy.core.multiarray\nscalar\n}X\x01\x00\x00\x00aI1\nsb.",  # sets an attribute
        b"\x80\x03cnumpy\ndtype\n}X\x01\x00\x00\x00aI1\nsb.",
        b"\x80\x03cnumpy\nndarray\n}X\x01\x00\x00\x00aI1\nsb.",
        b"\x80\x03Vx\nQ.",  # a persistent id
        b"\x80\x02c_codecs\nencode\n(X\x01\x00\x00\x00xX\x05\x00\x00\x00rot13tR.",
        b"\x80\x02c_codecs\nencode\n(K\x01X\x06\x00\x00\x00latin1tR.",
        b"\x80\x02c_codecs\nencode\n}X\x01\x00\x00\x00aI1\nsb.",  # sets an attribute
        b"\x80\x02c_codecs\ndecode\n(U\x01xU\x03hextR.",
        b"\x80\x02c_codecs\nlookup\n(U\x03hextR.",
        b"\x80\x02c__builtin__\nbytes\n(J\xff\xff\xff\x7ftR.",  # two gigabytes of zeros
        b"\x80\x02c__builtin__\neval\n(U\x011tR.",
        b"cbuiltins\neval\n(V1\ntR.",
        b"cos\nsystem\n(Vtrue\ntR.",
        b"\x80\x02U\x01\xe9cos\nsystem\n(Vtrue\ntR.",  # after a string of Python 2
        b"\x80\x04\x8c\x08builtins\x8c\x07getattr\x93.",
        b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__class__\x93.",
        b"\x80\x03\x82\x01.",  # an extension code
        b"\x80\x09.",
        b"",
        b"not a pickle",
    ],
)
def test_forged_streams_are_refused(tmp_path: Path, stream: bytes) -> None:
    (tmp_path / "p.pkl").write_bytes(stream)
    with pytest.raises(BadInput, match=r"p\.pkl"):
        read_pickle(tmp_path / "p.pkl", NUMPY_ARRAYS)


def test_a_pickle_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    stream = pickle.dumps({"a": np.arange(4), "b": [1.0, "x"]}, 4)
    for length in range(len(stream)):
        (tmp_path / "p.pkl").write_bytes(stream[:length])
        with pytest.raises(BadInput, match=r"p\.pkl"):
            read_pickle(tmp_path / "p.pkl", NUMPY_ARRAYS)


def test_flipped_bytes_never_raise_anything_but_bad_input(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    pickle.dump({"a": np.arange(4), "b": [1.0, "x"]}, buffer, 3)
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(500):
        stream = bytearray(buffer.getvalue())
        stream[generator.integers(len(stream))] = generator.integers(256)
        (tmp_path / "p.pkl").write_bytes(stream)
        try:
            read_pickle(tmp_path / "p.pkl", NUMPY_ARRAYS)
        except BadInput:
            refused += 1
    assert refused > 100


def test_a_missing_pickle_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match=r"absent\.pkl"):
        read_pickle(tmp_path / "absent.pkl")


@pytest.mark.parametrize("dataset", ["roxford5k", "rparis6k"])
def test_the_official_ground_truth_needs_no_globals(dataset: str) -> None:
    content = read_pickle(shared_file(f"ground_truth/gnd_{dataset}.pkl"))
    assert isinstance(content, dict) and list(content) == ["gnd", "imlist", "qimlist"]
