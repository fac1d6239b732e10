"""Stores and heads: packed ones go in as they are, and the way of reading changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ames_lite.errors import BadInput
from ames_lite.models import AMES, Chamfer, ELViS, SimilarityHead
from ames_lite.models.binarization import unpack_bits
from ames_lite.reranking.scorer import PairScorer, ScoringOptions
from ames_lite.stores.descriptor_store import DescriptorStore
from tests.conftest import TinyWorld
from tests.reranking.packing import pack_store, ragged_store


@pytest.fixture(scope="module")
def packed(tiny_world: TinyWorld, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("packed")
    names = [f"sift_{split}_local.hdf5" for split in ("query", "gallery")]
    return [pack_store(tiny_world.folder() / name, folder / name) for name in names]


def some_pairs(count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    chosen = np.random.default_rng(0).choice(6 * 40, count, replace=False)
    return chosen // 40, chosen % 40


def heads() -> dict[str, SimilarityHead]:
    torch.manual_seed(0)
    small = {"dim": 32, "num_layers": 1, "dim_feedforward": 32}
    return {
        "fp": AMES(dim_in=128, **small),
        "elvis": ELViS(dim_in=128, dim=32, count_padding=False),
        "chamfer": Chamfer(),
    }


@pytest.mark.parametrize("name", heads())
def test_a_packed_store_scores_as_its_unpacked_descriptors(name: str, packed: list[Path]) -> None:
    queries, gallery = (DescriptorStore.open(path) for path in packed)
    assert queries.packed and queries.dim == 128
    head, pairs = heads()[name].eval(), some_pairs()
    scores, cost = PairScorer(head).score(queries, gallery, *pairs, ScoringOptions(20, 12))
    rows = len(np.unique(pairs[0])) * 20 + len(np.unique(pairs[1])) * 12
    assert cost.bytes_read == rows * 16  # one bit an entry, to the head
    for q, g, logit in zip(scores.query, scores.gallery, scores.logit, strict=True):
        sides = [
            unpack_bits(torch.from_numpy(np.array(store.read(int(row), count).descriptors)))[None]
            for store, row, count in ((queries, q, 20), (gallery, g, 12))
        ]
        with torch.inference_mode():
            alone = head(sides[0], None, sides[1])
        assert isinstance(alone, torch.Tensor) and abs(alone.item() - logit) < 5e-5
    assert scores.logit.std() > 1e-5


def test_codes_of_a_binary_head_score_as_its_descriptors(
    tiny_world: TinyWorld, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    head = AMES(dim_in=128, dim=32, num_layers=1, dim_feedforward=32, binary=True).eval()
    w = head.remap_local[0].W.detach().double().numpy()  # type: ignore[union-attr]
    names = [f"sift_{split}_local.hdf5" for split in ("query", "gallery")]
    plain = [DescriptorStore.open(tiny_world.folder() / name) for name in names]
    codes = [
        DescriptorStore.open(pack_store(tiny_world.folder() / name, tmp_path / name, w))
        for name in names
    ]
    assert codes[0].dim == 32
    options, pairs = ScoringOptions(20, 12), some_pairs()
    expected, _ = PairScorer(head).score(*plain, *pairs, options)
    found, _ = PairScorer(head).score(*codes, *pairs, options)
    mixed, _ = PairScorer(head).score(plain[0], codes[1], *pairs, options)
    assert np.abs(found.logit - expected.logit).max() < 5e-5
    assert np.abs(mixed.logit - expected.logit).max() < 5e-5


def test_a_packed_store_of_another_width_is_refused(packed: list[Path]) -> None:
    stores = [DescriptorStore.open(path) for path in packed]
    binary = AMES(dim_in=128, dim=64, num_layers=1, dim_feedforward=32, binary=True)
    with pytest.raises(BadInput, match="(?s)packed descriptors of 128 bits.*expected.*of 64 bits"):
        PairScorer(binary).score(stores[0], stores[1], *some_pairs(2))


def test_chamfer_takes_any_two_stores_of_one_width(
    tiny_world: TinyWorld, packed: list[Path], tmp_path: Path
) -> None:
    plain = DescriptorStore.open(tiny_world.folder() / "sift_query_local.hdf5")
    gallery = DescriptorStore.open(packed[1])
    scores, _ = PairScorer(Chamfer()).score(plain, gallery, *some_pairs())
    assert np.abs(scores.logit).max() <= 1
    source = tiny_world.folder() / "sift_gallery_local.hdf5"
    narrow = pack_store(source, tmp_path / "narrow.hdf5", np.eye(128)[:, :64])
    with pytest.raises(BadInput, match="(?s)packed descriptors of 64 bits.*expected.*128"):
        PairScorer(Chamfer()).score(plain, DescriptorStore.open(narrow), *some_pairs(2))


@pytest.mark.parametrize("count_padding", [False, True])
def test_blocks_and_batches_never_change_a_logit_of_elvis(
    count_padding: bool, tiny_world: TinyWorld, tmp_path: Path
) -> None:
    """Also in the published form, which depends on padding: every image is padded alike."""
    names = [f"sift_{split}_local.hdf5" for split in ("query", "gallery")]
    stores = [ragged_store(tiny_world.folder() / name, tmp_path / name) for name in names]
    assert len(set(stores[1].count.tolist())) > 10
    torch.manual_seed(0)
    head, pairs = ELViS(dim_in=128, dim=32, count_padding=count_padding).eval(), some_pairs()
    logits = []
    for size in (1, 7, 128):
        options = ScoringOptions(30, 30, block_images=size, batch_tokens=60 * size)
        logits.append(PairScorer(head).score(*stores, *pairs, options)[0].logit)
    assert np.abs(logits[0] - logits[1]).max() < 5e-5
    assert np.abs(logits[0] - logits[2]).max() < 5e-5
