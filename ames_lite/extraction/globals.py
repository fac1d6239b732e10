"""Global descriptors of a list of images, from a source and, on request, a whitening.

Output: `{desc}_{split}_{kind}.hdf5`, a vector of unit length an image. It is written in blocks;
interrupted, it continues where it stopped, with the same bytes. An image that failed keeps its row,
marked as failed.
"""

from __future__ import annotations

import logging
from pathlib import Path

from tqdm import tqdm

from ames_lite.errors import BadInput
from ames_lite.extraction.descriptors import report_bad
from ames_lite.extraction.fitted_whitening import FittedWhitening, whitened_kind
from ames_lite.extraction.global_sources import Source
from ames_lite.stores.global_store import GlobalWriter
from ames_lite.stores.row_layout import announce, globals_layout

logger = logging.getLogger(__name__)


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
        before, dim = made.get("normalisation", "as given"), whitening.whitening.dim
        how = {
            "global": whitened_kind(source.kind),
            "normalisation": f"{before}; whitened, then L2",
        }
        made = {**made, **whitening.digests, **how}
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
            vectors = block.vectors if whitening is None else whitening(block.vectors)
            writer.extend(names[first + skip : stop], vectors[skip:], failed)
            bad |= failed
            bar.update(stop - first - skip)
            first = stop
    return bad
