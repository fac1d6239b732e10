"""The keys of the commands of tools/."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ames_lite.cli.schema import SCHEMAS
from ames_lite.cli.schema.keys import (
    Data,
    Named,
    Root,
    Run,
    Split,
    Splits,
    listed,
)


@dataclass
class Release(Run, Root):
    """Trains a head to ship, on images that it renders; resumes where it stopped"""

    model: Named = field(default_factory=Named)  # ames or elvis; its arguments are those of
    # conf/experiment/sift_release_<model>.yaml
    seed: int = 0  # of the worlds, of training, of everything
    landmarks: int = 3200  # to train on, with 8 pictures each; whole styles of 16
    other_seeds: list[int] = listed(1, 2)  # added to the seed: whose test worlds are measured on
    # too
    share: float = 1.0  # of the validation and test worlds; below 1: a trial
    teacher: Path = Path("weights/sift_elvis")  # of a head whose recipe has distil: true (ames)
    train: list[str] = listed()  # overrides for scripts/train.py:
    # "train=['epochs=4','device=cuda']"
    until: Literal["prepare", "baselines", "train", "tune", "evaluate", "write"] = "write"
    # the last stage: prepare, baselines (of the worlds, without a head), train, tune, evaluate,
    # write
    weights: Path | None = None  # folder that the head is written to; null: weights/sift_<model>
    data_root: Path | None = None  # where the worlds go; null: data/release/seed<seed> of the
    # checkout
    output_dir: Path | None = None  # run directory, also of a run to resume; null:
    # runs/release_<model>_seed<seed>
    workers: int = 2  # processes for rendering and extraction


@dataclass
class RenderRoute(Root):
    """A rendered street as a place recognition set, in the common folder format"""

    role: Literal["test", "val"] = "test"  # test: dataset=synthetic-route; val:
    # dataset=synthetic-route-val, to choose λ and γ on
    seed: int = 0  # of everything that is drawn; the roles of a seed share nothing
    length: float = 1500.0  # metres of the gallery traverse
    gallery_step: float = 5.0  # metres between its frames
    query_begin: float = 500.0  # metres; the query traverse is a part of the street
    query_end: float = 1000.0  # metres
    query_step: float = 5.0  # metres between its frames
    data_root: Path | None = None  # folder of the data sets; null: the checkout's data/
    workers: int = 2  # processes


@dataclass
class View(Run, Splits, Data):
    """Clusters and detector weights over images, a map of global descriptors"""

    what: list[Literal["clusters", "weights", "globals"]] = listed("clusters", "weights", "globals")
    # one PNG each, in the run directory
    seed: int = 0  # of t-SNE and of the sample of a large gallery
    split: Split = "gallery"  # query, gallery or train
    num_images: int = 6  # spread evenly over the split
    show: list[str] = listed()  # or these, by name: [a.jpg,b.jpg]
    marks: Literal["auto", "cells", "circles"] = "auto"  # cells (patches of a grid), circles
    # (keypoints); auto: by the positions
    max_count: int = 0  # strongest descriptors of an image; 0: all
    vocabulary: Path | None = None  # clusters: a vlad_*.npz; null: data_root's only one for this
    # desc_name
    global_: str = "vlad"  # cls, gem or vlad
    method: Literal["pca", "tsne"] = "pca"  # or tsne (needs scikit-learn)
    perplexity: float = 30.0  # tsne: about how many neighbours count
    max_points: int = 2000  # images; of more, all queries and a sample
    thumbnails: int = 0  # small images at points, at most


SCHEMAS |= {"release": Release, "render_route": RenderRoute, "view": View}
