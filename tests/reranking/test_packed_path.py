"""Packed bits stay packed from the file up to the batch that a head turns into tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ames_lite.models import AMES
from ames_lite.models import ames as ames_module
from ames_lite.reranking import encoding
from ames_lite.reranking.scorer import PairScorer, ScoringOptions
from ames_lite.stores.descriptor_store import DescriptorStore
from tests.conftest import TinyWorld
from tests.reranking.test_scheduler import COUNTS, Passes, Stores, stores

BITS = 128
TOKENS = 100  # of a batch


class Seen:
    """What went through the hands of reader, encoder and head."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read, self.encoded, self.unpacked = list[int](), list[torch.Size](), list[int]()
        read, encode, unpack = encoding.Encoder.read, AMES.encode, ames_module.unpack_bits

        def reading(own: encoding.Encoder, *args: object, **more: object) -> encoding.Stored:
            stored = read(own, *args, **more)  # type: ignore[arg-type]
            assert stored.descriptors.dtype == torch.uint8
            self.read.append(stored.descriptors.nbytes)
            return stored

        def encoding_(own: AMES, local: torch.Tensor, *rest: object, **more: object) -> object:
            assert local.dtype == torch.uint8 and local.shape[-1] == BITS // 8
            self.encoded.append(local.shape)
            return encode(own, local, *rest, **more)  # type: ignore[arg-type]

        def unpacking(local: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
            found = unpack(local, dtype)
            self.unpacked.append(found.shape[0] * found.shape[1])
            return found

        monkeypatch.setattr(encoding.Encoder, "read", reading)
        monkeypatch.setattr(AMES, "encode", encoding_)
        monkeypatch.setattr(ames_module, "unpack_bits", unpacking)


def score(given: Stores, passes: Passes, head: AMES) -> object:
    options = ScoringOptions(*COUNTS, block_images=9, batch_tokens=TOKENS)
    return PairScorer(head).score(*given, *passes.pairs, options)


@pytest.mark.parametrize("binary", [False, True])
def test_bits_are_unpacked_in_the_batch_and_nowhere_before(
    binary: bool, tiny_world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes, given = Passes(tiny_world), stores("packed", tiny_world, tmp_path)
    assert all(store.packed for store in given)
    torch.manual_seed(0)
    head = AMES(dim_in=BITS, dim=BITS, num_layers=1, dim_feedforward=32, binary=binary)
    seen = Seen(monkeypatch)
    _, cost = score(given, passes, head)  # type: ignore[misc]
    images = [len(np.unique(rows)) for rows in passes.pairs]
    size = BITS // 8
    wanted = sum(num * count * size for num, count in zip(images, COUNTS, strict=True))
    assert cost.bytes_read == cost.unique_bytes == sum(seen.read) == wanted
    blank = 1  # a single one, by which the size of what is encoded is told
    assert sum(shape[0] for shape in seen.encoded) == sum(images) + blank
    assert max(seen.unpacked) <= TOKENS, "no more is unpacked at once than a batch has"
    assert len(seen.unpacked) == len(seen.encoded)


def test_packed_rows_are_read_as_they_lie(tiny_world: TinyWorld, tmp_path: Path) -> None:
    store: DescriptorStore = stores("packed", tiny_world, tmp_path)[1]
    rows, valid = store.read_descriptors(np.array([3, 1, 7]), 10)
    assert rows.dtype == np.uint8 and rows.shape == (3, 10, BITS // 8) and valid.shape == (3, 10)
    assert rows.nbytes * 16 == rows.shape[0] * 10 * BITS * 2, "a sixteenth of float16"
