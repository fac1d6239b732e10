"""The stores that a vocabulary is built from: which images of them, and their tokens in blocks.

Input: `Source`, a store with a step. Output: `Part`, the same opened: every step-th image of its
list, without those that failed, and all their tokens, a bounded number at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ames_lite.errors import BadInput
from ames_lite.extraction.sampling import open_floats, spread
from ames_lite.io.provenance import Provenance, comparable, compare_provenance
from ames_lite.retrieval.rows import Float32, not_finite
from ames_lite.retrieval.vlad import unit_rows
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.fitted import ImagesOf
from ames_lite.stores.row_layout import DONE

logger = logging.getLogger(__name__)

READ_BYTES = 1 << 24  # of descriptors, read at a time
# what the stores of one vocabulary must share
SAME = ("backbone", "variant", "weights", "facet", "layer", "descriptor_space", "detector_weights")


@dataclass(frozen=True)
class Source:
    """A store of local descriptors, of which every step-th image is used.

    names: the image list, which a published store needs; dataset: what the data set is called.
    """

    store: str | Path
    step: int = 1
    names: Sequence[str] | None = None
    dataset: str = ""


@dataclass(frozen=True, eq=False)
class Part:
    """An opened source: the rows that are used."""

    source: Source
    store: DescriptorStore
    rows: npt.NDArray[np.int64]

    @property
    def num_tokens(self) -> int:
        return int(self.store.count[self.rows].sum())

    @property
    def images(self) -> ImagesOf:
        names = tuple(self.store.names[row] for row in self.rows)
        return ImagesOf(self.source.dataset, self.source.step, names)

    def blocks(self, unit: bool) -> Iterator[Float32]:
        """All tokens in order, float32, on request of unit length. BadInput for NaN, infinity."""
        image_bytes = self.store.max_count * self.store.dim * self.store.dtype.itemsize
        run = max(1, READ_BYTES // image_bytes)
        for start in range(0, len(self.rows), run):
            rows = self.rows[start : start + run]
            descriptors, valid = self.store.read_descriptors(rows)
            values = torch.from_numpy(descriptors[valid]).to(torch.float32)
            if not bool(torch.isfinite(values.sum())):  # or the sum alone is too large
                for row, one, real in zip(rows.tolist(), descriptors, valid, strict=True):
                    if not np.isfinite(one[real]).all():
                        what = f"a descriptor of '{self.store.names[row]}' (row {row})"
                        raise not_finite(what, where=self.store.path)
            tokens: Float32 = (unit_rows(values) if unit else values).numpy()
            yield tokens


def open_part(source: Source, max_images: int) -> Part:
    """Open a source; max_images: at most so many, evenly over those that its step leaves; 0: all.

    Raises MissingFile, and BadInput for a packed store.
    """
    store = open_floats(source.store, source.names)
    rows = np.arange(0, len(store), source.step)
    rows = spread(rows, max_images or len(rows))
    done = rows[store.status[rows] == DONE]
    if len(done) < len(rows):
        logger.warning("%s: %d failed images left out", source.store, len(rows) - len(done))
    return Part(source, store, done)


def shared_provenance(parts: Sequence[Part]) -> Provenance:
    """What all stores say of themselves. Raises BadInput where they do not go together."""
    first = parts[0].store
    for part in parts[1:]:
        other = part.store
        if other.dim != first.dim:
            raise BadInput(
                f"descriptors have width {first.dim} in {first.path}, {other.dim} in {other.path}",
                where=f"{first.path} and {other.path}",
                expected="one width",
            )
        files = (first.path, other.path)
        compare_provenance(first.provenance, other.provenance, SAME, files=files)
    others = [comparable(part.store.provenance) for part in parts[1:]]
    return {
        key: value
        for key, value in comparable(first.provenance).items()
        if all(key in other and other[key] == value for other in others)
    }


def check_expected(parts: Sequence[Part], expected: Mapping[str, Any]) -> None:
    """Raise BadInput where a native store says of itself something else than expected."""
    for part in parts:
        made = part.store.provenance
        if "origin" not in made:  # published stores do not say what made them
            files = (part.store.path, "the recipe")
            compare_provenance(made, expected, expected, files=files)
