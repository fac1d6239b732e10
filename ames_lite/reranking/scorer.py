"""Logits for pairs of stored images: each image read and encoded once, no metrics.

In: a head (or verifier), the query and gallery stores and the pairs to score. Out: `PairScores` and
a `Cost`. Gallery rows are read in storage order, in blocks, encoded once, and scored against every
query that wants them; queries are encoded once at the start.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from ames_lite.errors import BadInput
from ames_lite.io.descriptor_store import DescriptorStore
from ames_lite.models import SimilarityHead
from ames_lite.records import PairScores
from ames_lite.reranking.verification import Verifier, build_verifier
from ames_lite.runtime import autocast

Rows = npt.NDArray[np.integer]


@dataclass
class Cost:
    """What scoring took: pairs, seconds in all, seconds and bytes of reading."""

    pairs: int = 0
    seconds_scoring: float = 0.0
    seconds_reading: float = 0.0
    bytes_read: int = 0

    @property
    def pairs_per_second(self) -> float | None:
        """None where nothing was timed."""
        return self.pairs / self.seconds_scoring if self.seconds_scoring > 0 else None


@dataclass(frozen=True)
class ScoringOptions:
    """How much at a time, and where."""

    query_count: int = 600  # strongest descriptors of a query
    gallery_count: int = 600  # strongest descriptors of a gallery image
    block_images: int = 128  # gallery images read and encoded at a time
    batch_pairs: int = 64  # pairs scored at a time
    precision: str = "fp32"
    device: str = "cpu"


def score_with_head(
    head: SimilarityHead,
    query_store: DescriptorStore,
    gallery_store: DescriptorStore,
    query: Rows,
    gallery: Rows,
    options: ScoringOptions | None = None,
) -> tuple[PairScores, Cost]:
    """Logits of the pairs (query[p], gallery[p]), rows [P] of the two stores, unique.

    Raises BadInput before any work where stores and head do not fit.
    """
    options = options or ScoringOptions()
    _check_widths(head, query_store, gallery_store)
    device = torch.device(options.device)
    head = head.to(device).eval()
    cost = Cost(pairs=len(query))
    logit = np.empty(len(query), np.float32)
    began = time.perf_counter()

    def encode(store: DescriptorStore, rows: Rows, count: int, gallery: bool) -> Any:
        read = _read(store, rows, count, device, cost, trim=not head.depends_on_padding)
        try:
            return head.encode(*read, gallery=gallery)
        except BadInput as error:
            raise _located(error, store, rows, read[0]) from error

    with torch.inference_mode(), autocast(options.precision, device):
        queries = np.unique(query)
        at = np.searchsorted(queries, query)
        parts = [queries[i : i + 16] for i in range(0, len(queries), 16)]
        encoded = [encode(query_store, rows, options.query_count, False) for rows in parts]
        with tqdm(total=len(query), desc="score", unit="pair", unit_scale=True) as bar:
            for rows, pairs in _gallery_blocks(gallery, options.block_images):
                block = encode(gallery_store, rows, options.gallery_count, True)
                inside = np.searchsorted(rows, gallery[pairs])
                for q, chosen in _by_query(at[pairs], options.batch_pairs):
                    images = block.rows(torch.from_numpy(inside[chosen]).to(device))
                    one = encoded[q // 16].rows(slice(q % 16, q % 16 + 1))
                    scored = head.score(one, images)
                    assert isinstance(scored, Tensor)
                    logit[pairs[chosen]] = scored.float().cpu().numpy()
                    _check_finite(logit, pairs[chosen], query, gallery, query_store, gallery_store)
                    bar.update(len(chosen))
    cost.seconds_scoring = time.perf_counter() - began
    return PairScores(query.astype(np.int32), gallery.astype(np.int32), logit), cost


def score_with_verifier(
    verifier: Verifier,
    query_store: DescriptorStore,
    gallery_store: DescriptorStore,
    query: Rows,
    gallery: Rows,
    options: ScoringOptions | None = None,
) -> tuple[PairScores, Cost]:
    """As `score_with_head`, one pair after the other."""
    options = options or ScoringOptions()
    cost = Cost(pairs=len(query))
    logit = np.empty(len(query), np.float32)
    began = time.perf_counter()
    queries = {int(q): query_store.read(int(q), options.query_count) for q in np.unique(query)}
    with tqdm(total=len(query), desc="score", unit="pair", unit_scale=True) as bar:
        for rows, pairs in _gallery_blocks(gallery, block_images=1):
            reading = time.perf_counter()
            image = gallery_store.read(int(rows[0]), options.gallery_count)
            cost.seconds_reading += time.perf_counter() - reading
            cost.bytes_read += image.descriptors.nbytes + image.xy.nbytes
            for p in pairs:
                logit[p] = verifier.score(queries[int(query[p])], image)
            _check_finite(logit, pairs, query, gallery, query_store, gallery_store)
            bar.update(len(pairs))
    cost.seconds_scoring = time.perf_counter() - began
    return PairScores(query.astype(np.int32), gallery.astype(np.int32), logit), cost


def _check_widths(head: SimilarityHead, query: DescriptorStore, gallery: DescriptorStore) -> None:
    """Raises BadInput for a store that the head does not take; packed ones are counted in bits."""
    for store in (query, gallery):
        wanted = head.packed_bits if store.packed else head.dim_in
        if wanted is None:  # the head takes any width
            wanted = query.dim
        if store.dim != wanted:
            kind = "packed descriptors of {} bits" if store.packed else "descriptors of width {}"
            raise BadInput(
                f"the store has {kind.format(store.dim)}",
                where=store.path,
                expected=f"{kind.format(wanted)}, as the head takes them",
                remedy="use the desc_name that the head was trained on",
            )


def _located(error: BadInput, store: DescriptorStore, rows: Rows, read: Tensor) -> BadInput:
    """The error of a block of images, with the image whose descriptors are not finite."""
    bad = ~read.isfinite().flatten(1).all(1).cpu().numpy()
    if not bad.any():
        return BadInput(str(error), where=store.path)
    row = int(rows[int(bad.argmax())])
    return BadInput(
        str(error),
        where=f"{store.path}, row {row} ('{store.names[row]}')",
        remedy="python scripts/check_store.py lists such rows; extract them again",
    )


def _check_finite(
    logit: npt.NDArray[np.float32],
    pairs: Rows,
    query: Rows,
    gallery: Rows,
    query_store: DescriptorStore,
    gallery_store: DescriptorStore,
) -> None:
    """Raises BadInput at the first of these pairs whose logit is NaN or infinite."""
    bad = ~np.isfinite(logit[pairs])
    if bad.any():
        p = pairs[int(bad.argmax())]
        names = query_store.names[query[p]], gallery_store.names[gallery[p]]
        raise BadInput(
            f"the logit of query '{names[0]}' and gallery image '{names[1]}' is {logit[p]}",
            where=f"{query_store.path} and {gallery_store.path}",
            expected="finite logits",
            remedy="look after the weights, or give precision=fp32",
        )


def _read(
    store: DescriptorStore,
    rows: Rows,
    count: int,
    device: torch.device,
    cost: Cost,
    *,
    trim: bool,
) -> tuple[Tensor, Tensor | None]:
    """Descriptors and valid of rows, on the device; valid None where nothing is padding.

    Packed bits stay packed. trim: leave out what is padding in all of these rows.
    """
    began = time.perf_counter()
    descriptors, valid = store.read_descriptors(rows, count)
    cost.seconds_reading += time.perf_counter() - began
    cost.bytes_read += descriptors.nbytes
    if trim:
        longest = max(1, int(valid.sum(axis=1).max()))
        descriptors, valid = descriptors[:, :longest], valid[:, :longest]
    mask = None if valid.all() else torch.from_numpy(valid).to(device)
    local = torch.from_numpy(descriptors).to(device)
    return local if store.packed else local.float(), mask


def _gallery_blocks(gallery: Rows, block_images: int) -> Iterator[tuple[Rows, Rows]]:
    """Blocks of unique gallery rows, rising, with the positions of the pairs that want them."""
    order = np.argsort(gallery, kind="stable")
    unique, first = np.unique(gallery[order], return_index=True)
    ends = np.append(first, len(order))
    for start in range(0, len(unique), block_images):
        stop = min(start + block_images, len(unique))
        yield unique[start:stop], order[ends[start] : ends[stop]]


def _by_query(query: Rows, batch_pairs: int) -> Iterator[tuple[int, Rows]]:
    """Each query among these pairs, with the positions of its pairs, at most batch_pairs a time."""
    order = np.argsort(query, kind="stable")
    unique, first = np.unique(query[order], return_index=True)
    ends = np.append(first, len(order))
    for number, q in enumerate(unique):
        for start in range(ends[number], ends[number + 1], batch_pairs):
            yield int(q), order[start : min(start + batch_pairs, ends[number + 1])]


@dataclass(frozen=True, eq=False)
class PairScorer:
    """Whatever gives pairs of stored images a logit: a head or a verifier, under its name.

    digest: of the weights (a head) or the settings (a verifier): it tells scores apart.
    """

    name: str
    digest: str
    arguments: dict[str, Any]
    score: Callable[..., tuple[PairScores, Cost]]  # query_store, gallery_store, query, gallery, …


def head_scorer(head: SimilarityHead, name: str, digest: str) -> PairScorer:
    """A head as a pair scorer."""
    return PairScorer(name, digest, head.arguments, partial(score_with_head, head))


def verifier_scorer(name: str, **arguments: Any) -> PairScorer:
    """The verifier of that name as a pair scorer. Raises ConfigError for an unknown one."""
    verifier = build_verifier(name, **arguments)
    settings = f"{name} {json.dumps(verifier.arguments, sort_keys=True)}"
    return PairScorer(name, settings, verifier.arguments, partial(score_with_verifier, verifier))
