"""The keys of the commands that prepare data sets: lists, descriptors, vocabularies, neighbours."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ames_lite.cli.schema.keys import (
    Data,
    Dataset,
    Describing,
    Extracting,
    Named,
    Number,
    Overwrite,
    PathText,
    Root,
    Run,
    Split,
    Splits,
    listed,
)


@dataclass
class ExtractDescriptors(Overwrite, Extracting, Splits, Data):
    """Local descriptors of a data set, and global ones of the same pass"""

    backbone: Named = field(default_factory=Named)  # by default the backbone that desc_name= names
    outputs: list[Literal["local", "global"]] | None = None  # [local], [global] (CLS of DINOv2) or
    # both; null: all that the backbone has
    binarization: Path | None = None  # a file of extract/fit_binarization.py: packed bits instead
    # of floats
    shard: str | None = None  # 3/8: the third of eight parts (extract/merge_hdf5.py joins them);
    # null: torchrun's rank


@dataclass
class SuperGlobalKeys:
    relup: float = 0.014  # least activation behind the blocks of stages 1 to 3; 0: plain ReLU
    rgem_power: float = 2.5  # of the windows of rGeM
    gem_power: float = 4.6  # of GeM over the map
    sgem: str | float = "max"  # over the scales: the maximum of their unit vectors; or a power,
    # such as 10


@dataclass
class ExtractGlobals(Overwrite, Extracting, Splits, Data):
    """Global descriptors from local ones, or straight from images"""

    backbone: Named | None = None  # source=images: by default the one that desc_name= names;
    # superglobal: cvnet
    desc_name: str = "sift"  # prefix of the files that are read and written
    global_: str = "vlad"  # kind of global descriptors: vlad, gem, mean (weighted by the detector),
    # cls, superglobal; cls: see extract/extract_descriptors.py
    source: Literal["store", "images", "globals"] | None = None  # store: local descriptors; images:
    # nothing local is stored (backbone.arguments.top_k=0: all tokens); globals: only whitened;
    # null: store, for superglobal images
    vocabulary: Path | None = None  # of vlad: a vlad_*.npz or AnyLoc's c_centers.pt; null:
    # data_root's only one
    soft: str | None = None  # of vlad: standard or anyloc instead of hard assignment
    temperature: float = 1.0  # of soft assignment
    power: float = 3.0  # of gem
    superglobal: SuperGlobalKeys = field(default_factory=SuperGlobalKeys)
    # as published; scales and weights: backbone.arguments.scales, backbone.arguments.weights
    whitening: Path | None = None  # a pca_*.npz of extract/fit_whitening.py; the kind gets a w:
    # vladw
    dtype: Literal["float32", "float16"] = "float32"  # or float16
    shard: str | None = None  # 3/8: the third of eight parts (extract/merge_hdf5.py joins them);
    # null: torchrun's rank


@dataclass
class MergeHdf5(Overwrite, Splits, Data):
    """Join the shards of an extraction (shard=1/8 …) to one store"""

    global_: str | None = None  # cls, vlad, …: the shards of these global descriptors, not of local
    # ones
    how: Literal["copy", "virtual"] = "copy"  # or virtual: the shards stay and are read through the
    # new file
    compression: str | None = None  # of copies: gzip; zstd, lz4, blosc (with the package
    # hdf5plugin)


@dataclass
class AppendDistractors(Overwrite, Data):
    """A data set with distractors behind its gallery"""

    globals: list[str] = listed("cls")  # global descriptors to join too; []: none


@dataclass
class FitBinarization(Overwrite, Data):
    """A projection to bits (ITQ), for extraction with binarization="""

    split: Split = "train"  # the float store that it is fitted on
    bits: int = 128  # a multiple of 8, at most the width of the descriptors
    iterations: int = 50  # of ITQ
    max_images: int = 5000  # sampled evenly over the store
    max_descriptors: int = 100000  # of them all
    seed: int = 0


@dataclass
class BuildVocabulary(Overwrite, Data):
    """A VLAD vocabulary from local descriptors"""

    desc_name: str = "sift"  # in the name of the vocabulary: vlad_{desc_name}_{domain}.npz
    stores: str | None = None  # desc_name of the stores, where it is another
    sources: list[str] = listed()  # several data sets, each with a step: [pitts30k:4,st_lucia:1];
    # [] is dataset= alone
    split: Split = "train"  # the stores that it is built from
    domain: str | None = None  # null: the folders of the data sets, joined by +
    num_clusters: int = 64  # centroids of k-means
    distance: Literal["euclidean", "cosine"] = "euclidean"  # how tokens are assigned, here and
    # where the vocabulary is used
    unit: bool = False  # bring tokens to unit length first, here and where the vocabulary is used
    iterations: int = 20  # of k-means
    max_images: int = 5000  # of each data set, sampled evenly; 0: all
    sample_per_cluster: int = 1000  # tokens per cluster that k-means looks at; 0: all, read in
    # every iteration
    seed: int = 0
    size: str = "vitg"  # of AnyLoc's recipes: ViT-g/14, layer 31; or vitb: ViT-B/14, layer 11
    layers: dict[str, Any] = field(default_factory=lambda: {"vitg": 31, "vitb": 11})
    # of AnyLoc's recipes
    expected: dict[str, Any] | None = None  # of a recipe: what the stores' provenance must say
    extraction: list[str] | None = None  # of a recipe: what extract/extract_descriptors.py is given
    # to make the stores


@dataclass
class FitWhitening(Overwrite, Data):
    """A whitening of global descriptors, for whitening= of extract_globals"""

    desc_name: str = "sift"  # prefix of the descriptor files
    split: Split = "train"  # whose global descriptors it is fitted on; the list of images is
    # recorded
    global_: str = "vlad"  # kind of global descriptors: vlad, gem, mean (weighted by the detector),
    # cls, superglobal
    method: Literal["pca", "within_class"] = "pca"  # or within_class: by the labels of the list,
    # what varies within a class counts less
    dim: int = 512  # pca: output width, fewer than images, at most the width; within_class:
    # directions that are estimated
    shrinkage: float = 0.3  # within_class: part of the mean variance that is added to every
    # direction
    max_images: int = 10000  # sampled evenly; memory: 8 bytes * min(images, width) squared


@dataclass
class IvfPqKeys:
    nlist: int | None = None  # inverted lists; null: about 4 * sqrt(gallery)
    nprobe: int = 64  # inverted lists searched per query: more recall, slower
    code_size: int | None = None  # bytes of a vector, a divisor of its width; null: the largest up
    # to 96
    refine: int = 4  # so many times num_neighbors candidates, whose similarity is then computed
    # exactly
    recall_queries: int = 100  # queries searched exactly to measure the recall
    seed: int = 0  # of the sample that the index is trained on


@dataclass
class MdaKeys:
    num: int = 400  # M, first images of a list that are reranked
    neighbors: int = 9  # K, nearest images that refine a vector, and that expand the query
    beta: float = 0.15  # weight of a neighbour, times its similarity
    sims: Literal["final", "first"] = "final"  # what these images get: their final score; or first:
    # their first-stage similarity


@dataclass
class AqeKeys:
    neighbors: int = 10  # n, of them; 0: none
    alpha: float = 3.0  # power of their cosine, the weight; 0: all weigh the same


@dataclass
class DbaKeys:
    neighbors: int = 10  # of them; 0: none
    alpha: float = 3.0  # as in aqe
    query_neighbors: int = 0  # augmented images that expand a query too, as in aqe; 0: none


@dataclass
class KreciprocalKeys:
    num: int | None = None  # null: neighbours among all queries and gallery images; or among a
    # query and its first so many
    k1: int = 20  # nearest, of mutual neighbourhoods
    k2: int = 6  # nearest, whose vectors are averaged, the own one among them; 1: none
    lamb: float = 0.3  # λ, weight of the similarity; 1: the order by similarity


@dataclass
class DiffusionKeys:
    num: int | None = None  # null: over the whole graph; or over the first so many images of every
    # list
    neighbors: int = 50  # k of the graph
    query_neighbors: int = 10  # images where a query enters the graph
    alpha: float = 0.99  # share that goes on along the graph, below 1; 0: the order by similarity
    gamma: float = 3.0  # power of a cosine, the weight of an edge


Rerank = Literal["published", "mda", "aqe", "dba", "kreciprocal", "diffusion", "none"]


@dataclass
class PrepareTopkGlobal(Overwrite, Data):
    """Neighbour lists by global similarity"""

    desc_name: str = "dinov2"  # prefix of the files; superglobal: always cvnet
    global_: str = "vlad"  # kind of global descriptors: vlad, gem, mean (weighted by the detector),
    # cls, superglobal; with a w behind it: whitened
    num_neighbors: int = 1600  # clamped to the gallery
    self_search: bool = False  # true: the training set against itself
    form: Literal["native", "published"] = "native"  # or published: nn_*.pkl, as other programs
    # read it
    device: str = "auto"  # or cpu, cuda: device of the search; the lists are the same
    index: Literal["flat", "ivf_pq"] = "flat"  # exact; or ivf_pq: a compressed index, for many
    # queries (its recall is measured and said)
    ivf_pq: IvfPqKeys = field(default_factory=IvfPqKeys)
    rerank: Rerank = "published"  # mda for superglobal (not with self_search), else none; or mda,
    # aqe, dba, kreciprocal, diffusion, none
    mda: MdaKeys = field(default_factory=MdaKeys)  # SuperGlobal's reranking of the first of every
    # list; the settings are published
    aqe: AqeKeys = field(default_factory=AqeKeys)  # α query expansion: every query searches again,
    # joined by the first of its list
    dba: DbaKeys = field(default_factory=DbaKeys)  # database-side augmentation: every gallery image
    # is joined by its nearest, then searched
    kreciprocal: KreciprocalKeys = field(default_factory=KreciprocalKeys)
    # k-reciprocal reranking with the Jaccard distance; published settings
    diffusion: DiffusionKeys = field(default_factory=DiffusionKeys)
    # on the graph of mutual neighbours of the gallery
    lists: Path | None = None  # existing neighbour lists, in either form, to rewrite as form=;
    # nothing is searched
    keep: int | None = None  # neighbours kept per image with lists= (training needs depth=300);
    # null: all


@dataclass
class TrainDetector(Run, Describing, Data):
    """Train the detector (which patches count) on labelled images"""

    dataset: Dataset = field(default_factory=Dataset)  # a training set: its train.txt, path,label
    # lines
    backbone: Named = field(default_factory=Named)  # frozen; a network with feature maps
    desc_name: str = "${backbone.name}"  # of the run directory
    val_dataset: str | None = None  # a labelled data set to evaluate by; null: labels of the
    # training set are held out
    val_images: Path | None = None  # folder of its images; null: its own
    val_share: float = 0.2  # share of the labels that is held out where val_dataset is null
    resume: Literal["auto", "never"] = "auto"  # output_dir's run is resumed; never: it must be new
    epochs: int = 20
    batch_size: int = 64  # images, at least two groups
    images_per_label: int = 4  # a batch is of groups of one label
    loss: Literal["classification", "triplet"] = "classification"  # cosine softmax over all labels;
    # or triplet, the hardest of the batch
    margin: float = 0.1  # of either loss, in cosines
    scale: float = 20.0  # of the cosine softmax
    learn_scale: bool = False  # true: scale is its initial value
    dim: int = 0  # width of the descriptors; 0: that of the features
    lr: float = 0.001
    weight_decay: float = 0.0001
    warmup: float = 0.05  # share of the steps with a rising learning rate
    clip_norm: float = 0.0  # largest gradient norm; 0: no clipping
    seed: int = 0
    save_every: int = 200  # steps between checkpoints that a run can resume from
    cache_gib: float = 4.0  # memory for features, which then are computed once; the rest are in
    # every epoch


@dataclass
class PrepareDataset(Overwrite, Root):
    """Image lists and ground truth of your own folder"""

    images: Path | None = None  # the folder of the pictures; of the gallery's, where query_images=
    # is given
    labels: PathText | None = None  # folders (class folders), frames (numbers in names), a CSV, or
    # a matrix (.npy, .npz): data/README.md
    name: str = "own"  # the folder's name under data_root
    query_images: Path | None = None  # a second folder: the queries; null: the column split says,
    # or every image is one
    queries: Path | None = None  # an image list: these are the queries, in this order
    gallery: Path | None = None  # an image list: this is the gallery, in this order
    kind: str | None = None  # folders, labels, pairs, coordinates, frames, matrix; null: the header
    # of the CSV says
    radius: Number | None = None  # coordinates: metres within which an image is right; null: 25
    tolerance: int | None = None  # frames: |i - j| up to which an image is right; has to be given
    protocol: str | None = None  # revisitop, instance, gldv2, vpr_all, vpr (queries without
    # positives left out); null: graded: revisitop, coordinates and frames: vpr_all, else instance
    role: Literal["test", "val"] = "test"  # or val: a set on which scripts/tune.py may choose
    val_share: Number | None = None  # class folders: the share of the instances of each kind that
    # <name>-val gets, whole families; <name>-train the others
    families: Path | None = None  # of val_share=: a CSV instance,family[,kind]; instances (class
    # folders) of a family stay on one side
    distractors: Path | None = None  # of val_share=: a folder of images without partners, for the
    # gallery of <name>-val
    queries_per_label: int = 3  # of val_share=: images of a class in <name>-val that are queries,
    # at most
    seed: int = 0  # of val_share=: draws families and queries
    overwrite: bool = False  # true: replace lists that differ


@dataclass
class PrepareSet(Overwrite, Data):
    """Image lists and ground truth of a public set, from its official layout. amstertime takes
    swap=true (the other direction) here and in every later command; what the reader is told can be
    changed: dataset.options.radius=10.0"""

    overwrite: bool = False  # true: replace lists that differ


@dataclass
class CheckStore(Splits, Data):
    """Check stores, image lists, neighbours and ground truth (exit code 3: faults found)"""

    store: Path | None = None  # one store by its path; null: all files of the data set
    neighbors: PathText = "${dataset.neighbors}"  # superglobal, cls, gem, vlad, or a path
