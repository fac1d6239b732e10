"""What a failure sheet shows of a case: tiles of its images, each decoded once.

Input: `Case`s and the folder of the images. Output: lines of `Tile`s. An image that is not there or
cannot be decoded is a tile without image; `Pictures.say` counts them, and refuses where none is
left.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, MissingFile
from ames_lite.evaluation.failures import Case
from ames_lite.evaluation.protocols import setting_positives
from ames_lite.evaluation.views.failure_sheet import PIXELS, Tile
from ames_lite.evaluation.views.marked import Box, shrink
from ames_lite.io.images import load_image
from ames_lite.records import GroundTruth

logger = logging.getLogger(__name__)

COLUMNS = ("query", "first by global similarity", "first after reranking", "best correct image")
OF_SUCCESS = (*COLUMNS[:2], "first after reranking, correct")  # the best correct image itself


def no_images(what: str, where: Path, page: str) -> MissingFile:
    expected = "images=<the folder that image names are relative to>"
    return MissingFile(what, where=where.absolute(), expected=expected, remedy=page)


def _rank(rank: int | None) -> str:
    return "not listed" if rank is None else f"rank {rank}"


class Shown(NamedTuple):
    """An image, shrunk, and the width and height that it has on disk."""

    image: npt.NDArray[np.uint8]
    size: tuple[int, int]


@dataclass
class Pictures:
    """Tiles of the images below `root`, each read once; remembers what could not be shown."""

    root: Path
    truth: GroundTruth
    setting: str
    ap: str  # what its AP is called
    read: dict[str, Shown | str] = field(default_factory=dict)  # or what is wrong with it

    def line(self, case: Case, columns: int) -> list[Tile]:
        """Query, first before, first after and, of four columns, the best correct image."""
        truth = self.truth
        right = setting_positives(truth, self.setting)[case.query]
        said = f"{self.ap} {case.ap_before:.2f} → {case.ap_after:.2f}"
        if case.right_after != 1:
            ranks = (case.rank_before or "–", case.right_after or "–")
            said = f"correct {ranks[0]} → {ranks[1]}; {said}"
        tiles = [
            self.tile(truth.query_names[case.query], None, said, truth.bbox[case.query]),
            self.first(case.first_before, right, ""),
            self.first(case.first_after, right, f", was {_rank(case.first_after_before)}"),
        ]
        if columns > len(tiles):
            said = f"{_rank(case.right_after)}, was {_rank(case.right_before)}"
            tiles.append(self.tile(truth.gallery_names[case.right], True, said))
        return tiles

    def first(self, row: int | None, right: npt.NDArray[np.int64], more: str) -> Tile:
        """An image at rank 1."""
        if row is None:
            return Tile("", None, False, trouble="all that is listed is junk")
        correct = bool((right == row).any())
        said = ("correct" if correct else "wrong") + more
        return self.tile(self.truth.gallery_names[row], correct, said)

    def tile(self, name: str, correct: bool | None, said: str, box: Box | None = None) -> Tile:
        """An image, as far as it can be shown; box: in pixels of the whole image."""
        if name not in self.read:
            self.read[name] = self._load(name)
        found = self.read[name]
        if isinstance(found, str):
            return Tile(name, None, correct, said, trouble=found)
        width, height = found.size
        if box is not None:
            box = (box[0] / width, box[1] / height, box[2] / width, box[3] / height)
        return Tile(name, found.image, correct, said, box=box)

    def _load(self, name: str) -> Shown | str:
        try:
            image = load_image(self.root / name)
        except MissingFile:
            return "image not found"
        except BadInput:
            return "image not readable"
        return Shown(shrink(image, PIXELS), (image.shape[1], image.shape[0]))

    def say(self, page: str) -> None:
        """How many images could not be shown. Raises MissingFile where none could."""
        lacking = [name for name, image in self.read.items() if isinstance(image, str)]
        if len(lacking) == len(self.read):
            what = f"none of the {len(lacking)} images can be shown, first '{lacking[0]}'"
            raise no_images(what, self.root, page)
        if lacking:
            what = f"{len(lacking)} of {len(self.read)} images are not shown, below {self.root}"
            listed = "; ".join(f"{name}: {self.read[name]}" for name in lacking[:3])
            logger.warning("%s: %s", what, listed)
