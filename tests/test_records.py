"""Records refuse to be wrong; the type and byte order of an array that fits change nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.records import LocalDescriptors
from ames_lite.stores.descriptor_store import DescriptorStore


def arrays(**changed: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "descriptors": rng.standard_normal((4, 8)).astype(np.float16),
        "xy": rng.random((4, 2)).astype(np.float32),
        "scale": np.arange(4, dtype=np.uint8),
        "weight": np.array([4, 3, 2, 1], np.float32),
        "size": (60, 80),
        **changed,
    }


OTHER = {
    "descriptors": (">f2", "f4", ">f4"),
    "xy": ("f8", ">f4", ">f8"),
    "scale": ("i8", ">u2", "f4", "f8"),
    "weight": ("f8", ">f4", ">f2", "i4"),
}


@pytest.mark.parametrize("name", OTHER)
def test_what_is_stored_does_not_depend_on_type_and_byte_order(name: str, tmp_path: Path) -> None:
    given = [arrays(), *(arrays(**{name: arrays()[name].astype(d)}) for d in OTHER[name])]
    names = [str(number) for number in range(len(given))]
    with DescriptorStore.create(tmp_path / "a.hdf5", names, 4, 8, "float16", {}) as writer:
        for row, one in zip(names, given, strict=True):
            record = LocalDescriptors(**one)
            assert all(getattr(record, key).dtype.isnative for key in OTHER)
            assert (record.xy.dtype, record.scale.dtype) == (np.float32, np.uint8)
            writer.append(row, record)
    with DescriptorStore.open(tmp_path / "a.hdf5") as store:
        first = store.read(0)
        for row in range(1, len(names)):
            for key in OTHER:
                assert np.array_equal(getattr(store.read(row), key), getattr(first, key))


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"descriptors": np.ones((4, 8))}, "float64"),
        ({"descriptors": np.ones((4, 8), ">u2")}, "uint16|>u2"),
        ({"descriptors": np.ones((4, 8), bool)}, "descriptors is given as bool"),
        ({"descriptors": [[1.0] * 8] * 4}, "descriptors is given as list"),
        ({"descriptors": np.full((4, 8), np.nan, ">f4")}, "NaN"),
        ({"xy": [[0.5, 0.5]] * 4}, "xy is given as list"),
        ({"xy": np.full((4, 2), 1e300)}, "xy has NaN or infinite"),
        ({"scale": np.array([0, 1, 2, 256])}, "scale has int64 entries"),
        ({"scale": np.array([0, 1, 2, -1])}, "scale has int64 entries"),
        ({"scale": np.array([0, 0.5, 1, 2])}, "scale has float64 entries"),
        ({"scale": np.array([0, 1, 2, np.nan])}, "scale has float64 entries"),
        ({"weight": np.array(["4", "3", "2", "1"])}, "weight is given as <U1"),
        ({"weight": None}, "weight is given as NoneType"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_name(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        LocalDescriptors(**arrays(**changed))


def test_only_records_are_appended(tmp_path: Path) -> None:
    with DescriptorStore.create(tmp_path / "a.hdf5", ["a"], 4, 8, "float16", {}) as writer:
        for wrong in (arrays(), arrays()["descriptors"], None):
            with pytest.raises(BadInput, match="LocalDescriptors"):
                writer.append("a", wrong)  # type: ignore[arg-type]
        writer.append("a", LocalDescriptors(**arrays()))
