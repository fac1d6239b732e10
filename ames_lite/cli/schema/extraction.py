"""The keys of the commands that prepare data sets: lists, descriptors, vocabularies, neighbours."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ames_lite.cli.schema import keys
from ames_lite.cli.schema.keys import Count, Dataset, Named, Number, PathText, Split, listed
from ames_lite.retrieval.settings import (
    AqeSettings,
    DbaSettings,
    DiffusionSettings,
    IvfPq,
    KreciprocalSettings,
    MdaSettings,
    SuperGlobalPooling,
)
from ames_lite.training.recipe import DetectorRecipe


@dataclass
class ExtractDescriptors(keys.Planned, keys.Overwrite, keys.Extracting, keys.Splits, keys.Data):
    """Local descriptors of a data set, and global ones of the same pass"""

    backbone: Named = field(default_factory=Named)  # by default the backbone that desc_name= names
    outputs: list[Literal["local", "global"]] | None = None  # null: all that the backbone has
    binarization: Path | None = None  # of extract/fit_binarization.py: packed bits, not floats
    shard: str | None = None  # 3/8: the third of eight parts, to be merged; null: torchrun's rank


@dataclass
class ExtractGlobals(keys.Planned, keys.Overwrite, keys.Extracting, keys.Splits, keys.Data):
    """Global descriptors from local ones, or straight from images"""

    backbone: Named | None = None  # source=images: by default that of desc_name=, or cvnet
    desc_name: str = "sift"  # prefix of the files that are read and written
    global_: str = "vlad"  # vlad, gem, mean (weighted), superglobal, cls (of the network)
    source: Literal["store", "images", "network", "globals"] | None = None  # store: local
    # descriptors; images: nothing local is stored (backbone.arguments.top_k=0: all tokens);
    # network: the backbone's own vector; globals: only whitened; null: store, for superglobal
    # images, for cls network
    flip: bool = False  # images, network: the mean of the vectors of an image and its mirror image
    vocabulary: Path | None = None  # of vlad: vlad_*.npz, AnyLoc's c_centers.pt; null: the only one
    soft: str | None = None  # of vlad: standard or anyloc instead of hard assignment
    temperature: float = 1.0  # of soft assignment
    power: float = 3.0  # of gem
    superglobal: SuperGlobalPooling = SuperGlobalPooling()  # scales: backbone.arguments.scales
    whitening: Path | None = None  # pca_*.npz of extract/fit_whitening.py; vlad becomes vladw
    dtype: Literal["float32", "float16"] = "float32"  # or float16
    shard: str | None = None  # 3/8: the third of eight parts, to be merged; null: torchrun's rank


@dataclass
class MergeHdf5(keys.Overwrite, keys.Splits, keys.Data):
    """Join the shards of an extraction (shard=1/8 …) to one store"""

    global_: str | None = None  # cls, vlad, …: shards of these, not of local descriptors
    how: Literal["copy", "virtual"] = "copy"  # or virtual: the shards stay, and are read through it
    compression: str | None = None  # of copies: gzip; zstd, lz4, blosc (package hdf5plugin)


@dataclass
class AppendDistractors(keys.Overwrite, keys.Data):
    """A data set with distractors behind its gallery"""

    globals: list[str] = listed("cls")  # global descriptors to join too; []: none


@dataclass
class FitBinarization(keys.Overwrite, keys.Data):
    """A projection to bits (ITQ), for extraction with binarization="""

    split: Split = "train"  # the float store that it is fitted on
    bits: int = 128  # a multiple of 8, at most the width of the descriptors
    iterations: int = 50  # of ITQ
    max_images: int = 5000  # sampled evenly over the store
    max_descriptors: int = 100000  # of them all
    seed: int = 0


@dataclass
class BuildVocabulary(keys.Overwrite, keys.Data):
    """A VLAD vocabulary from local descriptors"""

    desc_name: str = "sift"  # in the name of the vocabulary: vlad_{desc_name}_{domain}.npz
    stores: str | None = None  # desc_name of the stores, where it is another
    sources: list[str] = listed()  # several, with steps: [pitts30k:4,st_lucia:1]; []: dataset=
    split: Split = "train"  # the stores that it is built from
    domain: str | None = None  # null: the folders of the data sets, joined by +
    num_clusters: int = 64  # centroids of k-means
    distance: Literal["euclidean", "cosine"] = "euclidean"  # of tokens, also where it is used
    unit: bool = False  # bring tokens to unit length first, here and where the vocabulary is used
    iterations: int = 20  # of k-means
    max_images: int = 5000  # of each data set, sampled evenly; 0: all
    sample_per_cluster: int = 1000  # tokens per cluster that k-means looks at; 0: all
    seed: int = 0
    size: Literal["vitg", "vitb"] | None = None  # AnyLoc's: ViT-g/14, layer 31; ViT-B/14, layer 11
    layers: dict[str, Any] | None = None  # of AnyLoc's recipes
    expected: dict[str, Any] | None = None  # of a recipe: what the stores' provenance must say
    extraction: list[str] | None = None  # of a recipe: overrides of extract_descriptors


@dataclass
class FitWhitening(keys.Overwrite, keys.Data):
    """A whitening of global descriptors, for whitening= of extract_globals"""

    desc_name: str = "sift"  # prefix of the descriptor files
    split: Split = "train"  # whose global descriptors it is fitted on
    global_: str = "vlad"  # vlad, gem, mean (weighted by the detector), cls, superglobal
    method: Literal["pca", "within_class"] = "pca"  # or within_class: by the labels of the list,
    # what varies within a class counts less
    dim: int = 512  # pca: output width; within_class: directions that are estimated
    shrinkage: float = 0.3  # within_class: part of the mean variance added to every direction
    max_images: int = 10000  # sampled evenly; memory: 8 bytes * min(images, width) squared


Rerank = Literal["published", "mda", "aqe", "dba", "kreciprocal", "diffusion", "none"]


@dataclass
class PrepareTopkGlobal(keys.Planned, keys.Overwrite, keys.Data):
    """Neighbour lists by global similarity"""

    desc_name: str = "dinov2"  # prefix of the files; superglobal: always cvnet
    global_: str = "vlad"  # vlad, gem, mean, cls, superglobal; with a w behind it: whitened
    num_neighbors: int = 1600  # clamped to the gallery
    self_search: bool = False  # true: the training set against itself
    form: Literal["native", "published"] = "native"  # or published: nn_*.pkl
    device: str = "auto"  # or cpu, cuda: device of the search; the lists are the same
    index: Literal["flat", "ivf_pq"] = "flat"  # exact; or ivf_pq, a compressed index
    ivf_pq: IvfPq = IvfPq()
    rerank: Rerank = "published"  # mda for superglobal (not with self_search), else none
    mda: MdaSettings = MdaSettings()  # SuperGlobal's reranking; the settings are published
    aqe: AqeSettings = AqeSettings()  # α query expansion by the first of every list
    dba: DbaSettings = DbaSettings()  # database-side augmentation of every gallery image
    kreciprocal: KreciprocalSettings = KreciprocalSettings()  # Jaccard distance; as published
    diffusion: DiffusionSettings = DiffusionSettings()  # on the graph of mutual neighbours
    lists: Path | None = None  # existing neighbour lists, to be rewritten as form=
    keep: int | None = None  # of lists=: neighbours kept an image (training: 300); null: all


@dataclass
class OnLabelled(keys.Run, keys.Data):
    """Training on labelled images."""

    dataset: Dataset = field(default_factory=Dataset)  # a training set: path,label lines
    backbone: Named = field(default_factory=Named)
    desc_name: str = "${backbone.name}"  # of the run directory
    val_dataset: str | None = None  # a labelled data set to evaluate by; null: a share is held out
    val_images: Path | None = None  # folder of its images; null: its own
    val_share: float = 0.2  # share of the labels that is held out where val_dataset is null
    resume: Literal["auto", "never"] = "auto"  # output_dir's run is resumed; never: it must be new
    save_every: int = 200  # steps between checkpoints that a run can resume from
    cache_gib: float = 4.0  # memory for features, which then are computed once


@dataclass
class TrainDetector(OnLabelled, keys.Describing, DetectorRecipe):
    """Train the detector (which patches count) on labelled images"""

    backbone: Named = field(default_factory=Named)  # frozen; a network with feature maps


@dataclass
class PrepareDataset(keys.Overwrite, keys.Root):
    """Image lists and ground truth of your own folder"""

    images: Path | None = None  # the folder of the pictures, or of the gallery's
    labels: PathText | None = None  # folders, frames, a CSV, a matrix, TREC qrels: data/README.md
    name: str = "own"  # the folder's name under data_root
    query_images: Path | None = None  # the queries' folder; null: as the column split says, or all
    queries: Path | None = None  # an image list: these are the queries, in this order
    gallery: Path | None = None  # an image list: this is the gallery, in this order
    kind: str | None = None  # folders, labels, pairs, coordinates, frames, matrix, qrels; null: by
    # header or suffix
    radius: Number | None = None  # coordinates: metres within which an image is right; null: 25
    tolerance: int | None = None  # frames: |i - j| up to which an image is right; has to be given
    protocol: str | None = None  # revisitop, instance, gldv2, vpr_all, vpr (queries without
    # positives left out); null: graded: revisitop, coordinates and frames: vpr_all, else instance
    role: Literal["test", "val"] = "test"  # or val: a set on which scripts/tune.py may choose
    val_share: Number | None = None  # class folders: the share of the instances of each kind that
    # <name>-val gets, whole families; <name>-train the others
    families: Path | None = None  # of val_share=: a CSV instance,family[,kind], kept on one side
    distractors: Path | None = None  # of val_share=: images without partners, for <name>-val
    queries_per_label: int = 3  # of val_share=: queries of a class in <name>-val, at most
    seed: int = 0  # of val_share=: draws families and queries
    overwrite: bool = False  # true: replace lists that differ


@dataclass
class PrepareSet(keys.Overwrite, keys.Data):
    """Image lists and ground truth of a public set, from its official layout. amstertime takes
    swap=true (the other direction) here and in every later command; what the reader is told can be
    changed: dataset.options.radius=10.0"""

    overwrite: bool = False  # true: replace lists that differ


@dataclass
class CompressStore(keys.Data):
    """Keep local descriptors as product codes, an eighth of the bytes; readers decode them"""

    split: Split = "gallery"  # whose store is replaced, once the new one is whole
    code_bytes: Count | None = None  # of a descriptor, a divisor of its width; null: a quarter


@dataclass
class CheckStore(keys.Splits, keys.Data):
    """Check stores, image lists, neighbours and ground truth (exit code 3: faults found)"""

    store: Path | None = None  # one store by its path; null: all files of the data set
    neighbors: PathText = "${dataset.neighbors}"  # superglobal, cls, gem, vlad, or a path
