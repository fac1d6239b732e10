"""Global descriptors of a list of images: `python extract/extract_globals.py global=vlad`.

In: a source (a store of local descriptors, images, or global descriptors) and, on request, a
whitening. Out: `{desc}_{split}_{kind}.hdf5`, a vector of unit length an image, float32 or float16.
It is written in blocks; interrupted, it continues where it stopped, with the same bytes. An image
that failed keeps its row, marked as failed.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from ames_lite.errors import BadInput
from ames_lite.extraction.aggregators import SAME
from ames_lite.extraction.descriptors import report_bad
from ames_lite.extraction.global_sources import Block, Source
from ames_lite.io.digest import array_digest, names_digest
from ames_lite.io.provenance import SAME_GLOBALS, Provenance, compare_known
from ames_lite.retrieval.pooling import unit_rows
from ames_lite.retrieval.whitening import Whitening, whiten
from ames_lite.stores.disk import announce
from ames_lite.stores.global_writer import GlobalWriter, globals_layout
from ames_lite.stores.whitening_file import read_whitening

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class FittedWhitening:
    """A whitening file: what it does, what it was fitted on, where it is."""

    whitening: Whitening
    made: Provenance
    path: Path

    @classmethod
    def load(cls, path: str | Path) -> FittedWhitening:
        """Raises MissingFile or BadInput."""
        whitening, _, made = read_whitening(path)
        return cls(whitening, made, Path(path))

    def check(self, made: Provenance, dim: int, where: str | Path) -> None:
        """Raise BadInput for descriptors of another width or kind, or of another vocabulary."""
        if dim != self.whitening.width:
            raise BadInput(
                f"the descriptors have width {dim}, the whitening {self.whitening.width}",
                where=f"{where} and {self.path}",
                expected="a whitening that was fitted on such descriptors",
            )
        # descriptors made as those that it was fitted on
        compare_known(made, self.made, (*SAME, *SAME_GLOBALS), files=(where, self.path))

    def provenance(self, made: Provenance) -> Provenance:
        """What whitened descriptors say about themselves."""
        before = made.get("normalisation", "as given")
        return {
            **made,
            "whitening": array_digest(self.whitening.components),
            "whitening_images": self.made.get("image_names", names_digest([])),
            "normalisation": f"{before}; whitened, then L2",
        }


def whitened_kind(kind: str) -> str:
    """What whitened descriptors are called in file names, and by `global=` and `neighbors=`.

    >>> whitened_kind("vlad")
    'vladw'
    """
    return f"{kind}w"


def extract_globals(
    source: Source,
    output: str | Path,
    *,
    whitening: FittedWhitening | None = None,
    dtype: str = "float32",
    on_bad_image: str = "error",
    say_bad: bool = True,
    overwrite: bool = False,
) -> Path:
    """Write or continue the file `output` and return its path.

    dtype: float32 or float16. on_bad_image: whether images that failed are an error at the end
    (error) or only said (skip), by the caller where say_bad is False. Raises BadInput before any
    work where whitening and source do not fit, for another dtype, and where the disk is too small.
    """
    if on_bad_image not in ("error", "skip"):
        raise BadInput(f"on_bad_image is '{on_bad_image}'", expected="error or skip")
    made, dim, path = source.made, source.dim, Path(output)
    if whitening is not None:
        whitening.check(made, dim, "this run")
        made, dim = whitening.provenance(made), whitening.whitening.dim
        made["global"] = whitened_kind(source.kind)
    logger.info(announce(path, globals_layout(source.names, dim, dtype), overwrite=overwrite))
    create = GlobalWriter(
        path,
        source.names,
        dim,
        made,
        dtype=dtype,
        resume=not overwrite,
        overwrite=overwrite,
    )
    with create as writer:
        bad = _fill(source, writer, whitening)
    if say_bad or on_bad_image != "skip":
        report_bad(bad, len(source.names), [path], on_bad_image)
    return path


def _fill(
    source: Source, writer: GlobalWriter, whitening: FittedWhitening | None
) -> dict[str, str]:
    """Write what is still to do; returns the images that failed, also in earlier runs."""
    bad, names, done = writer.failed, source.names, writer.num_finished
    first = done - done % source.step
    with tqdm(total=len(names), initial=done, desc=source.kind, unit="image") as bar:
        for block in source.blocks(first if done < len(names) else len(names)):
            skip, stop = max(0, done - first), first + len(block.vectors)
            failed = {names[first + at]: why for at, why in block.failed.items() if at >= skip}
            vectors = _finish(block, whitening)
            writer.extend(names[first + skip : stop], vectors[skip:], failed)
            bad |= failed
            bar.update(stop - first - skip)
            first = stop
    return bad


def _finish(block: Block, whitening: FittedWhitening | None) -> npt.NDArray[np.floating[Any]]:
    if whitening is None:
        return block.vectors
    return unit_rows(whiten(block.vectors, whitening.whitening))
