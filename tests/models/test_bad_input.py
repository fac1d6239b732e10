"""Bad input is refused with the argument, what came and what was expected."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ames_lite.errors import BadInput
from tests.models.seeded import descriptors, seeded_head

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
    "integers": (X.to(torch.uint8), "torch.uint8"),
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


@pytest.mark.parametrize("case", BAD_DESCRIPTORS)
def test_bad_descriptors_are_refused(case: str) -> None:
    head, (bad, came) = seeded_head(), BAD_DESCRIPTORS[case]
    with pytest.raises(BadInput, match=f"(?s)^descriptors .*{came}.*expected"):
        head.encode(bad)
    with pytest.raises(ValueError, match=f"(?s)^src_local .*{came}.*expected"):
        head(bad, None, X)
    with pytest.raises(ValueError, match=f"(?s)^tgt_local .*{came}.*expected"):
        head(X, None, bad)


@pytest.mark.parametrize("case", BAD_MASKS)
def test_bad_masks_are_refused(case: str) -> None:
    head, (bad, came) = seeded_head(), BAD_MASKS[case]
    with pytest.raises(BadInput, match=f"(?s)^valid .*{came}.*expected"):
        head.encode(X, bad)
    with pytest.raises(ValueError, match=f"(?s)^src_mask .*{came}.*padding"):
        head(X, bad, X)
    with pytest.raises(ValueError, match=f"(?s)^tgt_mask .*{came}.*padding"):
        head(X, None, X, bad)


def test_missing_gallery_and_unequal_batches_are_refused() -> None:
    head = seeded_head()
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
