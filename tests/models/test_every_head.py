"""What holds for all heads alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ames_lite.errors import BadInput
from ames_lite.models import HEADS, SimilarityHead, build_head
from ames_lite.models import ames as ames_module
from ames_lite.models.binarization import pack_bits, unpack_bits
from tests.models.seeded import EVERY_HEAD, biggest_difference, descriptors, padding

TOLERANCE = 5e-5
QUERY, GALLERY = descriptors(5, 5, 12, 48), descriptors(6, 5, 8, 48)
PADDING = padding(12, 9, 1, 12, 5, total=12), padding(8, 8, 3, 1, 6, total=8)
PAIR = (QUERY, PADDING[0], GALLERY, PADDING[1])
every_head = pytest.mark.parametrize("build", EVERY_HEAD.values(), ids=EVERY_HEAD)
Build = Callable[[], SimilarityHead]


def encoded(head: SimilarityHead, pair: Any = PAIR) -> tuple[Any, Any]:
    valid = [None if mask is None else ~mask for mask in (pair[1], pair[3])]
    return head.encode(pair[0], valid[0]), head.encode(pair[2], valid[1], gallery=True)


def test_every_head_is_here() -> None:
    assert {type(build()) for build in EVERY_HEAD.values()} == set(HEADS.values())


@every_head
@torch.no_grad()
def test_logits_tell_pairs_apart(build: Build) -> None:
    logits = build()(*PAIR)
    assert logits.shape == (5,) and logits.dtype == torch.float32
    assert (logits[:, None] - logits).abs().add(torch.eye(5)).min() > 1e-3


@every_head
@torch.no_grad()
def test_order_of_descriptors_never_changes_a_logit(build: Build) -> None:
    head, generator = build(), torch.Generator().manual_seed(0)
    q, t = torch.randperm(12, generator=generator), torch.randperm(8, generator=generator)
    shuffled = head(QUERY[:, q], PADDING[0][:, q], GALLERY[:, t], PADDING[1][:, t])
    assert biggest_difference(shuffled, head(*PAIR)) < TOLERANCE


@every_head
@torch.no_grad()
def test_padding_changes_a_logit_only_where_the_head_says_so(build: Build) -> None:
    head = build()
    padded = head(*PAIR)
    rows = range(5)
    alone = torch.cat([head(*unpadded(i)) for i in rows])
    longer = [torch.nn.functional.pad(x, (0, 0, 0, 7), value=3.0) for x in (QUERY, GALLERY)]
    masks = [torch.nn.functional.pad(mask, (0, 7), value=True) for mask in PADDING]
    more = head(longer[0], masks[0], longer[1], masks[1])
    if head.depends_on_padding:
        assert biggest_difference(padded, alone) > 1e-2 and biggest_difference(padded, more) > 1e-2
        return
    garbage = [
        torch.where(mask[..., None], 1e3 * descriptors(4, *x.shape), x)
        for x, mask in zip((QUERY, GALLERY), PADDING, strict=True)
    ]
    assert biggest_difference(padded, alone) < TOLERANCE
    assert biggest_difference(padded, more) < TOLERANCE
    assert biggest_difference(padded, head(garbage[0], PADDING[0], garbage[1], PADDING[1])) < 5e-5


def unpadded(i: int) -> tuple[Tensor, None, Tensor]:
    return QUERY[i : i + 1, ~PADDING[0][i]], None, GALLERY[i : i + 1, ~PADDING[1][i]]


@every_head
@torch.no_grad()
def test_batch_never_changes_a_logit(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    head = build()
    together = head(*PAIR)
    alone = torch.cat([head(*(part[i : i + 1] for part in PAIR)) for i in range(5)])
    assert biggest_difference(together, alone) < TOLERANCE
    turned = head(*(part.flip(0) for part in PAIR)).flip(0)
    assert biggest_difference(together, turned) < TOLERANCE
    # blocks of 2, 2 and 1 pairs
    monkeypatch.setattr("ames_lite.models.head.CPU_BLOCK_ENTRIES", 2 * 12 * 8)
    monkeypatch.setattr(ames_module, "CPU_BLOCK_TOKENS", 2 * (12 + 1 + 8))
    assert biggest_difference(together, head(*PAIR)) < TOLERANCE


@every_head
@torch.no_grad()
def test_encode_then_score_is_forward(build: Build) -> None:
    head = build()
    assert torch.equal(head.score(*encoded(head)), head(*PAIR))
    bare = (QUERY, None, GALLERY, None)
    assert torch.equal(head.score(*encoded(head, bare)), head(*bare))


@every_head
def test_blocks_and_gradients_never_change_a_logit(build: Build) -> None:
    head = build()
    with torch.no_grad():
        expected = head(*PAIR)
    assert biggest_difference(head(*PAIR), expected) < TOLERANCE
    with torch.inference_mode():
        assert biggest_difference(head(*PAIR), expected) < TOLERANCE


@every_head
@torch.no_grad()
def test_one_query_against_many_is_the_query_repeated(build: Build) -> None:
    head = build()
    query, mask = QUERY[1:2], PADDING[0][1:2]
    repeated = head(query.expand(5, -1, -1), mask.expand(5, -1), GALLERY, PADDING[1])
    one, many = head.encode(query, ~mask), head.encode(GALLERY, ~PADDING[1], gallery=True)
    assert biggest_difference(head.score(one, many), repeated) < TOLERANCE
    each = torch.cat([head.score(one, many.rows(slice(i, i + 1))) for i in range(5)])
    assert biggest_difference(each, repeated) < TOLERANCE
    some = torch.tensor([4, 0])
    assert biggest_difference(head.score(one, many.rows(some)), repeated[some]) < TOLERANCE
    one, many = head.encode(GALLERY[:1], gallery=True), head.encode(QUERY)
    repeated = head(QUERY, None, GALLERY[:1].expand(5, -1, -1), None)
    assert biggest_difference(head.score(many, one), repeated) < TOLERANCE


@every_head
@pytest.mark.parametrize("training", [False, True])
def test_image_of_padding_alone_has_a_finite_logit(build: Build, training: bool) -> None:
    head = build().train(training)
    nothing = torch.ones(5, 12, dtype=torch.bool), torch.ones(5, 8, dtype=torch.bool)
    for masks in ((nothing[0], PADDING[1]), (PADDING[0], nothing[1]), nothing):
        logits = head(QUERY, masks[0], GALLERY, masks[1])
        assert logits.isfinite().all()
        if next(head.parameters(), None) is not None:
            head.zero_grad()
            logits.sum().backward()
            assert all(p.grad.isfinite().all() for p in head.parameters() if p.grad is not None)


@every_head
@torch.no_grad()
def test_packed_is_unpacked(build: Build) -> None:
    """A binary head's bits are the signs of its projection; other heads': of the descriptors."""
    head = build()
    signs = [torch.where(x > 0, 1.0, -1.0) for x in (QUERY, GALLERY)]
    packed = [pack_bits(x) for x in signs]
    if getattr(head, "binary", False):
        signs = [QUERY, GALLERY]
        packed = [pack_bits(head.remap_local[0](x)) for x in signs]  # type: ignore[index]
        assert packed[0].shape == (5, 12, 16)
    assert packed[0].dtype == torch.uint8
    for x, bits, mask, gallery in zip(signs, packed, PADDING, (False, True), strict=True):
        expected, found = (head.encode(y, ~mask, gallery=gallery) for y in (x, bits))
        assert expected.tensors.keys() == found.tensors.keys()
        assert all(torch.equal(a, found.tensors[k]) for k, a in expected.tensors.items())
    expected = head(signs[0], PADDING[0], signs[1], PADDING[1])
    assert torch.equal(head(packed[0], PADDING[0], packed[1], PADDING[1]), expected)
    assert torch.equal(head(packed[0], PADDING[0], signs[1], PADDING[1]), expected)
    head.train()
    assert head(packed[0], PADDING[0], packed[1], PADDING[1]).isfinite().all()


def test_packed_bits_are_those_of_numpy() -> None:
    np = pytest.importorskip("numpy")
    x = descriptors(1, 3, 4, 48)
    packed = pack_bits(x)
    assert (packed.numpy() == np.packbits(x.numpy() > 0, axis=-1)).all()
    expected = np.unpackbits(packed.numpy(), axis=-1).astype(np.float32) * 2 - 1
    assert torch.equal(unpack_bits(packed), torch.from_numpy(expected))
    every = torch.arange(256, dtype=torch.uint8)[:, None]
    assert torch.equal(pack_bits(unpack_bits(every, torch.float16)), every)


# How far logits may be from the exact ones, with bf16 and with fp16.
BOUNDS = {"ames": (5e-2, 5e-3), "elvis": (2e-3, 3e-4), "chamfer": (2e-3, 3e-4)}


@every_head
def test_reduced_precision_stays_near(build: Build) -> None:
    head = build()
    bounds = next(BOUNDS[name] for name in HEADS if type(head) is HEADS[name])
    with torch.no_grad():
        exact = head(*PAIR)
        for dtype, bound in zip((torch.bfloat16, torch.float16), bounds, strict=True):
            with torch.autocast("cpu", dtype):
                near = head(*PAIR)
            assert 0 < biggest_difference(near, exact) < bound
            assert near.dtype == torch.float32


@every_head
@torch.no_grad()
def test_half_precision_heads_and_descriptors_work(build: Build) -> None:
    head = build()
    exact = head(*PAIR)
    stored = (QUERY.half(), PADDING[0], GALLERY.half(), PADDING[1])
    assert biggest_difference(head(*stored), exact) < 1e-3
    assert biggest_difference(head.half()(*stored), exact) < 2e-2
    assert biggest_difference(head.bfloat16()(*stored), exact) < 2e-1
    assert biggest_difference(build().double()(*PAIR), exact) < 1e-3


@every_head
def test_tokens_are_refused_where_there_are_none(build: Build) -> None:
    head = build()
    if isinstance(head, HEADS["ames"]):
        assert head(*PAIR, return_tokens=True)[1].shape == (5, 21, 128)
        return
    name = next(name for name in HEADS if type(head) is HEADS[name])
    with pytest.raises(BadInput, match=f"(?s)^return_tokens=True.*'{name}'.*expected.*False"):
        head(*PAIR, return_tokens=True)
    with pytest.raises(BadInput, match="^return_tokens=True"):
        head.score(*encoded(head), return_tokens=True)


SLOW = [
    pytest.param(name, marks=pytest.mark.slow)
    for name in EVERY_HEAD
    if name not in ("fp", "binary")
]


@pytest.mark.parametrize("name", ["fp", *SLOW])
def test_score_compiles_into_one_graph_for_all_sizes(name: str) -> None:
    """A binary AMES differs in encode alone."""
    build = EVERY_HEAD[name]
    head, graphs = build(), []
    if isinstance(head, HEADS["ames"]):
        head = build(num_layers=1)  # type: ignore[call-arg]  # all are alike, each takes a second

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


def test_encodings_of_another_head_are_refused() -> None:
    heads = [build_head(name, dim_in=16).eval() for name in ("ames", "elvis", "chamfer")]
    encoded = [head.encode(torch.randn(2, 3, 16)) for head in heads]
    for own, head in enumerate(heads):
        for other, images in enumerate(encoded):
            if other == own:
                assert head.score(images, images).shape == (2,)
            else:
                with pytest.raises(BadInput, match="as encode"):
                    head.score(encoded[own], images)
