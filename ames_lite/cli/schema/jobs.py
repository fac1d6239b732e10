"""The keys of the jobs around reranking."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ames_lite.cli.schema.keys import (
    Count,
    CountOr0,
    Data,
    Dataset,
    Extracting,
    Named,
    Precision,
    Run,
    listed,
)
from ames_lite.training.recipe import ClassifierRecipe, FinetuneRecipe


@dataclass
class Finetune(Run, Extracting, FinetuneRecipe, Data):
    """Fine-tune a backbone for retrieval on labelled images: python scripts/finetune.py name=mine
    images=<class folders> labels=folders"""

    dataset: Dataset = field(default_factory=Dataset)  # a training set: path,label lines
    backbone: Named = field(default_factory=Named)  # efficientnet_lite0, or a DINOv2
    desc_name: str = "${backbone.name}"  # of the run directory
    split: Literal["images", "classes"] = "images"  # what is held out: images of every class, or
    # whole classes
    val_share: float = 0.2  # of the images, or of the classes, where val_dataset is null
    val_dataset: str | None = None  # a labelled data set to evaluate by; null: a share is held out
    val_images: Path | None = None  # folder of its images; null: its own
    precision: Precision = "fp32"  # of the network, not of the loss; auto: bf16 where native
    resume: Literal["auto", "never"] = "auto"  # output_dir's run is resumed; never: it must be new
    save_every: int = 200  # steps between checkpoints that a run can resume from
    cache_gib: float = 4.0  # memory for features of frozen blocks: of the held-out images, and with
    # augment=false of all


@dataclass
class Classify(Run, Extracting, ClassifierRecipe, Data):
    """Classifiers on global descriptors, judged on new images; `ames classify predict <image>` uses
    the best one. Needs pip install 'ames_lite[views]'"""

    backbone: Named | None = None  # of predict=; by default that of desc_name=
    global_: Literal["cls", "gem", "mean", "vlad"] = "cls"  # whose descriptors
    classifiers: list[Literal["mlp", "knn", "logistic"]] = listed("mlp", "knn", "logistic")  # the
    # best one by the validation images is saved
    scene: str | None = None  # a pattern whose first group in a name is the scene, as '^(.*)/': all
    # images of a scene are on one side; null: the column scene of labels=, else none
    test_share: float = 0.2  # of the images of a class, about; the column split says it instead
    val_share: float = 0.2  # that epochs, classifiers and temperatures are chosen by
    clusters: int | list[int] | None = None  # vlad: a second time with these clusters alone; a
    # number: those that tell most of the class
    vocabulary: Path | None = None  # vlad: vlad_*.npz; null: the only one
    tsne: list[int] = listed()  # epochs of the MLP whose hidden layer is drawn
    show: CountOr0 = 12  # test images that the chosen clusters are drawn on
    predict: Path | None = None  # an image or a folder, whose classes are printed
    weights: Path | None = None  # of predict=: a model; null: that of the newest run
    top: Count = 3  # classes of an image that are printed
