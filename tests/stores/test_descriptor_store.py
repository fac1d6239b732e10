"""The laws of the descriptor store: rows never shift, killed runs continue to the same bytes."""

import multiprocessing
import os
import pickle
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ames_lite.errors import BadInput, MissingFile
from ames_lite.records import LocalDescriptors
from ames_lite.stores import checksums, hdf5, row_writer
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.row_layout import LOCAL_SCHEMA
from tests.processes import Child, run_code

NAMES = tuple(f"folder/ü{i}, {i}.jpg" for i in range(9))
FAILED = {2, 8}
K, D = 7, 16
PROVENANCE = {"backbone": "tiny", "layer": 3, "scales": [1.0, 0.5]}


def image(row: int, packed: bool = False, dtype: str = "float16") -> LocalDescriptors:
    """What a deterministic extraction finds: row 4 has nothing, row 5 is full."""
    rng = np.random.default_rng(row)
    count = {4: 0, 5: K}.get(row, int(rng.integers(1, K)))
    values = rng.standard_normal((count, D)).astype(dtype)
    bits = rng.integers(0, 256, (count, D // 8), dtype=np.uint8)
    return LocalDescriptors(
        bits if packed else values,
        rng.random((count, 2), dtype=np.float32),
        rng.integers(0, 3, count, dtype=np.uint8),
        -np.sort(-rng.random(count, dtype=np.float32)),
        (100 + row, 200),
    )


def create(path: Path, packed: bool = False, **options: bool) -> row_writer.DescriptorWriter:
    dtype = "uint8" if packed else "float16"
    return DescriptorStore.create(path, NAMES, K, D, dtype, PROVENANCE, **options)


def fill(store: row_writer.DescriptorWriter, packed: bool = False) -> None:
    for name in store.todo:
        row = NAMES.index(name)
        if row in FAILED:
            store.mark_failed(name, f"image {row} is cut short")
        else:
            store.append(name, image(row, packed))


@pytest.fixture(scope="module", params=[False, True], ids=["float16", "packed"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "tiny_gallery_local.hdf5"
    with create(path, request.param) as store:
        fill(store, request.param)
    return path


def same(a: LocalDescriptors, b: LocalDescriptors) -> None:
    for field in ("descriptors", "xy", "scale", "weight"):
        x, y = getattr(a, field), getattr(b, field)
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)
    assert a.size == b.size


def test_what_was_appended_is_read(filled: Path) -> None:
    store = DescriptorStore.open(filled)
    assert (store.names, store.max_count, store.dim) == (NAMES, K, D)
    assert store.provenance == PROVENANCE and len(store) == len(NAMES)
    for row in range(len(NAMES)):
        if row in FAILED:
            assert (store.status[row], store.count[row]) == (2, 0)
            assert store.reason(row) == f"image {row} is cut short"
        else:
            assert store.status[row] == 1 and store.reason(row) == ""
            same(store.read(row), image(row, store.packed))
            same(store.read(row, 2), image(row, store.packed).strongest(2))


def test_the_file_has_the_published_layout(filled: Path) -> None:
    with hdf5.open_complete(filled, LOCAL_SCHEMA) as file:
        packed = file["descriptors"].dtype == np.uint8
        shapes = {
            "descriptors": ((9, K, D // 8 if packed else D), "u1" if packed else "f2"),
            "xy": ((9, K, 2), "f4"),
            "scale": ((9, K), "u1"),
            "weight": ((9, K), "f4"),
            "count": ((9,), "i4"),
            "size": ((9, 2), "i4"),
            "status": ((9,), "u1"),
        }
        for name, (shape, dtype) in shapes.items():
            assert (file[name].shape, file[name].dtype) == (shape, np.dtype(dtype))
            assert file[name].chunks is None and file[name].filters() == []
            assert file[name].offset is not None, "not allocated"
        assert file["name"].shape == (9,) and file["name"].dtype.kind == "S"


def test_any_rows_in_any_order_equal_row_by_row(filled: Path, monkeypatch) -> None:
    store = DescriptorStore.open(filled)
    rng = np.random.default_rng(0)
    lists = [[0], [3, 3, 3], list(range(9)), [8, 0, 7, 1, 0], [], rng.integers(0, 9, 40)]
    for run_bytes in (1, 1 << 10, 1 << 26):
        monkeypatch.setattr("ames_lite.stores.descriptor_store.RUN_BYTES", run_bytes)
        for rows in lists:
            for limit in (None, 1, 4, 100):
                descriptors, valid = store.read_descriptors(rows, limit)
                k = min(limit or K, K)
                assert descriptors.shape[:2] == valid.shape == (len(rows), k)
                for i, row in enumerate(rows):
                    assert valid[i].sum() == min(k, store.count[row])
                    if row not in FAILED:
                        alone = image(int(row), store.packed).descriptors[:k]
                        np.testing.assert_array_equal(descriptors[i, : len(alone)], alone)


def test_what_lies_beyond_the_count_is_never_valid(filled: Path) -> None:
    store = DescriptorStore.open(filled)
    _, valid = store.read_descriptors(range(9))
    for row in range(9):
        expected = [k < store.count[row] for k in range(K)]
        assert valid[row].tolist() == expected
    assert not valid[sorted(FAILED)].any() and not valid[4].any() and valid[5].all()


def test_each_row_is_read_once(filled: Path, monkeypatch) -> None:
    store = DescriptorStore.open(filled)
    read: list[int] = []
    original = store._read_rows

    def counted(name, first, stop, count=None):
        read.extend(range(first, stop) if name == "descriptors" else ())
        return original(name, first, stop, count)

    monkeypatch.setattr(store, "_read_rows", counted)
    store.read_descriptors([5, 1, 5, 2, 8, 1])
    assert sorted(read) == [1, 2, 5, 8]  # from several threads


def read_in_child(store: DescriptorStore, queue) -> None:
    descriptors, valid = store.read_descriptors([5, 0, 5], 3)
    queue.put((descriptors.tobytes(), valid.tolist(), store.names.index(NAMES[1])))


def test_the_handle_is_made_anew_after_a_close_and_a_fork(filled: Path) -> None:
    store = DescriptorStore.open(filled)
    store.close()
    before = store.read_descriptors([1])[0].tobytes()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=read_in_child, args=(store, queue))
    child.start()
    assert queue.get(timeout=120)[2] == 1
    child.join()
    assert store.read_descriptors([1])[0].tobytes() == before
    assert b"_handle" in pickle.dumps(store)


CHILD = """
import os, signal
from pathlib import Path
from ames_lite.stores import row_writer
from tests.stores.test_descriptor_store import create, fill
point, number, packed = {point!r}, {number}, {packed}
calls = 0
def deadly(original):
    def call(self, *args):
        global calls
        calls += 1
        if calls == number and point == "before the status":
            self._file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        if calls == number and point == "unflushed":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(self, *args)
        if calls == number and point == "after the status":
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call
row_writer.DescriptorWriter._finish = deadly(row_writer.DescriptorWriter._finish)
with create(Path({path!r}), packed, resume=True) as store:
    fill(store, packed)
"""


def killed_run(path: Path, point: str, number: int, packed: bool) -> None:
    done = run_code(CHILD.format(path=str(path), point=point, number=number, packed=packed))
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("point", ["before the status", "unflushed", "after the status"])
def test_killed_and_resumed_gives_the_bytes_of_an_unbroken_run(
    filled: Path, tmp_path: Path, point: str
) -> None:
    packed = DescriptorStore.open(filled).packed
    path = tmp_path / "store.hdf5"
    killed_run(path, point, 4, packed)
    with pytest.raises(BadInput, match=r"[34] of 9 rows are written \(1 of them failed\)"):
        DescriptorStore.open(path)
    killed_run(path, point, 3, packed)  # and a second time
    with create(path, packed, resume=True) as store:
        assert store.num_finished == (7 if point == "after the status" else 5)
        fill(store, packed)
    assert path.read_bytes() == filled.read_bytes()


def break_off(self: row_writer.DescriptorWriter, rows: slice, status: int) -> None:
    """In place of `_finish`: the data of the row stand in the file, its status does not."""
    raise KeyboardInterrupt


@pytest.mark.parametrize("same_writer", [False, True])
def test_a_row_begun_differently_leaves_no_trace(
    filled: Path, tmp_path: Path, monkeypatch, same_writer: bool
) -> None:
    packed = DescriptorStore.open(filled).packed
    path = tmp_path / "store.hdf5"
    store = create(path, packed)
    with pytest.raises(KeyboardInterrupt), monkeypatch.context() as patch:
        patch.setattr(row_writer.DescriptorWriter, "_finish", break_off)
        store.append(NAMES[0], image(5, packed))  # more of them than image 0 has
    if not same_writer:
        store.close()
        store = create(path, packed, resume=True)
    fill(store, packed)
    store.close()
    assert path.read_bytes() == filled.read_bytes()


class Watched:
    """The data set `status`, which looks into the file itself before each write."""

    def __init__(self, store: row_writer.DescriptorWriter) -> None:
        self.status, self.descriptors = store._sets["status"], store._sets["descriptors"]
        self.path, self.seen = store.path, 0

    def __setitem__(self, rows: slice, value: int) -> None:
        row = rows.start
        expected = np.zeros((K, D), np.float16)
        given = image(row).descriptors if value == 1 else expected[:0]
        expected[: len(given)] = given
        with open(self.path, "rb") as file:
            file.seek(self.descriptors.offset + row * expected.nbytes)
            assert file.read(expected.nbytes) == expected.tobytes()
        self.seen += 1
        self.status[rows] = value


def test_a_status_is_never_on_disk_before_its_row(tmp_path: Path) -> None:
    with create(tmp_path / "store.hdf5") as store:
        watched = Watched(store)
        store._sets["status"] = watched
        fill(store)
    assert watched.seen == 9


def test_an_exception_leaves_an_unfinished_store(tmp_path: Path) -> None:
    path = tmp_path / "store.hdf5"
    with pytest.raises(RuntimeError), create(path) as store:
        fill(store)
        raise RuntimeError("after the last row")
    with pytest.raises(BadInput, match="9 of 9 rows") as error:
        DescriptorStore.open(path)
    assert str(path) in str(error.value) and "resume=True" in str(error.value)
    create(path, resume=True).close()
    assert DescriptorStore.open(path).names == NAMES


def test_resuming_a_complete_store_has_nothing_to_do(filled: Path, tmp_path: Path) -> None:
    path = tmp_path / "store.hdf5"
    path.write_bytes(filled.read_bytes())
    with create(path, DescriptorStore.open(filled).packed, resume=True) as store:
        assert store.todo == ()
        with pytest.raises(BadInput, match="no more rows"):
            store.append(NAMES[0], image(0))
    assert path.read_bytes() == filled.read_bytes()


def test_what_a_setting_changed_is_named_before_the_sizes_that_follow_from_it(
    tmp_path: Path,
) -> None:
    path, names = tmp_path / "s.hdf5", ["a.jpg"]
    DescriptorStore.create(path, names, 2, 8, "float16", {"top_k": 2}).close()
    with pytest.raises(BadInput, match=r"top_k is 2 in .* and 3 in this run") as error:
        DescriptorStore.create(path, names, 3, 8, "float16", {"top_k": 3}, resume=True)
    assert "overwrite=True" in str(error.value)


def test_resume_demands_the_same_names_sizes_and_provenance(tmp_path: Path) -> None:
    path = tmp_path / "store.hdf5"
    with create(path) as store:
        store.append(NAMES[0], image(0))
    swapped = (NAMES[0], NAMES[2], NAMES[1], *NAMES[3:])
    other = {**PROVENANCE, "layer": 4}
    for args, parts in [
        ((swapped, K, D, "float16", PROVENANCE), ["row 1", NAMES[1], NAMES[2]]),
        ((NAMES[:5], K, D, "float16", PROVENANCE), ["9 names", "has 5", "row 5"]),
        ((NAMES, K + 1, D, "float16", PROVENANCE), ["weight", "[9, 7]", "[9, 8]"]),
        ((NAMES, K, D, "uint8", PROVENANCE), ["descriptors", "float16", "uint8"]),
        ((NAMES, K, D, "float16", other), ["layer is 3", "and 4"]),
        ((NAMES, K, D, "float16", {}), ["backbone", "absent"]),
    ]:
        with pytest.raises(BadInput) as error:
            DescriptorStore.create(path, *args, resume=True)
        for part in [*parts, str(path), "remedy"]:
            assert part in str(error.value)
    with create(path, resume=True) as store:
        assert store.todo == NAMES[1:]


def test_a_misspelled_option_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="resum"):
        create(tmp_path / "store.hdf5", resum=True)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("names", [NAMES[::-1], NAMES[:5]])
def test_a_store_that_another_process_puts_in_place_is_not_filled(
    names: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of one list would stand under the names of another."""
    path, open_to_fill = tmp_path / "store.hdf5", hdf5.open_to_fill

    def replaced(*given: Any) -> hdf5.File:
        monkeypatch.undo()
        with DescriptorStore.create(path, names, K, D, "float16", PROVENANCE, overwrite=True):
            pass
        return open_to_fill(*given)

    monkeypatch.setattr(hdf5, "open_to_fill", replaced)
    with pytest.raises(BadInput, match="row [05]"):
        create(path)


def test_an_existing_store_is_never_replaced_unasked(filled: Path, tmp_path: Path) -> None:
    path = tmp_path / "store.hdf5"
    path.write_bytes(filled.read_bytes())
    with pytest.raises(BadInput, match="overwrite=True") as error:
        create(path)
    assert str(path) in str(error.value) and "resume=True" in str(error.value)
    assert path.read_bytes() == filled.read_bytes()
    with create(path, overwrite=True) as store:
        assert store.todo == NAMES


WRITER = """
import sys, time
from pathlib import Path
from tests.stores.test_descriptor_store import create

path, mark = map(Path, sys.argv[1:])
store = create(path)
mark.touch()
while mark.exists():
    time.sleep(0.02)
"""


def test_a_store_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.hdf5"
    mark = tmp_path / "open"
    writer = Child(WRITER, str(path), str(mark))
    try:
        while not mark.exists():
            assert writer.poll() is None, writer.communicate()
            time.sleep(0.02)
        for attempt in (
            lambda: DescriptorStore.open(path),
            lambda: create(path, resume=True),
            lambda: create(path, overwrite=True),
        ):
            with pytest.raises(BadInput, match="being written by another process") as error:
                attempt()
            assert str(path) in str(error.value) and "remedy" in str(error.value)
    finally:
        mark.unlink(missing_ok=True)
        writer.communicate()
    with create(path, resume=True) as store:
        assert store.todo == NAMES


def test_names_come_in_the_order_of_the_list(tmp_path: Path) -> None:
    with create(tmp_path / "store.hdf5") as store:
        with pytest.raises(BadInput) as error:
            store.append(NAMES[1], image(1))
        assert NAMES[0] in str(error.value) and NAMES[1] in str(error.value)
        store.append(NAMES[0], image(0))
        with pytest.raises(BadInput, match="row 1 of 9"):
            store.mark_failed(NAMES[0], "again")
        assert store.num_finished == 1


def unlike(**changes: object) -> LocalDescriptors:
    given = image(5)
    fields = {f: getattr(given, f) for f in ("descriptors", "xy", "scale", "weight", "size")}
    return LocalDescriptors(**{**fields, **changes})


@pytest.mark.parametrize(
    ("given", "part"),
    [
        (image(5, packed=True), "are uint8"),
        (unlike(descriptors=np.zeros((K, D - 1), np.float16)), "width 15"),
        (unlike(descriptors=np.full((K, D), 1e6, np.float32)), "range of float16"),
    ],
)
def test_descriptors_that_do_not_fit_leave_the_row_to_do(
    tmp_path: Path, given: LocalDescriptors, part: str
) -> None:
    with create(tmp_path / "store.hdf5") as store:
        with pytest.raises(BadInput, match=part) as error:
            store.append(NAMES[0], given)
        assert NAMES[0] in str(error.value) and "store.hdf5" in str(error.value)
        store.append(NAMES[0], image(0))


def test_too_many_descriptors_are_refused_not_cut(tmp_path: Path) -> None:
    path = tmp_path / "store.hdf5"
    with DescriptorStore.create(path, ["a"], K - 1, D, "float16", {}) as store:
        with pytest.raises(BadInput, match="are 7") as error:
            store.append("a", image(5))
        assert "strongest" in str(error.value)
        store.append("a", image(5).strongest(K - 1))
    assert DescriptorStore.open(path).count.tolist() == [K - 1]


def test_float32_is_rounded_to_float16(tmp_path: Path) -> None:
    path = tmp_path / "store.hdf5"
    given = image(5, dtype="float32")
    with DescriptorStore.create(path, ["a"], K, D, "float16", {}) as store:
        store.append("a", given)
    expected = given.descriptors.astype(np.float16)
    np.testing.assert_array_equal(DescriptorStore.open(path).read(0).descriptors, expected)


@pytest.mark.parametrize(
    ("names", "count", "dim", "dtype"),
    [
        (["a", "a"], 1, 8, "float16"),
        ([], 1, 8, "float16"),
        (["a"], 0, 8, "float16"),
        (["a"], 1, 0, "float16"),
        (["a"], 1, 12, "uint8"),
        (["a"], 1, 8, "float32"),
    ],
)
def test_impossible_stores_are_refused_before_a_file_is_made(
    tmp_path: Path, names: list[str], count: int, dim: int, dtype: str
) -> None:
    with pytest.raises(BadInput, match="expected"):
        DescriptorStore.create(tmp_path / "store.hdf5", names, count, dim, dtype, {})
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_too_small_is_refused_at_once(tmp_path: Path) -> None:
    names = [str(i) for i in range(1000)]
    with pytest.raises(BadInput, match="are free") as error:
        DescriptorStore.create(tmp_path / "store.hdf5", names, 10**9, 10**6, "float16", {})
    assert str(tmp_path) in str(error.value) and "remedy" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_long_reasons_are_cut_between_characters(tmp_path: Path) -> None:
    path = tmp_path / "store.hdf5"
    with DescriptorStore.create(path, ["a"], 1, 8, "float16", {}) as store:
        store.mark_failed("a", "x" + "ü" * 200)
    assert DescriptorStore.open(path).reason(0) == "x" + "ü" * 79


def test_reading_what_is_not_there_says_so(filled: Path) -> None:
    store = DescriptorStore.open(filled)
    with pytest.raises(BadInput, match="image 2 is cut short") as error:
        store.read(2)
    assert NAMES[2] in str(error.value) and str(filled) in str(error.value)
    for rows in ([9], [-1], [0.5], [True], [[0]]):
        with pytest.raises(BadInput, match="0 to 8"):
            store.read_descriptors(rows)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="at least 1"):
        store.read(0, 0)
    with pytest.raises(MissingFile, match="extract the descriptors"):
        DescriptorStore.open(filled.with_name("no.hdf5"))


def test_a_store_that_contradicts_itself_is_refused(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(checksums.VERIFY, "0")
    for name, row, value in [
        ("status", 1, 0),
        ("count", 1, K + 1),
        ("count", 2, 1),
        ("size", 0, 0),
    ]:
        path = tmp_path / f"{name}{row}.hdf5"
        path.write_bytes(filled.read_bytes())
        with hdf5.open_unfinished(path, LOCAL_SCHEMA, "r+") as file:
            file[name][row] = value
        with pytest.raises(BadInput, match=f"row {row} ") as error:
            DescriptorStore.open(path)
        assert str(path) in str(error.value)


def test_a_failed_write_is_a_message_and_the_row_stays_to_do(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "store.hdf5"

    def full(self, rows: slice, status: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(BadInput, match="No space left") as error:
        with create(path) as store:
            store.append(NAMES[0], image(0))
            monkeypatch.setattr(row_writer.DescriptorWriter, "_finish", full)
            store.append(NAMES[1], image(1))
    assert str(path) in str(error.value) and "resume=True" in str(error.value)
    monkeypatch.undo()
    with create(path, resume=True) as store:
        assert store.num_finished == 1
    assert os.path.exists(path)
