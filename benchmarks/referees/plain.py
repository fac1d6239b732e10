"""The plain way of scoring, as published: for every pass and query, read, then forward.

It stands beside the dense form of AMES (benchmarks/referees/dense.py): what the scheduler is judged
by, and what the benchmark times it against. Slow on purpose: a candidate is read again for every
query and every pass that lists it, and a query is encoded again with every batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ames_lite.models.binarization import unpack_bits
from ames_lite.stores.descriptor_store import DescriptorStore

Model = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]  # both sides with masks, to logits [B]


@dataclass
class PlainLoop:
    """The loop over one query store and one gallery store; counts what it reads."""

    model: Model
    query_store: DescriptorStore
    gallery_store: DescriptorStore
    query_count: int
    gallery_count: int
    batch: int = 16
    device: str = "cpu"
    bytes_read: int = field(default=0, init=False)
    forwards: int = field(default=0, init=False)

    def run(self, passes: Sequence[npt.NDArray[np.integer]]) -> list[npt.NDArray[np.float32]]:
        """Logits [Q, K] of every pass, given as the ids [Q, K] that it reranks."""
        return [np.stack([self.query(q, row) for q, row in enumerate(ids)]) for ids in passes]

    @torch.inference_mode()
    def query(self, q: int, ids: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
        """Logits [K] of one query with its candidates [K]."""
        local, mask = self._read(self.query_store, [q], self.query_count)
        logits = []
        for start in range(0, len(ids), self.batch):
            some = ids[start : start + self.batch]
            gallery = [self._read(self.gallery_store, [int(g)], self.gallery_count) for g in some]
            num = len(gallery)
            there, there_mask = (torch.cat(parts) for parts in zip(*gallery, strict=True))
            sides = local.expand(num, -1, -1), mask.expand(num, -1), there, there_mask
            logits.append(self.model(*sides))
            self.forwards += num
        return torch.cat(logits).float().cpu().numpy()

    def _read(self, store: DescriptorStore, rows: list[int], count: int) -> tuple[Tensor, Tensor]:
        """Descriptors [1, k, D], as floats, and their mask [1, k], True on padding."""
        descriptors, valid = store.read_descriptors(rows, count)
        self.bytes_read += descriptors.nbytes
        local = torch.from_numpy(descriptors)
        local = unpack_bits(local) if store.packed else local.float()
        return local.to(self.device), ~torch.from_numpy(valid).to(self.device)
