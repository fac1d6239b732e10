"""Local descriptors of a list of images, as a store: `python extract/extract_descriptors.py`.

In: a backbone, an image list and the folder that its names are relative to, crop boxes for queries.
Out: a native descriptor store, rows in the order of the list. Interrupted, it continues where it
stopped. An image that cannot be read keeps its row, marked as failed; all of them are named at the
end, and the stage then fails unless `on_bad_image="skip"`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ames_lite.errors import BadInput
from ames_lite.io.descriptor_layout import FAILED
from ames_lite.io.descriptor_store import DescriptorStore
from ames_lite.io.disk import announce_store
from ames_lite.io.images import Box
from ames_lite.io.shards import Shard, shard_path, shard_rows
from extract.backbones import Backbone
from extract.batches import Job, describe_all, window_of
from extract.fit_binarization import BinaryCode

logger = logging.getLogger(__name__)


def extract_local(
    backbone: Backbone,
    image_root: str | Path,
    names: Sequence[str],
    output: str | Path,
    *,
    boxes: Sequence[Box | None] | None = None,
    binarization: BinaryCode | None = None,
    shard: Shard | None = None,
    workers: int = 1,
    on_bad_image: str = "error",
    overwrite: bool = False,
) -> Path:
    """Write the store `output`, or its part `shard`, and return its path.

    names [N]: relative to image_root, all of them, also for a shard; boxes [N]: (x1, y1, x2, y2) in
    pixels of the whole image. binarization: store packed bits. workers: processes (above 1 they
    are spawned: call from under a main guard). Raises BadInput before any work for wrong
    arguments, MissingFile for missing weights, and BadInput at the end where an image failed.
    """
    if on_bad_image not in ("error", "skip"):
        raise BadInput(f"on_bad_image is '{on_bad_image}'", expected="error or skip")
    if boxes is not None and len(boxes) != len(names):
        raise BadInput(f"{len(boxes)} boxes for {len(names)} images", expected="one an image")
    rows = shard_rows(len(names), shard)
    root, output = Path(image_root), shard_path(output, shard)
    with_boxes = boxes is not None
    boxes = [None if boxes is None else boxes[row] for row in rows]
    names = [names[row] for row in rows]
    provenance = _provenance(backbone, binarization, with_boxes)
    max_count = int(provenance["top_k"])
    dim = backbone.dim if binarization is None else binarization.bits
    dtype = "float16" if binarization is None else "uint8"
    logger.info(announce_store(output, names, max_count, dim, dtype, overwrite=overwrite))
    store = DescriptorStore.create(
        output,
        names,
        max_count,
        dim,
        dtype,
        provenance,
        resume=not overwrite,
        overwrite=overwrite,
    )
    bad: dict[str, str] = {}
    with store:
        done = store.num_finished
        # from the start of its window, so that batches are those of an unbroken run
        first = done - done % window_of(backbone)
        jobs = [Job(names[r], root / names[r], boxes[r]) for r in range(first, len(names))]
        found = describe_all(jobs if done < len(names) else [], backbone, workers)
        with tqdm(total=len(names), initial=done, desc="extract", unit="image") as bar:
            for row, result in enumerate(found, first):
                if row < done:
                    continue
                if isinstance(result, str):
                    bad[names[row]] = result
                    store.mark_failed(names[row], result)
                elif binarization is not None:
                    store.append(names[row], binarization.pack(result))
                else:
                    store.append(names[row], result)
                bar.update()
    _report_bad({**_failed(output), **bad}, len(names), output, on_bad_image)
    return output


def _provenance(
    backbone: Backbone, binarization: BinaryCode | None, with_boxes: bool
) -> dict[str, Any]:
    """What the store was made from. Loads the weights of a network."""
    made = dict(backbone.provenance)
    if binarization is not None:
        binarization.check(made, backbone.dim)
    stored = {"precision": "float16 store"} if binarization is None else binarization.provenance
    if "precision" in made:  # of a network: how it computed
        stored = {**stored, "precision": f"{made['precision']}, {stored['precision']}"}
    return {**made, **stored, "crop": with_boxes}


def _failed(path: Path) -> dict[str, str]:
    """The images that failed, also in the runs that this one continued, and why."""
    store = DescriptorStore.open(path)
    reasons = {}
    for row in np.flatnonzero(store.status == FAILED):
        reasons[store.names[row]] = bytes(store.stored("reason", row)).decode("utf-8")
    store.close()
    return reasons


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
