"""`python scripts/prepare_set.py`: image lists and ground truth of a public set, from its official
files below data_root/<folder>, in the layout that the dataset's YAML says.
"""

from dataclasses import replace
from pathlib import Path

from ames_lite.cli.compose import options_with
from ames_lite.cli.schema.extraction import PrepareSet
from ames_lite.cli.schema.keys import Dataset
from ames_lite.cli.shell import data_root, dataset_named
from ames_lite.datasets.relation import SIDES, Relation, files_of, write_folder
from ames_lite.datasets.vpr import read_layout
from ames_lite.errors import ConfigError
from ames_lite.evaluation.protocols import get_protocol

UNVERIFIED = "unverified against official files"


def run(config: PrepareSet) -> Relation:
    """Read the layout, write lists and ground truth, print what was found. Of a set with
    distractors both parts are prepared; the result is that of the last.
    """
    dataset = config.dataset
    if dataset.base is not None:
        return _parts(config)
    if not dataset.reader:
        what = f"dataset={dataset.option} has no official layout to be read"
        raise ConfigError(what, expected=f"one of {', '.join(readable())}", remedy=dataset.page)
    root = data_root(config) / dataset.images_folder
    made = read_layout(dataset.reader, root, dataset.options or {}, dataset.page)
    if dataset.swap:
        made = made.swapped()
    folder = data_root(config) / dataset.lists_folder
    write_folder(folder, files_of(folder.name, made), config.overwrite)
    print("\n".join(_describe(dataset, made, folder)))
    return made


def _parts(config: PrepareSet) -> Relation:
    dataset = config.dataset
    for part in (dataset.base, dataset.distractors):
        assert part is not None
        made = run(replace(config, dataset=dataset_named(part)))
    print(f"next, when both are described: {dataset.page}")
    return made


def readable() -> list[str]:
    """The data sets that this command prepares."""
    return options_with("dataset", "reader")


def _describe(dataset: Dataset, made: Relation, folder: Path) -> list[str]:
    counts, right = made.counts(), [len(rows) for rows in made.rows["easy"]]
    queries, gallery = (counts[side] for side in SIDES)
    lines = [f"{dataset.option}: {queries} queries, {gallery} gallery images: {folder}"]
    documented = dataset.counts or {}
    if not documented:
        lines.append("no counts are documented")
    keys = SIDES[::-1] if dataset.swap else SIDES
    for side, key in zip(SIDES, keys, strict=True):
        if documented.get(key) not in (None, counts[side]):
            lines.append(f"differs: {counts[side]} {side} images, documented are {documented[key]}")
    if made.query_names:
        each = f"{sum(right) / queries:.1f} a query; queries without one: {right.count(0)}"
        lines.append(f"{sum(right)} positives, {each}")
        lines.append(f"protocol {dataset.protocol}: {get_protocol(str(dataset.protocol)).counted}")
    lines += made.notes
    if dataset.published_size:
        height, width = dataset.published_size
        lines.append(f"published numbers are of images resized to {height} x {width} (h x w)")
    if dataset.note:
        lines.append(f"note: {dataset.note}")
    lines.append(f"licence: {dataset.licence}")
    if dataset.unverified:
        lines.append(UNVERIFIED)
    return lines
