"""Laws of damaged and foreign files: they are read, or refused by name; nothing else happens."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest

from ames_lite.datasets.check import Report, check_store
from ames_lite.errors import BadInput, UserError
from ames_lite.io.json_file import parse_json, read_json_file
from ames_lite.stores import hdf5
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.published.store import open_store
from tests.fuzz import kinds as damage
from tests.stores.files import read_globals
from tests.stores.published.forms import FORMS, images_for, laid_out

KINDS = {kind.name: kind for kind in damage.kinds()}


def flipped(path: Path, at: int = 200) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_damage_is_said_with_the_file_the_part_and_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "mine_gallery_local.hdf5"
    damage.native(path).close()
    whole = path.read_bytes()
    at = whole.index(b"weight")  # in the name of a data set: the group's checksum fails
    flipped(path, at)
    with pytest.raises(BadInput) as error:
        DescriptorStore.open(path, "cook it again")
    for part in ("damaged", str(path), "checksum", "cook it again"):
        assert part in str(error.value)


def test_damage_that_is_met_after_opening_is_said_alike(tmp_path: Path) -> None:
    path = tmp_path / "a.hdf5"
    KINDS["compressed.hdf5"].write(path)
    with h5py.File(path) as file:
        chunk = file["descriptors"].id.get_chunk_info(0)
    store = DescriptorStore.open(path, "cook it again")
    flipped(path, chunk.byte_offset + chunk.size // 2)
    with pytest.raises(BadInput, match="(?s)damaged: 'descriptors'.*cook it again"):
        store.read_descriptors([0])
    store.close()


def test_a_damaged_store_is_resumed_by_nobody_and_begun_anew_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.hdf5"
    damage.native(path, rows=6)
    flipped(path, path.read_bytes().index(b"weight"))
    given: tuple[Any, ...] = (path, damage.NAMES, 6, 16, "float16", {"layer": 11})
    with pytest.raises(BadInput, match="(?s)damaged.*a.hdf5.*overwrite=true"):
        DescriptorStore.create(*given, resume=True)
    with DescriptorStore.create(*given, overwrite=True) as store:
        assert store.todo == damage.NAMES


@pytest.mark.parametrize("chunks", [None, True])
@pytest.mark.parametrize("form", FORMS)
def test_the_byte_order_of_a_foreign_file_changes_nothing(
    tmp_path: Path, form: str, chunks: bool | None
) -> None:
    values = laid_out(images_for(form), form)
    read = []
    for name, order in (("little", "<"), ("big", ">")):
        with h5py.File(tmp_path / f"{name}.hdf5", "w") as file:
            stored = values.astype(values.dtype.newbyteorder(order))  # type: ignore[arg-type]
            file.create_dataset("features", data=stored, chunks=chunks)
        with open_store(tmp_path / f"{name}.hdf5", damage.NAMES) as store:
            read.append((*store.read_descriptors([3, 0, 8]), store.count))
    for little, big in zip(*read, strict=True):
        assert little.dtype == big.dtype and big.dtype.isnative
        np.testing.assert_array_equal(little, big)


def test_globals_of_another_byte_order_are_those_of_this_machine(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((9, 8)).astype(">f4")
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["features"] = values
    _, found, _ = read_globals(tmp_path / "a.hdf5", names=damage.NAMES)
    assert found.dtype == np.float32 and found.dtype.isnative
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("offset", [0, 119, 120, 200])
def test_records_whose_fields_overlap_are_refused_before_hdf5_reads_them(offset: int) -> None:
    fields = {
        "names": ["metadata", "descriptor"],
        "formats": [("<f4", (6, 5)), ("<f2", (6, 16))],
        "offsets": [0, offset],
        "itemsize": 392,
    }
    inner = SimpleNamespace(shape=(9,), dtype=np.dtype(fields), chunks=None, is_virtual=False)
    inner.external = None
    if offset >= 120:  # where the metadata end
        assert hdf5.DataSet(inner, Path("a"), None, True, "x").dtype.itemsize == 392
        return
    with pytest.raises(BadInput, match="damaged: 'x'.*overlap"):
        hdf5.DataSet(inner, Path("a"), None, True, "x")


def records(metadata: Any, descriptor: Any) -> Any:
    return np.ones(9, [("metadata", metadata, (6, 5)), ("descriptor", descriptor, (6, 16))])


FOREIGN: dict[str, Any] = {
    "a group": lambda file: file.create_group("features"),
    "no values": lambda file: file.create_dataset("features", data=h5py.Empty("f4")),
    "one number": lambda file: file.create_dataset("features", data=3.0),
    "a type": lambda file: file.__setitem__("features", np.dtype("f4")),
    "a link to nowhere": lambda file: file.__setitem__("features", h5py.SoftLink("/nowhere")),
    "a link to itself": lambda file: file.__setitem__("features", h5py.SoftLink("/features")),
    "a link outside": lambda file: file.__setitem__("features", h5py.ExternalLink("no", "/x")),
    "ragged": lambda file: file.create_dataset("features", (9, 6, 21), h5py.vlen_dtype("f4")),
    "text": lambda file: file.create_dataset("features", (9, 6, 21), h5py.string_dtype()),
    "double": lambda file: file.create_dataset("features", (9, 6, 21), "f8"),
    "no image": lambda file: file.create_dataset("features", (0, 6, 21), "f4"),
    "no descriptor": lambda file: file.create_dataset("features", (9, 6, 5), "f4"),
    "flattened": lambda file: file.create_dataset("features", (9, 126), "f4"),
    "metadata of text": lambda file: file.create_dataset("features", data=records("S3", "f2")),
    "records of double": lambda file: file.create_dataset("features", data=records("f4", "f8")),
    "values elsewhere": lambda file: file.create_dataset(
        "features", (9, 6, 21), "f4", external=[("/nowhere/raw.bin", 0, 9 * 6 * 21 * 4)]
    ),
    "a numeric schema": lambda file: file.attrs.__setitem__("schema", 3),
    "many schemas": lambda file: file.attrs.__setitem__("schema", np.arange(3)),
    "an empty schema": lambda file: file.attrs.__setitem__("schema", h5py.Empty("S1")),
    "a schema of bytes": lambda file: file.attrs.__setitem__("schema", np.bytes_(b"\xff")),
    "nothing": lambda file: None,
}


@pytest.mark.parametrize("what", FOREIGN)
def test_what_is_no_store_is_refused_by_name(tmp_path: Path, what: str) -> None:
    path = tmp_path / "a.hdf5"
    with h5py.File(path, "w") as file:
        FOREIGN[what](file)
    for read in (
        lambda: damage.read_all(open_store(path, damage.NAMES)),
        lambda: read_globals(path, names=damage.NAMES),
    ):
        with pytest.raises(UserError, match=r"a\.hdf5"):
            read()
    report = Report()
    check_store(path, None, report)
    assert len(report.findings) == 1


def test_packed_rows_that_were_never_written_are_found(tmp_path: Path) -> None:
    given = images_for("bits")
    given.descriptors[[2, 7]] = 0
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["features"] = given.descriptors
    report = Report()
    check_store(tmp_path / "a.hdf5", None, report)
    ((_, what),) = report.findings
    assert what.startswith("2 images have nothing but zeros: row 2")


@pytest.mark.parametrize("mark", [np.arange(2), np.bytes_(b"1"), h5py.Empty("u1"), 0.5])
def test_an_odd_mark_is_no_mark(tmp_path: Path, mark: Any) -> None:
    path = tmp_path / "a.hdf5"
    with hdf5.new_file(path, hdf5.Schema("test/1"), {}):
        pass
    with h5py.File(path, "r+") as file:
        file.attrs["complete"] = mark
    with pytest.raises(BadInput, match="not complete"):
        hdf5.open_complete(path, hdf5.Schema("test/1"))


@pytest.mark.parametrize(
    "text",
    ["", "{", "nothing", b"\xff{}", "[" * 100_000, '{"a": 1, "a": 2}', '[{"a": {"b": 1, "b": 1}}]'],
)
def test_what_is_no_json_is_refused_by_name(tmp_path: Path, text: str | bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadInput, match=r"(?s)not JSON.*a\.json.*expected: plans.*remedy:   draw"):
        read_json_file(path, "plans", "draw")
    assert parse_json('{"a": [1, null]}', path, "plans") == {"a": [1, None]}
