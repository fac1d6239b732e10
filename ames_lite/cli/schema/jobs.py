"""Keys of the jobs around reranking: other tools' files, a server, more trainings, classifiers."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ames_lite.cli.schema import keys
from ames_lite.cli.schema.evaluation import Searching
from ames_lite.cli.schema.extraction import OnLabelled
from ames_lite.cli.schema.keys import Count, CountOr0, Head, Named, Number, Precision, Split, listed
from ames_lite.training.recipe import ClassifierRecipe, FinetuneRecipe


@dataclass
class ImportFeatures(keys.Overwrite, keys.Data):
    """Native stores from features that other tools saved (hloc, Patch-NetVLAD, DELG, …)"""

    features: Path | None = None  # a file or a folder
    form: Literal["hloc", "superpoint", "npz", "patchnetvlad", "delg", "npy"] | None = None  # null:
    # by the names of the files
    desc_name: str = "imported"  # prefix of the files; in provenance what the descriptors are
    split: Split = "gallery"  # whose store is written
    names: Path | None = None  # the image list; null: the data set's, or all that have features
    global_: str | None = None  # import global descriptors, by this name (cls, vlad); null: local
    top_k: Count | None = None  # strongest descriptors that are kept; null: all
    packed: bool | None = None  # uint8 descriptors: true: packed bits, false: numbers
    pixels: Literal["centre", "corner"] = "centre"  # of a pixel, where x, y are whole numbers:
    # its centre (hloc), or its upper left corner (COLMAP)
    resized: list[int] = listed(480, 640)  # Patch-NetVLAD's imageresizeh and imageresizew
    dtype: Literal["float32", "float16"] = "float32"  # of global descriptors
    on_bad_image: keys.OnBadImage = "error"  # or skip: rows without descriptors


@dataclass
class Rerank(keys.Heads, keys.Run, keys.Extracting, keys.Scoring, keys.Data):
    """Rerank lists from anywhere: candidates=<file>, with the stores of dataset= or images="""

    candidates: Path | None = None  # lists in any form of docs/candidates.md, of any lengths
    form: str | None = None  # its form; null: guessed, and said
    kind: str | None = None  # of its scores: similarity, distance (1 - cosine) or squared_l2 (of
    # unit vectors, as faiss gives it); null: similarity, checked
    sims: Path | None = None  # an .npy [Q, K], where candidates= is an .npy of rows
    out_form: str | None = None  # null: as form
    images: Path | None = None  # instead of dataset=: folder of the gallery; what the lists name is
    # described by backbone=
    query_images: Path | None = None  # folder of the queries; null: images
    backbone: Named = field(default_factory=Named)  # of images=; of a data set desc_name= says it
    model: Named = field(default_factory=Named)
    weights: Head | None = None  # a trained head; null: the released one of the descriptors
    lamb: Number | None = None  # λ, weight of the similarity given; null: the head's own
    temp: Number | None = None  # γ, factor of the logit; null: as the head was released with
    num_rerank: Count | None = None  # candidates reranked per query; null: all
    top: Count | None = None  # candidates written per query; null: all
    query_desc_num: Count = 600  # strongest descriptors of a query
    gallery_desc_num: Count = 600  # strongest descriptors of a candidate


@dataclass
class Serve(Searching):
    """Rerank over HTTP (POST /rerank), and with images=<folder> search (POST /search). Needs pip
    install 'ames_lite[serve]'"""

    host: str = "127.0.0.1"  # this machine alone; 0.0.0.0: all that reach it: give a token=
    port: int = 8000  # 0: any that is free
    token: str | None = None  # that requests bring (Authorization: Bearer …); null: AMES_TOKEN of
    # the environment, else none
    roots: list[Path] = listed()  # folders whose images requests may name by paths; []: none
    max_mib: Count = 64  # of a request
    max_documents: Count = 1000  # of a request
    max_requests: Count = 32  # at a time; further ones get 503
    timeout: Number = 30  # seconds from a request to its answer; later: 504
    batch_pairs: Count = 64  # pairs that the head gets at a time, of one request or several


@dataclass
class Finetune(OnLabelled, keys.Extracting, FinetuneRecipe):
    """Fine-tune a backbone for retrieval on labelled images: python scripts/finetune.py name=mine
    images=<class folders> labels=folders"""

    backbone: Named = field(default_factory=Named)  # efficientnet_lite0, or a DINOv2
    split: Literal["images", "classes"] = "images"  # held out: images of each class, or classes
    val_share: float = 0.2  # of the images, or of the classes, where val_dataset is null
    precision: Precision = "fp32"  # of the network, not of the loss; auto: bf16 where native
    cache_gib: float = 4.0  # memory for features of frozen blocks: of the held-out images, and with
    # augment=false of all


@dataclass
class Classify(keys.Run, keys.Extracting, ClassifierRecipe, keys.Data):
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
