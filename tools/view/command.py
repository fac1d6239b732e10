"""`python scripts/view.py`: stores, vocabulary, images and global descriptors in, pictures out.

One PNG for each of `what=`, in a run directory: clusters.png, weights.png, globals_<kind>.png. What
is missing or does not fit is said before anything is drawn; a row that failed in extraction, and an
image that cannot be decoded, are skipped with a message.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ames_lite.classification.scikit import check_scikit
from ames_lite.cli.shell import (
    chosen_splits,
    command,
    dataset_files,
    find_vocabulary,
    run_dir,
    run_prefix,
)
from ames_lite.datasets.ground_truth import read_ground_truth
from ames_lite.datasets.image_lists import ImageList, read_image_list
from ames_lite.datasets.layout import DatasetFiles, find_all
from ames_lite.errors import BadInput, ConfigError, MissingFile
from ames_lite.evaluation.figures import save_figure
from ames_lite.extraction.aggregators import Vlad
from ames_lite.io.images import Box, load_image, thumbnail
from ames_lite.io.names import match_names
from ames_lite.retrieval.vlad import assign
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.published.store import is_published, open_store
from ames_lite.stores.row_layout import FAILED
from tools.schema import View
from tools.view.global_map import draw_map, load_map
from tools.view.overlays import (
    MAX_PICTURES,
    Shown,
    cluster_sheet,
    weight_sheet,
)

logger = logging.getLogger(__name__)

WHAT = ("clusters", "weights", "globals")
LONGEST = 800  # pixels of a picture's longer side


def main(overrides: Sequence[str] | None = None) -> int:
    """The command."""
    return command("view", run, overrides)


def run(config: View) -> dict[str, Path]:
    """Draw what is asked for; returns the path of each picture."""
    what = check_settings(config)
    files = dataset_files(config)
    find_all(_needed(config, files, what))  # one message for all that is missing
    figures: dict[str, Callable[[], Figure]] = {}
    if "clusters" in what or "weights" in what:
        source = _open(config, files, clusters="clusters" in what)
        shown = _load(config, files, source)
        figures["clusters"] = partial(draw_clusters, config, shown, source)
        figures["weights"] = partial(draw_weights, config, shown, source.store)
    if "globals" in what:
        found = load_map(config, files, chosen_splits(config))
        figures["globals"] = partial(draw_map, config, found)
    named = {kind: f"{kind}.png" for kind in what}
    if "globals" in named:
        named["globals"] = f"globals_{config.global_}.png"
    folder, paths = run_dir(config, run_prefix(config, "view"), named[what[-1]]), {}
    for kind in what:
        paths[kind] = save_figure(figures[kind](), folder / named[kind])
        print(f"{kind}: {paths[kind]}")
    return paths


def check_settings(config: View) -> list[str]:
    """`what=`, each kind once. Raises ConfigError for settings that do not exist or fit."""
    what = [str(one) for one in dict.fromkeys(config.what)]
    if not what:
        raise ConfigError("what=[]", expected=f"some of {', '.join(WHAT)}")
    lowest = {"num_images": 1, "max_count": 0, "max_points": 1, "thumbnails": 0}
    for key, low in lowest.items():
        if getattr(config, key) < low:
            raise ConfigError(f"{key}={getattr(config, key)}", expected=f"at least {low}")
    if max(config.num_images, len(config.show)) > MAX_PICTURES:
        raise ConfigError("too many images for a sheet", expected=f"at most {MAX_PICTURES}")
    if "globals" in what:
        chosen_splits(config)
        if config.method == "tsne":
            check_scikit("t-SNE", "method=pca")
    return what


def _needed(
    config: View, files: DatasetFiles, what: Sequence[str]
) -> dict[str, Callable[[], Path]]:
    """All files that the pictures are made from, but for the images."""
    needed: dict[str, Callable[[], Path]] = {}
    if "clusters" in what or "weights" in what:
        needed["store"] = partial(files.local, config.split)
        if config.split == "query":
            needed["query list"] = partial(files.image_list, "query")
            needed["gallery list"] = partial(files.image_list, "gallery")
            needed["ground truth"] = files.ground_truth
    if "clusters" in what:
        needed["vocabulary"] = partial(find_vocabulary, config, config.vocabulary)
    if "globals" in what:
        for split in chosen_splits(config):
            needed[f"{split} list"] = partial(files.image_list, split)
            needed[f"{split} globals"] = partial(files.global_descriptors, split, config.global_)
    return needed


@dataclass(frozen=True)
class Source:
    """What clusters and weights are drawn from."""

    store: DescriptorStore
    rows: list[int]
    boxes: dict[int, Box]  # of queries, in pixels, by row
    vocabulary: Vlad | None


def _open(config: View, files: DatasetFiles, clusters: bool) -> Source:
    """The store, the rows to show and, for clusters, a vocabulary that fits."""
    split = config.split
    path = files.local(split)
    images = ImageList(())
    if is_published(path) or split == "query":
        images = read_image_list(files.image_list(split))
    store = open_store(path, images.names, images.sizes, files.make_local())
    rows, vocabulary = _rows(config, store), None
    store.check_positions(rows)
    if clusters:
        if store.packed:
            raise BadInput(
                "the store has packed bits, of which a vocabulary has no clusters",
                where=path,
                expected="float descriptors",
                remedy="give the desc_name= of a float store, or what=[weights,globals]",
            )
        vocabulary = Vlad(find_vocabulary(config, config.vocabulary))
        vocabulary.check(store.provenance, store.dim, path)
    boxes: dict[int, Box] = {}
    if split == "query":
        gallery = read_image_list(files.image_list("gallery")).names
        found = read_ground_truth(files.ground_truth(), store.names, gallery).bbox
        boxes = {row: box for row, box in enumerate(found) if box is not None}
    return Source(store, rows, boxes, vocabulary)


def _rows(config: View, store: DescriptorStore) -> list[int]:
    """The rows of show=, or num_images of them spread evenly over the store."""
    if config.show:
        wanted = [str(name) for name in config.show]
        known = f"the names of {store.path}"
        found = match_names(wanted, store.names, wanted_from="show=", available_from=known)
        return [int(row) for row in found]
    if config.num_images >= len(store):
        return list(range(len(store)))
    spread = np.linspace(0, len(store) - 1, config.num_images + 2)[1:-1]
    return [int(place) for place in spread.round()]


def _load(config: View, files: DatasetFiles, source: Source) -> list[Shown]:
    """Images and descriptors of the rows. Raises MissingFile where an image is not on disk."""
    root = config.images or files.image_root
    for name in (source.store.names[row] for row in source.rows):
        if not (root / name).is_file():
            raise MissingFile(
                f"missing: the image '{name}'",
                where=(root / name).absolute(),
                expected="images=<the folder that image names are relative to>",
                remedy=files.page,
            )
    most = config.max_count or None
    loaded = [_load_row(source, row, root, most) for row in source.rows]
    shown = [one for one in loaded if one is not None]
    if not shown:
        raise BadInput(
            f"none of the {len(source.rows)} images can be shown",
            where=source.store.path,
            remedy="choose others by show= or num_images=",
        )
    return shown


def _load_row(source: Source, row: int, root: Path, most: int | None) -> Shown | None:
    """None, said in a message, where extraction failed or the image cannot be decoded."""
    store, name, box = source.store, source.store.names[row], source.boxes.get(row)
    if store.status[row] == FAILED:
        logger.warning("%s is skipped, its extraction failed: %s", name, store.reason(row))
        return None
    try:
        image = load_image(root / name)
    except BadInput as error:
        logger.warning("%s is skipped: %s", name, str(error).split("\n")[0])
        return None
    if box is not None:
        height, width = image.shape[:2]
        box = (box[0] / width, box[1] / height, box[2] / width, box[3] / height)
    return Shown(name, thumbnail(image, LONGEST), store.read(row, most), box)


def _title(config: View, shown: Sequence[Shown], store: DescriptorStore) -> str:
    parts = [config.dataset.folder, config.desc_name, config.split]
    return f"{', '.join(parts)}: {len(shown)} of {len(store)} images"


def draw_clusters(config: View, shown: Sequence[Shown], source: Source) -> Figure:
    """Every descriptor at its place, in the colour of its cluster."""
    vocabulary = source.vocabulary
    assert vocabulary is not None
    number = len(vocabulary.centroids)
    what = f"{vocabulary.path.stem}, {number} clusters, {vocabulary.distance}"
    return cluster_sheet(
        shown,
        [assign(one.local.descriptors, vocabulary.centroids, vocabulary.form) for one in shown],
        number,
        title=f"{_title(config, shown, source.store)}; {what}",
        marks=config.marks,
    )


def draw_weights(config: View, shown: Sequence[Shown], store: DescriptorStore) -> Figure:
    """Every descriptor at its place, with the weight that it was chosen by."""
    detector = store.provenance.get("detector") or "of an unknown detector"
    title = _title(config, shown, store)
    return weight_sheet(shown, f"weight ({detector})", title=title, marks=config.marks)
