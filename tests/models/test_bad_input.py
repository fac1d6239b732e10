"""Bad input is refused with the argument, what came and what was expected, by every head."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from ames_lite.errors import BadInput
from ames_lite.models import AMES, Chamfer, SimilarityHead
from tests.models.seeded import EVERY_HEAD, descriptors, seeded_head

X = descriptors(1, 2, 5, 48)
NAN, INF = X.clone(), X.clone()
NAN[1, 3, 7], INF[0, 2, 1] = torch.nan, torch.inf
CANCELLING = INF.clone()
CANCELLING[0, 2, 2] = -torch.inf
ALL = torch.ones(2, 5, dtype=torch.bool)

BAD_DESCRIPTORS: dict[str, tuple[Any, str]] = {
    "width": (X[..., :47], r"\[2, 5, 47\]"),
    "rank": (X[0], r"\[5, 48\]"),
    "empty set": (X[:, :0], r"\[2, 0, 48\]"),
    "no image": (X[:0], r"\[0, 5, 48\]"),
    "integers": (X.long(), "torch.int64"),
    "bytes that are no packed bits": (X.to(torch.uint8), r"\[2, 5, 48\].*torch.uint8"),
    "packed bits of another width": (X[..., :5].to(torch.uint8), r"\[2, 5, 5\].*torch.uint8"),
    "a rank of packed bits": (X[0, :, :6].to(torch.uint8), r"\[5, 6\].*torch.uint8"),
    "booleans": (X > 0, "torch.bool"),
    "NaN": (NAN, "descriptor 3 of image 1"),
    "infinity": (INF, "descriptor 2 of image 0"),
    "infinities of both signs": (CANCELLING, "descriptor 2 of image 0"),
    "an array": (X.numpy(), "ndarray"),
}
BAD_MASKS: dict[str, tuple[Any, str]] = {
    "shape": (ALL[:, :4], r"\[2, 4\]"),
    "rank": (ALL[0], r"\[5\]"),
    "float": (ALL.float(), "torch.float32"),
    "integers": (ALL.long(), "torch.int64"),
    "a list": ([[True] * 5] * 2, "list"),
}


every_head = pytest.mark.parametrize("build", EVERY_HEAD.values(), ids=EVERY_HEAD)
Build = Callable[[], SimilarityHead]


@every_head
@torch.no_grad()
def test_encoding_waits_for_no_device(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the meta device there are no values: reading one would raise."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # has none for meta
    head = build().to("meta")
    encoded = head.encode(torch.empty(2, 5, 48, device="meta"))
    assert {part.device.type for part in encoded.tensors.values()} == {"meta"}


@every_head
@pytest.mark.parametrize("case", BAD_DESCRIPTORS)
def test_bad_descriptors_are_refused(case: str, build: Build) -> None:
    head, (bad, came) = build(), BAD_DESCRIPTORS[case]
    with pytest.raises(BadInput, match=f"(?s)^descriptors .*{came}.*expected"):
        head.encode(bad)
    with pytest.raises(ValueError, match=f"(?s)^src_local .*{came}.*expected"):
        head(bad, None, X)
    with pytest.raises(ValueError, match=f"(?s)^tgt_local .*{came}.*expected"):
        head(X, None, bad)


@every_head
def test_a_wrong_width_names_what_float_and_packed_descriptors_should_have(build: Build) -> None:
    head = build()
    num_bytes = 16 if isinstance(head, AMES) and head.binary else 6
    expected = rf"(?s)expected.*float tensor \[B, N, 48\].*uint8 \[B, N, {num_bytes}\]"
    for wrong in (X[..., :47], X[..., :5].to(torch.uint8)):
        with pytest.raises(BadInput, match=expected):
            head.encode(wrong)


def test_a_width_that_does_not_pack_asks_for_float_alone() -> None:
    with pytest.raises(BadInput, match=r"(?s)expected.*\[B, N, 44\] with at least"):
        Chamfer(44).encode(X[..., :44].to(torch.uint8))


@every_head
@pytest.mark.parametrize("case", BAD_MASKS)
def test_bad_masks_are_refused(case: str, build: Build) -> None:
    head, (bad, came) = build(), BAD_MASKS[case]
    with pytest.raises(BadInput, match=f"(?s)^valid .*{came}.*expected"):
        head.encode(X, bad)
    with pytest.raises(ValueError, match=f"(?s)^src_mask .*{came}.*padding"):
        head(X, bad, X)
    with pytest.raises(ValueError, match=f"(?s)^tgt_mask .*{came}.*padding"):
        head(X, None, X, bad)


@every_head
def test_missing_gallery_and_unequal_batches_are_refused(build: Build) -> None:
    head = build()
    with pytest.raises(BadInput, match="tgt_local is missing"):
        head(X)
    three = descriptors(2, 3, 4, 48)
    with pytest.raises(BadInput, match="query has 2 images and gallery 3"):
        head(X, tgt_local=three)
    none = head.encode(X).rows(slice(0, 0))
    with pytest.raises(BadInput, match="query has 2 images and gallery 0"):
        head.score(head.encode(X), none)


def test_huge_but_finite_descriptors_are_taken() -> None:
    with torch.no_grad():
        assert seeded_head()(X * 1e37, tgt_local=X).isfinite().all()


def test_chamfer_of_any_width_wants_one_width() -> None:
    head = Chamfer()
    assert head(X, None, X).shape == (2,) and head(X[..., :7], None, X[..., :7]).shape == (2,)
    with pytest.raises(BadInput, match="width 48 and gallery of 40"):
        head(X, None, X[..., :40])
    with pytest.raises(BadInput, match=r"\[B, N, Din\] or packed bits, uint8 \[B, N, Din/8\]"):
        head.encode(X.long())
