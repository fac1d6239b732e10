"""Images prepared by worker processes, described in batches of one shape, in the order of a list.
Batches are formed within windows of WINDOW jobs, counted from the first of the list, so that a
resumed run forms the same batches, and gives the same numbers to the last bit.
"""

import multiprocessing
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch

from ames_lite.errors import BadInput, UserError, require
from ames_lite.extraction.backbones.interface import Backbone, Described
from ames_lite.io.digest import names_digest
from ames_lite.io.images import MIN_SIDE, Box, ImageLike, as_image
from ames_lite.io.provenance import Provenance
from ames_lite.processes import watch_parent
from ames_lite.reranking.batches import results_of

WINDOW = 32  # jobs that batches are formed of
FEW = 32  # jobs that are not worth starting processes for
In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True)
class Job:
    """One image: its name, its file (or what `as_image` takes), and the part of it (None: all)."""

    name: str
    image: ImageLike
    box: Box | None


Jobs = Sequence[Job]
Boxes = Sequence[Box | None] | None


def jobs_of(image_root: str | Path, names: Sequence[str], boxes: Boxes, rows: range) -> list[Job]:
    """The images of these rows; names and boxes [N] are of all. Raises BadInput."""
    given = len(names) if boxes is None else len(boxes)
    require(given == len(names), f"{given} boxes for {len(names)} images", "one box per image")
    root = Path(image_root)
    return [Job(names[row], root / names[row], boxes[row] if boxes else None) for row in rows]


def crop_of(boxes: Boxes) -> Provenance:
    """What provenance says of the parts of images that are described."""
    made: Provenance = {"crop": boxes is not None}
    return made if boxes is None else {**made, "boxes": names_digest(map(str, boxes))}


def window_of(backbone: Backbone) -> int:
    """How many jobs make a window: a run may begin at multiples of it."""
    return WINDOW if backbone.batch_pixels > 0 else 1


def describe_all(jobs: Jobs, backbone: Backbone, workers: int) -> Iterator[Described | str]:
    """The descriptors of every job, or why there are none; workers > 1: under a main guard."""
    return compute_all(backbone.describe, jobs, backbone, workers)


def compute_all(
    compute: Callable[[Any], Sequence[Out]], jobs: Jobs, backbone: Backbone, workers: int
) -> Iterator[Out | str]:
    """As `describe_all`, of what `compute` gives for a batch of prepared images."""
    ready = in_order(partial(prepare_job, prepare=backbone.prepare), jobs, workers)
    while window := list(islice(ready, window_of(backbone))):
        found: list[Any] = [item if isinstance(item, str) else None for item in window]
        good = [index for index, item in enumerate(window) if not isinstance(item, str)]
        for batch in batches_of([window[index] for index in good], backbone.batch_pixels):
            images = [window[good[at]] for at in batch]
            results = _compute_batch(compute, backbone.batch_pixels, images)
            for at, result in zip(batch, results, strict=True):
                found[good[at]] = result
        yield from found


def usable(found: Iterable[Out | str]) -> Generator[Out, None, None]:
    """The results of images. Raises BadInput for one that has none."""
    for result in found:
        if isinstance(result, str):
            what = f"an image cannot be used: {result}"
            raise BadInput(what, remedy="repair it or remove it from the list")
        yield result


def prepare_job(job: Job, prepare: Callable[..., Any]) -> Any:
    """The prepared image of a job, or why there is none."""
    try:
        return prepare(as_image(job.image, min_side=MIN_SIDE), job.box)
    except UserError as error:
        return str(error)


def batches_of(prepared: Sequence[Any], bound: int) -> list[list[int]]:
    """Indices of images in batches of one shape, each one image or at most `bound` pixels."""
    groups: dict[Any, list[list[int]]] = {}
    for index, item in enumerate(prepared):
        batches = groups.setdefault(item.shape if bound > 0 else index, [[]])
        if batches[-1] and item.num_pixels * (len(batches[-1]) + 1) > bound:
            batches.append([])
        batches[-1].append(index)
    return [batch for batches in groups.values() for batch in batches]


def in_order(
    work: Callable[[In], Out], jobs: Sequence[In], workers: int, start_method: str = "spawn"
) -> Iterator[Out]:
    """work(job) of every job in order, by worker processes. BadInput where one of them died."""
    if workers <= 1 or len(jobs) < FEW:
        yield from map(work, jobs)
        return
    context = multiprocessing.get_context(start_method)
    with ProcessPoolExecutor(workers, context, _begin_worker) as pool:
        try:
            yield from results_of(pool, work, jobs, max(WINDOW, 4 * workers) - 1)
        except BrokenProcessPool as error:
            what = "a worker process died, as it does when memory runs out"
            expected = f"memory for {workers} processes"
            remedy = "fewer workers=; a run continues where it stopped"
            raise BadInput(what, expected=expected, remedy=remedy) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _begin_worker() -> None:
    watch_parent()
    torch.set_num_threads(1)


def _compute_batch(
    compute: Callable[[Any], Sequence[Out]], bound: int, batch: Sequence[Any]
) -> list[Out | str]:
    """Where a batch has an image that cannot be described, the others still are."""
    try:
        return list(compute(batch))
    except torch.cuda.OutOfMemoryError as error:
        what = f"the device's memory does not hold a batch of {len(batch)} images"
        expected = f"batches within batch_pixels={bound}"
        remedy = "a smaller batch_pixels=; the run continues where it stopped"
        raise BadInput(what, expected=expected, remedy=remedy) from error
    except UserError as error:
        if len(batch) == 1:
            return [str(error)]
        return [result for item in batch for result in _compute_batch(compute, bound, [item])]
