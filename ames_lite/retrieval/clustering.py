"""k-means of all tokens, read again and again in blocks. Tokens are joined to chunks of a fixed
size and the initialization is drawn from all of them, so the result does not depend on the blocks,
bit for bit (on one machine, with one number of threads).
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ames_lite.errors import require
from ames_lite.retrieval.rows import Floats, rows_in
from ames_lite.retrieval.vlad import DISTANCES, fill, similarities

Blocks = Callable[[], Iterable[Floats]]

CHUNK = 8192  # tokens that are computed with at a time
TOLERANCE = 1e-4  # of the tokens' mean squared length: centroids that move less have settled
SAME = 1e-12  # of that length: squared distance below which two tokens are one


class Clustering(NamedTuple):
    centroids: npt.NDArray[np.float32]  # [C, D]
    tokens: int
    iterations: int  # that were needed
    settled: bool  # whether it had converged by then


def kmeans_blocks(
    blocks: Blocks,
    num_clusters: int,
    seed: int,
    *,
    iterations: int = 100,
    distance: str = "euclidean",
    tolerance: float = TOLERANCE,
) -> Clustering:
    """Centroids of all tokens, of which there are as many as clusters or more.

    blocks: [m, D] of finite floats, read iterations + 2 times. distance: euclidean or cosine. It
    starts from a sample drawn by seed and ends after `iterations` steps, or when the squared
    movement of all centroids together is at most tolerance times the mean squared length of a
    token. An empty cluster takes the token that is farthest from every centroid. Products are
    float32, sums float64. Raises BadInput for fewer distinct tokens than clusters.
    """
    tokens, scale = _survey(blocks)
    chosen = np.random.default_rng(seed).choice(tokens, num_clusters, replace=False)
    centroids = torch.from_numpy(rows_in(blocks(), np.sort(chosen)).astype(np.float64))
    settled, step = False, 0
    while step < iterations and not settled:
        step += 1
        means, empty = _step(blocks, centroids, distance)
        for cluster in empty:  # one after the other, so that no two take the same token
            taken = [k for k in range(num_clusters) if k not in empty or k < cluster]
            means[cluster] = _farthest(blocks, means[taken], distance, scale, num_clusters)
        moved = float((means - centroids).square().sum())
        settled = not empty and moved <= tolerance * scale
        centroids = means
    return Clustering(centroids.to(torch.float32).numpy(), tokens, step, settled)


def check_clustering(num_clusters: int, seed: int, iterations: int, distance: str) -> None:
    """Raises BadInput for arguments out of range."""
    fits = min(num_clusters, iterations) >= 1 and 0 <= seed < 2**31
    what = f"num_clusters {num_clusters}, iterations {iterations}, seed {seed}"
    require(fits, what, "counts of at least 1, a seed from 0 to 2147483647")
    require(distance in DISTANCES, f"distance is '{distance}'", " or ".join(DISTANCES))


def _chunks(blocks: Blocks) -> Iterator[Tensor]:
    """All tokens as float32 [CHUNK, D], the last one shorter; valid until the next is asked for."""
    held, filled, seen = torch.empty(0), 0, 0
    for block in blocks():
        if not seen:
            held = torch.empty(CHUNK, block.shape[1])
        start = 0
        while start < len(block):
            part = block[start : start + CHUNK - filled]
            fill(held[filled : filled + len(part)], part)
            filled, start, seen = filled + len(part), start + len(part), seen + len(part)
            if filled == CHUNK:
                yield held
                filled = 0
    if filled:
        yield held[:filled]


def _survey(blocks: Blocks) -> tuple[int, float]:
    """The number of tokens, and their mean squared length."""
    tokens, total = 0, 0.0
    for chunk in _chunks(blocks):
        squares = torch.linalg.vector_norm(chunk, dim=1, dtype=torch.float64).square()
        tokens, total = tokens + len(chunk), total + float(squares.sum())
    return tokens, total / max(1, tokens)


def _step(blocks: Blocks, centroids: Tensor, distance: str) -> tuple[Tensor, list[int]]:
    """The mean [C, D] of the tokens nearest to each centroid, and the empty clusters."""
    near = centroids.to(torch.float32)
    sums, count = torch.zeros_like(centroids), torch.zeros(len(centroids), dtype=torch.int64)
    wide = torch.empty(CHUNK, centroids.shape[1], dtype=torch.float64)  # one, again and again
    for chunk in _chunks(blocks):
        assigned = similarities(chunk, near, distance).argmax(dim=0)
        sums.index_add_(0, assigned, wide[: len(chunk)].copy_(chunk))
        count += torch.bincount(assigned, minlength=len(centroids))
    return sums / count.clamp(min=1)[:, None], torch.nonzero(count == 0).flatten().tolist()


def _farthest(blocks: Blocks, centroids: Tensor, distance: str, scale: float, most: int) -> Tensor:
    """The token [D] float64 whose nearest of the centroids is farthest away."""
    best, farthest = 0.0, torch.empty(0)
    for chunk in _chunks(blocks):
        values = chunk.to(torch.float64)
        sims = similarities(values, centroids, distance).amax(dim=0)
        squares = values.square().sum(dim=1)
        if distance == "cosine":
            lengths = squares.sqrt()
            gaps = torch.where(lengths > 0, 1 - sims / lengths.clamp(min=1e-300), 0.0)
        else:
            gaps = (squares - sims) / (scale or 1.0)
        if float(gaps.max()) > best:
            best, farthest = float(gaps.max()), values[int(gaps.argmax())].clone()
    what = f"there are fewer distinct tokens than the {most} clusters"
    remedy = "descriptors of more images, or fewer clusters"
    require(best > SAME, what, "at least one distinct token per cluster", remedy=remedy)
    return farthest
