"""Labelled images for fine-tuning: the held-out part, batches of classes, random views, by (seed,
epoch, step) alone.
"""

import math
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ames_lite.errors import UserError, require
from ames_lite.extraction.batches import Job, in_order, prepare_job, usable
from ames_lite.extraction.descriptors import report_bad
from ames_lite.extraction.detector_training.data import LabelledImages, Rows, by_label
from ames_lite.io.images import MIN_SIDE, Box, Picture, as_image
from ames_lite.io.resizing import Prepared, View, crop_image, resize_image
from ames_lite.runtime import Draw, stream

Keyed = tuple[Path, tuple[int, ...]]  # an image, and the key of its stream of random numbers
AREA = (0.3, 1.0)  # of a random crop, as a share of the image
RATIO = (3 / 4, 4 / 3)  # width to height


def stratified(
    images: LabelledImages, share: float, seed: int
) -> tuple[LabelledImages, LabelledImages]:
    """Images to train on and to evaluate by: that share of classes of four and more. BadInput."""
    held = np.zeros(len(images), np.bool_)
    rng = stream(seed, Draw.HELD_OUT)
    for rows in map(rng.permutation, by_label(images.labels)):
        held[rows[: max(2, round(share * len(rows)))]] = len(rows) >= 4
    fits = 0 < share <= 0.5 and held.any()
    what = f"no class has four images, or val_share is {share}"
    expected = "classes of four images and more, and a share above 0, up to 0.5"
    remedy = "more images, split=classes (whole classes are held out), or val_dataset="
    require(fits, what, expected, where=images.source, remedy=remedy)
    return images.take(~held), images.take(held)


def readable(images: LabelledImages, workers: int, on_bad_image: str) -> LabelledImages:
    """The images that can be decoded; others are an error, or skipped and logged."""
    found = list(in_order(_fault, images.paths, workers))
    bad = {name: why for name, why in zip(images.names, found, strict=True) if why}
    first = "; ".join([*bad.values()][:3])
    what = f"{len(bad)} of {len(images)} images cannot be read: {first}"
    remedy = "repair them or take them out, or on_bad_image=skip: they are not trained on"
    require(not bad or on_bad_image == "skip", what, where=images.source, remedy=remedy)
    report_bad(bad, len(images), [], on_bad_image)
    return images.take(np.array([not why for why in found], np.bool_)) if bad else images


def _fault(path: Path) -> str:
    try:
        as_image(path, min_side=MIN_SIDE)
    except UserError as error:
        return str(error)
    return ""


def num_class_batches(labels: Rows, batch_size: int) -> int:
    """As many as the images fill."""
    return max(1, round(len(labels) / batch_size))


def class_batches(labels: Rows, batch_size: int, each: int, seed: int, epoch: int) -> list[Rows]:
    """The batches of an epoch: of classes drawn alike, `each` images, or all that a class has."""
    members = by_label(labels)
    classes = min(len(members), batch_size // each)
    batches = []
    for number in range(num_class_batches(labels, batch_size)):
        rng = stream(seed, Draw.IMAGES, epoch, number)
        chosen = (members[at] for at in rng.choice(len(members), classes, replace=False))
        rows = [rng.choice(one, min(each, len(one)), replace=False) for one in chosen]
        batches.append(np.concatenate(rows))
    return batches


@dataclass(frozen=True)
class RandomView:
    """A random part of an image, resized to a square and perhaps mirrored."""

    size: int  # pixels a side
    resize: str  # of RESIZES
    seed: int

    def __call__(self, job: Keyed) -> Prepared | str:
        """The view of the image of that key, or why there is none."""
        path, key = job
        rng = stream(self.seed, Draw.AUGMENTATION, *key)
        return prepare_job(Job(path.name, path, None), partial(self.cut, rng))

    def cut(self, rng: np.random.Generator, image: Picture, box: Box | None = None) -> Prepared:
        """A view of RGB uint8 [H, W, 3]."""
        height, width = image.shape[:2]
        area = height * width * rng.uniform(*AREA)
        ratio = math.exp(rng.uniform(*np.log(RATIO)))
        w, h = min(width, (area * ratio) ** 0.5), min(height, (area / ratio) ** 0.5)
        x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
        crop, region = crop_image(image, (x, y, x + w, y + h))
        pixels = resize_image(crop, (self.size, self.size), self.resize, w * h > self.size**2)
        found = Prepared((height, width), (View(pixels, region),))
        return found.mirrored() if rng.random() < 0.5 else found

    def batches(self, jobs: Sequence[Sequence[Keyed]], workers: int) -> Generator[list[Prepared]]:
        """The views of every batch. Raises BadInput for an image that cannot be read."""
        flat = [job for batch in jobs for job in batch]
        with closing(usable(in_order(self, flat, workers))) as found:
            for batch in jobs:
                yield [next(found) for _ in batch]
