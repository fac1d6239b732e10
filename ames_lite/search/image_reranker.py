"""Images reranked and compared: a backbone, a head with its λ and γ, and its calibration.

    reranker = ImageReranker.load("photo_elvis")
    reranker.rank("query.jpg", ["a.jpg", "b.jpg"])     # [{"corpus_id": 1, "score": 0.93}, …]
    reranker.similarity("query.jpg", "a.jpg").probability

An image is what `as_image` takes. Where many lists share images, describe them once: what
`describe` gives stands for its image everywhere, as do (store, row) and (store, rows).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, explained, require
from ames_lite.extraction.backbones import build_backbone
from ames_lite.extraction.backbones.interface import Backbone, Described
from ames_lite.extraction.batches import Job, describe_all
from ames_lite.hub import shipped_head
from ames_lite.io.checkpoint import HeadMeta, load_head
from ames_lite.io.images import MIN_SIDE, ImageLike, as_image
from ames_lite.models import SimilarityHead
from ames_lite.records import LocalDescriptors, Neighbors, as_sims
from ames_lite.reranking.calibration import Calibration
from ames_lite.reranking.ensemble import ensemble_scores
from ames_lite.reranking.explain import PairExplanation, explain
from ames_lite.reranking.reranker import Reranker, StoredRow, StoredRows, is_stored
from ames_lite.runtime import pick_device

FOLDER = (
    "photo_elvis, photo_elvis_small, sift_elvis, sift_ames, or the folder of a head of your own"
)
Query = ImageLike | Described | StoredRow
Candidates = Sequence[ImageLike | Described] | npt.NDArray[np.generic] | StoredRows


class Ranked(TypedDict):
    """One candidate of a ranking, as sentence-transformers' CrossEncoder.rank gives it."""

    corpus_id: int  # its place among the candidates
    score: float


@dataclass(frozen=True, eq=False)
class Similarity:
    """Of two images. score: sigmoid(temp * logit); probability: that b, among the candidates of a
    search for a, shows the same; None without a calibration, or where that is of scores with
    global similarities (λ above 0).
    """

    score: float
    logit: float
    probability: float | None
    head: SimilarityHead
    a: LocalDescriptors
    b: LocalDescriptors

    @cached_property
    def explanation(self) -> PairExplanation:
        """Which descriptors make the score, and where a is seen in b; computed when asked for."""
        return explain(self.head, self.a, self.b)


class ImageReranker:
    """calibration: of the scores that the reranker gives with its λ and γ."""

    def __init__(
        self, backbone: Backbone, reranker: Reranker, calibration: Calibration | None = None
    ) -> None:
        self.backbone, self.reranker, self.calibration = backbone, reranker, calibration

    @classmethod
    def load(
        cls, name: str | Path = "photo_elvis", *, device: str = "auto", precision: str = "fp32"
    ) -> ImageReranker:
        """A shipped head (as photo_elvis_small) or the folder of one's own, with the backbone that
        it was trained on. Raises MissingFile; BadInput where they do not fit.
        """
        path = Path(name) if Path(name).is_dir() else shipped_head(str(name), FOLDER)
        head, meta = load_head(path)
        what = "the head does not say which descriptors it is for"
        require(meta.desc_name, what, where=path, expected="desc_name in its meta.json")
        described = "fp32" if precision == "auto" else precision
        backbone = build_backbone(str(meta.desc_name), device=device, precision=described)
        meta.check_descriptors(path, backbone.provenance, "this run")
        reranker = Reranker(head.to(pick_device(device)), precision=precision)
        return cls(backbone, reranker, calibration_of(meta, path))

    def describe(self, image: ImageLike) -> Described:
        """Local descriptors, rounded as in stores, and the global one. BadInput, MissingFile."""
        prepared = self.backbone.prepare(as_image(image, min_side=MIN_SIDE))
        return _as_stored(self.backbone.describe([prepared])[0])

    def rank(
        self,
        query: Query,
        candidates: Candidates,
        top_k: int | None = None,
        sims: npt.ArrayLike | None = None,
        *,
        kind: str | None = None,
    ) -> list[Ranked]:
        """The best top_k (None: all) candidates, best first; the rest as of `rerank`."""
        require(top_k is None or top_k >= 1, f"top_k is {top_k}", expected="at least 1")
        found = self.rerank(query, candidates, sims, kind=kind)
        ids, scores = (row[0, :top_k].tolist() for row in (found.ids, found.sims))
        return [Ranked(corpus_id=i, score=score) for i, score in zip(ids, scores, strict=True)]

    def rerank(
        self,
        query: Query,
        candidates: Candidates,
        sims: npt.ArrayLike | None = None,
        *,
        kind: str | None = None,
    ) -> Neighbors:
        """The candidates [1, K] in the order of their scores; see `Reranker.rerank`. The query is
        described and encoded once. Raises BadInput, which names the candidate.
        """
        if sims is not None:  # refused before anything is described
            listed: Any = candidates[1] if is_stored(candidates) else candidates
            sims, kind = as_sims(sims, len(listed), kind), "similarity"
        asked: Any = query if is_stored(query) else self._local(query)
        return self.reranker.rerank(asked, self._candidates(candidates), sims, kind=kind)

    def similarity(self, a: ImageLike | Described, b: ImageLike | Described) -> Similarity:
        """How similar two images are, a as the query."""
        one, other = self._local(a), self._local(b)
        logits = self.reranker.logits(one, [other])
        score = ensemble_scores(np.zeros(1, np.float32), logits, 0.0, self.reranker.temp)
        known = self.calibration if self.reranker.lamb == 0 else None
        probability = None if known is None else float(known.pairs(score)[0])
        head = self.reranker.model
        return Similarity(float(score[0]), float(logits[0]), probability, head, one, other)

    def describe_all(
        self, images: Sequence[ImageLike | Described], what: str = "image"
    ) -> list[Described]:
        """Of every image, in batches; BadInput names the first that cannot be described."""
        new = [(i, image) for i, image in enumerate(images) if not isinstance(image, Described)]
        jobs = [Job(f"{what} {i}", image, None) for i, image in new]
        found = {i: image for i, image in enumerate(images) if isinstance(image, Described)}
        made = describe_all(jobs, self.backbone, workers=1)
        for (i, _), job, result in zip(new, jobs, made, strict=True):
            if isinstance(result, str):
                raise BadInput(f"{job.name}: {result}")
            found[i] = _as_stored(result)
        return [found[i] for i in range(len(images))]

    def _local(self, image: Any) -> LocalDescriptors:
        return (image if isinstance(image, Described) else self.describe(image)).local

    def _candidates(self, candidates: Any) -> list[LocalDescriptors] | StoredRows:
        single = isinstance(candidates, str | Path)
        require(not single, "candidates are a single path", expected="a list of images")
        if is_stored(candidates):
            stored: StoredRows = candidates
            return stored
        seen: dict[str, int] = {}
        for row, path in enumerate(candidates):
            if isinstance(path, str | Path) and (first := seen.setdefault(str(path), row)) != row:
                what = f"candidates {first} and {row} are the same file"
                raise BadInput(what, where=path, expected="every image at most once")
        return [found.local for found in self.describe_all(candidates, "candidate")]


def calibration_of(meta: HeadMeta, where: str | Path | None) -> Calibration | None:
    """What its folder says of a head's scores, with its own λ and γ. Raises BadInput."""
    with explained(where=where):
        return None if meta.calibration is None else Calibration.from_json(meta.calibration)


def _as_stored(found: Described) -> Described:
    """In the precision of stores, so that scores are those of a search."""
    local = found.local
    return found._replace(local=replace(local, descriptors=local.descriptors.astype(np.float16)))
