"""The reranker on arrays and on rows of stores, without a configuration."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ames_lite.errors import BadInput, explained, require
from ames_lite.models import SimilarityHead
from ames_lite.models.head import Encoding
from ames_lite.models.published import PUBLISHED_HEADS
from ames_lite.records import NO_EVIDENCE, LocalDescriptors, Neighbors, as_sims
from ames_lite.reranking.ensemble import check_ensemble, ensemble_scores, rerank
from ames_lite.runtime import autocast

LAMB, TEMP = PUBLISHED_HEADS["dinov2_ames"][2:]  # of a head that brings none
EXPECTED = "descriptors of one image, float [T, D] or packed bits, uint8 [T, D/8]"
CHUNK = 1024  # candidates that are read and converted at a time
Array = npt.NDArray[Any]
Float32 = npt.NDArray[np.float32]
Described = LocalDescriptors | Array | Tensor


class Store(Protocol):
    """What a DescriptorStore does here; it is not imported, for HDF5."""

    def read_descriptors(self, rows: Array, /) -> tuple[Array, npt.NDArray[np.bool_]]: ...


StoredRow = tuple[Store, int]
StoredRows = tuple[Store, Sequence[int] | npt.NDArray[np.integer]]
Candidates = Sequence[Described] | Array | Tensor | StoredRows


class Reranker:
    """lamb in [0, 1], temp above 0: of the ensemble; None: the head's own, else LAMB and TEMP."""

    def __init__(
        self,
        model: SimilarityHead,
        lamb: float | None = None,
        temp: float | None = None,
        *,
        precision: str = "fp32",
        batch_pairs: int = 64,
    ) -> None:
        own = model.ensemble or (LAMB, TEMP)
        lamb, temp = own[0] if lamb is None else lamb, own[1] if temp is None else temp
        check_ensemble(lamb, temp)
        self.model, self.lamb, self.temp = model.eval(), lamb, temp
        self.precision, self.batch_pairs = precision, batch_pairs

    def rerank(
        self,
        query: Described | StoredRow,
        candidates: Candidates,
        sims: npt.ArrayLike | None = None,
        *,
        kind: str | None = None,
    ) -> Neighbors:
        """Order candidates by lamb * sim + (1 - lamb) * sigmoid(temp * logit).

        query: [Q, D] float descriptors of one image, or packed bits, uint8 [Q, D/8], or (store,
        row); candidates: K of them, of any lengths, or one array [K, T, D], or (store, rows [K]);
        sims [K] in any order, kind: what they are (`as_sims`); None: the logits alone decide.
        Returns lists [1, K], whose sims are the scores. Raises BadInput.
        """
        count = _count(candidates)
        given = None if sims is None else as_sims(sims, count, kind)
        return self.ordered(self.logits(query, candidates), given)

    def ordered(self, logits: Float32, sims: Float32 | None = None) -> Neighbors:
        """As `rerank`, of logits [K] that are known."""
        lamb, count = 0.0 if sims is None else self.lamb, len(logits)
        given = np.zeros(count, np.float32) if sims is None else sims
        near = Neighbors(np.arange(count, dtype=np.int32)[None], given[None], count)
        return rerank(near, logits[None], lamb, self.temp)

    def scores(self, query: Described | StoredRow, candidates: Candidates) -> Float32:
        """sigmoid(temp * logit) [K], the scores without sims, in the order of the candidates."""
        logits = self.logits(query, candidates)
        return ensemble_scores(np.zeros_like(logits), logits, 0.0, self.temp)

    @torch.inference_mode()
    def logits(self, query: Described | StoredRow, candidates: Candidates) -> Float32:
        """The head's logits [K] of the query with each candidate; the query is encoded once.
        Descriptors of zeros count as none; where an image has none at all the logit is NO_EVIDENCE.
        For a head that depends on padding, candidates of equal lengths go together.
        """
        count, device = _count(candidates), self.model.device
        asked = _one(query)
        with autocast(self.precision, device):
            encoded = self.model.encode(*_padded([asked], device))
            chunks = range(0, count, CHUNK)
            parts = [self._scored(encoded, _tensors(candidates, start)) for start in chunks]
        logits = np.concatenate(parts)
        return logits if len(asked) else np.full_like(logits, NO_EVIDENCE)

    def _scored(self, query: Encoding, images: Tensor | list[Tensor]) -> Float32:
        """Logits of images, [n, T, D] or a list of [T, D]."""
        logits = np.empty(len(images), np.float32)
        for rows in self._batches([len(image) for image in images]):
            if isinstance(images, Tensor):  # rows in a row: views
                part, valid = images[rows[0] : rows[-1] + 1].to(self.model.device), None
            else:
                part, valid = _padded([images[row] for row in rows], self.model.device)
            scored = self.model.score(query, self.model.encode(part, valid, gallery=True))
            assert isinstance(scored, Tensor)
            logits[rows] = scored.float().cpu().numpy()
        return np.where([len(image) == 0 for image in images], np.float32(NO_EVIDENCE), logits)

    @torch.inference_mode()
    def logits_of(self, requests: Sequence[tuple[Described, Sequence[Described]]]) -> list[Float32]:
        """As `logits` of every query; all pairs together, but for heads that depend on padding."""
        if len(requests) == 1 or self.model.depends_on_padding:
            return [self.logits(*request) for request in requests]
        asked = [_one(query) for query, _ in requests]
        starts = [(cs, start) for _, cs in requests for start in range(0, len(cs), CHUNK)]
        images = [image for part in starts for image in _tensors(*part)]
        owner = np.repeat(np.arange(len(requests)), [len(cs) for _, cs in requests])
        device = self.model.device
        with autocast(self.precision, device):
            queries = self.model.encode(*_padded(asked, device))
            gallery = self.model.encode(*_padded(images, device), gallery=True)
            scored = self.model.score(queries.rows(torch.from_numpy(owner).to(device)), gallery)
        assert isinstance(scored, Tensor)
        empty = [min(len(asked[n]), len(one)) == 0 for n, one in zip(owner, images, strict=True)]
        logits = np.where(empty, np.float32(NO_EVIDENCE), scored.float().cpu().numpy())
        return [logits[owner == number] for number in range(len(requests))]

    def _batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        groups: dict[int, list[int]] = {}
        for row, length in enumerate(lengths):
            groups.setdefault(length if self.model.depends_on_padding else 0, []).append(row)
        for rows in groups.values():
            for start in range(0, len(rows), self.batch_pairs):
                yield rows[start : start + self.batch_pairs]


def is_stored(given: object) -> bool:
    """Whether it is StoredRow or StoredRows."""
    return isinstance(given, tuple) and len(given) == 2 and hasattr(given[0], "read_descriptors")


def _count(candidates: Any) -> int:
    """How many there are. Raises BadInput where there are none, or a row of a store comes twice."""
    count = len(candidates)
    if is_stored(candidates):
        rows = np.asarray(candidates[1])
        count = len(rows)
        unique, first = np.unique(rows, return_index=True)
        if len(unique) < count:
            twice = np.delete(np.arange(count), first)[0]
            pair = np.flatnonzero(rows == rows[twice])[:2].tolist()
            what = f"candidates {pair[0]} and {pair[1]} are both row {rows[twice]} of the store"
            raise BadInput(what, expected="every image at most once")
    require(count, "there are no candidates", "at least one")
    return count


def _one(query: Any) -> Tensor:
    if is_stored(query):
        store, row = query
        return _tensors((store, [row]), 0)[0]
    return _without_zeros(_checked(query, "query"))


def _tensors(candidates: Any, start: int) -> Tensor | list[Tensor]:
    """The candidates from `start` on, at most CHUNK: [n, T, D] where all are alike, else a list."""
    part = slice(start, start + CHUNK)
    block: Any
    if is_stored(candidates):
        found, valid = candidates[0].read_descriptors(np.asarray(candidates[1])[part])
        block = found if valid.all() else [d[real] for d, real in zip(found, valid, strict=True)]
    else:
        block = candidates[part]
    if getattr(block, "ndim", 0) == 3:
        _checked(block[0], "candidate 0")
        return _all_without_zeros(block)
    images = [_checked(c, f"candidate {i}") for i, c in enumerate(block, start)]
    if len({(image.shape, image.dtype) for image in images}) > 1:
        return [_without_zeros(image) for image in images]
    stack: Any = torch.stack if isinstance(images[0], Tensor) else np.stack
    return _all_without_zeros(stack(images))


def _checked(described: Described, what: str) -> Array | Tensor:
    """Descriptors of one image as they were given. Raises BadInput for all but numbers [T, D]."""
    given: Any = described.descriptors if isinstance(described, LocalDescriptors) else described
    if not isinstance(given, Tensor):
        refused = (TypeError, ValueError)  # ragged lists, objects
        with explained(f"{what} is no array of numbers: {{}}", refused, expected=EXPECTED):
            given = np.asarray(given)
    floating = given.is_floating_point() if isinstance(given, Tensor) else given.dtype.kind == "f"
    packed = given.dtype in (torch.uint8, np.uint8)
    what = f"{what} has shape {list(given.shape)} and dtype {given.dtype}"
    require(given.ndim == 2 and (packed or floating), what, EXPECTED)
    return given


def _floats(given: Array | Tensor) -> Tensor:
    """Floats of any type and byte order as float32, packed bits as they are."""
    if not isinstance(given, Tensor):
        plain = given.dtype.isnative and given.dtype.itemsize <= 8
        with np.errstate(over="ignore"):  # infinite then, and refused
            given = given if plain else given.astype(np.float32)
        given = torch.from_numpy(np.require(given, requirements=["C", "W"]))
    return given if given.dtype == torch.uint8 else given.float()


def _without_zeros(image: Array | Tensor) -> Tensor:
    """[T, D] without the descriptors that are zero, which have no direction."""
    floats = _floats(image)
    return floats if floats.dtype == torch.uint8 else floats[floats.any(dim=1)]


def _all_without_zeros(block: Array | Tensor) -> Tensor | list[Tensor]:
    """The same of [n, T, D]; a list where images may lose some, or are not finite."""
    floats = _floats(block)
    sums = floats.sum(dim=-1)  # the fastest look: 0 of a descriptor of zeros, and of few others
    whole = floats.dtype == torch.uint8 or bool(((sums != 0) & sums.isfinite()).all())
    return floats if whole and floats.shape[1] else [_without_zeros(image) for image in floats]


def _padded(images: Sequence[Tensor], device: torch.device) -> tuple[Tensor, Tensor | None]:
    """One batch [B, T, D] and valid [B, T] (None without padding) of images of any lengths."""
    widths, dtypes = {image.shape[1] for image in images}, {image.dtype for image in images}
    what = f"descriptors of widths {sorted(widths)} and dtypes {sorted(map(str, dtypes))}"
    require(max(len(widths), len(dtypes)) <= 1, what, "one width and one dtype")
    finite = all(bool(torch.isfinite(image).all()) for image in images)
    require(finite, "descriptors have NaN or infinite entries", "finite float32 numbers")
    lengths = torch.tensor([len(image) for image in images])
    there = [image if len(image) else image.new_zeros(1, image.shape[1]) for image in images]
    batch = pad_sequence(there, batch_first=True)
    valid = torch.arange(batch.shape[1])[None] < lengths[:, None]
    return batch.to(device), None if bool(valid.all()) else valid.to(device)
