"""The keys of the jobs around reranking."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ames_lite.cli.schema.keys import Data, Dataset, Extracting, Named, Precision, Run
from ames_lite.training.recipe import FinetuneRecipe


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
