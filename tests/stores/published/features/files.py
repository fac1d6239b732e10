"""Feature files in the forms of other tools, written from their public descriptions."""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np


class Image(NamedTuple):
    """keypoints [K, 2] pixels of (width, height) = size; descriptors [K, D]; scores [K]."""

    keypoints: np.ndarray
    descriptors: np.ndarray
    scores: np.ndarray
    size: tuple[int, int] = (64, 48)


def image(seed: int, count: int = 5, dim: int = 8, dtype: Any = np.float16) -> Image:
    draw = np.random.default_rng(seed)
    keypoints = (draw.random((count, 2)) * (63, 47)).astype(dtype)
    values, scores = draw.normal(size=(count, dim)), draw.random(count)
    return Image(keypoints, values.astype(dtype), scores.astype(np.float32))


def images(names: Sequence[str], **more: Any) -> dict[str, Image]:
    return {name: image(seed, **more) for seed, name in enumerate(names)}


def write_hloc(path: Path, content: Mapping[str, Image], *, rows: bool = False) -> Path:
    """rows: descriptors [K, D], as hloc does not write them."""
    with h5py.File(path, "w", libver="latest") as file:
        for name, one in content.items():
            group = file.create_group(name)
            group["keypoints"] = one.keypoints
            group["descriptors"] = one.descriptors if rows else one.descriptors.T
            group["scores"] = one.scores
            group["image_size"] = np.array(one.size)
            group["keypoints"].attrs["uncertainty"] = 1.0
    return path


def write_hloc_globals(path: Path, content: Mapping[str, np.ndarray]) -> Path:
    with h5py.File(path, "w", libver="latest") as file:
        for name, vector in content.items():
            group = file.create_group(name)
            group["global_descriptor"], group["image_size"] = vector, np.array((64, 48))
    return path


def write_patches(folder: Path, name: str, sizes: Mapping[int, np.ndarray]) -> Path:
    """sizes: [D, K] by the size of a patch."""
    folder.mkdir(exist_ok=True)
    for size, values in sizes.items():
        np.save(folder / f"patchfeats_psize{size}_{name}.npy", values.astype(np.float32))
    return folder


def write_pickle(path: Path, content: object, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def varint(value: int) -> bytes:
    out = io.BytesIO()
    while value > 127:
        out.write(bytes([value & 127 | 128]))
        value >>= 7
    return out.getvalue() + bytes([value])


def field(number: int, content: bytes | float) -> bytes:
    """A field of a protocol buffer: a message (wire type 2) or a float (5)."""
    if isinstance(content, bytes):
        return varint(number << 3 | 2) + varint(len(content)) + content
    return varint(number << 3 | 5) + struct.pack("<f", content)


def datum(values: np.ndarray) -> bytes:
    shape = field(1, b"".join(map(varint, values.shape)))
    return field(1, shape) + field(2, field(1, values.astype("<f4").tobytes()))


def write_delg(path: Path, one: Image) -> Path:
    def feature(row: int) -> bytes:
        x, y = map(float, one.keypoints[row])
        numbers = {2: x, 3: y, 4: 1.0, 5: 0.0, 6: float(one.scores[row])}
        parts = [field(number, value) for number, value in numbers.items()]
        return field(1, field(1, datum(one.descriptors[row])) + b"".join(parts))

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(feature(row) for row in range(len(one.keypoints))))
    return path
