"""The frozen records that cross the borders between rooms; each refuses to be wrong.

Checked once, when made, so that nothing later checks again. Arrays are NumPy, query-major [Q, K];
ids are row numbers of an image list, sims and scores are higher-is-better. Axis letters:
K descriptors of one image (or neighbours), D width, Q queries, N gallery images, P pairs.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, require

Array = npt.NDArray[np.generic]
Integers = npt.NDArray[np.integer]
Ids = npt.NDArray[np.int32]
Keys = npt.NDArray[np.int64]
# Logit of a pair of which an image has no descriptors: below what any head gives, its sigmoid is 0.
# Finite, so that it can be stored and multiplied by any γ.
NO_EVIDENCE = -1e30
LAST_ROW = 2**31 - 1  # of an image list
SIM_KINDS = {  # what lists hold, and for distances d the number of which 1 - d / number is a sim
    "similarity": None,
    "distance": 1,  # 1 - cosine
    "squared_l2": 2,  # of unit vectors, as faiss gives it
}
LEAST_SORTED = 5  # numbers that rise by chance in one of 120 lists
KIND_REMEDY = 'kind="squared_l2" (of unit vectors, as faiss gives it), kind="distance" '
KIND_REMEDY += '(1 - cosine), or kind="similarity" where the list is meant to rise'
KINDS = {"descriptors": None, "xy": np.float32, "scale": np.uint8, "weight": np.float32}


def _freeze(record: object, **arrays: Array) -> None:
    """Store read-only views of the arrays on a frozen dataclass."""
    for name, array in arrays.items():
        view = array.view()
        view.flags.writeable = False
        object.__setattr__(record, name, view)


def _native(values: object, name: str, dtype: type[np.generic] | None = None) -> npt.NDArray[Any]:
    """An array of numbers in the byte order of this machine, as dtype (None: as it is)."""
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fui":
        kind = getattr(values, "dtype", type(values).__name__)
        raise BadInput(f"{name} is given as {kind}", expected="a NumPy array of numbers")
    if dtype is None:
        return values.astype(values.dtype.newbyteorder("="), copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        converted = values.astype(dtype, copy=False)
    whole = dtype is not np.uint8 or (converted == values).all()
    require(whole, f"{name} has {values.dtype} entries", expected="whole numbers from 0 to 255")
    return converted


def unique_names(names: Sequence[str], what: str) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise BadInput(f"{what} has '{twice}' more than once", expected="unique names")
    return tuple(names)


@dataclass(frozen=True, eq=False)
class LocalDescriptors:
    """The local descriptors of one image, strongest first; K may be 0. Other byte orders, and other
    numbers in xy, scale and weight, are converted. BadInput for what does not fit, NaN or infinity.
    """

    descriptors: Array  # [K, D] float16/float32, or uint8 [K, D/8] (bits packed big-endian)
    xy: npt.NDArray[np.float32]  # [K, 2] in [0, 1] of the whole image; all NaN: unknown
    scale: npt.NDArray[np.uint8]  # [K] index of the scale that the descriptor was found at
    weight: npt.NDArray[np.float32]  # [K] descending
    size: tuple[int, int]  # (height, width) of the image in pixels

    def __post_init__(self) -> None:
        arrays = {name: _native(getattr(self, name), name, kind) for name, kind in KINDS.items()}
        d, xy, _, weight = arrays.values()
        what = f"descriptors have shape {d.shape} and dtype {d.dtype}"
        fits = d.ndim == 2 and d.dtype in (np.float16, np.float32, np.uint8)
        require(fits, what, expected="[K, D] float16 or float32, or [K, D/8] uint8")
        for name, wanted in {"xy": (len(d), 2), "scale": (len(d),), "weight": (len(d),)}.items():
            came = arrays[name].shape
            require(came == wanted, f"{name} has shape {came}", expected=f"{wanted}")
        unknown = bool(np.isnan(xy).all())
        for name, values in arrays.items():
            finite = values.dtype == np.uint8 or (name == "xy" and unknown)
            finite = finite or bool(np.isfinite(values).all())
            require(finite, f"{name} has NaN or infinite entries", expected="finite numbers")
        inside, expected = unknown or ((xy >= 0) & (xy <= 1)).all(), "x, y in [0, 1]"
        require(inside, "xy leaves the image", expected=expected)
        falls, expected = (np.diff(weight) <= 0).all(), "descending weights, strongest first"
        require(falls, "weights are not sorted", expected=expected)
        fits = len(self.size) == 2 and min(self.size) > 0
        require(fits, f"size is {self.size}", expected="(h, w) > 0")
        _freeze(self, **arrays)

    @property
    def count(self) -> int:
        """Number of descriptors K."""
        return len(self.descriptors)

    @property
    def placed(self) -> bool:
        """Whether the positions are known."""
        return self.count == 0 or not bool(np.isnan(self.xy).any())

    def strongest(self, count: int) -> "LocalDescriptors":
        """The first min(count, K) descriptors."""
        require(count >= 1, f"{count} descriptors were asked for", expected="at least 1")
        descriptors, xy, scale, weight = (getattr(self, name)[:count] for name in KINDS)
        return LocalDescriptors(descriptors, xy, scale, weight, self.size)


def count_rising(sims: npt.NDArray[np.floating[Any]]) -> int:
    """How many rows of [Q, K] rise anywhere.

    >>> count_rising(np.array([[0.9, 0.5, 0.5], [0.5, 0.9, 0.1]]))
    1
    """
    return int((sims[:, 1:] > sims[:, :-1]).any(axis=1).sum())


def as_sims(values: npt.ArrayLike, count: int, kind: str | None = None) -> npt.NDArray[np.float32]:
    """Similarities [count] of one list, in any order, as float32. Raises BadInput.

    kind: of SIM_KINDS; None: similarities, but LEAST_SORTED or more that only rise are refused.

    >>> as_sims([0.25, 0.5], 2, "distance")
    array([0.75, 0.5 ], dtype=float32)
    """
    given = np.asarray(values)
    what = f"sims have shape {given.shape} and dtype {given.dtype}"
    fits = given.shape == (count,) and given.dtype.kind in "fui"
    require(fits, what, expected=f"[{count}] numbers, one a candidate")
    known, expected = kind is None or kind in SIM_KINDS, f"one of {', '.join(SIM_KINDS)}, or None"
    require(known, f"kind is {kind!r}", expected=expected)
    sims = given.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(sims))
    what = f"the sim of candidate {bad[0]} is {given[bad[0]]}" if len(bad) else ""
    require(not len(bad), what, expected="finite numbers")
    over = SIM_KINDS.get(kind or "")
    if over is not None:
        return np.float32(1) - sims / np.float32(over)
    steps = np.diff(sims)
    sorted_up = count >= LEAST_SORTED and (steps >= 0).all() and steps.any()
    what = f"sims only rise along the list ({sims[0]:g} to {sims[-1]:g}), as distances do"
    expected = "higher is more similar"
    require(kind or not sorted_up, what, expected=expected, remedy=KIND_REMEDY)
    return sims


@dataclass(frozen=True, eq=False)
class Neighbors:
    """A ranking: for each query the gallery rows, best first. Lists that were reordered may keep
    the sims of their first stage: these then rise somewhere, as they may behind the reranked part.
    """

    ids: Ids  # [Q, K] in [0, num_gallery), unique in a row
    sims: npt.NDArray[np.float32]  # [Q, K] finite: global similarities, or scores
    num_gallery: int

    def __post_init__(self) -> None:
        ids, sims = _native(self.ids, "ids"), _native(self.sims, "sims")
        fits = ids.ndim == 2 and sims.shape == ids.shape and np.issubdtype(ids.dtype, np.integer)
        what = f"ids {ids.shape} {ids.dtype} and sims {sims.shape} do not fit"
        require(fits, what, expected="integer ids [Q, K] and sims of the same shape")
        low, high = (int(ids.min()), int(ids.max())) if ids.size else (0, -1)
        inside, rows = 0 <= low and high < self.num_gallery, f"0 to {self.num_gallery - 1}"
        require(inside, f"ids lie in [{low}, {high}]", expected=f"rows of the gallery, {rows}")
        for q, row in enumerate(ids):  # row by row: a list may be as long as a gallery of millions
            once, what = bool((np.diff(np.sort(row)) != 0).all()), f"query {q} lists an image twice"
            require(once, what, expected="every image at most once per query")
        require(np.isfinite(sims).all(), "sims have NaN or infinity", expected="finite numbers")
        _freeze(self, ids=ids, sims=sims)

    def first(self, num: int | None) -> "Neighbors":
        """The first `num` neighbours of every query; None: all."""
        if num is None or num >= self.ids.shape[1]:
            return self
        return Neighbors(self.ids[:, :num], self.sims[:, :num], self.num_gallery)

    @property
    def rising(self) -> int:
        """How many lists are not in the order of their sims."""
        return count_rising(self.sims)


def pair_keys(query: Integers, gallery: Integers) -> Keys:
    """One number a pair of row numbers (broadcast), sorted as by query, then gallery."""
    return np.bitwise_or(query.astype(np.int64) << 32, gallery.astype(np.int64))


def split_pair_keys(keys: Keys) -> tuple[Ids, Ids]:
    """The query rows and gallery rows of `pair_keys`."""
    return (keys >> 32).astype(np.int32), (keys & 0xFFFFFFFF).astype(np.int32)


@dataclass(frozen=True, eq=False)
class PairScores:
    """Raw logits of unique (query, gallery) pairs, sorted by them, whatever the order given."""

    query: Ids  # [P] row numbers
    gallery: Ids  # [P]
    logit: npt.NDArray[np.float32]  # [P], finite
    _keys: Keys = field(init=False, repr=False)

    def __post_init__(self) -> None:
        q, g, logit = (_native(getattr(self, name), name) for name in ("query", "gallery", "logit"))
        fits = q.ndim == 1 and q.shape == g.shape == logit.shape
        what = f"query {q.shape}, gallery {g.shape} and logit {logit.shape} do not fit"
        require(fits, what, expected="three arrays of one length")
        require(np.isfinite(logit).all(), "logits have NaN or infinity", expected="finite logits")
        for rows in (q, g):
            low, high = (rows.min(), rows.max()) if len(rows) else (0, 0)
            fits = rows.dtype.kind in "iu" and 0 <= low and high <= LAST_ROW
            what = f"row numbers are {low} to {high} ({rows.dtype})"
            require(fits, what, expected=f"row numbers, 0 to {LAST_ROW}")
        keys = pair_keys(q, g)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        require((np.diff(keys) > 0).all(), "a pair is listed twice", expected="unique pairs")
        _freeze(self, query=q[order], gallery=g[order], logit=logit[order], _keys=keys)

    def lookup(self, ids: Integers, query: Integers | None = None) -> npt.NDArray[np.float32]:
        """Logits [Q, k] of gallery rows ids [Q, k] of query rows [Q] (None: all). BadInput."""
        query = np.arange(len(ids)) if query is None else query
        wanted = pair_keys(query[:, None], ids)
        at = np.searchsorted(self._keys, wanted)
        there = self._keys.take(at, mode="clip") if len(self._keys) else np.full_like(wanted, -1)
        if (there != wanted).any():
            q, k = np.argwhere(there != wanted)[0]
            what = f"query {query[q]} and gallery image {ids[q, k]} have no score"
            remedy = "score again with the same neighbours and at least this num_rerank"
            raise BadInput(what, expected="a score for every pair that is reranked", remedy=remedy)
        return self.logit[at]


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """What is right for each query, as rows of the gallery: disjoint lists."""

    query_names: tuple[str, ...]  # [Q], unique
    gallery_names: tuple[str, ...]  # [N], unique
    easy: tuple[npt.NDArray[np.int64], ...]  # [Q]
    hard: tuple[npt.NDArray[np.int64], ...]
    junk: tuple[npt.NDArray[np.int64], ...]
    bbox: tuple[tuple[float, float, float, float] | None, ...]  # in pixels of the whole image
    graded: bool = True  # False: all positives are in easy, hard is empty

    def __post_init__(self) -> None:
        queries = unique_names(self.query_names, "the query list")
        gallery = unique_names(self.gallery_names, "the gallery list")
        object.__setattr__(self, "query_names", queries)
        object.__setattr__(self, "gallery_names", gallery)
        for name in ("easy", "hard", "junk", "bbox"):
            count = len(getattr(self, name))
            what = f"{name} has {count} entries for {len(queries)} queries"
            require(count == len(queries), what, expected="one entry a query")
        for q, name in enumerate(queries):
            together = np.concatenate([self.easy[q], self.hard[q], self.junk[q]])
            if together.size == 0:
                continue
            low, high = int(together.min()), int(together.max())
            inside, what = 0 <= low and high < len(gallery), f"gallery rows {low} to {high}"
            expected = f"rows 0 to {len(gallery) - 1}: ground truth and gallery list disagree"
            require(inside, f"query '{name}' names {what}", expected=expected)
            what = f"query '{name}' lists a gallery image twice among easy, hard and junk"
            require(len(np.unique(together)) == len(together), what, expected="disjoint lists")
