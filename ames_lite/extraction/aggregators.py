"""How local descriptors become global ones: the visible dict of all ways; and whitening in use. An
aggregator gives a float32 vector of unit length an image, the constant one without descriptors.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import check_config, require
from ames_lite.io import remedies
from ames_lite.io.digest import array_digest, names_digest
from ames_lite.io.provenance import SAME_GLOBALS, Provenance, compare_known
from ames_lite.retrieval.pooling import gem, unit_rows, weighted_mean
from ames_lite.retrieval.rows import Floats
from ames_lite.retrieval.vlad import VladForm, vlad_images
from ames_lite.retrieval.whitening import whiten
from ames_lite.stores.fitted import read_vocabulary, read_whitening

Vectors = npt.NDArray[np.float32]
# what a vocabulary and the descriptors that it is used on must share
SAME = (
    *("backbone", "variant", "weights", "channels", "facet", "layer", "descriptor_space"),
    *("resize", "crop_rounding"),
)


@dataclass(frozen=True, eq=False)
class Tokens:
    """Local descriptors [N, K, D], of which the first count [N] are real; weight [N, K] or None."""

    descriptors: npt.NDArray[np.floating[Any]]
    weight: npt.NDArray[np.floating[Any]] | None
    count: npt.NDArray[np.integer]


def refuse_width(width: int, wanted: int, what: str, where: str | Path, path: str | Path) -> None:
    """Raises BadInput where descriptors have another width than a file was fitted on."""
    said = f"the descriptors have width {width}, {what} {wanted}"
    expected = f"{what.replace('the', 'a', 1)} that was fitted on such descriptors"
    require(width == wanted, said, expected, where=f"{where} and {path}")


class Aggregator(ABC):
    """A way to one vector an image; needs_weight: whether `Tokens.weight` is looked at."""

    kind: str
    needs_weight = False
    provenance: Provenance  # everything that changes its output

    def dim(self, width: int) -> int:
        """Output width, for descriptors of this width."""
        return width

    def check(self, made: Mapping[str, Any], width: int, where: str | Path) -> None:  # noqa: B027
        """Raises BadInput where it does not fit descriptors of this provenance and width."""

    @abstractmethod
    def __call__(self, tokens: Tokens) -> Vectors:
        """Vectors [N, dim]. Raises BadInput for NaN and infinity."""


class Gem(Aggregator):
    """The generalised mean; power: 1 is the mean, a large one the largest entry."""

    kind = "gem"

    def __init__(self, power: float = 3.0) -> None:
        require(0 < power < float("inf"), f"power is {power!r}", "a number above 0")
        self.power = float(power)
        self.provenance = {"power": self.power, "normalisation": "L2"}

    def __call__(self, tokens: Tokens) -> Vectors:
        return gem(tokens.descriptors, tokens.count, self.power)


class Mean(Aggregator):
    """The average by the weights of the detector (without one: by the feature's norm)."""

    kind = "mean"
    needs_weight = True
    provenance: Provenance = {"averaged_by": "weight", "normalisation": "L2"}

    def __call__(self, tokens: Tokens) -> Vectors:
        assert tokens.weight is not None
        return weighted_mean(tokens.descriptors, tokens.weight, tokens.count)


class Vlad(Aggregator):
    """VLAD by a vocabulary, with the distance and the unit length that it was built with."""

    kind = "vlad"

    def __init__(
        self, vocabulary: str | Path, soft: str | None = None, temperature: float = 1.0
    ) -> None:
        """Raises MissingFile or BadInput."""
        self.path = Path(vocabulary)
        self.centroids, self.made = read_vocabulary(vocabulary)
        self.distance = str(self.made["distance"])
        self.form = form = VladForm(self.distance, soft, temperature, bool(self.made["unit"]))
        soft_one = f"soft ({form.soft}), {form.distance}, temperature {form.temperature:g}"
        assignment = f"hard, {form.distance}" if form.soft is None else soft_one
        self.provenance: Provenance = {
            "vocabulary": array_digest(self.centroids),
            "assignment": assignment,
            "normalisation": "intra, then L2",
            **({"unit_descriptors": True} if form.unit else {}),
        }

    def dim(self, width: int) -> int:
        return self.centroids.size

    def check(self, made: Mapping[str, Any], width: int, where: str | Path) -> None:
        """The same backbone, variant, weights, facet, layer and space, and one width."""
        refuse_width(width, self.centroids.shape[1], "the vocabulary", where, self.path)
        of_detector = ("detector_weights",) * (made.get("descriptor_space") == "detector")
        compare_known(made, self.made, (*SAME, *of_detector), files=(where, self.path))

    def __call__(self, tokens: Tokens) -> Vectors:
        return vlad_images(tokens.descriptors, tokens.count, self.centroids, self.form)


AGGREGATORS: dict[str, Callable[..., Aggregator]] = {"vlad": Vlad, "gem": Gem, "mean": Mean}


def build_aggregator(name: str, **arguments: Any) -> Aggregator:
    """The aggregator of that name. Raises ConfigError, with what exists, for an unknown one."""
    what = "global=cls is no sum of local descriptors: the backbone gives it"
    expected = f"one of {', '.join(AGGREGATORS)}"
    check_config(name != "cls", what, expected, remedy=remedies.EXTRACT_GLOBAL)
    what, expected = f"there is no global descriptor '{name}'", f"{expected}, superglobal"
    check_config(name in AGGREGATORS, what, expected)
    return AGGREGATORS[name](**arguments)


class FittedWhitening:
    """A whitening in use: what it was fitted on, and its file."""

    def __init__(self, path: str | Path, *, remedy: str = remedies.WHITENING) -> None:
        """Raises MissingFile or BadInput."""
        self.path = Path(path)
        self.whitening, _, self.made = read_whitening(path, remedy=remedy)

    def __call__(self, vectors: Floats) -> Vectors:
        """[N, dim] of vectors [N, width], whitened and of unit length."""
        return unit_rows(whiten(vectors, self.whitening)).astype(np.float32)

    def check(self, made: Provenance, dim: int, where: str | Path) -> None:
        """Raise BadInput for descriptors of another width or kind, or of another vocabulary."""
        self.check_width(dim, where)
        compare_known(made, self.made, (*SAME, *SAME_GLOBALS), files=(where, self.path))

    def check_width(self, dim: int, where: str | Path) -> None:
        """Raise BadInput for descriptors of another width."""
        refuse_width(dim, self.whitening.width, "the whitening", where, self.path)

    @property
    def digests(self) -> dict[str, str]:
        """Of the components, and of the list of images that it was fitted on."""
        images = str(self.made.get("image_names", names_digest([])))
        return {"whitening": array_digest(self.whitening.components), "whitening_images": images}


def whitened_kind(kind: str) -> str:
    """Whitened descriptors in file names, and in `global=` and `neighbors=`: vladw of vlad."""
    return f"{kind}w"
