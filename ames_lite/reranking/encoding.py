"""Stored images, read and encoded by a head, before it sees a pair. Images of one `Encoded` are
padded to one length, and a batch of pairs is trimmed to its own longest; for a head that depends on
padding nothing is trimmed. Packed bits stay packed up to the device. Axis letters: B images, N
tokens of one image.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ames_lite.errors import BadInput
from ames_lite.io import remedies
from ames_lite.models import SimilarityHead
from ames_lite.models.head import Encoding
from ames_lite.reranking.batches import Batches
from ames_lite.reranking.tasks import ReadMeter, Rows
from ames_lite.stores.descriptor_store import DescriptorStore

Flags = npt.NDArray[np.bool_]


class Extent(NamedTuple):
    """Which descriptors of B images count."""

    length: Rows  # [B] up to the last valid one, at least 1
    whole: Flags  # [B] whether all are valid up to there
    blank: Flags  # [B] whether it has no descriptor: none is valid, or all are zero

    def rows(self, numbers: Rows) -> Self:
        return type(self)(self.length[numbers], self.whole[numbers], self.blank[numbers])


class Stored(NamedTuple):
    """Images as they are stored, on the host."""

    store: DescriptorStore
    rows: Rows  # [B]
    descriptors: Tensor  # [B, N, D], or packed bits [B, N, D/8]
    valid: Flags  # [B, N]
    extent: Extent


class Encoded(NamedTuple):
    """Encoded images, on the device."""

    images: Encoding  # what head.encode gave: of B images
    extent: Extent

    def pick(self, numbers: Rows, index: Tensor) -> Encoding:
        """These images (index: the same numbers, on the device), no longer than they need."""
        lengths = self.extent.length[numbers]
        longest = int(lengths.max())
        images = self.images.first(longest)
        if self.extent.whole[numbers].all() and (lengths == longest).all():
            images = replace(images, valid=None)
        if (numbers == numbers[0]).all():
            numbers = numbers[:1]
        return images.rows(_run(numbers) or index)


class Encoder:
    """Reads stored images and encodes them with a head, as many at a time as there is room for."""

    def __init__(self, head: SimilarityHead, batches: Batches, meter: ReadMeter) -> None:
        self._head, self._batches, self._meter = head, batches, meter
        self._device = batches.device

    def read(self, store: DescriptorStore, rows: Rows, count: int) -> Stored:
        """Images with at most their `count` strongest descriptors; errors as of `ReadMeter`."""
        with self._meter.reading():
            descriptors, valid = store.read_descriptors(rows, count)
        self._meter.note(store, count, rows, descriptors.nbytes)
        local = torch.from_numpy(descriptors)
        length = np.full(len(rows), valid.shape[1])
        if not self._head.depends_on_padding:
            last = valid.shape[1] - valid[:, ::-1].argmax(axis=1)
            length = np.where(valid.any(axis=1), last, 1)
        extent = Extent(length, valid.sum(axis=1) == length, _blank(store, descriptors, valid))
        pinned = local.pin_memory() if self._device.type == "cuda" else local
        return Stored(store, rows, pinned, valid, extent)

    def image_bytes(self, store: DescriptorStore, count: int, *, gallery: bool) -> int:
        """Bytes of an encoded image of this store with all its descriptors."""
        width, dtype = (store.dim // 8, torch.uint8) if store.packed else (store.dim, torch.float32)
        blank = torch.zeros(1, min(count, store.max_count), width, dtype=dtype)
        encoded = self._head.encode(blank.to(self._device), gallery=gallery)
        return sum(part.nbytes for part in encoded.tensors.values())

    def gallery(self, stored: Stored) -> list[tuple[Rows, Encoded]]:
        """Rows of the store and those images, batch by batch, rising in length."""
        order = np.argsort(stored.extent.length, kind="stable")
        batches = self._encode(stored, order, stored.extent.length[order], gallery=True)
        self._meter.cost.encoded_gallery += len(order)
        return [(stored.rows[n], Encoded(images, stored.extent.rows(n))) for n, images in batches]

    def queries(self, blocks: Iterable[Stored], num: int) -> Encoded:
        """All queries of these blocks, `num` in all, padded alike; `valid` even where all are."""
        bank: Encoding | None = None  # filled block by block: no block more is held twice
        extents, first = list[Extent](), 0
        for stored in blocks:
            extents.append(stored.extent)
            rows = np.arange(len(stored.rows))
            widths = np.full(len(rows), stored.valid.shape[1])
            for numbers, images in self._encode(stored, rows, widths, masked=True):
                if bank is None:
                    bank = images.each(lambda part: part.new_empty(num, *part.shape[1:]))
                for name, part in images.tensors.items():
                    bank.tensors[name][first + numbers[0] : first + numbers[-1] + 1] = part
            first += len(rows)
        self._meter.cost.encoded_queries += first
        assert bank is not None  # num is at least 1
        return Encoded(bank, Extent(*map(np.concatenate, zip(*extents, strict=True))))

    def _encode(
        self, stored: Stored, order: Rows, length: Rows, gallery: bool = False, masked: bool = False
    ) -> list[tuple[Rows, Encoding]]:
        """Numbers and images in batches of this order; masked: with `valid` even where all are."""
        local = stored.descriptors.to(self._device, non_blocking=True)
        done: list[tuple[Rows, Encoding]] = []

        def encode(batch: slice) -> None:
            chosen, longest = order[batch], int(length[batch].max())
            part = local[_run(chosen) or torch.from_numpy(chosen).to(self._device), :longest]
            part = part if stored.store.packed else part.float()
            valid = stored.valid[chosen, :longest]
            bare = valid.all() and not masked
            mask = None if bare else torch.from_numpy(valid).to(self._device)
            try:
                done.append((chosen, self._head.encode(part, mask, gallery=gallery)))
            except BadInput as error:
                raise _located(error, stored, chosen, part) from error

        self._batches.run(encode, length)
        return done


def _run(numbers: Rows) -> slice | None:
    """Numbers that stand side by side, as a slice, which copies nothing."""
    if (np.diff(numbers) == 1).all():
        return slice(int(numbers[0]), int(numbers[-1]) + 1)
    return None


def _blank(store: DescriptorStore, descriptors: npt.NDArray[Any], valid: Flags) -> Flags:
    """[B] whether an image has no valid descriptor, or only zeros (a code of bits may be zeros)."""
    blank: Flags = ~np.asarray(valid.any(axis=1))
    if store.packed:
        return blank
    blank |= ~(valid[:, 0] & descriptors[:, 0].any(axis=1))
    doubtful = np.flatnonzero(blank)  # few: the others are known by their first descriptor
    real = descriptors[doubtful].any(axis=2) & valid[doubtful]
    blank[doubtful] = ~real.any(axis=1)
    return blank


def _located(error: BadInput, stored: Stored, chosen: Rows, part: Tensor) -> BadInput:
    bad = ~part.isfinite().flatten(1).all(1).cpu().numpy()
    if not bad.any():
        return BadInput(str(error), where=stored.store.path)
    row = int(stored.rows[chosen[int(bad.argmax())]])
    where = f"{stored.store.path}, row {row} ('{stored.store.names[row]}')"
    return BadInput(str(error), where=where, remedy=f"{remedies.CHECK}; extract them again")
