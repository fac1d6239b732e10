"""The scorer against a referee that scores each pair alone, and what it reads."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ames_lite.errors import BadInput, ConfigError
from ames_lite.models import AMES
from ames_lite.reranking import scorer as scoring
from ames_lite.reranking.scorer import PairScorer, ScoringOptions
from ames_lite.reranking.verification import VERIFIERS, MutualNearest
from ames_lite.stores.descriptor_store import DescriptorStore
from tests.conftest import TinyWorld


def stores(world: TinyWorld) -> tuple[DescriptorStore, DescriptorStore]:
    folder = world.folder()
    return tuple(  # type: ignore[return-value]
        DescriptorStore.open(folder / f"sift_{split}_local.hdf5") for split in ("query", "gallery")
    )


def some_pairs(num_query: int, num_gallery: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    chosen = rng.choice(num_query * num_gallery, count, replace=False)
    return chosen // num_gallery, chosen % num_gallery


def a_head() -> AMES:
    torch.manual_seed(0)
    return AMES(dim_in=128, dim=32, num_layers=2, dim_feedforward=32).eval()


@pytest.mark.parametrize("block_images, batch_tokens", [(1, 1), (5, 100), (128, 2000)])
def test_logits_are_those_of_each_pair_alone(
    tiny_world: TinyWorld, block_images: int, batch_tokens: int
) -> None:
    queries, gallery = stores(tiny_world)
    pairs = some_pairs(len(queries), len(gallery), 60)
    head = a_head()
    options = ScoringOptions(20, 12, block_images=block_images, batch_tokens=batch_tokens)
    scores, cost = PairScorer(head).score(queries, gallery, *pairs, options)
    assert cost.pairs == 60 and cost.bytes_read > 0
    for q, g in zip(*pairs, strict=True):
        sides = [
            torch.from_numpy(store.read(int(row), count).descriptors.astype(np.float32))[None]
            for store, row, count in ((queries, q, 20), (gallery, g, 12))
        ]
        with torch.inference_mode():
            alone = head(sides[0], None, sides[1]).item()
        at = np.flatnonzero((scores.query == q) & (scores.gallery == g))
        assert len(at) == 1 and abs(scores.logit[at[0]] - alone) < 5e-5


def test_every_image_is_read_once(tiny_world: TinyWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    queries, gallery = stores(tiny_world)
    q, g = some_pairs(len(queries), len(gallery), 100)
    seen: list[tuple[str, int]] = []
    real = DescriptorStore.read_descriptors

    def counting(self: DescriptorStore, rows: np.ndarray, count: int) -> object:
        seen.extend((self.path.name, int(row)) for row in rows)
        return real(self, rows, count)

    monkeypatch.setattr(DescriptorStore, "read_descriptors", counting)
    PairScorer(a_head()).score(queries, gallery, q, g, ScoringOptions(8, 8, block_images=4))
    assert len(seen) == len(set(seen)) == len(np.unique(q)) + len(np.unique(g))


def test_a_verifier_scores_each_pair(tiny_world: TinyWorld) -> None:
    queries, gallery = stores(tiny_world)
    pairs = some_pairs(len(queries), len(gallery), 30)
    verifier = MutualNearest(0.7)
    scores, _ = PairScorer(verifier).score(queries, gallery, *pairs)
    for q, g, logit in zip(scores.query, scores.gallery, scores.logit, strict=True):
        assert verifier.score(queries.read(int(q)), gallery.read(int(g))) == logit
    assert scores.logit.max() > 0


def test_a_store_of_another_width_is_refused_before_any_reading(tiny_world: TinyWorld) -> None:
    queries, gallery = stores(tiny_world)
    with pytest.raises(BadInput, match="width 128"):
        PairScorer(AMES(dim_in=64, num_layers=1)).score(queries, gallery, *some_pairs(2, 2, 2))


def test_every_verifier_is_built_by_name_and_an_unknown_one_lists_them() -> None:
    for name in VERIFIERS:
        assert scoring.verifier_scorer(name).name == name
    with pytest.raises(ConfigError, match="mutual_nn, ransac"):
        scoring.verifier_scorer("nothing")
