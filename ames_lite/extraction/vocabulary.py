"""A VLAD vocabulary from stores of local descriptors, of one or several data sets.

Output: `vlad_{desc}_{domain}.npz`, centroids [C, D], how they are to be used, and the list of
images. K-means either looks at a sample of the tokens in memory, or at all of them, read in blocks
in every iteration. Memory is bounded either way.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput
from ames_lite.extraction.vocabulary_sources import (
    Part,
    Source,
    check_expected,
    open_part,
    shared_provenance,
)
from ames_lite.io.digest import names_digest
from ames_lite.io.provenance import Provenance
from ames_lite.io.writing import refuse_existing
from ames_lite.retrieval.clustering import (
    TOLERANCE,
    Blocks,
    check_clustering,
    kmeans,
    kmeans_blocks,
)
from ames_lite.retrieval.rows import Float32, sampled_points
from ames_lite.stores.fitted import write_vocabulary

logger = logging.getLogger(__name__)


def build_vocabulary(
    sources: Sequence[Source],
    output: str | Path,
    *,
    num_clusters: int = 64,
    distance: str = "euclidean",
    unit: bool = False,
    seed: int = 0,
    iterations: int = 20,
    max_images: int = 0,
    sample_per_cluster: int = 0,
    expected: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the vocabulary and return its path.

    distance: euclidean or cosine, of the assignment; unit: tokens are brought to unit length first.
    max_images: of each source at most, evenly over those that its step leaves; 0: all.
    sample_per_cluster: tokens per cluster that k-means looks at, drawn from all; 0: all of them.
    expected: what every native store must say of itself in its provenance.
    Raises BadInput for packed stores, stores of different backbones, layers, facets or widths, and
    for fewer descriptors than clusters.
    """
    check_clustering(num_clusters, seed, iterations, distance)
    _check_arguments(sources, max_images, sample_per_cluster)
    refuse_existing(Path(output), overwrite)
    parts = [open_part(source, max_images) for source in sources]
    provenance = shared_provenance(parts)
    check_expected(parts, expected or {})
    _check_tokens(parts, num_clusters)
    clusters = (num_clusters, seed, iterations)
    centroids, found = _cluster(parts, *clusters, distance, unit, sample_per_cluster)
    images = [part.images for part in parts]
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
    if not sources:
        raise BadInput("no store is given", expected="at least one source")
    if any(source.step < 1 for source in sources):
        raise BadInput(f"steps are {[s.step for s in sources]}", expected="1 and more")
    if min(max_images, sample_per_cluster) < 0:
        what = f"max_images is {max_images}, sample_per_cluster {sample_per_cluster}"
        raise BadInput(what, expected="0 (all) and more")


def _check_tokens(parts: Sequence[Part], num_clusters: int) -> None:
    total = sum(part.num_tokens for part in parts)
    if total < num_clusters:
        images = sum(len(part.rows) for part in parts)
        raise BadInput(
            f"{total} descriptors of {images} images for {num_clusters} clusters",
            where=" and ".join(str(part.source.store) for part in parts),
            expected="at least one descriptor per cluster",
            remedy="take more images, or fewer clusters (num_clusters=)",
        )


def _cluster(
    parts: Sequence[Part],
    num_clusters: int,
    seed: int,
    iterations: int,
    distance: str,
    unit: bool,
    sample_per_cluster: int,
) -> tuple[Float32, Provenance]:
    """Centroids [C, D], and what k-means says of its run."""

    def blocks() -> Iterator[Float32]:
        for part in parts:
            yield from part.blocks(unit)

    total = sum(part.num_tokens for part in parts)
    given: Blocks = blocks
    if sample_per_cluster:
        chosen = sampled_points(total, num_clusters * sample_per_cluster, seed)
        sample = _sample(blocks(), chosen)
        if distance == "euclidean":
            centroids = kmeans(sample, num_clusters, seed, iterations, sample_per_cluster)
            return centroids, {"tokens": total, "sampled": len(sample), "method": "faiss k-means"}
        given = partial(iter, (sample,))
    found = kmeans_blocks(given, num_clusters, seed, iterations=iterations, distance=distance)
    if not found.settled:
        logger.warning("k-means had not settled after %d iterations", found.iterations)
    return found.centroids, {
        "tokens": total,
        "sampled": found.tokens,
        "method": f"Lloyd, tolerance {TOLERANCE}",
        "iterations_needed": found.iterations,
        "settled": found.settled,
    }


def _sample(blocks: Iterator[Float32], chosen: npt.NDArray[np.int64]) -> Float32:
    """The tokens of those numbers, which ascend."""
    parts, first = [], 0
    for block in blocks:
        start, stop = np.searchsorted(chosen, [first, first + len(block)])
        parts.append(block[chosen[start:stop] - first])
        first += len(block)
    return np.concatenate(parts)
