"""A training step in its obvious form: every pair through the dense head, in float32, with masks.

Input: a head (AMES), its teacher where there is one, batches as the project's own step sees them.
Output: the loss, and weights changed by AdamW. Two forward passes, (anchor, positive) and (anchor,
negative); with a teacher two more, without gradients. It is written from the description of the
recipe alone and stands on the dense referee: it judges the gradients of the project's step and is
what their speed is a ratio to.
"""

from __future__ import annotations

import contextlib
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ames_lite.models import AMES
from ames_lite.training.dataset import Side, TripletBatch
from benchmarks.referees.dense import DenseAMES


class DenseStep:
    """The step. beta: weight of the distance to the teacher's tokens."""

    def __init__(
        self,
        head: AMES,
        teacher: AMES | None = None,
        beta: float = 10.0,
        lr: float = 5e-4,
        weight_decay: float = 5e-4,
    ) -> None:
        self.device, self.dtype, self.beta = head.device, head.mtc_token.dtype, beta
        self.model: nn.Module = DenseAMES(head).to(self.device, self.dtype)
        self.teacher: nn.Module | None = None
        if teacher is not None:
            self.teacher = (
                DenseAMES(teacher).to(self.device, self.dtype).eval().requires_grad_(False)
            )
        given: dict[str, Any] = {"lr": lr, "weight_decay": weight_decay}
        self.optimizer = torch.optim.AdamW(self.model.parameters(), **given)

    def __call__(self, batch: TripletBatch, counts: tuple[int, int]) -> float:
        """Learn from a batch; counts: descriptors a side that the head sees."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(batch, counts)
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    def loss(self, batch: TripletBatch, counts: tuple[int, int]) -> Tensor:
        """Of a batch, a scalar with its gradient."""
        q, t = counts
        seen, all_queries = batch.strongest(q, t), batch.query.descriptors.shape[1]
        loss, distance = torch.zeros(2, dtype=self.dtype, device=self.device).unbind()
        for side, sign in ((1, 1.0), (2, -1.0)):
            logits, tokens = self._pairs(self.model, seen.query, seen[side])
            loss = loss + F.softplus(-sign * logits).mean() / 2
            if self.teacher is not None:
                with torch.no_grad():
                    _, taught = self._pairs(self.teacher, batch.query, batch[side])
                start = 1 + all_queries
                goal = torch.cat([taught[:, : 1 + q], taught[:, start : start + t]], dim=1)
                distance = distance + F.mse_loss(tokens, goal) / 2
        return loss if self.teacher is None else loss + self.beta * distance

    def _pairs(self, model: nn.Module, query: Side, gallery: Side) -> tuple[Tensor, Tensor]:
        """Logits [B] and output tokens [B, 1+Q+T, D]."""
        given = [part for side in (query, gallery) for part in self._published(side)]
        # The referee makes its masks where torch makes tensors by default.
        elsewhere = self.device.type != "cpu"
        with self.device if elsewhere else contextlib.nullcontext():
            return cast(tuple[Tensor, Tensor], model(*given))

    def _published(self, side: Side) -> tuple[Tensor, Tensor]:
        """Descriptors, and the mask that is True on padding."""
        x = side.descriptors.to(self.device, self.dtype)
        if side.valid is None:
            return x, torch.zeros(x.shape[:2], dtype=torch.bool, device=self.device)
        return x, ~side.valid.to(self.device)
