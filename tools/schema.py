"""The keys of the commands of tools/."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ames_lite.cli.schema import SCHEMAS
from ames_lite.cli.schema.keys import Images, Named, Root, Run, Split, Splits, key, part


@dataclass
class Release(Run, Root):
    """Trains a head to ship, on images that it renders; resumes where it stopped"""

    model: Named = part(
        Named, "ames or elvis; its arguments are those of conf/experiment/sift_release_<model>.yaml"
    )
    seed: int = key(0, "of the worlds, of training, of everything")
    landmarks: int = key(3200, "to train on, with 8 pictures each; whole styles of 16")
    other_seeds: list[int] = key([1, 2], "added to the seed: whose test worlds are measured on too")
    share: float = key(1.0, "of the validation and test worlds; below 1: a trial")
    teacher: Path = key(
        Path("weights/sift_elvis"), "of a head whose recipe has distil: true (ames)"
    )
    train: list[str] = key(
        [], "overrides for scripts/train.py: \"train=['epochs=4','device=cuda']\""
    )
    until: Literal["prepare", "baselines", "train", "tune", "evaluate", "write"] = key(
        "write",
        "the last stage: prepare, baselines (of the worlds, without a head), train, tune, "
        "evaluate, write",
    )
    weights: Path | None = key(
        None, "folder that the head is written to; null: weights/sift_<model>"
    )
    data_root: Path | None = key(
        None, "where the worlds go; null: data/release/seed<seed> of the checkout"
    )
    output_dir: Path | None = key(
        None, "run directory, also of a run to resume; null: runs/release_<model>_seed<seed>"
    )
    workers: int = key(2, "processes for rendering and extraction")


@dataclass
class RenderRoute(Root):
    """A rendered street as a place recognition set, in the common folder format"""

    role: Literal["test", "val"] = key(
        "test",
        "test: dataset=synthetic-route; val: dataset=synthetic-route-val, to choose λ and γ on",
    )
    seed: int = key(0, "of everything that is drawn; the roles of a seed share nothing")
    length: float = key(1500.0, "metres of the gallery traverse")
    gallery_step: float = key(5.0, "metres between its frames")
    query_begin: float = key(500.0, "metres; the query traverse is a part of the street")
    query_end: float = key(1000.0, "metres")
    query_step: float = key(5.0, "metres between its frames")
    data_root: Path | None = key(None, "folder of the data sets; null: the checkout's data/")
    workers: int = key(2, "processes")


@dataclass
class View(Run, Splits, Images):
    """Clusters and detector weights over images, a map of global descriptors"""

    what: list[Literal["clusters", "weights", "globals"]] = key(
        ["clusters", "weights", "globals"], "one PNG each, in the run directory"
    )
    seed: int = key(0, "of t-SNE and of the sample of a large gallery")
    split: Split = key("gallery", "query, gallery or train")
    num_images: int = key(6, "spread evenly over the split")
    show: list[str] = key([], "or these, by name: [a.jpg,b.jpg]")
    marks: Literal["auto", "cells", "circles"] = key(
        "auto", "cells (patches of a grid), circles (keypoints); auto: by the positions"
    )
    max_count: int = key(0, "strongest descriptors of an image; 0: all")
    vocabulary: Path | None = key(
        None, "clusters: a vlad_*.npz; null: data_root's only one for this desc_name"
    )
    global_: str = key("vlad", "cls, gem or vlad")
    method: Literal["pca", "tsne"] = key("pca", "or tsne (needs scikit-learn)")
    perplexity: float = key(30.0, "tsne: about how many neighbours count")
    max_points: int = key(2000, "images; of more, all queries and a sample")
    thumbnails: int = key(0, "small images at points, at most")


SCHEMAS |= {"release": Release, "render_route": RenderRoute, "view": View}
