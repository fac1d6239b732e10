"""Labelled images for the detector: a part held out, batches of several images a label, features.
Labels are held out, not images, so that landmarks of the evaluation are new. What a batch holds
depends on (seed, epoch) alone.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ames_lite.datasets.image_lists import read_image_list
from ames_lite.errors import BadInput, require
from ames_lite.extraction.backbones.interface import Backbone
from ames_lite.extraction.backbones.map_backbone import MapBackbone
from ames_lite.extraction.batches import Job, compute_all, usable
from ames_lite.io.digest import array_digest, names_digest
from ames_lite.runtime import Draw, progress_bar, stream

LINES = "path,label lines with an integer label for every image"
GIB = 2**30
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images below `root` with integer labels [N]; source: their lists, for messages."""

    root: Path
    names: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    source: str

    def __post_init__(self) -> None:
        what = f"{len(self.names)} images and {len(self.labels)} labels"
        require(len(self.names) == len(self.labels), what, "one label per image", where=self.source)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def paths(self) -> list[Path]:
        return [self.root / name for name in self.names]

    @property
    def digest(self) -> str:
        return names_digest([*self.names, array_digest(self.labels)])

    def take(self, chosen: npt.NDArray[np.bool_]) -> LabelledImages:
        """The images where chosen [N] is True."""
        names = tuple(name for name, keep in zip(self.names, chosen, strict=True) if keep)
        return LabelledImages(self.root, names, self.labels[chosen], self.source)


def read_labelled(lists: Sequence[str | Path], root: str | Path) -> LabelledImages:
    """The images of one or more lists. Raises MissingFile, and BadInput without labels."""
    names: list[str] = []
    labels = []
    for path in lists:
        images = read_image_list(path)
        if images.labels is None:
            what = f"'{images.names[0]}' has no label, nor has any image of the list"
            raise BadInput(what, where=f"{path}, line 1", expected=LINES)
        names += images.names
        labels.append(images.labels)
    source = " and ".join(map(str, lists))
    require(len(set(names)) == len(names), "an image is in two lists", where=source)
    return LabelledImages(Path(root), tuple(names), np.concatenate(labels), source)


def partners(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How many images carry the label of each, itself included: [N]."""
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return np.asarray(counts[inverse], np.int64)


def drop_single(images: LabelledImages) -> tuple[LabelledImages, int]:
    """The images whose label has another image, and how many have none. BadInput for one label."""
    several = partners(images.labels) > 1
    kept = images.take(several)
    found, every = (len(np.unique(part.labels)) for part in (kept, images))
    what = f"{found} labels have two images or more, of {every} labels"
    require(found >= 2, what, "at least two labels with two images each", where=images.source)
    return kept, int((~several).sum())


def hold_out(
    images: LabelledImages, share: float, seed: int
) -> tuple[LabelledImages, LabelledImages]:
    """Images to train on and to evaluate by: a drawn share of the labels, two or more. BadInput."""
    labels = np.unique(images.labels)
    count = max(2, round(share * len(labels)))
    fits = 0 < share < 1 and len(labels) - count >= 2
    what = f"{len(labels)} labels with two images or more, val_share is {share}"
    expected = "at least two labels to train on and two to evaluate by"
    remedy = "more labels, another val_share=, or val_dataset="
    require(fits, what, expected, where=images.source, remedy=remedy)
    held = np.isin(images.labels, stream(seed, Draw.HELD_OUT).permutation(labels)[:count])
    return images.take(~held), images.take(held)


def refuse_shared(train: LabelledImages, val: LabelledImages) -> None:
    """Raises BadInput for images that are trained on and evaluated by."""
    files = [{str(path.absolute()) for path in part.paths} for part in (train, val)]
    shared = sorted(files[0] & files[1])
    what = f"{len(shared)} images are both trained on and evaluated by, e.g. {shared[:1]}"
    where = f"{train.source} and {val.source}"
    require(not shared, what, "two sets without a common image", where=where)


def by_label(labels: npt.NDArray[np.int64]) -> list[Rows]:
    """The rows of every label, both in ascending order."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def num_batches(labels: npt.NDArray[np.int64], batch_size: int, per_label: int) -> int:
    """Batches of an epoch; a batch has two groups or more."""
    counts = np.unique(labels, return_counts=True)[1]
    groups = int(np.maximum(1, counts // per_label).sum())
    return max(1, min(-(-len(labels) // batch_size), groups // 2))


def epoch_batches(
    labels: npt.NDArray[np.int64], batch_size: int, per_label: int, seed: int, epoch: int
) -> list[Rows]:
    """An epoch's batches, each image once, of batch_size on average, in groups of one label: of
    per_label images, up to 2 · per_label - 1, or all that a label has.
    """
    rng = stream(seed, Draw.IMAGES, epoch)
    groups: list[Rows] = []
    order = rng.permutation(len(labels))
    for rows in (order[rows] for rows in by_label(labels[order])):
        groups += np.array_split(rows, max(1, len(rows) // per_label))
    shuffled = [groups[at] for at in rng.permutation(len(groups))]
    parts = np.array_split(np.arange(len(groups)), num_batches(labels, batch_size, per_label))
    return [np.concatenate([shuffled[at] for at in part]) for part in parts]


class FrozenFeatures:
    """Tokens of images by row, by a frozen backbone. Raises BadInput for one without maps.
    compute: of prepared images of one shape; None: their patches, over all scales.

    The first rows are kept in memory, the rest computed every epoch; on a CPU, where images are
    computed one by one, both give the same numbers.
    """

    def __init__(
        self,
        backbone: Backbone,
        paths: Sequence[Path],
        *,
        cache_gib: float = 4.0,
        workers: int = 1,
        compute: Callable[[Sequence[Any]], list[Tensor]] | None = None,
    ) -> None:
        require(cache_gib >= 0, f"cache_gib is {cache_gib}", "GiB of memory, 0: none")
        self.backbone, self.workers = require_maps(backbone), workers
        self.compute = compute or self._tokens
        self._jobs = [Job(path.name, path, None) for path in paths]
        self._cache: dict[int, Tensor] = {}
        self._room = int(cache_gib * GIB)

    def __len__(self) -> int:
        return len(self._jobs)

    def fill(self) -> int:
        """Compute the first rows and keep them while there is room; returns how many are kept."""
        rows = range(len(self._jobs) if self._room else 0)
        with (
            progress_bar(len(self._jobs), "features", "image") as bar,
            closing(self._compute(rows)) as found,
        ):
            for row, tokens in zip(rows, found, strict=True):
                self._room -= tokens.nbytes
                if self._room < 0:
                    break
                self._cache[row] = tokens
                bar.update()
        return len(self._cache)

    def batches(self, batches: Sequence[Sequence[int] | Rows]) -> Generator[list[Tensor]]:
        """The tokens of every row of every batch, in order. Raises BadInput for a bad image."""
        kept, wanted = self._cache, [[*map(int, rows)] for rows in batches]
        missing = [row for rows in wanted for row in rows if row not in kept]
        with closing(self._compute(missing)) as found:
            for rows in wanted:
                yield [kept[row] if row in kept else next(found) for row in rows]

    def _compute(self, rows: Sequence[int]) -> Generator[Tensor, None, None]:
        jobs = [self._jobs[row] for row in rows]
        yield from usable(compute_all(self.compute, jobs, self.backbone, self.workers))

    def _tokens(self, batch: Sequence[Any]) -> list[Tensor]:
        """Of every image the patches [K, C] of all scales."""
        maps = self.backbone.feature_maps(batch)
        # a clone is no inference tensor any more: a gradient may pass by it
        tokens = torch.cat([m.flatten(2).cpu().clone() for m in maps], dim=2).transpose(1, 2)
        return [one.contiguous() for one in tokens]


def require_maps(backbone: Backbone) -> MapBackbone:
    """Raises BadInput for a backbone that has no maps, or weighs them by a detector already."""
    if not isinstance(backbone, MapBackbone):
        what = f"the backbone {type(backbone).__name__} has no feature maps"
        raise BadInput(what, expected="a network, such as backbone=dinov2")
    what = f"the backbone has a detector already: {backbone.detector_path}"
    expected = "backbone.arguments.detector=null: training starts from the features"
    require(backbone.detector_path is None, what, expected)
    return backbone
