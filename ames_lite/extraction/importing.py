"""Native stores from features that other tools saved; an interrupted import continues. All shapes
are looked at before anything is written; then images are read one by one. Rows are those of the
image list.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ames_lite.errors import BadInput, MissingFile, explained, require
from ames_lite.extraction.descriptors import check_on_bad_image, report_bad
from ames_lite.io.images import image_size
from ames_lite.io.names import pair_names
from ames_lite.io.provenance import Provenance
from ames_lite.runtime import progress_bar
from ames_lite.stores.descriptor_store import say_empty
from ames_lite.stores.published.features.found import Rules, Source, layout, vector_of
from ames_lite.stores.row_layout import announce, globals_layout, store_layout
from ames_lite.stores.row_writer import DescriptorWriter, GlobalWriter

logger = logging.getLogger(__name__)

Writer = DescriptorWriter | GlobalWriter
BLOCK = 256  # global descriptors that are written at a time: two flushes each
SHOWN = 5  # images that a message lists
LAYOUTS = {True: "[D, K]", False: "[K, D]"}
IMAGES = "images=<folder of the images>, whose headers have the sizes"


@dataclass(frozen=True)
class Options:
    """How features are stored. dtype: of global descriptors; local ones are float16, or bits."""

    top_k: int | None = None  # strongest that are kept; None: all
    packed: bool | None = None  # uint8 descriptors are packed bits, or numbers
    pixels: str = "centre"  # what whole numbers are of a pixel: centre, or (upper left) corner
    dtype: str = "float32"
    on_bad_image: str = "error"  # or skip: rows without descriptors
    overwrite: bool = False


class Survey(NamedTuple):
    """What is known before arrays are read."""

    most: int  # descriptors of an image
    width: int  # of them as stored
    kinds: set[str]  # dtypes
    columns: bool  # they are [D, K]
    empty: list[str]
    bad: dict[str, str]  # why images cannot be imported, by name


def import_features(
    source: Source,
    output: str | Path,
    names: Sequence[str] | None,  # the image list; None: all that have features, sorted
    made_by: Provenance,  # backbone, source, and what the caller knows
    *,
    vectors: bool = False,  # global descriptors, not local ones
    image_root: str | Path = ".",
    options: Options | None = None,
) -> Path:
    """Write or continue the store `output`; returns its path. BadInput before any work where an
    image cannot be imported or the disk is too small; later for NaN and keypoints outside.
    """
    how, where = options or Options(), str(made_by["source"])
    check_on_bad_image(how.on_bad_image)
    listed, keys = _names_and_keys(source, names, where)
    survey = _survey(source, listed, keys, vectors)
    _refuse(survey, len(listed), how, where)
    rule = Rules(survey.columns, survey.width, source.grid, how.pixels, bool(how.packed), how.top_k)
    made = {**made_by, "imported": source.form, "source_digest": source.digest}
    dim, dtype, anew = survey.width, how.dtype, how.overwrite
    create: type[Writer]
    if vectors:
        wanted, create = globals_layout(listed, dim, dtype), GlobalWriter
        sizes: dict[str, Any] = {"dim": dim, "dtype": dtype}
    else:
        made |= {"top_k": how.top_k, "layout": LAYOUTS[survey.columns]}
        made["positions"] = source.grid or f"pixels, whole numbers at their {how.pixels}s"
        made["precision"] = "packed bits" if how.packed else "float16 store"
        dim, dtype = (8 * dim, "uint8") if how.packed else (dim, "float16")
        most = min(survey.most, how.top_k or survey.most)
        sizes = {"max_count": most, "dim": dim, "dtype": dtype}
        wanted, create = store_layout(listed, **sizes), DescriptorWriter
    logger.info(announce(output, wanted, overwrite=anew))

    def read(name: str) -> Any:
        found = source.open(keys[name])
        if vectors:
            return vector_of(found)
        return rule.local(found, found.size or _size(Path(image_root), name))

    sizes |= {"resume": not anew, "overwrite": anew}
    with create(output, listed, provenance=made, **sizes) as writer:
        bad = _fill(writer, read, survey.bad, where, how.on_bad_image == "skip")
    if survey.empty:
        logger.warning(say_empty(survey.empty, len(listed)))
    report_bad(bad, len(listed), [Path(output)], "skip")
    return Path(output)


def _names_and_keys(
    source: Source, names: Sequence[str] | None, where: str
) -> tuple[Sequence[str], dict[str, str]]:
    """The image list, and the key of every image that has features."""
    if source.listed:
        what = f"{len(source.keys)} rows of features, and {len(names or ())} names"
        expected = "a row an image of the list, in its order"
        require(names and len(names) == len(source.keys), what, expected, where=where)
        return names or (), dict(zip(names or (), source.keys, strict=True))
    names = sorted(source.keys) if names is None else names
    keys = pair_names(names, source.keys, where)
    if left := sorted({*source.keys} - {*keys.values()}):
        shown = ", ".join(left[:SHOWN])
        logger.info("%d features are of no image of the list: %s", len(left), shown)
    return names, keys


def _survey(source: Source, names: Sequence[str], keys: Mapping[str, str], vectors: bool) -> Survey:
    """Look at the shapes of all images; arrays are not read where the form allows."""
    bad = {name: "it has no features" for name in names if name not in keys}
    shapes: dict[str, tuple[tuple[int, ...], int]] = {}
    kinds, ways, empty = set(), Counter[bool | None](), []
    for name in (name for name in names if name in keys):
        try:
            found = source.open(keys[name])
            if not vectors and not found.count:
                empty.append(name)
                continue
            ways[False if vectors else layout(found)] += 1
            shapes[name] = found.shape, found.count
            kinds.add(found.dtype.name)
        except BadInput as error:
            bad[name] = str(error)
    columns = source.columns if ways[True] == ways[False] else ways[True] > ways[False]
    if ways[None]:
        text = "%d images have as many keypoints as descriptors have numbers: read as %s"
        logger.warning(text, ways[None], LAYOUTS[columns])
    widths = {name: shape[0 if columns else -1] for name, (shape, _) in shapes.items()}
    usual = Counter(widths.values()).most_common(1)[0][0] if widths else 0
    for name in (name for name, width in widths.items() if width != usual):
        bad[name] = f"its descriptors have width {widths[name]}, those of most images {usual}"
    most = max((count for name, (_, count) in shapes.items() if name not in bad), default=0)
    return Survey(most, usual, kinds, columns, empty, bad)


def _refuse(survey: Survey, total: int, how: Options, where: str) -> None:
    """Raise BadInput for images that cannot be imported, and for bytes of an unknown meaning."""
    shown = "\n".join(f"  {name}: {why}" for name, why in [*survey.bad.items()][:SHOWN])
    what = f"{len(survey.bad)} of {total} images cannot be imported:\n{shown}"
    remedy, fine = "features and a list that fit", not survey.bad or how.on_bad_image == "skip"
    require(fine, what, where=where, remedy=f"{remedy}, or on_bad_image=skip")
    require(survey.width, f"no image has a descriptor\n{shown}", where=where, remedy=remedy)
    fine = how.packed is not None if survey.kinds == {"uint8"} else not how.packed
    expected = "for uint8: packed=true (packed bits, as of ORB) or packed=false (numbers)"
    require(fine, f"descriptors are {', '.join(sorted(survey.kinds))}", expected, where=where)


def _size(root: Path, name: str) -> tuple[int, int]:
    try:
        return image_size(root / name)
    except MissingFile as error:
        what = "the features do not say the size of the image, which is missing"
        raise BadInput(what, where=root / name, remedy=IMAGES) from error


def _fill(
    writer: Writer, read: Callable[[str], Any], bad: Mapping[str, str], where: str, skip: bool
) -> dict[str, str]:
    """Write what is still to do; returns the images that failed, also in earlier runs."""
    failed, todo, done = writer.failed, writer.todo, writer.num_finished
    step = BLOCK if isinstance(writer, GlobalWriter) else 1
    with progress_bar(len(writer.names), "import", "image", initial=done) as bar:
        for first in range(0, len(todo), step):
            part, found = todo[first : first + step], {}
            for name in part:
                try:
                    require(name not in bad, bad.get(name, ""))
                    with explained(f"'{name}' cannot be imported: {{}}", where=where):
                        found[name] = read(name)
                except BadInput as error:
                    if not skip:
                        raise
                    failed[name] = str(error)
            if isinstance(writer, GlobalWriter):
                none = np.zeros(writer.dim, np.float32)
                block = np.stack([found.get(name, none) for name in part])
                writer.extend(part, block, {name: failed[name] for name in part if name in failed})
            elif part[0] in found:
                writer.append(part[0], found[part[0]])
            else:
                writer.mark_failed(part[0], failed[part[0]])
            bar.update(len(part))
    return failed
