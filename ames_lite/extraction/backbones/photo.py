"""Keypoints and map cells in one set: XFeat beside EfficientNet-Lite0, for photographs. A
descriptor of one kind is zero where those of the other stand, so that kinds never match. Both are
ordered by their own strength and merged in proportion, so that any number of strongest descriptors
holds both. The global vector is EfficientNet's GeM, whitened within classes of photographs.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.extraction.aggregators import FittedWhitening, whitened_kind
from ames_lite.extraction.backbones import interface
from ames_lite.extraction.backbones.efficientnet import EfficientNet
from ames_lite.extraction.backbones.xfeat import Xfeat
from ames_lite.io.digest import names_digest
from ames_lite.io.images import Box
from ames_lite.io.resizing import Preparation, Prepared
from ames_lite.io.shipped import shipped
from ames_lite.records import LocalDescriptors

KEYPOINT, CELL = 0, 1  # as `scale` of a descriptor
SHIPPED = "shipped"
REMEDY = "a whole checkout, or backbone.arguments.whitening=null: GeM that is not whitened"
WHITENING = "photo_elvis/pca_photo_gem_photos-train.npz"


def prepare_both(
    keypoints: Preparation, cells: Preparation, image: npt.NDArray[np.uint8], box: Box | None = None
) -> Prepared:
    """The view of XFeat, then those of EfficientNet: what worker processes do."""
    one, other = keypoints(image, box), cells(image, box)
    return Prepared(one.size, one.views + other.views)


class Photo(interface.Backbone):
    """XFeat and EfficientNet-Lite0; weights load on first use, from their packages."""

    def __init__(
        self,
        keypoints: int = 200,  # strongest of XFeat that are kept per image
        cells: int = 100,  # of the largest norm, of EfficientNet's map
        blocks: Sequence[int] = (12,),  # whose output is the map, 0-based
        keypoint_size: int = 640,  # longer images are shrunk to this for XFeat
        cell_size: int = 512,  # longer side for EfficientNet
        global_scales: Sequence[float] = (1.0, 1.5),  # factors of cell_size; the global
        # vector is the mean of their unit vectors, cells are of the one nearest to 1
        power: float = 3.0,  # of GeM
        whitening: str | None = SHIPPED,  # of GeM: a file of fit_whitening.py; None: not whitened
        **shared: Any,  # resize, query_crop, device, precision, batch_pixels: as of either
    ) -> None:
        interface.check_count(keypoints=keypoints, cells=cells)
        self._keypoints = Xfeat(top_k=keypoints, image_size=keypoint_size, **shared)
        shared |= {"image_size": cell_size, "scales": global_scales, "local_scales": "one"}
        self._cells = EfficientNet(None, blocks, power, top_k=cells, **shared)
        self.top_k = keypoints + cells
        self.dim = self._keypoints.dim + self._cells.dim
        self._whitening: FittedWhitening | None = None
        self.global_kind, self.global_dim = "gem", self._cells.global_dim
        if whitening is not None:
            path = shipped(WHITENING) if whitening == SHIPPED else Path(whitening).expanduser()
            self._whitening = FittedWhitening(path, remedy=REMEDY)
            self._whitening.check_width(self.global_dim, "backbone=photo")
            self.global_kind = whitened_kind("gem")
            self.global_dim = self._whitening.whitening.dim
        self.batch_pixels = self._cells.batch_pixels
        self.prepare = partial(prepare_both, self._keypoints.prepare, self._cells.prepare)

    @property
    def provenance(self) -> dict[str, Any]:
        """Raises BadInput where the whitening was fitted on other descriptors."""
        one, other = self._keypoints.provenance, self._cells.provenance
        same = ("scales", "global_scales", "power", "resize", "query_crop", "precision")
        made = {
            "backbone": "photo",
            "variant": f"xfeat {one['variant']}, efficientnet {other['variant']}",
            "weights": names_digest([one["weights"], other["weights"]]),
            "package": one["package"],
            "facet": other["facet"],
            "detector": f"{one['detector']}, {other['detector']}",
            "threshold": one["threshold"],
            "top_k": self.top_k,
            "keypoints": self._keypoints.top_k,
            "cells": self._cells.top_k,
            "image_size": [one["image_size"], other["image_size"]],
            **{key: other[key] for key in same},
        }
        if self._whitening is None:
            return made
        of_gem = {**interface.made_of_globals(made), "global": "gem"}
        self._whitening.check(of_gem, self._cells.global_dim, "backbone=photo")
        return {**made, **self._whitening.digests}

    def describe(self, batch: Sequence[Prepared]) -> list[interface.Described]:
        """Both kinds of images of one shape, and the global vector."""
        interface.check_prepared(batch, Prepared)
        keypoints = self._keypoints.describe([replace(i, views=i.views[:1]) for i in batch])
        cells = self._cells.describe([replace(i, views=i.views[1:]) for i in batch])
        found = []
        for one, other in zip(keypoints, cells, strict=True):
            vector = other.vector
            if self._whitening is not None and vector is not None:
                vector = self._whitening(interface.unit_vector(vector)[None])[0]
            found.append(interface.Described(merged(one.local, other.local), vector))
        return found


def merged(keypoints: LocalDescriptors, cells: LocalDescriptors) -> LocalDescriptors:
    """One set of both, weighted by rank, 1 - (r + 1/2) / n; none without keypoints: cells alone
    would make blank images alike.
    """
    width = keypoints.descriptors.shape[1]
    counts = keypoints.count, cells.count if keypoints.count else 0
    wide = np.zeros((sum(counts), width + cells.descriptors.shape[1]), np.float32)
    wide[: counts[0], :width] = keypoints.descriptors
    wide[counts[0] :, width:] = cells.descriptors[: counts[1]]
    ranks = [(np.arange(count) + 0.5) / max(count, 1) for count in counts]
    weight = (1 - np.concatenate(ranks)).astype(np.float32)
    order = np.argsort(-weight, kind="stable")
    xy = np.concatenate([keypoints.xy, cells.xy[: counts[1]]])
    kind = np.repeat([KEYPOINT, CELL], counts)
    return LocalDescriptors(wide[order], xy[order], kind[order], weight[order], keypoints.size)
