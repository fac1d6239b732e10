"""Native stores from features that other tools saved; an interrupted import continues.

All shapes are looked at before anything is written; then images are read one by one. Rows are those
of the image list.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ames_lite.errors import BadInput, MissingFile, explained, require
from ames_lite.extraction.descriptors import check_on_bad_image, report_bad
from ames_lite.io.images import image_size
from ames_lite.io.names import pair_names
from ames_lite.io.provenance import Provenance
from ames_lite.runtime import progress_bar
from ames_lite.stores.descriptor_store import say_empty
from ames_lite.stores.published.features.found import Rules, Source, layout, vector_of
from ames_lite.stores.row_layout import Layout, announce, globals_layout, store_layout
from ames_lite.stores.row_writer import DescriptorWriter, GlobalWriter

logger = logging.getLogger(__name__)

SHOWN = 5  # images that a message lists
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
    """What the images have in common. bad: why images cannot be imported, by name."""

    most: int  # descriptors of an image
    width: int  # of them as stored
    bytes_: bool  # they are uint8
    columns: bool  # they are [D, K]
    empty: tuple[str, ...]
    bad: dict[str, str]


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
    """Write or continue the store `output`; returns its path.

    Raises BadInput before any work where an image cannot be imported (unless it is skipped) and
    where the disk is too small; later for NaN and for keypoints outside of their image.
    """
    options = options or Options()
    check_on_bad_image(options.on_bad_image)
    where, skip = str(made_by["source"]), options.on_bad_image == "skip"
    listed, keys = _names_and_keys(source, names, where)
    survey = _survey(source, listed, keys, vectors)
    _refuse_bad(survey, listed, where, skip)
    rules = _rules(survey, source, options, where)
    made = {**made_by, "imported": source.form, "source_digest": source.digest}
    wanted, create = _output(survey, rules, listed, made, vectors, options)
    logger.info(announce(output, wanted, overwrite=options.overwrite))

    def read(name: str) -> Any:
        found = source.open(keys[name])
        if vectors:
            return vector_of(found)
        return rules.local(found, found.size or _size(Path(image_root), name))

    anew = options.overwrite
    with create(Path(output), listed, resume=not anew, overwrite=anew) as writer:
        bad = _fill(writer, read, survey.bad, where, skip)
    if survey.empty:
        logger.warning(say_empty(survey.empty, len(listed)))
    report_bad(bad, len(listed), [Path(output)], "skip")
    return Path(output)


def _names_and_keys(
    source: Source, names: Sequence[str] | None, where: str
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The image list, and the key of every image that has features."""
    if source.listed:
        what = f"{len(source.keys)} rows of features, and {len(names or ())} names"
        expected = "a row an image of the list, in its order"
        require(names and len(names) == len(source.keys), what, where=where, expected=expected)
        return tuple(names or ()), dict(zip(names or (), source.keys, strict=True))
    if names is None:
        return tuple(sorted(source.keys)), {key: key for key in source.keys}
    keys = pair_names(names, source.keys, where)
    left = sorted({*source.keys} - {*keys.values()})
    if left:
        shown = ", ".join(left[:SHOWN])
        logger.info("%d features are of no image of the list: %s", len(left), shown)
    return tuple(names), keys


def _survey(source: Source, names: Sequence[str], keys: Mapping[str, str], vectors: bool) -> Survey:
    """Look at the shapes of all images; arrays are not read where the form allows."""
    bad = {name: "it has no features" for name in names if name not in keys}
    shapes: dict[str, tuple[tuple[int, ...], int]] = {}
    kinds, ways, empty = set(), Counter[bool | None](), []
    for name in names:
        if name in bad:
            continue
        try:
            found = source.open(keys[name])
            if vectors or found.count:
                ways[None if vectors else layout(found)] += 1
                shapes[name] = found.shape, found.count
                kinds.add(found.dtype.name)
            else:
                empty.append(name)
        except BadInput as error:
            bad[name] = str(error)
    columns = source.columns if ways[True] == ways[False] else ways[True] > ways[False]
    if ways[None] and not vectors:
        text = "%d images have as many keypoints as descriptors have numbers: read as %s"
        logger.warning(text, ways[None], "[D, K]" if columns else "[K, D]")
    if not vectors:
        logger.info("descriptors are %s", "[D, K]" if columns else "[K, D]")
    widths = {
        name: shape[-1] if vectors or not columns else shape[0]
        for name, (shape, _) in shapes.items()
    }
    usual = Counter(widths.values()).most_common(1)[0][0] if widths else 0
    bad |= {
        name: f"its descriptors have width {width}, those of most images {usual}"
        for name, width in widths.items()
        if width != usual
    }
    most = max((count for name, (_, count) in shapes.items() if name not in bad), default=0)
    return Survey(most, usual, kinds == {"uint8"}, columns, tuple(empty), bad)


def _refuse_bad(survey: Survey, names: Sequence[str], where: str, skip: bool) -> None:
    if survey.bad and not skip:
        shown = "\n".join(f"  {name}: {why}" for name, why in [*survey.bad.items()][:SHOWN])
        what = f"{len(survey.bad)} of {len(names)} images cannot be imported:\n{shown}"
        remedy = "features and a list that fit, or on_bad_image=skip"
        raise BadInput(what, where=where, remedy=remedy)
    require(survey.width, "no image has a descriptor", where=where, expected="at least one")


def _rules(survey: Survey, source: Source, options: Options, where: str) -> Rules:
    what, packed = "descriptors are uint8", options.packed
    remedy = "packed=true for packed bits (ORB, BRIEF), packed=false for numbers"
    require(not survey.bytes_ or packed is not None, what, where=where, remedy=remedy)
    fine, expected = survey.bytes_ or not packed, "uint8 descriptors where packed=true"
    require(fine, "descriptors are not uint8", where=where, expected=expected)
    form = (survey.columns, survey.width, source.grid)
    return Rules(*form, options.pixels, bool(packed), options.top_k)


def _output(
    survey: Survey,
    rules: Rules,
    names: Sequence[str],
    made: Provenance,
    vectors: bool,
    options: Options,
) -> tuple[Layout, Callable[..., DescriptorWriter | GlobalWriter]]:
    """The data sets of the store, and what creates it, for a path and the names."""
    dim, dtype = survey.width, options.dtype
    if vectors:
        create = partial(GlobalWriter, dim=dim, dtype=dtype, provenance=made)
        return globals_layout(names, dim, dtype), create
    count = min(survey.most, rules.top_k or survey.most)
    dim, dtype = (8 * dim, "uint8") if rules.packed else (dim, "float16")
    whole = f"pixels, whole numbers at their {rules.pixels}s"
    made = made | {
        "top_k": rules.top_k,
        "layout": "[D, K]" if rules.columns else "[K, D]",
        "positions": rules.grid or whole,
        "precision": "packed bits" if rules.packed else "float16 store",
    }
    create_local = partial(DescriptorWriter, max_count=count, dim=dim, dtype=dtype, provenance=made)
    return store_layout(names, count, dim, dtype), create_local


def _size(root: Path, name: str) -> tuple[int, int]:
    try:
        return image_size(root / name)
    except MissingFile as error:
        what = "the features do not say the size of the image, which is missing"
        raise BadInput(what, where=root / name, remedy=IMAGES) from error


def _fill(
    writer: DescriptorWriter | GlobalWriter,
    read: Callable[[str], Any],
    bad: Mapping[str, str],
    where: str,
    skip: bool,
) -> dict[str, str]:
    """Write what is still to do; returns the images that failed, also in earlier runs."""
    failed, done = writer.failed, writer.num_finished
    for name in progress_bar(len(writer.names), "import", "image", writer.todo, initial=done):
        given: Any = None
        why = bad.get(name)
        if why is None:
            try:
                with explained(f"'{name}' cannot be imported: {{}}", where=where):
                    given = read(name)
            except BadInput as error:
                if not skip:
                    raise
                why = str(error)
        if why is None:
            writer.append(name, given)
        else:
            writer.mark_failed(name, why)
            failed[name] = why
    return failed
