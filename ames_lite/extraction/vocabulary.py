"""A VLAD vocabulary, `vlad_{desc}_{domain}.npz`, from stores of local descriptors. K-means looks at
a sample of the tokens in memory, or at all of them, read in blocks in every iteration.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ames_lite.errors import require
from ames_lite.extraction.fitting import open_floats, spread
from ames_lite.io.digest import names_digest
from ames_lite.io.provenance import Provenance, comparable, compare_provenance
from ames_lite.io.writing import refuse_existing
from ames_lite.retrieval.clustering import TOLERANCE, Blocks, check_clustering, kmeans_blocks
from ames_lite.retrieval.faiss_calls import lloyd
from ames_lite.retrieval.rows import Float32, not_finite, rows_in, sampled_points
from ames_lite.retrieval.vlad import unit_rows
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.fitted import ImagesOf, write_vocabulary
from ames_lite.stores.merging import check_alike
from ames_lite.stores.row_layout import DONE

logger = logging.getLogger(__name__)

READ_BYTES = 1 << 24  # of descriptors, read at a time
# what the stores of one vocabulary must share
SAME = ("backbone", "variant", "weights", "facet", "layer", "descriptor_space", "detector_weights")


@dataclass(frozen=True)
class Source:
    """A store of local descriptors, of which every step-th image is used."""

    store: str | Path
    step: int = 1
    names: Sequence[str] | None = None  # the image list, which a published store needs
    dataset: str = ""  # what the data set is called


@dataclass(frozen=True, eq=False)
class _Part:
    """Of an opened source the rows that are used, and the number of their tokens."""

    store: DescriptorStore
    rows: npt.NDArray[np.int64]
    num_tokens: int

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


def build_vocabulary(
    sources: Sequence[Source],
    output: str | Path,
    *,
    num_clusters: int = 64,
    distance: str = "euclidean",  # of the assignment; or cosine
    unit: bool = False,  # tokens are brought to unit length first
    seed: int = 0,
    iterations: int = 20,
    max_images: int = 0,  # of each source at most, evenly over those that its step leaves; 0: all
    sample_per_cluster: int = 0,  # tokens that k-means looks at, drawn from all; 0: all of them
    expected: Mapping[str, Any] | None = None,  # provenance that every native store must have
    overwrite: bool = False,
) -> Path:
    """Write the vocabulary; returns its path. BadInput for packed, unlike and small stores."""
    check_clustering(num_clusters, seed, iterations, distance)
    _check_arguments(sources, max_images, sample_per_cluster)
    refuse_existing(Path(output), overwrite)
    parts = [_open_part(source, max_images) for source in sources]
    provenance = _shared_provenance(parts, expected or {})
    total = sum(part.num_tokens for part in parts)
    _check_tokens(parts, total, num_clusters)

    def blocks() -> Iterator[Float32]:
        return chain.from_iterable(part.blocks(unit) for part in parts)

    clusters = (num_clusters, seed, iterations)
    centroids, found = _cluster(blocks, total, clusters, distance, sample_per_cluster)
    images = [
        ImagesOf(source.dataset, source.step, tuple(part.store.names[row] for row in part.rows))
        for source, part in zip(sources, parts, strict=True)
    ]
    names = [name for listed in images for name in listed.names]
    made = {
        **provenance,
        "images": len(names),
        "image_names": names_digest(names),
        "datasets": [listed.dataset for listed in images],
        "steps": [listed.step for listed in images],
        "images_of_each": [len(listed.names) for listed in images],
        "num_clusters": num_clusters,
        "seed": seed,
        "iterations": iterations,
        "distance": distance,
        "unit": unit,
        **found,
    }
    return write_vocabulary(output, centroids, made, images=images, overwrite=overwrite)


def _check_arguments(sources: Sequence[Source], max_images: int, sample_per_cluster: int) -> None:
    require(sources, "no store is given", "at least one source")
    steps = [source.step for source in sources]
    require(min(steps) >= 1, f"steps are {steps}", "at least 1")
    what = f"max_images is {max_images}, sample_per_cluster {sample_per_cluster}"
    require(min(max_images, sample_per_cluster) >= 0, what, "0 (all) or more")


def _check_tokens(parts: Sequence[_Part], total: int, num_clusters: int) -> None:
    images = sum(len(part.rows) for part in parts)
    what = f"{total} descriptors of {images} images for {num_clusters} clusters"
    where = " and ".join(str(part.store.path) for part in parts)
    expected = "at least one descriptor per cluster"
    remedy = "more images, or fewer clusters (num_clusters=)"
    require(total >= num_clusters, what, expected, where=where, remedy=remedy)


def _cluster(
    blocks: Blocks, total: int, clusters: tuple[int, int, int], distance: str, each: int
) -> tuple[Float32, Provenance]:
    """Centroids [C, D], and what k-means says. each: sampled tokens of a cluster, 0: all."""
    num_clusters, seed, iterations = clusters
    if each:
        chosen = sampled_points(total, num_clusters * each, seed)
        sample = rows_in(blocks(), chosen).astype(np.float32, copy=False)
        if distance == "euclidean":
            centroids = lloyd(sample, num_clusters, seed, iterations, each)
            return centroids, {"tokens": total, "sampled": len(sample), "method": "faiss k-means"}
        blocks = partial(iter, (sample,))
    found = kmeans_blocks(blocks, num_clusters, seed, iterations=iterations, distance=distance)
    if not found.settled:
        logger.warning("k-means had not settled after %d iterations", found.iterations)
    return found.centroids, {
        "tokens": total,
        "sampled": found.tokens,
        "method": f"Lloyd, tolerance {TOLERANCE}",
        "iterations_needed": found.iterations,
        "settled": found.settled,
    }


def _open_part(source: Source, max_images: int) -> _Part:
    """Raises MissingFile, and BadInput for a packed store."""
    store = open_floats(source.store, source.names)
    rows = np.arange(0, len(store), source.step)
    rows = spread(rows, max_images or len(rows))
    done = rows[store.status[rows] == DONE]
    if len(done) < len(rows):
        logger.warning("%s: %d failed images left out", source.store, len(rows) - len(done))
    return _Part(store, done, int(store.count[done].sum()))


def _shared_provenance(parts: Sequence[_Part], expected: Mapping[str, Any]) -> Provenance:
    """What all stores say of themselves. Raises BadInput where they do not go together."""
    first = parts[0].store
    for part in parts[1:]:
        check_alike(first, part.store, ("dim",), SAME)
    for store in (part.store for part in parts):
        if "origin" not in store.provenance:  # published stores do not say what made them
            files = (store.path, "the recipe")
            compare_provenance(store.provenance, expected, expected, files=files)
    others = [comparable(part.store.provenance) for part in parts[1:]]
    made = comparable(first.provenance).items()
    return {k: v for k, v in made if all(k in other and other[k] == v for other in others)}
