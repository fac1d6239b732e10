"""The initializations of the published code: AMES (ECCV 2024), ELViS (ICLR 2026)."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from ames_lite.errors import BadInput
from ames_lite.io.binarization_file import read_binarization
from ames_lite.io.descriptor_store import DescriptorStore
from ames_lite.models import AMES, SimilarityHead
from ames_lite.models.binarization import Binarization, fit_itq
from ames_lite.models.blocks import PairAttention
from ames_lite.training.dataset import sample_descriptors

PUBLISHED_STD = 0.02
ITQ_SAMPLE = 100_000  # descriptors at most


class Given(NamedTuple):
    """What an initialization may look at; binarization: an itq_*.npz, None: fitted on a sample."""

    store: DescriptorStore
    seed: int
    generator: torch.Generator
    binarization: str | Path | None = None

    def sample(self) -> Tensor:
        """Float32 training descriptors [M, D]."""
        return sample_descriptors(self.store, self.seed)


@torch.no_grad()
def published_ames(head: SimilarityHead, given: Given) -> None:
    """Linear weights and the match token from N(0, 0.02²), zero biases; W of binary heads by ITQ.

    The joint query, key and value projections have Xavier's uniform distribution.
    """
    assert isinstance(head, AMES)
    for module in head.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=PUBLISHED_STD, generator=given.generator)
            nn.init.zeros_(module.bias)
        if isinstance(module, PairAttention):
            nn.init.xavier_uniform_(module.in_proj_weight, generator=given.generator)
            nn.init.zeros_(module.in_proj_bias)
    nn.init.trunc_normal_(head.mtc_token, std=PUBLISHED_STD, generator=given.generator)
    if head.binary:
        _set_itq_projection(head, given)


@torch.no_grad()
def published_elvis(head: SimilarityHead, given: Given) -> None:
    """Linear weights from Xavier's uniform distribution, zero biases."""
    for module in head.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight, generator=given.generator)
            nn.init.zeros_(module.bias)


def _set_itq_projection(head: AMES, given: Given) -> None:
    """W := the projection of a file, or one fitted on training descriptors. Raises BadInput."""
    layer = cast(Binarization, head.remap_local[0])
    if given.binarization is None:
        sample = given.sample()
        projection = fit_itq(sample[:: -(-len(sample) // ITQ_SAMPLE)], head.dim, given.generator)
    else:
        projection = torch.from_numpy(read_binarization(given.binarization)[0])
    if projection.shape != layer.W.shape:
        raise BadInput(
            f"the projection is {list(projection.shape)}, the head's {list(layer.W.shape)}",
            where=given.binarization,
            expected="one that was fitted on such descriptors, with bits= the head's dim",
        )
    layer.W.copy_(projection)
