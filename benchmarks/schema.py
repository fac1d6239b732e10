"""The keys of the commands of benchmarks/."""

from dataclasses import dataclass, field
from pathlib import Path

from ames_lite.cli.schema import SCHEMAS
from ames_lite.cli.schema.evaluation import Divisor
from ames_lite.cli.schema.keys import (
    Data,
    Number,
    PathText,
    Precision,
    Root,
    Run,
    Scoring,
    listed,
)


@dataclass
class BenchmarkRerankGrow:
    num_rerank: list[int] = listed(25, 50, 100, 200)  # one axis at a time from the size above; []:
    # not this one
    descriptors: list[int] = listed(50, 100, 200)  # one axis at a time from the size above; []: not
    # this one
    queries: list[int] = listed(5, 10, 20, 40)  # one axis at a time from the size above; []: not
    # this one
    gallery: list[int] = listed(600, 1000, 2000)  # one axis at a time from the size above; []: not
    # this one


@dataclass
class BenchmarkRerank:
    queries: int = 20  # of the evaluation
    num_rerank: int = 100  # candidates of a query, in each of two passes
    descriptors: int = 200  # of a query and of a gallery image
    gallery: int = 1000  # images of the gallery
    pool: int = 600  # of them that are in neighbour lists, spread over the gallery
    plain: bool = True  # time the plain loop too, all of it: minutes on a CPU
    grow: BenchmarkRerankGrow = field(default_factory=BenchmarkRerankGrow)


@dataclass
class BenchmarkSearch:
    images: int = 10000  # files of the folder
    descriptors: int = 100  # of the query and of an image
    num_rerank: int = 100  # candidates of the query
    clusters: int = 64  # of the vocabulary; a vector has 128 times as many entries


@dataclass
class BenchmarkTrainData:
    store_gib: float = 20.0  # about
    keep_gib: float = 10.0  # that stay free on the disk
    stored: int = 700  # descriptors of an image in the store
    descriptors: int = 400  # of them that are read
    triplets: int = 200  # of a batch
    steps: int = 3  # batches of a round
    neighbours: int = 300  # of an image
    prefetch: int = 2  # batches that are read ahead


@dataclass
class BenchmarkTrain:
    parts: list[str] = listed("step", "data")  # some of them
    recipes: list[str] = listed("ames_fp", "ames_binary_distilled")  # some of ames_fp, ames_binary,
    # ames_binary_distilled
    triplets: int = 10  # of a step; the dense one needs some 300 MiB for each at 400 descriptors
    descriptors: int = 400  # a side
    data: BenchmarkTrainData = field(default_factory=BenchmarkTrainData)


@dataclass
class BenchmarkExtract:
    variants: list[str] = listed("vitb14_reg", "vitb14")  # of DINOv2, with random weights;
    # tiny_random: for a try
    shapes: list[str] = listed("900x900", "768x1024", "1024x768", "600x1200")
    # height x width of the made images, in turns
    num_images: int = 8  # made images
    image_size: int = 518  # longer side that the network sees
    top_k: int = 700  # descriptors kept of an image
    workers: int = 1  # processes that decode, once there are 32 images or more
    batch_pixels: int | None = None  # as in extraction


@dataclass
class BenchmarkRead:
    store_gib: float = 4.0  # about; it is made, dropped from memory, read, and deleted
    stored: int = 700  # descriptors of an image in the store
    rows: int = 600  # images that are read at a time
    count: int = 400  # descriptors of each that are read


@dataclass
class BenchmarkKnn:
    rows: int = 100000  # vectors, searched against themselves
    k: int = 300  # neighbours of each


@dataclass
class Benchmark(Run):
    """What things cost on this machine, against a plain way in the same run"""

    suite: str = "head"  # head: every head against the dense referee; extract: extraction, reading,
    # kNN; evaluate: metrics and grids; rerank: all pairs of an evaluation against the plain loop;
    # search: an indexed folder looked through and searched; train: a training step against the
    # dense one, the data path against the disk
    precisions: str | list[str] | None = None  # a list of fp32, bf16 and, on CUDA, fp16; null: all
    # that the device has
    device: str = "all"  # cpu, cuda, cuda:<n>; all: cpu, and cuda where there is one
    repeats: int = 5  # rounds in which both sides take turns; medians are reported
    budget: float = 480.0  # seconds (head: a device); what does not fit is worked out and marked ~,
    # or repeated less often
    threads: int | None = None  # of the CPU; null: torch's default. faiss takes OMP_NUM_THREADS
    seed: int = 0  # of weights, descriptors and pictures, which are noise
    output_dir: Path | None = None  # run directory; null: runs/benchmark_…
    heads: str | list[str] | None = None  # a list of ames, ames_binary and the other heads; null:
    # all
    sizes: list[str] = listed("600x600", "600x100", "600x50", "200x200", "50x50")
    # descriptors of the query x of a gallery image
    pairs: int = 16  # candidates of one timed call, head and referee alike; 8 to 32 make sense
    candidates: int | list[int] = listed(100, 1600)  # of one query, for the milliseconds of a query
    dim_in: int = 768  # width of the descriptors, also of train, read and knn
    rerank: BenchmarkRerank = field(default_factory=BenchmarkRerank)
    search: BenchmarkSearch = field(default_factory=BenchmarkSearch)
    train: BenchmarkTrain = field(default_factory=BenchmarkTrain)
    parts: list[str] = listed("extract", "read", "knn")  # some of them
    scratch: Path | None = None  # folder on the disk that read, or train's data, is about; null:
    # the run directory
    extract: BenchmarkExtract = field(default_factory=BenchmarkExtract)
    read: BenchmarkRead = field(default_factory=BenchmarkRead)
    knn: BenchmarkKnn = field(default_factory=BenchmarkKnn)


@dataclass
class Frontier(Scoring, Run, Data):
    """A metric against bytes of an image and ms of a query, over heads, descriptors, num_rerank"""

    desc_name: str = "dinov2"  # prefix of the descriptor files, for all heads
    neighbors: PathText = "${dataset.neighbors}"  # superglobal, cls, gem, vlad, or a path
    weights: Path | list[Path] = listed()  # the heads: [<folder or .pt>,<folder or .pt>]
    tuned: Path | list[Path] = listed()  # runs of scripts/tune.py, each for one of the heads; []: λ
    # and γ of the heads' meta.json
    lamb: Number | list[Number] | None = None  # λ for all heads; null: each head's own
    temp: Number | list[Number] | None = None  # γ for all heads; null: each head's own
    num_rerank: int | list[int] = listed(50, 100, 200, 400)  # candidates of a query
    descriptors: int | list[int] = listed(25, 50, 100, 200, 400, 600)  # strongest descriptors of a
    # gallery image
    query_desc_num: int = 600  # of a query; 0: as many as of a gallery image
    ap_divisor: Divisor = "official"  # or published, as in scripts/evaluate.py
    metric: str | None = None  # of the data set's protocol; null: its main one
    cache: Path | None = Path("runs/frontier_scores")  # folder of scores, found again by all that
    # they depend on


@dataclass
class Reproduce(Run, Root):
    """A published number again; exit code 4 where it is outside its tolerance"""

    row: str = "list"  # a row, e.g. dinov2_ames.roxford; a group of rows, e.g. dinov2_ames; list:
    # print all
    data_root: Path | None = None  # folder of the data sets and of networks/; null: the checkout's
    # data/
    weights: Path | None = None  # another head than the row's: a folder or a .pt
    neighbors: str | None = None  # instead of the row's: superglobal, cls, gem, vlad, or a path
    num_rerank: int | list[int] | None = None  # null: as the row has it
    lamb: Number | list[Number] | None = None  # λ; null: as the row has it
    temp: Number | list[Number] | None = None  # γ; null: as the row has it
    query_desc_num: int | None = None  # null: as the row has it
    gallery_desc_num: int | None = None  # null: as the row has it
    precision: Precision | None = None  # fp32, bf16, fp16, auto; null: as the row has it
    device: str = "auto"  # auto, cpu, cuda, cuda:<n>
    output_dir: Path | None = None  # of the evaluations, one folder a row; null: runs/reproduce_…


SCHEMAS |= {"benchmark": Benchmark, "frontier": Frontier, "reproduce": Reproduce}
