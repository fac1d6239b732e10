"""Local descriptors of a list of images, as a store: `python extract/extract_descriptors.py`.

In: a backbone, an image list and the folder that its names are relative to, crop boxes for queries.
Out: a native descriptor store, rows in the order of the list. Interrupted, it continues where it
stopped. An image that cannot be read keeps its row, marked as failed; all of them are named at the
end, and the stage then fails unless `on_bad_image="skip"`.
"""

from __future__ import annotations

import logging
import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm

from ames_lite.errors import BadInput, UserError
from ames_lite.io.descriptor_store import DescriptorStore
from ames_lite.io.images import Box, load_image
from ames_lite.records import LocalDescriptors
from extract.backbones import Backbone

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One image: its name, its file and the part of it to describe (None: all)."""

    name: str
    path: Path
    box: Box | None


def describe(job: Job, backbone: Backbone) -> LocalDescriptors | str:
    """The descriptors of one image, or why there are none."""
    try:
        return backbone.extract(load_image(job.path), job.box)
    except UserError as error:
        return str(error)


def extract_local(
    backbone: Backbone,
    image_root: str | Path,
    names: Sequence[str],
    output: str | Path,
    *,
    boxes: Sequence[Box | None] | None = None,
    workers: int = 1,
    on_bad_image: str = "error",
    overwrite: bool = False,
) -> Path:
    """Write the store `output` and return its path.

    names [N]: relative to image_root; boxes [N]: (x1, y1, x2, y2) in pixels of the whole image.
    workers: processes (above 1 they are spawned: call from under a main guard). Raises BadInput
    before any work for missing arguments, and at the end where an image failed.
    """
    if on_bad_image not in ("error", "skip"):
        raise BadInput(f"on_bad_image is '{on_bad_image}'", expected="error or skip")
    if boxes is not None and len(boxes) != len(names):
        raise BadInput(f"{len(boxes)} boxes for {len(names)} images", expected="one an image")
    root = Path(image_root)
    provenance = {**backbone.provenance, "precision": "float16 store", "crop": boxes is not None}
    top_k = int(provenance["top_k"])
    store = DescriptorStore.create(
        output,
        names,
        top_k,
        backbone.dim,
        "float16",
        provenance,
        resume=not overwrite,
        overwrite=overwrite,
    )
    box_of = dict(zip(names, boxes or [None] * len(names), strict=True))
    bad: dict[str, str] = {}
    with store:
        jobs = [Job(name, root / name, box_of[name]) for name in store.todo]
        bar = tqdm(total=len(names), initial=len(names) - len(jobs), desc="extract", unit="image")
        with bar:
            for job, found in zip(jobs, _describe_all(jobs, backbone, workers), strict=True):
                if isinstance(found, str):
                    bad[job.name] = found
                    store.mark_failed(job.name, found)
                else:
                    store.append(job.name, found)
                bar.update()
    _report_bad(bad, len(names), output, on_bad_image)
    return Path(output)


def _describe_all(
    jobs: list[Job], backbone: Backbone, workers: int
) -> Iterator[LocalDescriptors | str]:
    work = partial(describe, backbone=backbone)
    if workers <= 1 or len(jobs) < 32:
        yield from map(work, jobs)
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(work, jobs, chunksize=8)


def _report_bad(bad: dict[str, str], total: int, output: str | Path, on_bad_image: str) -> None:
    if not bad:
        return
    listed = "\n".join(f"  {name}: {' '.join(reason.split())}" for name, reason in bad.items())
    if on_bad_image == "skip":
        logger.warning("%d of %d images failed and were skipped:\n%s", len(bad), total, listed)
        return
    raise BadInput(
        f"{len(bad)} of {total} images failed; their rows are marked:\n{listed}",
        where=output,
        remedy="mend the images and extract again with overwrite=true, or on_bad_image=skip",
    )


if __name__ == "__main__":
    from ames_lite.cli.stages import extract_main

    sys.exit(extract_main())
