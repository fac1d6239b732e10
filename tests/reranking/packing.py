"""Copies of a store: packed, or with fewer descriptors."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ames_lite.records import LocalDescriptors
from ames_lite.stores.descriptor_store import DescriptorStore


def pack_store(source: Path, target: Path, projection: np.ndarray | None = None) -> Path:
    """A copy of a store with the signs of its descriptors, or of their projections [D, bits]."""
    store = DescriptorStore.open(source)
    w = np.eye(store.dim) if projection is None else projection
    packed = [(store.read(row), row) for row in range(len(store))]
    create = DescriptorStore.create(
        target, store.names, store.max_count, w.shape[1], "uint8", store.provenance
    )
    with create as writer:
        for image, row in packed:
            unit = image.descriptors.astype(np.float64)
            shift = 0.05 if projection is None else 0.0  # RootSIFT is never below 0
            bits = np.packbits(unit @ w > shift, axis=1)
            rest = (image.xy, image.scale, image.weight, image.size)
            writer.append(store.names[row], LocalDescriptors(bits, *rest))
    return target


def ragged_store(source: Path, target: Path) -> DescriptorStore:
    """A copy of a store with 5 to 38 descriptors an image."""
    store = DescriptorStore.open(source)
    create = DescriptorStore.create(
        target, store.names, store.max_count, store.dim, "float16", store.provenance
    )
    with create as writer:
        for row, name in enumerate(store.names):
            writer.append(name, store.read(row, 5 + 7 * row % 34))
    return DescriptorStore.open(target)
