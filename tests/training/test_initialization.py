"""The start that preserves correspondences does what it says."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ames_lite.errors import BadInput
from ames_lite.models import AMES
from ames_lite.models.blocks import PairLayer
from ames_lite.training.initialization import (
    of_signs,
    start_from_correspondences,
    start_from_matches,
)
from tests.models.seeded import biggest_difference, descriptors


def started(seed: int = 0, sharpness: float = 10.0, **arguments: Any) -> AMES:
    head = AMES(**{"dim_in": 192, "num_layers": 2, "dim_feedforward": 64, **arguments}).eval()
    generator = torch.Generator().manual_seed(seed)
    start_from_correspondences(head, sample(head.dim_in), generator, sharpness=sharpness)
    return head


def sample(width: int) -> Tensor:
    """Descriptors around a mean far from zero, with a falling spectrum."""
    spectrum = torch.linspace(2, 0.05, width)
    return descriptors(1, 500, width) * spectrum + 3 * descriptors(2, width)


def remapped(head: AMES, x: Tensor) -> Tensor:
    with torch.no_grad():
        return head.remap_local(F.normalize(x, dim=-1))


@pytest.mark.parametrize("width", [96, 128, 192])
def test_remap_keeps_cosines_after_the_mean_is_subtracted(width: int) -> None:
    head, x = started(dim_in=width), sample(width)
    unit = F.normalize(x, dim=-1)
    before = F.normalize(unit - unit.mean(0), dim=-1)
    after = F.normalize(remapped(head, x), dim=-1)
    gap = (before @ before.T - after @ after.T).abs().mean()
    assert gap < (0.05 if width > 128 else 0.01)


def test_tokens_attend_to_the_most_similar_from_the_start() -> None:
    head, x = started(), sample(192)[:40]
    order = torch.randperm(40, generator=torch.Generator().manual_seed(3))
    query = remapped(head, x)[None]
    gallery = remapped(head, x[order] + 0.1 * descriptors(4, 40, 192))[None]
    layer = cast(PairLayer, head.decoder.layers[0])
    q, _, _ = layer.cross_attn._heads(layer.cross_attn.project(query))
    _, k, _ = layer.cross_attn._heads(layer.cross_attn.project(gallery))
    logits = (q @ k.transpose(2, 3) / 8).mean(1)[0]
    assert torch.equal(logits.argmax(1), order.argsort())


def test_sharpness_is_the_logit_of_equal_tokens() -> None:
    for sharpness in (5.0, 20.0):
        head = started(sharpness=sharpness)
        x = remapped(head, sample(192)[:40])[None]
        for layer in head.decoder.layers:
            attention = cast(PairLayer, layer).cross_attn
            q, k, _ = attention._heads(attention.project(x))
            itself = (q * k).sum(-1).mean(1) / 8  # the mean over heads is exact
            assert itself[0].tolist() == pytest.approx([sharpness] * 40, rel=0.02)


def test_codes_of_the_binary_form_keep_neighbours_too() -> None:
    head, x = started(binary=True), sample(192)[:40]
    a, b = remapped(head, x), remapped(head, x + 0.05 * descriptors(4, 40, 192))
    assert torch.equal((a @ b.T).argmax(1), torch.arange(40))


def test_same_seed_same_start_and_the_rest_is_left_alone() -> None:
    torch.manual_seed(0)
    plain = AMES(dim_in=192, num_layers=2, dim_feedforward=64).state_dict()
    starts = []
    for seed in (0, 0, 1):
        torch.manual_seed(0)
        starts.append(started(seed).state_dict())
    first, second, other = starts
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["remap_local.0.weight"], other["remap_local.0.weight"])
    changed = {name for name in plain if not torch.equal(plain[name], first[name])}
    layers = [f"decoder.layers.{i}.cross_attn.in_proj_weight" for i in range(2)]
    assert changed == {"remap_local.0.weight", "remap_local.0.bias", *layers}
    values = first[layers[0]][256:]
    assert biggest_difference(values, plain[layers[0]][256:]) == 0


@pytest.mark.parametrize("bad", ["width", "rank", "one", "NaN", "integers"])
def test_bad_samples_are_refused(bad: str) -> None:
    x = sample(192)
    cases = {"width": x[:, 1:], "rank": x[None], "one": x[:1], "integers": x.long()}
    with pytest.raises(BadInput, match="descriptors are"):
        generator = torch.Generator()
        start_from_correspondences(AMES(dim_in=192), cases.get(bad, x * torch.nan), generator)


def from_matches(num_heads: int, **arguments: Any) -> AMES:
    torch.manual_seed(0)
    sizes = {"dim_in": 64, "num_layers": 2, "dim_feedforward": 64, **arguments}
    head = AMES(num_heads=num_heads, **sizes).eval()
    start_from_matches(head, sample(head.dim_in), torch.Generator().manual_seed(0))
    return head


@pytest.mark.parametrize("num_heads, binary", [(1, False), (2, False), (1, True)])
def test_the_start_from_matches_counts_matches_before_the_first_step(
    num_heads: int, binary: bool
) -> None:
    """The more of a query's descriptors the gallery image has, the higher its logit."""
    head, x = from_matches(num_heads, binary=binary), F.normalize(sample(64), dim=-1)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(5))
    query, others = x[order[:60]], x[order[100:160]]
    with torch.no_grad():
        logits = [
            head(query[None], None, torch.cat([query[:shared], others[shared:]])[None]).item()
            for shared in (0, 15, 30, 45, 60)
        ]
    assert all(a < b for a, b in zip(logits, logits[1:], strict=False)), logits


@pytest.mark.parametrize("num_heads", [1, 2])
def test_the_start_from_matches_trusts_unique_descriptors(num_heads: int) -> None:
    """Half of the descriptors are shared: unique ones say more than one that repeats."""
    head, x = from_matches(num_heads), F.normalize(sample(64), dim=-1)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(5))
    mine, others, shared = x[order[:30]], x[order[100:130]], x[order[200:230]]
    repeated = shared[:1].expand(30, -1) + 0.01 * descriptors(6, 30, 64)
    with torch.no_grad():
        unique, same = (
            head(torch.cat([mine, s])[None], None, torch.cat([others, s])[None]).item()
            for s in (shared, repeated)
        )
    assert unique > same + 1


def test_signs_of_a_binary_start_agree_as_often_as_angles_say() -> None:
    """The mean has no part in them: each sign is + for about half of the descriptors."""
    head, x = from_matches(1, dim_in=128, binary=True), F.normalize(sample(128), dim=-1)
    with torch.no_grad():
        signs = head.remap_local[0](x)
    assert signs.mean(0).abs().mean() < 0.1
    across = x - x.mean(0)
    cosines = F.normalize(across, dim=-1) @ F.normalize(across, dim=-1).T
    expected = torch.tensor(
        [[of_signs(float(c.clamp(-1, 1))) for c in row[:40]] for row in cosines]
    )
    gap = (signs @ signs[:40].T / signs.shape[1] - expected).abs().mean()
    assert gap < 1.1 * 128**-0.5  # of 128 coins: 0.8 / √128 at an angle of 90°


@pytest.mark.parametrize("wrong", [{"pre_norm": True}, {"num_layers": 1}])
def test_the_start_from_matches_refuses_heads_that_it_does_not_fit(wrong: dict[str, Any]) -> None:
    head = AMES(**{"dim_in": 64, "num_layers": 2, "dim_feedforward": 32, **wrong})
    with pytest.raises(BadInput, match="expected"):
        start_from_matches(head, sample(64), torch.Generator().manual_seed(0))
