"""Labelled images for fine-tuning: the held-out part, batches of classes, random views.

What a batch holds, and how its images are cut, depends on (seed, epoch, step) alone.
"""

import math
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ames_lite.errors import BadInput, require
from ames_lite.extraction.batches import Job, in_order, jobs_of, prepare_job
from ames_lite.extraction.descriptors import report_bad
from ames_lite.extraction.detector_training.data import LabelledImages, Rows
from ames_lite.io.images import Box, Picture
from ames_lite.io.resizing import Prepared, View, crop_image, resize_image
from ames_lite.runtime import Draw, stream

AREA = (0.3, 1.0)  # of a random crop, as a share of the image
RATIO = (3 / 4, 4 / 3)  # width to height


def stratified(
    images: LabelledImages, share: float, seed: int
) -> tuple[LabelledImages, LabelledImages]:
    """Images to train on and to evaluate by: that share of every class, two or more, so that each
    has a partner; classes below four images are trained on alone. Raises BadInput.
    """
    held = np.zeros(len(images), np.bool_)
    rng = stream(seed, Draw.HELD_OUT)
    for label in np.unique(images.labels):
        rows = rng.permutation(np.flatnonzero(images.labels == label))
        held[rows[: max(2, round(share * len(rows)))]] = len(rows) >= 4
    fits = 0 < share <= 0.5 and held.any()
    what = f"no class has four images, or val_share is {share}"
    expected = "classes of four images and more, and a share above 0, up to 0.5"
    remedy = "more images, split=classes (whole classes are held out), or val_dataset="
    require(fits, what, where=images.source, expected=expected, remedy=remedy)
    return images.take(~held), images.take(held)


def readable(images: LabelledImages, workers: int, on_bad_image: str) -> LabelledImages:
    """The images that can be decoded; others are an error, or skipped and logged."""
    jobs = jobs_of(images.root, images.names, None, range(len(images)))
    found = list(in_order(_fault, jobs, workers))
    bad = {name: why for name, why in zip(images.names, found, strict=True) if why}
    report_bad(bad, len(images), [Path(images.source)], on_bad_image)
    return images.take(np.array([not why for why in found], np.bool_)) if bad else images


def _fault(job: Job) -> str:
    found = prepare_job(job, _nothing)
    return found if isinstance(found, str) else ""


def _nothing(image: Picture, box: Box | None) -> None:
    return None


def class_batches(
    labels: Rows, batch_size: int, per_label: int, seed: int, epoch: int
) -> list[Rows]:
    """The batches of one epoch: rows of batch_size / per_label classes, each class as likely as any
    other, of each per_label images, or all where it has fewer; as many batches as images fill.
    """
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    classes = min(len(members), batch_size // per_label)
    batches = []
    for number in range(max(1, round(len(labels) / batch_size))):
        rng = stream(seed, Draw.IMAGES, epoch, number)
        chosen = (members[at] for at in rng.choice(len(members), classes, replace=False))
        rows = [rng.choice(one, min(per_label, len(one)), replace=False) for one in chosen]
        batches.append(np.concatenate(rows))
    return batches


@dataclass(frozen=True)
class RandomView:
    """A random part of an image, resized to a square and perhaps mirrored."""

    size: int  # pixels a side
    resize: str  # of RESIZES
    seed: int

    def __call__(self, image: Picture, box: Box | None, *, key: tuple[int, ...]) -> Prepared:
        """key: of the stream of random numbers, for this seed."""
        rng, (height, width) = stream(self.seed, Draw.AUGMENTATION, *key), image.shape[:2]
        area = height * width * rng.uniform(*AREA)
        ratio = math.exp(rng.uniform(*np.log(RATIO)))
        w, h = min(width, (area * ratio) ** 0.5), min(height, (area / ratio) ** 0.5)
        x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
        crop, region = crop_image(image, (x, y, x + w, y + h))
        pixels = resize_image(crop, (self.size, self.size), self.resize, w * h > self.size**2)
        mirrored = pixels[:, ::-1] if rng.random() < 0.5 else pixels
        return Prepared((height, width), (View(mirrored, region),))


Keyed = tuple[Path, tuple[int, ...]]  # an image, and the key of its stream of random numbers


def random_views(
    view: RandomView, batches: Sequence[Sequence[Keyed]], workers: int
) -> Generator[list[Prepared], None, None]:
    """Views of the images of every batch. Raises BadInput for one that cannot be read."""
    jobs = [job for batch in batches for job in batch]
    with closing(_prepared(view, jobs, workers)) as found:
        for batch in batches:
            yield [next(found) for _ in batch]


def _prepared(view: RandomView, jobs: list[Keyed], workers: int) -> Generator[Prepared, None, None]:
    for found in in_order(partial(_view, view), jobs, workers):
        if isinstance(found, str):
            what = f"an image cannot be used: {found}"
            raise BadInput(what, remedy="repair it or remove it from the list")
        yield found


def _view(view: RandomView, job: Keyed) -> Prepared | str:
    path, key = job
    found: Prepared | str = prepare_job(Job(path.name, path, None), partial(view, key=key))
    return found
