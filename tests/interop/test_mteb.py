"""A task of mteb, made here from images in memory, runs without the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ames_lite.errors import BadInput
from ames_lite.interop.mteb import MtebReranker
from ames_lite.search.image_reranker import ImageReranker
from tests.interop.pictures import a_task, picture, sift_reranker


def pillow(seed: int) -> Image.Image:
    return Image.fromarray(picture(seed))


def batches(seeds: list[int], size: int) -> list[dict[str, Any]]:
    parts = [seeds[at : at + size] for at in range(0, len(seeds), size)]
    return [{"image": [pillow(seed) for seed in part]} for part in parts]


def test_scores_are_those_of_the_pairs_and_images_are_described_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("mteb")
    own = sift_reranker()
    queries, documents = [0, 0, 0, 1, 1, 0], [2, 3, 4, 3, 2, 1]
    pairs = zip(queries, documents, strict=True)
    wanted = [own.similarity(picture(q), picture(d)).score for q, d in pairs]
    model, described, encoded = MtebReranker(own), [], []
    describe, encode = own.backbone.describe, own.reranker.model.encode
    monkeypatch.setattr(own.backbone, "describe", lambda b: described.append(len(b)) or describe(b))
    monkeypatch.setattr(
        own.reranker.model,
        "encode",
        lambda d, valid=None, *, gallery=False: (
            encoded.append(gallery) or encode(d, valid, gallery=gallery)
        ),
    )
    found = model.predict(batches(queries, 4), batches(documents, 4))
    assert np.allclose(found, wanted, atol=1e-6)
    assert sum(described) == 5 and encoded.count(False) == 3
    assert len(model.predict([], [])) == 0


def test_batches_without_images_are_refused() -> None:
    pytest.importorskip("mteb")
    with pytest.raises(BadInput, match="a batch has text"):
        MtebReranker(sift_reranker()).predict([{"text": ["a"]}], [{"text": ["b"]}])


def test_mteb_evaluates_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mteb = pytest.importorskip("mteb")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model = MtebReranker(ImageReranker.load("sift_elvis", device="cpu"), "ames_lite/sift_elvis")
    assert isinstance(model, mteb.CrossEncoderProtocol)
    found = mteb.evaluate(model, a_task(), cache=None, show_progress_bar=False)
    (result,) = found.task_results
    assert result.scores["test"][0]["ndcg_at_10"] == 1.0
