"""Features of a frozen backbone: the first rows are kept in memory, the rest computed every epoch.

On a CPU both give the same numbers, as images are computed one by one there.
"""

from collections.abc import Generator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ames_lite.errors import BadInput, require
from ames_lite.extraction.backbones.interface import Backbone
from ames_lite.extraction.backbones.map_backbone import MapBackbone
from ames_lite.extraction.batches import WINDOW, Job, batches_of, in_order, prepare_job

GIB = 2**30


class FrozenFeatures:
    """Tokens of images by row. Raises BadInput for a backbone without maps.

    paths [R]: the files; cache_gib: memory for features; workers: processes that decode.
    """

    def __init__(
        self,
        backbone: Backbone,
        paths: Sequence[Path],
        *,
        cache_gib: float = 4.0,
        workers: int = 1,
    ) -> None:
        require(cache_gib >= 0, f"cache_gib is {cache_gib}", expected="GiB of memory, 0: none")
        self.backbone, self.workers = require_maps(backbone), workers
        self._jobs = [Job(path.name, path, None) for path in paths]
        self._cache: dict[int, Tensor] = {}
        self._room = int(cache_gib * GIB)

    def fill(self) -> int:
        """Compute the first rows and keep them while there is room; returns how many are kept."""
        rows = np.arange(len(self._jobs))
        windows = np.split(rows, rows[WINDOW::WINDOW])
        with (
            tqdm(total=len(self._jobs), desc="features", unit="image") as bar,
            closing(self.batches(windows if self._room else [])) as found,
        ):
            for window, tokens in zip(windows, found, strict=False):
                for row, values in zip(window, tokens, strict=True):
                    self._room -= values.nbytes
                    if self._room < 0:
                        return len(self._cache)
                    self._cache[int(row)] = values
                bar.update(len(window))
        return len(self._cache)

    def batches(
        self, batches: Sequence[Sequence[int] | np.ndarray]
    ) -> Generator[list[Tensor], None, None]:
        """The tokens of every row of every batch, in order. Raises BadInput for a bad image."""
        wanted = [int(row) for rows in batches for row in rows if int(row) not in self._cache]
        work = partial(prepare_job, prepare=self.backbone.prepare)
        jobs = [self._jobs[row] for row in wanted]
        ready: Any = in_order(work, jobs, self.workers)
        with closing(ready):
            for rows in batches:
                fresh = [int(row) for row in rows if int(row) not in self._cache]
                computed = self._compute(fresh, [next(ready) for _ in fresh])
                yield [
                    self._cache[row] if row in self._cache else computed[row]
                    for row in map(int, rows)
                ]

    def _compute(self, rows: Sequence[int], prepared: Sequence[Any]) -> dict[int, Tensor]:
        for item in prepared:
            if isinstance(item, str):
                what = f"an image cannot be used: {item}"
                raise BadInput(what, remedy="repair it or remove it from the list")
        found: dict[int, Tensor] = {}
        for group in batches_of(prepared, self.backbone.batch_pixels):
            maps = self.backbone.feature_maps([prepared[at] for at in group])
            # a clone is no inference tensor any more: a gradient may pass by it
            tokens = torch.cat([m.flatten(2).cpu().clone() for m in maps], dim=2).transpose(1, 2)
            found |= {rows[at]: tokens[i].contiguous() for i, at in enumerate(group)}
        return found


def require_maps(backbone: Backbone) -> MapBackbone:
    """Raises BadInput for a backbone that has no maps, or weighs them by a detector already."""
    if not isinstance(backbone, MapBackbone):
        name = type(backbone).__name__
        expected = "a network, such as backbone=dinov2"
        raise BadInput(f"the backbone {name} has no feature maps", expected=expected)
    require(
        backbone.detector_path is None,
        f"the backbone has a detector already: {backbone.detector_path}",
        expected="backbone.arguments.detector=null: training starts from the features",
    )
    return backbone
