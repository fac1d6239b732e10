"""A projection to bits, `itq_{desc}_{domain}.npz`: fitted by iterative quantization, and in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from ames_lite.errors import require
from ames_lite.extraction.aggregators import refuse_width
from ames_lite.extraction.sampling import open_floats, spread
from ames_lite.io.digest import array_digest, names_digest
from ames_lite.io.provenance import SAME_DESCRIPTORS, Provenance, compare_provenance
from ames_lite.models.binarization import fit_itq, pack_bits
from ames_lite.records import LocalDescriptors
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.fitted import read_binarization, write_binarization
from ames_lite.stores.row_layout import DONE

RUN_IMAGES = 64  # read at a time


@dataclass(frozen=True, eq=False)
class BinaryCode:
    """Float descriptors to packed bits: a file of `fit_binarization`, projection [Din, D]."""

    projection: torch.Tensor
    path: Path
    made: Provenance

    @classmethod
    def load(cls, path: str | Path) -> BinaryCode:
        """Raises MissingFile or BadInput."""
        projection, made = read_binarization(path)
        return cls(torch.from_numpy(projection), Path(path), made)

    @property
    def bits(self) -> int:
        """Output width, D."""
        return self.projection.shape[1]

    def check(self, provenance: Provenance, dim: int) -> None:
        """Raise BadInput where it was fitted on descriptors of another kind or width."""
        refuse_width(dim, len(self.projection), "the binarization", "this run", self.path)
        compare_provenance(self.made, provenance, SAME_DESCRIPTORS, files=(self.path, "this run"))

    @property
    def provenance(self) -> Provenance:
        """Of a packed store, beside that of the descriptors."""
        digest = array_digest(self.projection.numpy())
        return {"binarization": digest, "bits": self.bits, "precision": "packed bits"}

    def pack(self, given: LocalDescriptors) -> LocalDescriptors:
        """The same image with descriptors [K, D/8] uint8; a projection of exactly 0 becomes -1.

        One image at a time: its bits do not depend on what is extracted beside it.
        """
        floats = torch.from_numpy(given.descriptors.astype(np.float32))
        packed = pack_bits(F.normalize(floats, dim=-1) @ self.projection).numpy()
        return LocalDescriptors(packed, given.xy, given.scale, given.weight, given.size)


def fit_binarization(
    store_path: str | Path,
    output: str | Path,
    *,
    names: Sequence[str] | None = None,
    bits: int = 128,
    seed: int = 0,
    iterations: int = 50,
    max_descriptors: int = 100_000,
    max_images: int = 5000,
    overwrite: bool = False,
) -> Path:
    """Write the projection and return its path.

    names: the image list, which a published store needs. bits: a multiple of 8, at most Din.
    max_images, max_descriptors: the sample; memory is about 32 bytes * Din a descriptor. Raises
    BadInput for a packed store and for too few descriptors.
    """
    require(bits >= 8 and bits % 8 == 0, f"bits is {bits}", expected="a multiple of 8")
    store = open_floats(store_path, names)
    sample, rows = sample_evenly(store, max_images, max_descriptors, seed)
    generator = torch.Generator().manual_seed(seed)
    projection = fit_itq(torch.from_numpy(sample), bits, generator, iterations=iterations)
    provenance = {
        **store.provenance,
        "images": len(rows),
        "image_names": names_digest([store.names[row] for row in rows]),
        "descriptors": len(sample),
        "bits": bits,
        "seed": seed,
        "iterations": iterations,
        "method": "itq",
    }
    return write_binarization(output, projection.numpy(), provenance, overwrite=overwrite)


def sample_evenly(
    store: DescriptorStore, max_images: int, max_descriptors: int, seed: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Descriptors [M, D] of images spread over a store, M at most max_descriptors; and their rows.

    Images that failed are left out. Of an image at most ceil(max_descriptors / images) are taken,
    at random, in their order.
    """
    what = f"max_images is {max_images}, max_descriptors {max_descriptors}"
    require(min(max_images, max_descriptors) >= 1, what, expected="both at least 1")
    done = np.flatnonzero(store.status == DONE)
    what = "all images failed in extraction"
    require(len(done), what, where=store.path, remedy=store.remedy)
    rows = spread(done, max_images)
    each = -(-max_descriptors // len(rows))
    rng = np.random.default_rng(seed)
    parts = []
    for start in range(0, len(rows), RUN_IMAGES):
        descriptors, valid = store.read_descriptors(rows[start : start + RUN_IMAGES])
        for one, real in zip(descriptors, valid, strict=True):
            found = one[real]
            kept = np.sort(rng.permutation(len(found))[:each])
            parts.append(found[kept].astype(np.float32))
    return np.concatenate(parts)[:max_descriptors], rows
