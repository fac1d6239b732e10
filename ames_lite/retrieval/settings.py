"""Settings of the training-free rerankers and of the compressed index, light to import: keys of the
command line too, whose help is the comments.
"""

from dataclasses import dataclass
from typing import Literal

from ames_lite.errors import at_least, check_fields

FAR = float("inf")


@dataclass(frozen=True)
class IvfPq:
    code_size: int | None = None  # bytes of a vector, a divisor of its width; null: up to 96
    nlist: int | None = None  # inverted lists; null: about 4 * sqrt(gallery), a power of two
    nprobe: int = 64  # inverted lists searched per query: more recall, slower
    refine: int = 4  # candidates, times num_neighbors, whose similarity is computed exactly
    recall_queries: int = 100  # queries searched exactly to measure the recall
    seed: int = 0  # of the sample that the index is trained on

    def __post_init__(self) -> None:
        counts = {key: value for key, value in vars(self).items() if key != "seed"}
        seed = {"seed": (0 <= self.seed < 2**31, "0 to 2147483647")}
        check_fields(self, at_least(1, **counts) | seed)


@dataclass(frozen=True)
class MdaSettings:
    num: int = 400  # M, first images of a list that are reranked
    neighbors: int = 9  # K, nearest images that refine a vector, and that expand the query
    beta: float = 0.15  # weight of a neighbour, times its similarity
    sims: Literal["final", "first"] = "final"  # their final score; or first: of the first stage

    def __post_init__(self) -> None:
        others = {
            "neighbors": (self.neighbors >= 0, "from 0"),
            "beta": (0 <= self.beta < FAR, "a number from 0"),
            "sims": (self.sims in ("final", "first"), "final or first"),
        }
        check_fields(self, at_least(1, num=self.num) | others)


@dataclass(frozen=True)
class AqeSettings:
    neighbors: int = 10  # n, nearest images that join a vector; 0: none
    alpha: float = 3.0  # power of their cosine, the weight; 0: all weigh the same

    def __post_init__(self) -> None:
        alpha = {"alpha": (0 <= self.alpha < FAR, "a number from 0")}
        check_fields(self, at_least(0, neighbors=self.neighbors) | alpha)


@dataclass(frozen=True)
class DbaSettings(AqeSettings):
    query_neighbors: int = 0  # augmented images that expand a query too, as in aqe; 0: none

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(self, at_least(0, query_neighbors=self.query_neighbors))


@dataclass(frozen=True)
class KreciprocalSettings:
    num: int | None = None  # null: neighbours among all queries and gallery images; or among a
    # query and its first so many
    k1: int = 20  # nearest, of mutual neighbourhoods
    k2: int = 6  # nearest, whose vectors are averaged, the own one among them; 1: none
    lamb: float = 0.3  # λ, weight of the similarity; 1: the order by similarity

    def __post_init__(self) -> None:
        lamb = {"lamb": (0 <= self.lamb <= 1, "a number from 0 to 1")}
        check_fields(self, at_least(1, num=self.num, k1=self.k1, k2=self.k2) | lamb)


@dataclass(frozen=True)
class DiffusionSettings:
    num: int | None = None  # null: over the whole graph; or the first images of a list
    neighbors: int = 50  # k of the graph
    query_neighbors: int = 10  # images where a query enters the graph
    alpha: float = 0.99  # share that goes on along the graph, below 1; 0: the order by similarity
    gamma: float = 3.0  # power of a cosine, the weight of an edge

    def __post_init__(self) -> None:
        counts = {"neighbors": self.neighbors, "query_neighbors": self.query_neighbors}
        powers = {
            "alpha": (0 <= self.alpha < 1, "a number from 0, below 1"),
            "gamma": (0 < self.gamma < FAR, "a number above 0"),
        }
        check_fields(self, at_least(1, num=self.num, **counts) | powers)


@dataclass(frozen=True)
class SuperGlobalPooling:
    relup: float = 0.014  # least activation behind the blocks of stages 1 to 3; 0: plain ReLU
    rgem_power: float = 2.5  # of the 5×5 windows of rGeM
    gem_power: float = 4.6  # of GeM over the map
    sgem: float | str = "max"  # over the scales: the maximum of their unit vectors; or a power,
    # such as 10

    def __post_init__(self) -> None:
        sgem = self.sgem
        joins = sgem == "max" or (isinstance(sgem, int | float) and 0 < sgem < FAR)
        fits = {
            "rgem_power": (0 < self.rgem_power < FAR, "a number above 0"),
            "gem_power": (0 < self.gem_power < FAR, "a number above 0"),
            "sgem": (joins, "a number above 0, or max"),
            "relup": (0 <= self.relup < FAR, "a number from 0"),
        }
        check_fields(self, fits)
