"""What holds for AMES whatever its parameters, against the dense referee where there is one.

What holds for every head is in test_every_head.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ames_lite.models import ames as ames_module
from benchmarks.referees.dense import DenseAMES
from tests.models.measure import LargestTensor
from tests.models.seeded import FORMS, biggest_difference, descriptors, padding, seeded_head

TOLERANCE = 5e-5
QUERY, GALLERY = descriptors(5, 5, 12, 48), descriptors(6, 5, 8, 48)
PADDING = padding(12, 9, 1, 12, 5, total=12), padding(8, 8, 3, 1, 6, total=8)
PAIR = (QUERY, PADDING[0], GALLERY, PADDING[1])

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
@pytest.mark.parametrize("padded", ["both", "query", "neither"])
def test_gradients_equal_the_dense_ones(form: str, padded: str) -> None:
    head = seeded_head(7, **FORMS[form], binary_sigma=0.01).double().train()
    referee = DenseAMES(head).double()
    masks = PADDING[0] if padded != "neither" else None, PADDING[1] if padded == "both" else None
    pair = (QUERY.double(), masks[0], GALLERY.double(), masks[1])
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
def test_gradients_of_one_query_against_many_equal_the_dense_ones(form: str) -> None:
    """As a trainer scores: both sides encoded once, the query's encoding used for all."""
    head = seeded_head(7, **FORMS[form], binary_sigma=0.01).double().train()
    referee = DenseAMES(head).double()
    query, mask = QUERY[1:2].double(), PADDING[0][1:2]
    gallery = GALLERY.double()
    one, many = head.encode(query, ~mask), head.encode(gallery, ~PADDING[1], gallery=True)
    torch.nn.functional.softplus(head.score(one, many)).sum().backward()
    repeated = query.expand(5, -1, -1), mask.expand(5, -1), gallery, PADDING[1]
    torch.nn.functional.softplus(referee(*repeated)[0]).sum().backward()
    for name, parameter in referee.named_parameters():
        found, scale = head.get_parameter(name).grad, parameter.grad.abs().max().item()
        assert biggest_difference(found, parameter.grad) < 1e-8 * max(1, scale), name


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


@every_form
@torch.no_grad()
def test_blocks_keep_the_order_of_the_tokens(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    head = seeded_head(9, **FORMS[form])
    logits, tokens = head(*PAIR, return_tokens=True)
    monkeypatch.setattr(ames_module, "CPU_BLOCK_TOKENS", 2 * 21)  # blocks of 2, 2 and 1 pairs
    in_blocks = head(*PAIR, return_tokens=True)
    assert biggest_difference(in_blocks[0], logits) < TOLERANCE
    assert biggest_difference(in_blocks[1], tokens) < TOLERANCE


@every_form
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_gradients_in_reduced_precision_are_finite(form: str, dtype: torch.dtype) -> None:
    head = seeded_head(9, **FORMS[form]).train()
    with torch.autocast("cpu", dtype):
        head(*PAIR, return_tokens=True)[1].square().sum().backward()
    assert all(p.grad.isfinite().all() for p in head.parameters() if p.grad is not None)


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


@pytest.mark.slow
def test_score_with_tokens_and_gradients_compiles() -> None:
    head = seeded_head(9, num_layers=1).train()
    compiled = torch.compile(head, fullgraph=True, backend="eager")
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


@pytest.mark.parametrize("mode", ["eval", "train", "tokens"])
@pytest.mark.parametrize("padded", [False, True])
def test_the_largest_tensor_grows_linearly_with_the_tokens(mode: str, padded: bool) -> None:
    """In the forward and the backward pass; a block of attention would grow fourfold here."""
    head = seeded_head(9, num_layers=2).train(mode != "eval")
    sizes = []
    for num in (400, 800):
        query, gallery = descriptors(1, 1, num, 48), descriptors(2, 1, num, 48)
        mask = padding(num - 9, total=num) if padded else None
        with torch.set_grad_enabled(mode != "eval"), LargestTensor() as largest:
            found = head(query, mask, gallery, mask, return_tokens=mode == "tokens")
            if mode != "eval":
                (found[0].sum() + found[1].square().sum() if mode == "tokens" else found).backward()
        sizes.append(largest.numel)
    assert sizes[0] <= (2 * 400 + 1) * 3 * 128 and sizes[1] <= 2.01 * sizes[0]


def test_the_dense_form_would_be_seen_to_grow_with_the_square() -> None:
    head, sizes = seeded_head(9, num_layers=1), []
    for num in (100, 200):
        query, gallery = descriptors(1, 1, num, 48), descriptors(2, 1, num, 48)
        with torch.no_grad(), LargestTensor() as largest:
            DenseAMES(head)(query, None, gallery, None)
        sizes.append(largest.numel)
    assert sizes[1] > 3.5 * sizes[0]
