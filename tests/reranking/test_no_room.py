"""A device without room: smaller batches and the same logits, or a message; nothing is lost."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from ames_lite.errors import BadInput
from ames_lite.models import AMES, Chamfer
from ames_lite.reranking import encoding
from ames_lite.reranking.scorer import PairScorer, ScoringOptions
from ames_lite.stores import pair_scores
from ames_lite.stores.pair_scores import PartialScores
from tests.conftest import TinyWorld
from tests.reranking.test_tasks import DIGESTS, OPTIONS, some_pairs, stores

REFUSED = "CUDA out of memory. Tried to allocate 2.00 GiB"


def refusing(monkeypatch: pytest.MonkeyPatch, method: str, images: int) -> list[int]:
    """A device that has no room for more than so many images in one call; what it was given."""
    real, given = getattr(AMES, method), []

    def limited(self: AMES, first: object, *rest: object, **more: object) -> object:
        sides = [side for side in (first, *rest) if side is not None]
        num = max(len(getattr(side, "tokens", side)) for side in sides)  # type: ignore[arg-type]
        given.append(num)
        if num > images:
            raise torch.OutOfMemoryError(REFUSED)
        return real(self, first, *rest, **more)

    monkeypatch.setattr(AMES, method, limited)
    return given


@pytest.mark.parametrize("method, images", [("encode", 2), ("score", 3)])
def test_smaller_batches_give_the_same_logits_and_are_said_once(
    method: str,
    images: int,
    tiny_world: TinyWorld,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    torch.manual_seed(0)
    head = AMES(dim_in=128, dim=32, num_layers=1, dim_feedforward=32).eval()
    options = ScoringOptions(20, 15)
    expected, whole = PairScorer(head).score(*stores(tiny_world), *some_pairs(), options)
    given = refusing(monkeypatch, method, images)
    caplog.set_level(logging.WARNING)
    found, cost = PairScorer(head).score(*stores(tiny_world), *some_pairs(), options)
    assert np.abs(found.logit - expected.logit).max() < 1e-5
    assert max(given) > images and cost.encoded_gallery == whole.encoded_gallery
    assert caplog.text.count("smaller batches") == 1


def test_no_room_beside_the_batches_is_a_message_and_what_was_finished_stays(
    tiny_world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, blocks = encoding.Encoder.gallery, [5]

    def gallery(self: encoding.Encoder, stored: encoding.Stored) -> object:
        blocks[0] -= 1
        if blocks[0] < 0:
            raise torch.OutOfMemoryError(REFUSED)
        return real(self, stored)

    monkeypatch.setattr(encoding.Encoder, "gallery", gallery)
    monkeypatch.setattr(pair_scores, "FLUSH_SECONDS", 0.0)
    kept = PartialScores(tmp_path / "scores.hdf5", DIGESTS)
    with pytest.raises(BadInput, match="(?s)out of memory beside the batches.*max_memory="):
        PairScorer(Chamfer()).score(*stores(tiny_world), *some_pairs(), OPTIONS, kept=kept)
    monkeypatch.setattr(encoding.Encoder, "gallery", real)
    kept = PartialScores(tmp_path / "scores.hdf5", DIGESTS)
    found, cost = PairScorer(Chamfer()).score(
        *stores(tiny_world), *some_pairs(), OPTIONS, kept=kept
    )
    expected, _ = PairScorer(Chamfer()).score(*stores(tiny_world), *some_pairs(), OPTIONS)
    np.testing.assert_array_equal(found.logit, expected.logit)
    assert cost.pairs_kept > 0 and cost.pairs + cost.pairs_kept == 90


def test_other_errors_of_a_device_pass(
    tiny_world: TinyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(Chamfer, "score", fail)
    with pytest.raises(RuntimeError, match="device-side assert"):
        PairScorer(Chamfer()).score(*stores(tiny_world), *some_pairs(), OPTIONS)
