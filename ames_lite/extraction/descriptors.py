"""Descriptors of a list of images, local and global ones of the same pass, as native stores. An
interrupted run continues where it stopped. An image that cannot be read keeps its row, marked as
failed; all are named at the end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from ames_lite.errors import BadInput, require
from ames_lite.extraction.aggregators import refuse_width
from ames_lite.extraction.backbones import interface
from ames_lite.extraction.backbones.interface import Backbone, Described
from ames_lite.extraction.batches import Jobs, crop_of, describe_all, jobs_of, window_of
from ames_lite.io import remedies
from ames_lite.io.digest import array_digest
from ames_lite.io.images import Box
from ames_lite.io.provenance import SAME_DESCRIPTORS, Provenance, compare_provenance
from ames_lite.models.binarization import pack_bits
from ames_lite.records import LocalDescriptors
from ames_lite.runtime import progress_bar
from ames_lite.stores.descriptor_store import DescriptorStore, say_empty
from ames_lite.stores.fitted import read_binarization
from ames_lite.stores.merging import Shard, shard_path, shard_rows
from ames_lite.stores.row_layout import Layout, announce, globals_layout, store_layout
from ames_lite.stores.row_writer import GlobalWriter

Names = Sequence[str]
Failed = Mapping[str, str]  # images, and why
logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class BinaryCode:
    """Float descriptors to packed bits: a file of `fit_binarization`, projection [Din, D]."""

    projection: torch.Tensor
    path: Path
    made: Provenance

    @classmethod
    def load(cls, path: str | Path) -> BinaryCode:
        """Raises MissingFile or BadInput."""
        projection, made = read_binarization(path)
        return cls(torch.from_numpy(projection), Path(path), made)

    @property
    def bits(self) -> int:
        """Output width, D."""
        return self.projection.shape[1]

    def check(self, provenance: Provenance, dim: int) -> None:
        """Raise BadInput where it was fitted on descriptors of another kind or width."""
        refuse_width(dim, len(self.projection), "the binarization", "this run", self.path)
        compare_provenance(self.made, provenance, SAME_DESCRIPTORS, files=(self.path, "this run"))

    @property
    def provenance(self) -> Provenance:
        """Of a packed store, beside that of the descriptors."""
        digest = array_digest(self.projection.numpy())
        return {"binarization": digest, "bits": self.bits, "precision": "packed bits"}

    def pack(self, given: LocalDescriptors) -> LocalDescriptors:
        """The same image with descriptors [K, D/8] uint8; a projection of exactly 0 becomes -1."""
        floats = torch.from_numpy(given.descriptors.astype(np.float32))
        packed = pack_bits(F.normalize(floats, dim=-1) @ self.projection).numpy()
        return LocalDescriptors(packed, given.xy, given.scale, given.weight, given.size)


@dataclass(frozen=True)
class _Output:
    """A file to fill: its size, how it is begun or continued, what is stored of an image."""

    path: Path
    wanted: Layout
    create: Callable[..., Any]
    stored: Callable[[Described], Any]


def extract_descriptors(
    backbone: Backbone,
    image_root: str | Path,
    names: Sequence[str],
    *,
    local: str | Path | None = None,
    vectors: str | Path | None = None,  # global descriptors, of unit length, float32
    boxes: Sequence[Box | None] | None = None,  # [N] (x1, y1, x2, y2), pixels of the whole image
    binarization: BinaryCode | None = None,  # local descriptors become packed bits
    shard: Shard | None = None,  # names and boxes are of all images nevertheless
    workers: int = 1,  # processes; above 1 they are spawned: call from under a main guard
    on_bad_image: str = "error",  # at the end; or skip
    say_bad: bool = True,  # log images that failed and were skipped, or have no descriptors
    overwrite: bool = False,
) -> list[Path]:
    """Write the stores `local` and `vectors` (either may be None); returns their paths. names [N]:
    relative to image_root. Raises BadInput before any work for wrong arguments, MissingFile for
    missing weights, and BadInput at the end where an image failed.
    """
    check_on_bad_image(on_bad_image)
    jobs = jobs_of(image_root, names, boxes, shard_rows(len(names), shard))
    crop = crop_of(boxes)
    part = [job.name for job in jobs]
    outputs = []
    if local is not None:
        outputs.append(_local_output(backbone, shard_path(local, shard), part, binarization, crop))
    if vectors is not None:
        outputs.append(_global_output(backbone, shard_path(vectors, shard), part, crop))
    for output in outputs:
        logger.info(announce(output.path, output.wanted, overwrite=overwrite))
    bad = _fill(backbone, jobs, outputs, workers, overwrite)
    paths = [output.path for output in outputs]
    if say_bad and local is not None:
        with DescriptorStore.open(paths[0]) as store:
            empty = [store.names[row] for row in store.empty_rows()]
        if empty:
            logger.warning(say_empty(empty, len(part)))
    if say_bad or on_bad_image != "skip":
        report_bad(bad, len(part), paths, on_bad_image)
    return paths


def check_on_bad_image(value: str) -> None:
    require(value in ("error", "skip"), f"on_bad_image is '{value}'", "error or skip")


def _local_output(
    backbone: Backbone, path: Path, names: Names, binarization: BinaryCode | None, crop: Provenance
) -> _Output:
    made, stored_as = dict(backbone.provenance), {"precision": "float16 store"}  # loads the weights
    if binarization is not None:
        binarization.check(made, backbone.dim)
        stored_as = binarization.provenance
    if "precision" in made:  # of a network: how it computed
        stored_as = {**stored_as, "precision": f"{made['precision']}, {stored_as['precision']}"}
    made |= {**stored_as, **crop}
    what = "top_k is 0, all descriptors of an image, whose number differs"
    expected = "a number for a store of local descriptors, whose rows are of one length"
    remedy = f"top_k=700, or global descriptors straight from images: {remedies.DESCRIBE_IMAGES}"
    require(made["top_k"], what, expected, remedy=remedy)
    dim = backbone.dim if binarization is None else binarization.bits
    sizes = (int(made["top_k"]), dim, "float16" if binarization is None else "uint8")
    create = partial(DescriptorStore.create, path, names, *sizes, made)

    def stored(found: Described) -> LocalDescriptors:
        return found.local if binarization is None else binarization.pack(found.local)

    return _Output(path, store_layout(names, *sizes), create, stored)


def _global_output(backbone: Backbone, path: Path, names: Names, crop: Provenance) -> _Output:
    what = "this backbone, with this facet, has no global descriptor"
    expected = "one that has (dinov2 with facet=patch), or outputs=[local]"
    require(backbone.global_kind, what, expected)
    made = {"global": backbone.global_kind, "normalisation": "L2", **crop}
    made, dim = {**interface.made_of_globals(backbone.provenance), **made}, backbone.global_dim
    create = partial(GlobalWriter, path, names, dim, made)

    def stored(found: Described) -> npt.NDArray[np.float32]:
        assert found.vector is not None
        return interface.unit_vector(found.vector)

    return _Output(path, globals_layout(names, dim), create, stored)


def _fill(
    backbone: Backbone, jobs: Jobs, outputs: Sequence[_Output], workers: int, overwrite: bool
) -> dict[str, str]:
    """Describe what is still to do; returns the images that failed, also in earlier runs."""
    bad: dict[str, str] = {}
    with ExitStack() as stack:
        created = [o.create(resume=not overwrite, overwrite=overwrite) for o in outputs]
        writers = [stack.enter_context(writer) for writer in created]
        for writer in writers:
            bad |= writer.failed
        done = min(writer.num_finished for writer in writers)
        # from the start of its window, so that batches are those of an unbroken run
        first = done - done % window_of(backbone)
        found = describe_all(jobs[first:] if done < len(jobs) else [], backbone, workers)
        with progress_bar(len(jobs), "extract", "image", initial=done) as bar:
            for row, result in enumerate(found, first):
                if row < done:
                    continue
                name = jobs[row].name
                if isinstance(result, str):
                    bad[name] = result
                for output, writer in zip(outputs, writers, strict=True):
                    if row < writer.num_finished:  # the other file was left behind
                        continue
                    if isinstance(result, str):
                        writer.mark_failed(name, result)
                    else:
                        writer.append(name, output.stored(result))
                bar.update()
    return bad


def report_bad(bad: Failed, total: int, outputs: Sequence[Path], on_bad_image: str) -> None:
    """Say which images failed and why; raises BadInput unless on_bad_image is skip."""
    if not bad:
        return
    listed = "\n".join(f"  {name}: {' '.join(reason.split())}" for name, reason in bad.items())
    if on_bad_image == "skip":
        logger.warning("%d of %d images failed and were skipped:\n%s", len(bad), total, listed)
        return
    what = f"{len(bad)} of {total} images failed; their rows are marked:\n{listed}"
    remedy = "mend the images and extract again with overwrite=true, or on_bad_image=skip"
    raise BadInput(what, where=" and ".join(map(str, outputs)), remedy=remedy)
