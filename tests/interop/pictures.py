"""Small pictures, a reranker of random weights, a task of mteb."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ames_lite.extraction.backbones import build_backbone
from ames_lite.models import AMES
from ames_lite.reranking import Reranker
from ames_lite.search.image_reranker import ImageReranker


def picture(seed: int) -> np.ndarray:
    """Blocks of random colours, uint8 [90, 120, 3]."""
    small = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), np.uint8)
    return small.repeat(10, axis=0).repeat(10, axis=1)


def sift_reranker() -> ImageReranker:
    torch.manual_seed(0)
    head = AMES(dim_in=128, dim=16, num_layers=1, dim_feedforward=16)
    return ImageReranker(build_backbone("sift", top_k=20), Reranker(head, 0.0, 1.0))


def a_task() -> Any:
    """Three queries, each with its own picture in noise, and two others, as candidates."""
    datasets, mteb = pytest.importorskip("datasets"), pytest.importorskip("mteb")
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData

    noise = np.random.default_rng(0)
    noisy = [picture(seed).astype(int) + noise.integers(-20, 20, (90, 120, 3)) for seed in range(3)]
    documents = [Image.fromarray(image.clip(0, 255).astype(np.uint8)) for image in noisy]

    def table(prefix: str, images: list[Image.Image]) -> Any:
        names = [f"{prefix}{row}" for row in range(3)]
        made = datasets.Dataset.from_dict({"id": names, "image": images})
        return made.cast_column("image", datasets.Image())

    class Pictures(AbsTaskRetrieval):
        metadata = mteb.TaskMetadata(
            name="Pictures",
            description="Pictures in noise.",
            type="Any2AnyRetrieval",
            category="i2i",
            modalities=["image"],
            dataset={"path": "NA", "revision": "NA"},
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="ndcg_at_10",
        )

        def load_data(self, **_: Any) -> None:
            split = RetrievalSplitData(
                queries=table("q", [Image.fromarray(picture(seed)) for seed in range(3)]),
                corpus=table("d", documents),
                relevant_docs={f"q{row}": {f"d{row}": 1} for row in range(3)},
                top_ranked={f"q{row}": ["d2", "d0", "d1"] for row in range(3)},
            )
            self.dataset, self.data_loaded = {"default": {"test": split}}, True

    return Pictures()
