"""Images a second of the stage's own path, against a plain loop in the same run.

Input: `ExtractionSpeed`. Output: JSON-able dicts, one for a variant at a precision on a device.
What is timed is `describe_all` with a `Dinov2` of random weights, from JPEG files to descriptors;
plain.py has the other side. First of all the descriptors of both are compared, patch by patch.

A cell: part, device, variant, precision, num_images, `shapes` (of what the network sees), `seconds`
of every round, images_per_second, `ratio` (seconds of the plain loop / of the project: higher is
better), `difference` (largest 1 - cosine of a descriptor that the project chose from the plain
loop's of the same patch; share of the plain loop's choice that is also the project's),
`peak_memory_mib`.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ames_lite.extraction.backbones.dinov2 import PATCH
from ames_lite.extraction.backbones.interface import Described
from ames_lite.extraction.batches import Job, describe_all
from benchmarks.extraction.pictures import Shape, make_pictures
from benchmarks.extraction.plain import PlainLoop
from benchmarks.extraction.subjects import PLAIN, Network
from benchmarks.extraction.turns import in_turns
from benchmarks.own_process import peak_of
from benchmarks.timing import middle

log = logging.getLogger(__name__)
TOLERANCE = {"fp32": 1e-5, "bf16": 1e-2, "fp16": 1e-3}  # of 1 - cosine
Cell = dict[str, Any]
WEIGHED = 4  # images, or one of each shape, for peak memory


@dataclass(frozen=True)
class ExtractionSpeed:
    """What to measure."""

    variants: Sequence[str]  # of NETWORKS
    precisions: Sequence[str]
    shapes: Sequence[Shape]  # of the files, taken in turns
    num_images: int = 8
    image_size: int = 518
    top_k: int = 700
    workers: int = 1  # processes that decode, once there are images enough (batches.FEW)
    batch_pixels: int | None = None
    repeats: int = 5
    seed: int = 0
    budget: float = 240.0  # seconds; the first round and what stands around it are run anyway


def measure_extraction(options: ExtractionSpeed, device: torch.device) -> list[Cell]:
    """All cells on a device. Raises RuntimeError where descriptors are not the plain loop's."""
    cells = []
    share = options.budget / len(options.variants)
    with tempfile.TemporaryDirectory() as folder:
        jobs = make_pictures(Path(folder), options.shapes, options.num_images, options.seed)
        for variant in options.variants:
            until = time.perf_counter() + share
            cells += _measure_variant(options, variant, jobs, device, until)
            log.info("measured %s on %s", variant, device)
    return cells


def _measure_variant(
    options: ExtractionSpeed,
    variant: str,
    jobs: Sequence[Job],
    device: torch.device,
    until: float,
) -> list[Cell]:
    o = options
    network = Network(variant, o.image_size, o.top_k, o.seed, o.batch_pixels)
    plain = network.plain(device)
    works: dict[str, Callable[[], object]] = {PLAIN: lambda: list(plain.run(jobs))}
    cells: dict[str, Cell] = {}
    for precision in o.precisions:
        run = _stage(network, precision, device, o.workers)
        cells[precision] = _cell(o, variant, precision, device)
        cells[precision] |= compare(plain, jobs, run(jobs), precision)
        works[precision] = lambda run=run: run(jobs)  # type: ignore[misc]
    seconds = in_turns(works, o.repeats, device, until)
    paths = [str(job.image) for job in jobs[: max(len(o.shapes), WEIGHED)]]
    given: dict[str, Any] = {"network": asdict(network), "device": str(device), "paths": paths}
    peaks = {what: peak_of(f"{__name__}:peak_job", what=what, **given) for what in works}
    for precision, cell in cells.items():
        pair = {"project": precision, PLAIN: PLAIN}
        own = {name: seconds[key] for name, key in pair.items()}
        cell |= speeds(own, len(jobs))
        cell["peak_memory_mib"] = {name: peaks[key] for name, key in pair.items()}
    return list(cells.values())


def _stage(
    network: Network, precision: str, device: torch.device, workers: int
) -> Callable[[Sequence[Job]], list[Described | str]]:
    backbone = network.backbone(precision, device)
    return lambda jobs: list(describe_all(jobs, backbone, workers))


def _cell(options: ExtractionSpeed, variant: str, precision: str, device: torch.device) -> Cell:
    return {
        "part": "extract",
        "device": str(device),
        "variant": variant,
        "precision": precision,
        "num_images": options.num_images,
        "image_size": options.image_size,
        "top_k": options.top_k,
        "workers": options.workers,
        "batch_pixels": options.batch_pixels,
    }


def speeds(seconds: dict[str, list[float]], num: int) -> Cell:
    """What rounds of `num` images give, of the project and the plain loop."""
    medians = {name: middle(values) for name, values in seconds.items()}
    return {
        "repeats": len(seconds[PLAIN]),
        "seconds": seconds,
        "images_per_second": {name: num / value for name, value in medians.items()},
        "ratio": medians[PLAIN] / medians["project"],
    }


def compare(
    plain: PlainLoop, jobs: Sequence[Job], found: Sequence[Described | str], precision: str
) -> Cell:
    """The shapes that were seen, and how far descriptors are from the plain loop's."""
    shapes: Counter[str] = Counter()
    largest, shared = 0.0, []
    for job, one in zip(jobs, found, strict=True):
        if isinstance(one, str):
            raise RuntimeError(f"{job.image} was not described: {one}")
        unit, norm = (values.cpu().numpy() for values in plain.maps(job))
        rows, columns = plain.grid(one.local.size)
        shapes[f"{rows * PATCH}x{columns * PATCH}"] += 1
        at = (one.local.xy * [columns, rows]).astype(np.int64)
        place = at[:, 1] * columns + at[:, 0]
        cosine = (unit[place].astype(np.float64) * one.local.descriptors).sum(axis=1)
        largest = max(largest, float((1 - cosine).max()))
        chosen = np.argsort(-norm, kind="stable")[: len(place)]
        shared.append(len(np.intersect1d(chosen, place)) / len(place))
    if not largest <= TOLERANCE[precision]:
        raise RuntimeError(
            f"descriptors in {precision} differ from the plain loop's by 1 - cosine = "
            f"{largest:.1e}; at most {TOLERANCE[precision]:g} was expected: nothing was timed"
        )
    difference = {"one_minus_cosine": largest, "chosen_alike": float(np.mean(shared))}
    return {"shapes": dict(shapes), "difference": difference}


def work_of(
    network: Network, what: str, paths: Sequence[Path], device: torch.device, workers: int = 1
) -> Callable[[int], object]:
    """The plain loop, or the stage at a precision, over the first n images."""
    jobs = [Job(path.name, path, None) for path in paths]
    if what == PLAIN:
        plain = network.plain(device)
        return lambda num: list(plain.run(jobs[:num]))
    run = _stage(network, what, device, workers)
    return lambda num: run(jobs[:num])


def peak_job(
    network: dict[str, Any], what: str, device: str, paths: list[str]
) -> Callable[[], object]:
    """Extraction of the images at `paths`, for `own_process.peak_of`."""
    work = work_of(Network(**network), what, [Path(path) for path in paths], torch.device(device))
    work(1)
    return lambda: work(len(paths))
