"""A whitening file in use: checked against the descriptors that it is applied to, and recorded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ames_lite.extraction.aggregators import SAME, Vectors, refuse_width
from ames_lite.io import remedies
from ames_lite.io.digest import array_digest, names_digest
from ames_lite.io.provenance import SAME_GLOBALS, Provenance, compare_known
from ames_lite.retrieval.pooling import unit_rows
from ames_lite.retrieval.whitening import Floats, Whitening, whiten
from ames_lite.stores.fitted import read_whitening


@dataclass(frozen=True, eq=False)
class FittedWhitening:
    """A whitening, what it was fitted on, and its file."""

    whitening: Whitening
    made: Provenance
    path: Path

    @classmethod
    def load(cls, path: str | Path, *, remedy: str = remedies.WHITENING) -> FittedWhitening:
        """Raises MissingFile or BadInput."""
        whitening, _, made = read_whitening(path, remedy=remedy)
        return cls(whitening, made, Path(path))

    def __call__(self, vectors: Floats) -> Vectors:
        """[N, dim] of vectors [N, width], whitened and of unit length."""
        return unit_rows(whiten(vectors, self.whitening)).astype(np.float32)

    def check(self, made: Provenance, dim: int, where: str | Path) -> None:
        """Raise BadInput for descriptors of another width or kind, or of another vocabulary."""
        self.check_width(dim, where)
        # descriptors made as those that it was fitted on
        compare_known(made, self.made, (*SAME, *SAME_GLOBALS), files=(where, self.path))

    def check_width(self, dim: int, where: str | Path) -> None:
        """Raise BadInput for descriptors of another width."""
        refuse_width(dim, self.whitening.width, "the whitening", where, self.path)

    @property
    def digests(self) -> dict[str, str]:
        """Of the components, and of the list of images that it was fitted on."""
        images = self.made.get("image_names", names_digest([]))
        return {
            "whitening": array_digest(self.whitening.components),
            "whitening_images": str(images),
        }


def whitened_kind(kind: str) -> str:
    """Whitened descriptors in file names, and in `global=` and `neighbors=`.

    >>> whitened_kind("vlad")
    'vladw'
    """
    return f"{kind}w"
