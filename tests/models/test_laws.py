"""What holds for AMES whatever its parameters, against the dense referee where there is one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ames_lite.models import ames as ames_module
from tests.models.dense import DenseAMES
from tests.models.seeded import FORMS, biggest_difference, descriptors, padding, seeded_head

TOLERANCE = 5e-5
QUERY, GALLERY = descriptors(5, 5, 12, 48), descriptors(6, 5, 8, 48)
PADDING = padding(12, 9, 1, 12, 5, total=12), padding(8, 8, 3, 1, 6, total=8)
PAIR = (QUERY, PADDING[0], GALLERY, PADDING[1])
SIDES = (PAIR[:2], PAIR[2:])

every_form = pytest.mark.parametrize("form", FORMS)


@every_form
@pytest.mark.parametrize("num_layers", [1, 2, 5])
@pytest.mark.parametrize("training", [False, True])
def test_fast_form_equals_the_dense_one(form: str, num_layers: int, training: bool) -> None:
    arguments = {**FORMS[form], "num_layers": num_layers, "binary_sigma": 0.01}
    head = seeded_head(7, **arguments).train(training)
    referee = DenseAMES(head)
    for pair in (PAIR, (QUERY, None, GALLERY, None), (QUERY, PADDING[0], GALLERY, None)):
        logits, tokens = referee(*pair)
        assert biggest_difference(head(*pair), logits) < TOLERANCE
        fast_logits, fast_tokens = head(*pair, return_tokens=True)
        assert biggest_difference(fast_logits, logits) < TOLERANCE
        assert biggest_difference(fast_tokens, tokens) < TOLERANCE


@every_form
def test_gradients_equal_the_dense_ones(form: str) -> None:
    head = seeded_head(7, **FORMS[form], binary_sigma=0.01).double().train()
    referee = DenseAMES(head).double()
    pair = tuple(part.double() if part.is_floating_point() else part for part in PAIR)
    target = descriptors(8, 5, 21, 128).double()
    for with_tokens in (False, True):
        for model in (head, referee):
            model.zero_grad()
            logits, tokens = model(*pair, True) if model is head else model(*pair)
            if model is head and not with_tokens:
                logits = model(*pair)  # the way that never makes the tokens
            loss = torch.nn.functional.softplus(logits).sum()
            (loss + (tokens - target).square().mean() if with_tokens else loss).backward()
        dense = dict(referee.named_parameters())
        for name, parameter in head.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
            scale = dense[name].grad.abs().max().item()
            assert biggest_difference(parameter.grad, dense[name].grad) < 1e-8 * max(1, scale), name


@every_form
@torch.no_grad()
def test_order_of_descriptors_never_changes_a_logit(form: str) -> None:
    head, generator = seeded_head(9, **FORMS[form]), torch.Generator().manual_seed(0)
    q, t = torch.randperm(12, generator=generator), torch.randperm(8, generator=generator)
    shuffled = head(QUERY[:, q], PADDING[0][:, q], GALLERY[:, t], PADDING[1][:, t])
    assert biggest_difference(shuffled, head(*PAIR)) < TOLERANCE


@every_form
@torch.no_grad()
def test_padding_never_changes_a_logit(form: str) -> None:
    head = seeded_head(9, **FORMS[form])
    padded = head(*PAIR)
    garbage = [torch.where(m[..., None], 1e3 * descriptors(4, *m.shape, 48), x) for x, m in SIDES]
    assert biggest_difference(head(garbage[0], PADDING[0], garbage[1], PADDING[1]), padded) < 5e-5
    for i in range(5):
        query, gallery = (x[i : i + 1, ~mask[i]] for x, mask in SIDES)
        alone = head(query, tgt_local=gallery)
        assert biggest_difference(alone, padded[i : i + 1]) < TOLERANCE


@every_form
@torch.no_grad()
def test_batch_never_changes_a_logit(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    head = seeded_head(9, **FORMS[form])
    together = head(*PAIR)
    alone = torch.cat([head(*(part[i : i + 1] for part in PAIR)) for i in range(5)])
    assert biggest_difference(together, alone) < TOLERANCE
    turned = head(*(part.flip(0) for part in PAIR)).flip(0)
    assert biggest_difference(together, turned) < TOLERANCE
    monkeypatch.setattr(ames_module, "CPU_BLOCK_TOKENS", 2 * 21)  # blocks of 2, 2 and 1 pairs
    logits, tokens = head(*PAIR, return_tokens=True)
    assert biggest_difference(together, head(*PAIR)) < TOLERANCE
    assert biggest_difference(together, logits) < TOLERANCE
    assert tokens.shape == (5, 21, 128)


@every_form
@torch.no_grad()
def test_encode_then_score_is_forward(form: str) -> None:
    head = seeded_head(9, **FORMS[form])
    query, gallery = (
        head.encode(QUERY, ~PADDING[0]),
        head.encode(GALLERY, ~PADDING[1], gallery=True),
    )
    assert torch.equal(head.score(query, gallery), head(*PAIR))


@every_form
@torch.no_grad()
def test_one_query_against_many_is_the_query_repeated(form: str) -> None:
    head = seeded_head(9, **FORMS[form])
    query, mask = QUERY[1:2], PADDING[0][1:2]
    repeated = head(query.expand(5, -1, -1), mask.expand(5, -1), GALLERY, PADDING[1])
    one, many = head.encode(query, ~mask), head.encode(GALLERY, ~PADDING[1], gallery=True)
    assert biggest_difference(head.score(one, many), repeated) < TOLERANCE
    assert biggest_difference(head(query, mask, GALLERY, PADDING[1]), repeated) < TOLERANCE
    turned = torch.cat([head.score(one, many.rows(slice(i, i + 1))) for i in range(5)])
    assert biggest_difference(turned, repeated) < TOLERANCE
    some = torch.tensor([4, 0])
    assert biggest_difference(head.score(one, many.rows(some)), repeated[some]) < TOLERANCE
    one, many = head.encode(GALLERY[:1], gallery=True), head.encode(QUERY)
    repeated = head(QUERY, None, GALLERY[:1].expand(5, -1, -1), None)
    assert biggest_difference(head.score(many, one), repeated) < TOLERANCE


@every_form
@pytest.mark.parametrize("training", [False, True])
def test_image_of_padding_alone_has_a_finite_logit(form: str, training: bool) -> None:
    head = seeded_head(9, **FORMS[form], binary_sigma=0.01).train(training)
    nothing = torch.ones(5, 12, dtype=torch.bool), torch.ones(5, 8, dtype=torch.bool)
    for masks in ((nothing[0], PADDING[1]), (PADDING[0], nothing[1]), nothing):
        logits, tokens = head(QUERY, masks[0], GALLERY, masks[1], return_tokens=True)
        assert logits.isfinite().all() and tokens.isfinite().all()
        expected, _ = DenseAMES(head)(QUERY, masks[0], GALLERY, masks[1])
        assert biggest_difference(logits, expected) < TOLERANCE
        head.zero_grad()
        head(QUERY, masks[0], GALLERY, masks[1]).sum().backward()
        grads = [p.grad for p in head.parameters() if p.grad is not None]
        assert grads and all(g.isfinite().all() for g in grads)
    assert biggest_difference(logits, logits[:1].expand(5)) < TOLERANCE  # nothing is seen at all


@torch.no_grad()
def test_gallery_alone_is_rounded_and_only_in_eval_of_fp() -> None:
    head, exact = seeded_head(9), seeded_head(9, round_gallery_fp16=False)
    assert head(*PAIR).ne(exact(*PAIR)).any()
    assert torch.equal(head.train()(*PAIR), exact.train()(*PAIR))
    query = [model.eval().encode(QUERY).tokens for model in (head, exact)]
    assert torch.equal(*query)
    binary = [seeded_head(9, binary=True, round_gallery_fp16=flag)(*PAIR) for flag in (0, 1)]
    assert torch.equal(*binary)


@torch.no_grad()
def test_length_of_descriptors_matters_only_without_normalisation() -> None:
    head, as_is = seeded_head(9), seeded_head(9, normalize_input=False)
    longer = (QUERY * 3, PADDING[0], GALLERY * 3, PADDING[1])
    assert biggest_difference(head(*longer), head(*PAIR)) < TOLERANCE
    assert biggest_difference(as_is(*longer), as_is(*PAIR)) > 1e-3
    unit = [torch.nn.functional.normalize(x, dim=-1) for x in (QUERY, GALLERY)]
    same = as_is(unit[0], PADDING[0], unit[1], PADDING[1])
    assert biggest_difference(same, head(*PAIR)) < TOLERANCE


@every_form
@pytest.mark.parametrize("dtype,bound", [(torch.bfloat16, 5e-2), (torch.float16, 5e-3)])
def test_reduced_precision_stays_near(form: str, dtype: torch.dtype, bound: float) -> None:
    head = seeded_head(9, **FORMS[form])
    with torch.no_grad():
        exact = head(*PAIR)
        with torch.autocast("cpu", dtype):
            assert biggest_difference(head(*PAIR), exact) < bound
    with torch.autocast("cpu", dtype):
        head.train()(*PAIR, return_tokens=True)[1].square().sum().backward()
    assert all(p.grad.isfinite().all() for p in head.parameters() if p.grad is not None)


@torch.no_grad()
def test_half_precision_heads_and_descriptors_work() -> None:
    head = seeded_head(9)
    exact = head(*PAIR)
    stored = (QUERY.half(), PADDING[0], GALLERY.half(), PADDING[1])
    assert biggest_difference(head(*stored), exact) < 5e-3
    assert head.half()(*stored).dtype == torch.float16
    assert biggest_difference(head(*stored), exact) < 5e-2


def test_score_compiles_into_one_graph_for_all_sizes() -> None:
    head, graphs = seeded_head(9, num_layers=2), []

    def count(module: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        graphs.append(module)
        return module.forward

    torch._dynamo.reset()
    compiled = torch.compile(head.score, fullgraph=True, backend=count, dynamic=True)
    with torch.no_grad():
        for pairs, num_query, num_gallery in ((3, 7, 9), (5, 8, 11), (4, 12, 12)):
            query = head.encode(descriptors(1, 1, num_query, 48))
            valid = ~padding(*range(1, pairs + 1), total=num_gallery)
            gallery = head.encode(descriptors(2, pairs, num_gallery, 48), valid, gallery=True)
            expected = head.score(query, gallery)
            assert biggest_difference(compiled(query, gallery), expected) < TOLERANCE
    assert len(graphs) == 1
    torch._dynamo.reset()


def test_score_with_tokens_and_gradients_compiles() -> None:
    head = seeded_head(9, num_layers=2).train()
    compiled = torch.compile(head, fullgraph=True, backend="aot_eager")
    grads = []
    for model in (head, compiled):
        head.zero_grad()
        logits, tokens = model(*PAIR, return_tokens=True)
        (logits.sum() + tokens.square().sum()).backward()
        grads.append([p.grad.clone() for p in head.parameters()])
    torch._dynamo.reset()
    for a, b in zip(*grads, strict=True):
        assert biggest_difference(a, b) < 1e-3 * max(1.0, a.abs().max().item())


def test_no_tensor_grows_with_the_square_of_the_tokens() -> None:
    """Neither of the tensors kept for the gradients."""
    head, num = seeded_head(9, num_layers=2), 300
    biggest = 0

    def note(tensor: Tensor) -> Tensor:
        nonlocal biggest
        biggest = max(biggest, tensor.untyped_storage().nbytes() // 4)
        return tensor

    query, gallery = descriptors(1, 2, num, 48), descriptors(2, 2, num, 48)
    mask = padding(num, num - 1, total=num)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        head(query, mask, gallery, mask).sum()
    assert 0 < biggest <= 2 * (2 * num + 1) * 3 * 128  # projections; a mask would be 2 * 601 * 601
