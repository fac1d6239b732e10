"""What the stages that fit on descriptors share: float stores, and images spread over them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ames_lite.errors import require
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.published.store import open_store


def open_floats(path: str | Path, names: Sequence[str] | None) -> DescriptorStore:
    """A store; names: the image list, which a published one needs. Raises BadInput if packed."""
    store = DescriptorStore.open(path) if names is None else open_store(path, names)
    refuse_packed(store)
    return store


def refuse_packed(store: DescriptorStore) -> None:
    require(not store.packed, "a packed store", where=store.path, expected="float descriptors")


def spread(rows: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """At most `count` of the rows, evenly over them."""
    if len(rows) <= count:
        return rows
    return rows[np.linspace(0, len(rows) - 1, count).round().astype(np.int64)]
