"""What a backbone is: from an image to its local descriptors and a global one. `prepare` is done by
worker processes, `describe` on the device, for a batch; `extract` is both for one image.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.errors import require
from ames_lite.io.images import Box
from ames_lite.io.provenance import Provenance
from ames_lite.records import LocalDescriptors

OF_LOCAL = ("facet", "layer", "detector", "detector_weights", "descriptor_space", "top_k")


class Described(NamedTuple):
    """Of one image; vector: the global descriptor float32 [V], neither normalized nor rounded."""

    local: LocalDescriptors
    vector: npt.NDArray[np.float32] | None = None


class Backbone(ABC):
    """prepare: from RGB uint8 [H, W, 3] and a crop box to what `describe` takes, of one `shape` a
    batch; picklable; raises BadInput for an image that it cannot use.
    """

    dim: int  # width of its local descriptors
    global_kind: str | None = None  # its global descriptor in file names (cls, gem), if any
    global_dim: int = 0
    batch_pixels: int = 0  # bound of a batch, by `num_pixels` of prepared images; 0: single images
    prepare: Callable[..., Any]

    @property
    @abstractmethod
    def provenance(self) -> dict[str, Any]:
        """Everything that changes the output, as JSON values. Raises MissingFile for weights."""

    @abstractmethod
    def describe(self, batch: Sequence[Any]) -> list[Described]:
        """The descriptors of prepared images, in their order."""

    def extract(self, image: npt.NDArray[np.uint8], box: Box | None = None) -> LocalDescriptors:
        """The local descriptors of RGB uint8 [H, W, 3], or of its crop box; xy are the whole's."""
        return self.describe([self.prepare(image, box)])[0].local


def check_prepared(batch: Sequence[Any], kind: type) -> None:
    """Raises BadInput for anything but what `prepare` gives."""
    expected = "what prepare(image, box) gives for RGB uint8 [H, W, 3]"
    for item in batch:
        what, fine = f"describe is given {type(item).__name__}", isinstance(item, kind)
        require(fine, what, expected, remedy="extract(image) does both")


def check_count(**counts: object) -> None:
    """Raises BadInput for numbers of descriptors below 1."""
    for name, count in counts.items():
        fine = isinstance(count, int) and count >= 1
        require(fine, f"{name} is {count!r}", "at least 1 descriptor per image")


def made_of_globals(provenance: Provenance) -> Provenance:
    """A backbone's provenance without what concerns its local descriptors alone."""
    return {key: value for key, value in provenance.items() if key not in OF_LOCAL}


def unit_vector(vector: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Brought to unit length; one of zeros, or not finite, stays: the store refuses it by name."""
    length = np.linalg.norm(vector.astype(np.float64))
    return vector / np.float32(length) if 0 < length < np.inf else vector
