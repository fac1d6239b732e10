"""The keys of the commands that train, evaluate, compare and search."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ames_lite.cli.schema import keys
from ames_lite.cli.schema.keys import Count, Head, Named, Number, PathText, Precision, listed
from ames_lite.training.recipe import Recipe

Divisor = Literal["official", "published"]


@dataclass
class Scored(keys.Scoring, keys.Heads, keys.Run, keys.Data):
    """What commands share that score the pairs of a data set."""

    model: Named = field(default_factory=Named)
    neighbors: PathText = "${dataset.neighbors}"  # superglobal, cls, gem, vlad, or a path:
    # lists in any form of docs/candidates.md
    weights: Head | None = None  # a trained head: a folder (weights.safetensors + meta.json), a
    # published .pt, or a name: sift_ames (shipped), dinov2_ames (published, needs trust=true)
    num_rerank: int | list[int] | None = None  # or a list, within the gallery; null: tuned, or 400
    lamb: Number | list[Number] | None = None  # λ, weight of the global similarity, or a list;
    # null: from the weights' meta.json, or published for a file's name (dinov2_ames.pt)
    temp: Number | list[Number] | None = None  # γ, factor of the logit, or a list; null: as lamb
    query_desc_num: int = 600  # strongest descriptors of a query
    gallery_desc_num: int = 600  # strongest descriptors of a gallery image
    ap_divisor: Divisor = "official"  # of trapezoidal AP (ROxford, RParis): the positives;
    # published: at most the images that a list has, as AMES divides
    resume: bool = False  # resume the interrupted run in output_dir=


@dataclass
class Evaluate(keys.Planned, Scored):
    """Global ranking → reranked, with the official metrics"""

    k: int | list[int] | None = None  # [1,5,10]: also map@k, precision@k, recall@k and accuracy@k
    # of each (class data sets); null: the metrics of the protocol
    tuned: Path | None = None  # tuned.json of scripts/tune.py, or its run directory
    scores: Path | None = None  # scores.hdf5 of an earlier run, or that run: nothing is scored anew
    report_queries: keys.CountOr0 = 100  # queries shown in report.html (model=none: at most ten
    # successes and the ten worst by distance); 0: no report
    report_images: Count = 20  # images of each list shown in it
    report_pairs: keys.CountOr0 = 5  # of the reranked list shown with their matches
    exports: str | list[str] | None = None  # of the first row: some of [trec, json, json_scores,
    # csv, pairs] and the other forms of docs/candidates.md; null: none
    export_setting: str | None = None  # ROxford, RParis: easy, medium or hard; null: medium
    export_top: int | None = None  # first images of every query in exports; null: all
    seed: int = 0  # of the bootstrap intervals


@dataclass
class Tune(Scored):
    """Choose num_rerank, λ and γ on a validation set, kept by tuned.json and a head's meta.json"""

    desc_name: str = "sift"  # prefix of the descriptor files
    weights: Head | None = None  # a native head; its meta.json is rewritten with the choice
    num_rerank: int | list[int] = 100  # or a list to choose from
    lamb: Number | list[Number] = listed(0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    # values of λ to choose from
    temp: Number | list[Number] = listed(0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
    # values of γ to choose from
    cascade: Head | None = None  # a cheaper head: which of its candidates the head of weights= need
    # not score in a search is learnt, and kept in its meta.json


@dataclass
class Train(keys.Planned, keys.Device, keys.Heads, keys.Run, Recipe, keys.Data):
    """Train a head; the defaults are the published recipe (AMES on GLDv2). On several devices:
    torchrun --nproc-per-node=<devices> scripts/train.py …"""

    model: Named = field(default_factory=Named)
    neighbors: PathText = "${dataset.neighbors}"  # cls, gem, vlad, or a path: of the triplets
    images: Path | None = None  # dataset=folder: the images; missing files are then made
    labels: PathText | None = None  # dataset=folder: folders (classes), or a CSV file,label
    resume: Literal["auto", "never"] = "auto"  # of output_dir=, or the newest unfinished; never
    save_every: int = 200  # steps between checkpoints (last.pt); also at epoch ends and on signals
    precision: Precision = "fp32"  # fp32, bf16, fp16 (on a GPU); auto: bf16 where native
    batch_size: int = 600  # of a step, over all devices, in batch_unit
    batch_unit: Literal["images", "triplets"] = "images"  # three a triplet (published); or triplets
    prefetch: int = 2  # parts of batches read ahead; 0: none
    start: str = "published"  # initialization: published, random (torch's defaults), matches (good
    # matches count from step 0); AMES: correspondences too
    binarization: Path | None = None  # binary head, start=published: an itq_*.npz of
    # extract/fit_binarization.py; null: ITQ of training descriptors
    teacher: Head | None = None  # a trained head to distil from (a run's folder or a .pt)
    distil: bool = False  # true: the recipe needs teacher=
    val_dataset: str | None = "${oc.select:dataset.val,null}"  # validated on after every epoch, the
    # best head goes to best/; null: none
    val_name: str | None = None  # val_dataset=folder: the folder's name under data_root
    val_neighbors: PathText | None = None  # null: those of the data set
    val_num_rerank: int = 100  # candidates of a query in validation
    tensorboard: bool = False  # also write TensorBoard files (pip install 'ames_lite[tensorboard]')


@dataclass
class Compare:
    """One table a data set of many results.json"""

    results: list[Path | list[Path]] = listed()  # results.json or runs; [a,b,c] in it: seeds of one
    names: list[str] | None = None  # one an entry of results; null: of their folders
    baseline: str | None = None  # results whose first row it is; null: each one's global ranking
    metric: str | None = None  # of the differences; null: that of the average precision per query
    columns: str | list[str] | None = None  # metrics shown, a list; null: all but precisions at k
    form: Literal["table", "markdown", "latex", "csv"] = "table"
    mixed: bool = False  # true: runs of one entry may differ in more than their seed
    seed: int = 0  # of the bootstrap and the sign-flip test


@dataclass
class OfResults(keys.Run, keys.Root):
    """An evaluation that is opened again."""

    results: Path | None = None  # results.json of an evaluation, or its run directory
    row: int = 0  # of results.json, from 1; 0: the best by the main metric, of a grid last
    setting: str = "auto"  # ROxford, RParis: easy, medium or hard; auto: medium
    data_root: Path | None = None  # folder of the data sets; null: as in the run
    neighbors: PathText | None = None  # the neighbour lists, if they moved; null: as in the run
    scores: Path | None = None  # scores.hdf5, if it was moved; null: beside results.json


@dataclass
class Failures(OfResults):
    """A page of what an evaluation got right by reranking, and of its worst queries"""

    num_rows: int = 4  # queries that reranking helped most, and as many of the worst
    images: Path | None = None  # folder that image names are relative to; null: as in the run


@dataclass
class Plot(OfResults):
    """Plots of an evaluation, of two, of a training run or a calibration, as PNG or SVG"""

    against: Path | None = None  # results of a second run: the AP of every query in both
    training: Path | None = None  # the run directory of a training: loss, accuracy, validation
    weights: Head | None = None  # a calibrated head: its reliability diagram
    kinds: list[str] | None = None  # some of scores, precision_recall, recall, num_rerank,
    # ensemble, scatter, training, reliability; null: all that what is given allows
    form: Literal["png", "svg"] = "png"


@dataclass
class OfReranker:
    """A reranker of place_recognition."""

    tuned: Path | None = None  # tuned.json of scripts/tune.py; lamb and temp are then its
    lamb: Number | list[Number] | None = None  # λ; null: from the weights' meta.json
    temp: Number | list[Number] | None = None  # γ; null: from the weights' meta.json


@dataclass
class OfHead(OfReranker):
    weights: Head | None = None  # a trained head: a folder, or a published .pt


@dataclass
class PlaceRecognition(keys.Planned, keys.Heads, keys.Run, keys.Extracting, keys.Root):
    """Sets from their layouts to one table, global → reranked"""

    backbone: Named = field(default_factory=Named)  # of local descriptors; default: desc_name
    title: str | None = None  # of the run directory; null: the names of the sets
    sets: list[str] = listed()  # data sets, in the table's order; <set>:swap: its other direction
    skip_missing: bool = False  # true: skip sets whose files are missing, with a message
    size: str | None = None  # AnyLoc's experiments: vitg (ViT-g/14, layer 31), vitb (ViT-B/14, 11)
    layers: dict[str, Any] = field(default_factory=lambda: {"vitg": 31, "vitb": 11})
    # of AnyLoc's experiments
    domain: str = "own"  # in the names of the global descriptors, as each vocabulary makes others
    desc_name: str = "dinov2"  # prefix of the files of the local descriptors, which rerank
    global_: Literal["vlad", "gem", "mean", "cls"] = "vlad"  # of the neighbour lists
    global_desc_name: str | None = None  # prefix of their files; null: desc_name, its descriptors
    global_extraction: list[str] = listed()  # of another prefix: what extract/extract_globals.py
    # source=images is given, backbone= among it
    global_weights: Path | None = None  # of another prefix: its backbone's; null: the hub's cache
    published_size: bool = False  # of another prefix: true: resize to the set's published size
    vocabulary: Path | None = None  # of vlad: a file as of extract_globals; null: vocabulary_recipe
    vocabulary_recipe: str | None = None  # of conf/recipe; null: one a set, of its gallery
    vocabulary_options: list[str] = listed()  # more for build_vocabulary: ['num_clusters=16']
    num_neighbors: int = 1600  # clamped to the gallery
    rerankers: list[str] | None = None  # some of ames, elvis, mutual_nn, ransac; null: all that
    # run; [none]: the global rankings alone, for which nothing local is described
    published: dict[str, Any] = field(default_factory=dict)  # of an experiment: by size and set,
    # the figures that its table is compared with, in points
    num_rerank: int | list[int] | None = 100  # or a list; null: as tuned, else 400
    ames: OfHead = field(default_factory=OfHead)
    elvis: OfHead = field(default_factory=OfHead)
    mutual_nn: OfReranker = field(default_factory=lambda: OfReranker(lamb=0.3, temp=0.1))
    ransac: OfReranker = field(default_factory=lambda: OfReranker(lamb=0.2, temp=0.02))
    # λ and γ of both: chosen on the rendered validation world, with RootSIFT (BENCHMARKS.md)
    query_desc_num: int = 600  # strongest descriptors of a query
    gallery_desc_num: int = 600  # strongest descriptors of a gallery image
    scores: Path | None = None  # an earlier run of this command, whose pairs are not scored again
    columns: str | list[str] | None = None  # metrics of the table; null: all of the sets' protocols
    metric: str | None = None  # of the differences; null: that of the average precision per query
    report_queries: int = 0  # queries in the report.html of each set and reranker; 0: none
    score_precision: Precision = "fp32"  # of reranking; also auto
    max_memory: float = 8.0  # GiB that reranking may take
    threads: Count | None = None  # of the CPU; null: torch's default
    seed: int = 0  # of the intervals


@dataclass
class Searching(keys.Heads, keys.Describing, keys.Root):
    """A folder of one's own images that is searched."""

    backbone: Named = field(default_factory=Named)  # or sift (RootSIFT and VLAD): no network
    model: Named = field(default_factory=Named)
    images: Path | None = None  # the folder to search in, with all folders below it
    weights: Head | None = None  # a trained head; null: the released weights/<backbone>_<model>
    lamb: Number | None = None  # λ, weight of the global similarity; null: the head's own
    temp: Number | None = None  # γ, factor of the logit; null: as the head was released with
    num_rerank: Count = 100  # candidates reranked per query
    cascade: Head | None = None  # a cheaper head, as in ames tune: it scores all candidates, and
    # the head those that may reach the first places; null: the head scores all
    threshold: Number | None = None  # an answer must score above it; null: every query is answered
    max_false: Number | None = None  # instead of threshold: share of absent queries answered
    query_desc_num: Count | None = None  # strongest descriptors of a query; null: all
    gallery_desc_num: Count | None = None  # and of an image of the folder
    index: PathText | None = None  # its folder; null: data_root/search/<folder>_<digest>/<backbone>
    # global vectors in a database: milvus:<file.db or URL>#<collection>, qdrant:… or lancedb:…
    filter: str | None = None  # of candidates, in the language of that database
    vocabulary: Path | None = None  # a vlad_*.npz; null: the backbone's own global vector; where it
    # has none, the vocabulary beside the released head, else one fitted on the images
    code_bytes: Count | None = None  # product codes in the index: bytes of a local descriptor
    # (photo: 64, sift: 32, an eighth of float16); null: float16, or the codes of the index
    update: bool = True  # look for new, changed and deleted images; false: search as it is
    rebuild: bool = False  # rebuild the index from scratch
    top: Count = 12  # images of a query that are shown
    workers: int = 2  # processes that describe images
    precision: Precision = "auto"  # of scoring: bf16 where the device supports it natively (near
    # ties may change places), else fp32; or fp32, bf16, fp16, also for description
    on_bad_image: keys.OnBadImage = "skip"  # exit code 0; error: exit code 1


@dataclass
class Search(Searching, keys.Run):
    """Search your own images: images=<folder> query=<image or folder>. The first run describes the
    folder; later runs only new or changed images"""

    query: Path | None = None  # an image, or a folder of images; null: only update the index
    box: list[Number] | None = None  # [x1,y1,x2,y2] in pixels: the part of a single query
    certain: Number | None = None  # score a query's candidates until one is right by this, as 0.99
    report_queries: keys.CountOr0 = 50  # queries shown in report.html; 0: no report
    report_pairs: keys.CountOr0 = 5  # images of a query shown in it with their matches


@dataclass
class App(Searching):
    """Search your own images in a browser: images=<folder>. Needs pip install 'ames_lite[app]'"""

    host: str = "127.0.0.1"  # this machine alone; 0.0.0.0: whoever reaches it sees all the images
    port: int = 7860  # 0: any that is free


@dataclass
class Demo(keys.Run, keys.Root):
    """The whole job on images that it renders, on a CPU"""

    desc_name: Literal["photo", "sift"] = "photo"  # or sift, without a network
    seed: int = 0  # of the world, of training, of everything
    data_root: Path | None = None  # where the world goes; null: data/demo/seed<seed> of the
    # checkout, its folder photo for these descriptors; of train=false its folder released
    workers: int = 2  # processes for rendering and extraction
    train: bool = True  # false: the released heads (weights/photo_elvis, …), their λ and γ
    precision: Precision = "auto"  # of scoring: bf16 if native, else fp32; training is in fp32
