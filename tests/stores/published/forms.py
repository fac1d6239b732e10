"""Writers of every published form, from the same images: what the readers must give back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from ames_lite.stores.descriptor_store import DescriptorStore

FORMS = ("flat float16", "flat float32", "records", "records of one", "packed records", "bits")
VIRTUAL = ("flat float16", "records", "packed records", "bits")


@dataclass(frozen=True)
class Images:
    """N images with up to K descriptors: what a published file says, before it is laid out.

    descriptors [N, K, D] float16 (or uint8 [N, K, D/8]); xy [N, K, 2]; scale, weight [N, K];
    count [N].
    """

    descriptors: npt.NDArray[np.generic]
    xy: npt.NDArray[np.float32]
    scale: npt.NDArray[np.uint8]
    weight: npt.NDArray[np.float32]
    count: npt.NDArray[np.int32]

    @property
    def metadata(self) -> npt.NDArray[np.float32]:
        """[N, K, 5]: y, x, scale, mask (1 = padding), weight."""
        padding = np.arange(self.weight.shape[1]) >= self.count[:, None]
        parts = [self.xy[..., 1], self.xy[..., 0], self.scale, padding, self.weight]
        return np.stack(parts, axis=-1).astype(np.float32)

    def __getitem__(self, rows: slice | npt.NDArray[np.integer]) -> Images:
        fields = ("descriptors", "xy", "scale", "weight", "count")
        return Images(*(getattr(self, name)[rows] for name in fields))


def images(num: int = 9, count: int = 6, dim: int = 16, packed: bool = False) -> Images:
    """Random images; the numbers are exact in float16. Image 4 has no descriptor."""
    rng = np.random.default_rng(7)
    counts = rng.integers(1, count + 1, num).astype(np.int32)
    counts[4:5] = 0
    real = np.arange(count) < counts[:, None]
    floats = rng.standard_normal((num, count, dim)).astype(np.float16)
    bits = rng.integers(0, 256, (num, count, dim // 8), dtype=np.uint8)
    weight = -np.sort(-rng.integers(1, 500, (num, count)), axis=1) / 8
    return Images(
        (bits if packed else floats) * real[..., None].astype(np.uint8 if packed else np.float16),
        (rng.integers(0, 257, (num, count, 2)) / 256).astype(np.float32) * real[..., None],
        rng.integers(0, 3, (num, count)).astype(np.uint8) * real,
        weight.astype(np.float32) * real,
        counts,
    )


def images_for(form: str) -> Images:
    """Images of the kind that a form holds; bits have no mask, so there all zeros are a hole."""
    given = images(packed=form in ("packed records", "bits"))
    if form == "bits":
        given.descriptors[given.count == 0] = 1
    return given


def of_store(store: DescriptorStore) -> Images:
    """The images of a native store."""
    parts = {name: store.stored(name, 0, len(store)) for name in ("descriptors", "xy", "scale")}
    return Images(*parts.values(), weight=store.stored("weight", 0, len(store)), count=store.count)


def laid_out(given: Images, form: str) -> npt.NDArray[np.generic]:
    """The array `features` of a form."""
    if form == "bits":
        return given.descriptors
    if form.startswith("flat"):
        joined = np.concatenate([given.metadata, given.descriptors.astype(np.float32)], axis=-1)
        return joined.astype(form.split()[1])
    num, count, width = given.descriptors.shape
    inner = () if form == "records of one" else (count,)
    kind = [("metadata", "<f4", (*inner, 5))]
    kind += [("descriptor", given.descriptors.dtype.str, (*inner, width))]
    records = np.zeros((num, count) if form == "records of one" else num, kind)
    records["metadata"], records["descriptor"] = given.metadata, given.descriptors
    return records


def write_published(path: Path, given: Images, form: str, chunks: int = 0) -> Path:
    """A published file; chunks: a virtual one over so many files beside it."""
    values = laid_out(given, form)
    if not chunks:
        with h5py.File(path, "w") as file:
            file["features"] = values
        return path
    layout = h5py.VirtualLayout(values.shape, values.dtype)
    for part, rows in enumerate(np.array_split(np.arange(len(values)), chunks)):
        chunk = path.with_name(f"{path.stem}_xa{part}.hdf5")
        with h5py.File(chunk, "w") as file:
            file["features"] = values[rows]
        source = h5py.VirtualSource(chunk.name, "features", values[rows].shape, values.dtype)
        layout[rows[0] : rows[-1] + 1] = source
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("features", layout)
    return path
