"""What a trained detector is worth, measured on landmarks that it has not seen.

Input: a rendered training world and a rendered test world. Output: where weight falls (by the
detector, by the feature's norm), and retrieval by both.

A mask is exact to the pixel. A view is rendered twice more from the same seed, its landmark once in
black and once in white: where the two pictures differ is the landmark.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from ames_lite.errors import BadInput
from ames_lite.extraction.backbones.detector import load_detector
from ames_lite.extraction.backbones.map_backbone import MapBackbone
from ames_lite.extraction.detector_training.data import (
    FrozenFeatures,
    LabelledImages,
    read_labelled,
)
from ames_lite.extraction.detector_training.loop import DetectorRecipe, train_detector
from ames_lite.extraction.detector_training.model import (
    baseline_ways,
    detector_ways,
    retrieval_maps,
)
from ames_lite.io.images import load_image
from ames_lite.synthetic import WorldSpec, render_world, world
from ames_lite.synthetic.facades import Facade

logger = logging.getLogger(__name__)
Mask = npt.NDArray[np.bool_]


class WeightOnLandmark(NamedTuple):
    """Where weight falls, in units of the image's mean weight.

    landmark, background: mean weight of patches on either; auc: the odds that a patch on the
    landmark outweighs one on the background, 0.5 where weights say nothing.
    """

    landmark: float
    background: float
    auc: float


def weight_on_landmark(
    weights: npt.NDArray[np.floating],
    landmark: npt.NDArray[np.bool_],
    background: npt.NDArray[np.bool_],
) -> WeightOnLandmark:
    """Of one image: weights [h, w] above 0, masks [h, w] of patches; in neither: not counted.

    >>> weights, on = np.array([[3.0, 2.0, 1.0, 2.0]]), np.array([[True, True, False, False]])
    >>> weight_on_landmark(weights, on, ~on)
    WeightOnLandmark(landmark=1.25, background=0.75, auc=0.875)
    """
    on, off = weights[landmark].astype(np.float64), weights[background].astype(np.float64)
    if len(on) == 0 or len(off) == 0:
        raise BadInput("an image has no patch on the landmark, or none beside it")
    gap = np.sign(on[:, None] - off[None, :])
    unit = float(weights.mean())
    auc = float((gap.mean() + 1) / 2)
    return WeightOnLandmark(float(on.mean()) / unit, float(off.mean()) / unit, auc)


def painted(facade: Facade, value: int) -> Facade:
    """The same landmark in one colour."""
    parts = tuple(replace(part, tile=np.full_like(part.tile, value)) for part in facade.parts)
    return Facade(np.full_like(facade.front, value), parts)


def landmark_masks(spec: WorldSpec, number: int) -> Iterator[tuple[str, Mask]]:
    """Of every picture of landmark `number`: its name, and the pixels [H, W] that show it."""
    facade, clutter = world.world_facade(spec, number), world.world_clutter(spec)
    pictures = []
    for paint in (0, 255):
        rng, shown = world._seeds(spec, 3, number), painted(facade, paint)
        pictures.append([])
        for kind in world.kinds_of(spec, number):
            pictures[-1].append(world._view_of_kind(rng, shown, kind, clutter).picture)
            rng.integers(60, 93)  # the quality of the file, drawn between two views
    for index, kind in enumerate(world.kinds_of(spec, number)):
        black, white = (views[index].astype(np.float32).mean(2) for views in pictures)
        gap = white - black
        yield f"jpg/landmark{number:04d}_{index}_{kind}.jpg", gap > 0.4 * gap.max()


def patch_shares(mask: Mask, rows: int, columns: int) -> npt.NDArray[np.float32]:
    """The share of each patch [rows, columns] that shows the landmark, in [0, 1]."""
    pixels = torch.from_numpy(mask.astype(np.float32))[None, None]
    fine = functional.interpolate(pixels, size=(rows * 16, columns * 16), mode="nearest")
    return functional.avg_pool2d(fine, 16)[0, 0].numpy()


@dataclass(frozen=True)
class Measured:
    """By the detector and by the feature's norm; map: fractions, leave one out."""

    detector: WeightOnLandmark
    norm: WeightOnLandmark
    images: int
    share: float  # of all counted patches, those on a landmark
    maps: dict[str, float]


def measure(
    backbone: MapBackbone,
    specs: tuple[WorldSpec, WorldSpec],
    folder: Path,
    recipe: DetectorRecipe,
    **options: float,
) -> Measured:
    """Train on the first world, measure on the second; both are rendered into folder."""
    train_root, test_root = folder / "train", folder / "test"
    render_world(specs[0], train_root, "train")
    render_world(specs[1], test_root, "test")
    images = read_labelled([train_root / "train.txt"], train_root)
    path = train_detector(backbone, images, folder / "run", recipe, **options)  # type: ignore[arg-type]
    return measure_detector(backbone, path, specs[1], test_root)


def measure_detector(
    backbone: MapBackbone, path: Path, spec: WorldSpec, test_root: Path
) -> Measured:
    """The figures of a detector on a rendered test world."""
    detector = load_detector(path, backbone.dim, backbone.provenance)
    weights = [[], []]
    shares = []
    for number in range(spec.num_landmarks):
        for name, mask in landmark_masks(spec, number):
            prepared = backbone.prepare(load_image(test_root / name), None)
            maps = backbone.feature_maps([prepared])[0].clone()
            with torch.inference_mode():
                by_detector = detector(maps)[1][0, 0].numpy()
            share = patch_shares(mask, *maps.shape[2:])
            on, off = share > 0.9, share < 0.1
            if on.any() and off.any():
                weights[0].append(weight_on_landmark(by_detector, on, off))
                weights[1].append(weight_on_landmark(maps.norm(dim=1)[0].numpy(), on, off))
                shares.append(on.sum() / (on.sum() + off.sum()))
    means = [WeightOnLandmark(*np.mean(found, axis=0).tolist()) for found in weights]
    return Measured(
        *means, len(shares), float(np.mean(shares)), maps_of_test_world(backbone, test_root, path)
    )


def maps_of_test_world(backbone: MapBackbone, root: Path, path: Path) -> dict[str, float]:
    """Retrieval among all images of the test world; distractors are no queries."""
    images = read_labelled([root / "query.txt", root / "gallery.txt"], root)
    alone = np.array(["distractor" in name for name in images.names])
    labels = np.where(alone, -1 - np.arange(len(images)), images.labels)
    images = LabelledImages(root, images.names, labels, images.source)
    features = FrozenFeatures(backbone, images.paths)
    features.fill()
    batches = [[row] for row in range(len(images))]
    detector = load_detector(path, backbone.dim)
    return {
        **retrieval_maps(features.batches(batches), labels, baseline_ways),
        **retrieval_maps(
            features.batches(batches), labels, partial(detector_ways, detector, torch.device("cpu"))
        ),
    }
