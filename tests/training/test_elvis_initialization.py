"""The start of ELViS: what it counts before the first step."""

from __future__ import annotations

import pytest
import torch

from ames_lite.errors import BadInput
from ames_lite.models.elvis import ELViS
from ames_lite.training.initialization import start_elvis_from_matches


def descriptors(count: int, generator: torch.Generator) -> torch.Tensor:
    raw = 0.5 + 0.6 * torch.randn(count, 128, generator=generator)
    return torch.nn.functional.normalize(raw.clamp_min(0), dim=-1)


def test_the_logit_rises_with_the_number_of_matches() -> None:
    generator = torch.Generator().manual_seed(0)
    head = ELViS(dim_in=128, sharpness=20.0, count_padding=False)
    start_elvis_from_matches(head, descriptors(3000, generator), generator)
    query = descriptors(100, generator)
    for training in (False, True):
        head.train(training)
        logits = []
        for matches in (0, 5, 10, 30, 100):
            other = descriptors(100, torch.Generator().manual_seed(1))
            noise = 0.02 * torch.randn(matches, 128, generator=generator)
            other[:matches] = torch.nn.functional.normalize(query[:matches] + noise, dim=-1)
            logits.append(head(src_local=query[None], tgt_local=other[None]).item())
        assert logits == sorted(logits) and logits[-1] > logits[0] + 10


def test_unlike_images_have_a_negative_logit_and_like_ones_a_positive_one() -> None:
    generator = torch.Generator().manual_seed(0)
    head = ELViS(dim_in=128, sharpness=20.0, count_padding=False)
    start_elvis_from_matches(head, descriptors(3000, generator), generator)
    query, other = descriptors(100, generator), descriptors(100, generator)
    assert head.train()(src_local=query[None], tgt_local=other[None]).item() < 0
    assert head(src_local=query[None], tgt_local=query[None]).item() > 5


def test_a_sample_that_does_not_fit_is_refused() -> None:
    head = ELViS(dim_in=128)
    with pytest.raises(BadInput, match=r"\[M, 128\]"):
        start_elvis_from_matches(head, torch.zeros(5, 64), torch.Generator())
