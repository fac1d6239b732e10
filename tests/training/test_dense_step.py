"""The project's step learns what the dense one does, pair by pair, with masks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ames_lite.models import AMES
from ames_lite.training.dataset import Side, TripletBatch
from ames_lite.training.model import TripletModel
from ames_lite.training.recipe import Recipe
from benchmarks.referees.step import DenseStep

B, K, D = 3, 11, 16
BOUNDS = {torch.float64: (1e-12, 1e-11), torch.float32: (2e-6, 2e-5)}  # loss, gradient


def head(seed: int, **given: object) -> AMES:
    torch.manual_seed(seed)
    sizes = {"dim_in": D, "dim": 8, "num_layers": 3, "dim_feedforward": 12, "binary_sigma": 0.01}
    return AMES(**{**sizes, "round_gallery_fp16": False, **given})  # type: ignore[arg-type]


def batch(padded: bool) -> TripletBatch:
    generator = torch.Generator().manual_seed(1)

    def side() -> Side:
        valid = None
        if padded:
            valid = torch.arange(K) < torch.randint(1, K + 1, (B, 1), generator=generator)
        return Side(torch.randn(B, K, D, generator=generator).half(), valid)

    return TripletBatch(side(), side(), side())


def learned(model: nn.Module, loss: Tensor) -> tuple[float, dict[str, Tensor]]:
    model.zero_grad()
    loss.backward()
    found = {n.removeprefix("head."): p.grad for n, p in model.named_parameters()}
    return loss.item(), {n: g for n, g in found.items() if g is not None}


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("form", ["fp", "pre_norm", "binary"])
@pytest.mark.parametrize("case", ["trimmed", "padded", "taught"])
def test_loss_and_gradient_are_those_of_the_dense_step(
    case: str, form: str, dtype: torch.dtype
) -> None:
    own = head(0, **({} if form == "fp" else {form: True})).to(dtype).train()
    teacher = head(5).to(dtype).eval() if case == "taught" else None
    given, counts = batch(case == "padded"), (5, 7)
    referee = DenseStep(own, teacher, beta=3.0)
    loss, gradient = learned(referee.model, referee.loss(given, counts))
    # Without a teacher no more is read than the head sees.
    seen = given if case == "taught" else given.strongest(*counts)
    model = TripletModel(own, teacher, Recipe(beta=3.0))
    found_loss, found = learned(model, model(seen, counts).loss)
    assert found_loss == pytest.approx(loss, abs=BOUNDS[dtype][0])
    assert found.keys() == gradient.keys() and len(found) > 50
    for name, values in found.items():
        far = (values - gradient[name]).norm() / max(1e-3, float(gradient[name].norm()))
        assert far < BOUNDS[dtype][1], name


def test_the_dense_step_changes_weights_as_adamw_does() -> None:
    """In float64: where a gradient is rounding, Adam moves by its sign."""
    own, given = head(0).double().train(), batch(False)
    referee = DenseStep(own, lr=1e-3)
    first = referee(given, (K, K))
    model = TripletModel(own)
    optimizer = torch.optim.AdamW(own.parameters(), lr=1e-3, weight_decay=5e-4)
    loss = model(given, (K, K)).loss
    loss.backward()
    optimizer.step()
    assert first == pytest.approx(loss.item(), abs=1e-12)
    for name, values in referee.model.state_dict().items():
        assert torch.allclose(values, own.state_dict()[name], atol=1e-9), name
    assert referee(given, (K, K)) < first
