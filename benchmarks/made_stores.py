"""Stores and neighbour lists of noise, of any size: what reranking is timed on.

Input: sizes and a seed. Output: two stores on the disk, and for them lists and a ground truth with
junk. All lists are drawn from `pool` images that are spread over the gallery, so a larger gallery
costs as many images to read and encode as a small one, only further apart.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from ames_lite.records import GroundTruth, LocalDescriptors, Neighbors
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.row_layout import Layout, layout

GRADED = 5  # images of a list that are easy, as many hard and as many junk


class Made(NamedTuple):
    """A query store and a gallery store."""

    queries: DescriptorStore
    gallery: DescriptorStore


def make_stores(folder: Path, queries: int, gallery: int, count: int, dim: int, seed: int) -> Made:
    """Stores with `count` descriptors of width `dim` an image, of unit length, without padding."""
    generator = np.random.default_rng(seed)
    sizes = {"query": queries, "gallery": gallery}
    paths = {split: folder / f"{split}_local.hdf5" for split in sizes}
    for split, num in sizes.items():
        names = [f"{split}{row}" for row in range(num)]
        provenance = {"backbone": "noise", "seed": seed}
        with DescriptorStore.create(
            paths[split], names, count, dim, "float16", provenance
        ) as writer:
            for name in names:
                writer.append(name, _noise(generator, count, dim))
    return Made(*(DescriptorStore.open(path) for path in paths.values()))


def _noise(generator: np.random.Generator, count: int, dim: int) -> LocalDescriptors:
    x = generator.standard_normal((count, dim), dtype=np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    xy = generator.random((count, 2), dtype=np.float32)
    weight = np.linspace(1, 0.1, count, dtype=np.float32)
    return LocalDescriptors(x.astype(np.float16), xy, np.zeros(count, np.uint8), weight, (480, 640))


NAME = "{:07}.jpg"


def write_noise(path: Path, images: int, stored: int, dim: int, seed: int) -> None:
    """A large store, quickly: every row is another part of one block of noise."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((stored * 2, dim), np.float32).astype(np.float16)
    xy, scale = np.zeros((stored, 2), np.float32), np.zeros(stored, np.uint8)
    weight, names = np.ones(stored, np.float32), [NAME.format(row) for row in range(images)]
    made = {"backbone": "noise"}
    with DescriptorStore.create(path, names, stored, dim, "float16", made) as store:
        for row, name in enumerate(names):
            part = noise[row % stored : row % stored + stored]
            store.append(name, LocalDescriptors(part, xy, scale, weight, size=(480, 640)))


def noise_layout(images: int, stored: int, dim: int) -> Layout:
    """Its data sets, for saying what it takes."""
    return layout(images, stored, dim, packed=False, name_bytes=len(NAME.format(0)))


def make_lists(
    made: Made, queries: int, gallery: int, pool: int, num_rerank: int, seed: int
) -> tuple[Neighbors, GroundTruth]:
    """Lists of the first `queries` over the first `gallery` images; a little longer than needed.

    Among the first num_rerank of each, GRADED are easy, GRADED hard and GRADED junk.
    """
    generator = np.random.default_rng(seed)
    spread = np.linspace(0, gallery - 1, min(pool, gallery)).astype(np.int32)
    length = min(len(spread), num_rerank + 3 * GRADED)
    ids = np.stack([generator.choice(spread, length, replace=False) for _ in range(queries)])
    sims = np.repeat(np.linspace(1, 0, length, dtype=np.float32)[None], queries, axis=0)
    reach = min(length, num_rerank)
    places = [generator.permutation(reach)[: min(3 * GRADED, reach)] for _ in range(queries)]
    graded = [
        tuple(row[at[grade::3]].astype(np.int64) for row, at in zip(ids, places, strict=True))
        for grade in range(3)
    ]
    names = made.queries.names[:queries], made.gallery.names[:gallery]
    easy, hard, junk = graded
    truth = GroundTruth(*names, easy, hard, junk, bbox=(None,) * queries)
    return Neighbors(ids, sims, gallery), truth
