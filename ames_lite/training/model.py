"""Logits, loss, and the distance to a teacher's tokens of a part of a batch: means over triplets,
so that means of parts, weighted by their shares, are that of the batch.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ames_lite.errors import require
from ames_lite.models import AMES, SimilarityHead
from ames_lite.training.dataset import Side, TripletBatch
from ames_lite.training.recipe import Recipe

DEFAULT = Recipe()


class Result(NamedTuple):
    """Of a part."""

    loss: Tensor  # scalar, with gradient
    accuracy: float  # in [0, 1]
    distance: float | None


def pair_loss(
    positive: Tensor, negative: Tensor, taught: Sequence[Tensor] | None = None, soft: float = 1
) -> Tensor:
    """Binary cross-entropy with logits, a mean over all pairs (scalar), in float32 at least.

    taught: a teacher's logits [B] of the positives and negatives; its probabilities have the weight
    `soft`, in [0, 1], in the targets, the labels the rest (soft targets; Hinton et al., 2015, at
    temperature 1).
    """
    logits = torch.cat([positive, negative])
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    targets = torch.zeros_like(logits)
    targets[: len(positive)] = 1
    if taught is not None:
        targets = targets.lerp(torch.cat(list(taught)).to(targets.dtype).sigmoid(), soft)
    return F.binary_cross_entropy_with_logits(logits, targets)


def pair_accuracy(positive: Tensor, negative: Tensor) -> float:
    """Share of pairs on the right side of logit 0, in [0, 1].

    >>> pair_accuracy(torch.tensor([1.0, -1.0]), torch.tensor([-2.0, -3.0]))
    0.75
    """
    return float(torch.cat([positive > 0, negative < 0]).float().mean())


def score_pairs(head: SimilarityHead, batch: TripletBatch, tokens: bool = False) -> list[Any]:
    """Logits [B], or (logits, output tokens), of the positive and of the negative pairs."""
    query = head.encode(*batch.query)
    gallery = (head.encode(*side, gallery=True) for side in (batch.positive, batch.negative))
    return [head.score(query, side, tokens) for side in gallery]


def token_distance(
    tokens: Tensor, taught: Tensor, query: Side, gallery: Side, all_queries: int, padding: bool
) -> Tensor:
    """Mean squared difference of tokens [B, 1+q+t, D] to a teacher's [B, 1+all_queries+T, D], whose
    first are of the same descriptors. padding: its tokens count too, as published.
    """
    num_query, num_gallery = (side.descriptors.shape[1] for side in (query, gallery))
    start = 1 + all_queries
    same = torch.cat([taught[:, : 1 + num_query], taught[:, start : start + num_gallery]], dim=1)
    dtype = torch.promote_types(tokens.dtype, torch.float32)
    squared = (tokens.to(dtype) - same.to(dtype)).square().mean(-1)
    if padding or (query.valid is None and gallery.valid is None):
        return squared.mean()
    real = torch.cat([squared.new_ones(len(squared), 1), *(_real(s) for s in (query, gallery))], 1)
    return ((squared * real).sum(1) / real.sum(1)).mean()


def _real(side: Side) -> Tensor:
    if side.valid is None:
        return torch.ones(side.descriptors.shape[:2], device=side.descriptors.device)
    return side.valid.float()


class TripletModel(nn.Module):
    """The head, and its teacher, if any, which sees all descriptors that were read: for its tokens
    a batch augmented as the head's, for its probabilities alone as it was read.
    """

    def __init__(
        self, head: SimilarityHead, teacher: SimilarityHead | None = None, recipe: Recipe = DEFAULT
    ) -> None:
        super().__init__()
        self.head, self.recipe = head, recipe
        self._teacher = [] if teacher is None else [teacher]  # no parameter of this module

    def forward(
        self, batch: TripletBatch, counts: tuple[int, int], as_read: TripletBatch | None = None
    ) -> Result:
        """counts: descriptors a side that the head sees; as_read: the batch before augmentation."""
        recipe = self.recipe
        if not self._teacher:
            positive, negative = score_pairs(self.head, batch)
            return Result(pair_loss(positive, negative), pair_accuracy(positive, negative), None)
        seen, teacher = batch.strongest(*counts), self._teacher[0]
        if recipe.beta == 0:
            with torch.no_grad():
                probable = [teacher.logit(x) for x in score_pairs(teacher, as_read or batch)]
            positive, negative = score_pairs(self.head, seen)
            loss = pair_loss(positive, negative, probable, recipe.soft_targets)
            return Result(loss, pair_accuracy(positive, negative), None)
        own = score_pairs(self.head, seen, tokens=True)
        with torch.no_grad():
            taught = score_pairs(teacher, batch, tokens=True)
        positive, negative = (logits for logits, _ in own)
        all_queries = batch.query.descriptors.shape[1]
        distances = [
            token_distance(tokens, goal, seen.query, side, all_queries, recipe.distill_padding)
            for (_, tokens), (_, goal), side in zip(own, taught, seen[1:], strict=True)
        ]
        distance = torch.stack(distances).mean()
        probable = [logits for logits, _ in taught]
        loss = pair_loss(positive, negative, probable, recipe.soft_targets) + recipe.beta * distance
        return Result(loss, pair_accuracy(positive, negative), float(distance.detach()))


def check_teacher(
    teacher: SimilarityHead | None, head: SimilarityHead, recipe: Recipe = DEFAULT
) -> None:
    """Raise BadInput where a head cannot learn from a teacher, or would learn nothing."""
    soft, tokens = recipe.soft_targets, recipe.beta > 0
    if teacher is None:
        what = f"soft_targets is {soft}, and there is no teacher"
        require(soft == 0, what, "a teacher, or soft_targets=0.0")
        return
    what = "beta=0 and soft_targets=0: the head would learn nothing from its teacher"
    require(tokens or soft > 0, what, "beta or soft_targets above 0, or no teacher")
    fits = not tokens or (isinstance(teacher, AMES) and isinstance(head, AMES))
    what = f"{type(teacher).__name__} cannot teach {type(head).__name__} its tokens"
    remedy = "beta=0.0 soft_targets=1.0, to learn its probabilities alone"
    require(fits, what, "two heads 'ames': the others make no output tokens", remedy=remedy)
    widths = {"dim_in": ("descriptors", "a teacher that was trained on these descriptors")}
    if tokens:
        widths["dim"] = ("tokens", f"another teacher=, or model.arguments.dim={teacher.dim}")
    for key, (what, remedy) in widths.items():
        known, wanted = getattr(teacher, key), getattr(head, key)
        said = f"the teacher has {what} of width {known}, the head of width {wanted}"
        require(known == wanted, said, f"a teacher with the same {key}", remedy=remedy)
