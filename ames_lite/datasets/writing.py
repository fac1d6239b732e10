"""The prepared folder of a dataset: image lists, ground truth and what else belongs to it.

Files that are there and differ are not replaced unless the caller says so, because stores made from
them would no longer fit; a published form of the same list is never doubled.
"""

from __future__ import annotations

import filecmp
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ames_lite.datasets.ground_truth import write_ground_truth
from ames_lite.datasets.image_lists import ImageList, write_image_list
from ames_lite.datasets.layout import PUBLISHED_LISTS
from ames_lite.datasets.relation import SIDES, Relation
from ames_lite.errors import require
from ames_lite.io.writing import explain_write_errors


def write_lists(into: Path, name: str, made: Relation) -> None:
    """query.txt, gallery.txt and gnd_<name>.json, but for those that are there as published.

    Raises BadInput for a relation that contradicts itself. A gallery alone has no query.txt.
    """
    truth = made.ground_truth()
    if not made.has_lists:
        for side, names in zip(SIDES, (truth.query_names, truth.gallery_names), strict=True):
            codes = None if made.codes is None else np.array([made.codes[n] for n in names])
            if names:
                write_image_list(into / f"{side}.txt", ImageList(names, codes))
    if not made.has_truth:
        write_ground_truth(into / f"gnd_{name}.json", truth)


def write_folder(
    folder: Path,
    write: Callable[[Path], object],
    overwrite: bool,
    *,
    last: str | None = None,
    expected: str = "the lists that are there, or none",
    remedy: str = "move it away",
) -> None:
    """Put what `write` makes into a folder, in place once all is written.

    last: the file that marks the folder as complete: the old one goes first, the new one comes
    last. expected: where other files are there; remedy: where a published form is. Raises BadInput.
    """
    with explain_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".prepare.", dir=folder) as name:
            write(Path(name))
            new = sorted(Path(name).iterdir(), key=lambda path: (path.name == last, path.name))
            _refuse_published(folder, {path.name for path in new}, remedy)
            if not overwrite:
                _refuse_others(folder, new, expected)
            if last is not None:
                (folder / last).unlink(missing_ok=True)
            for path in new:
                os.replace(path, folder / path.name)


def _refuse_published(folder: Path, new: set[str], remedy: str) -> None:
    published = {f"{side}.txt": names for side, names in PUBLISHED_LISTS.items()}
    published[f"gnd_{folder.name}.json"] = (f"gnd_{folder.name}.pkl",)
    what = "the published form of a list or of the ground truth is there"
    for name in (other for own in new for other in published.get(own, ())):
        path = folder / name
        require(not path.exists(), what, where=path, expected="one form", remedy=remedy)


def _refuse_others(folder: Path, new: list[Path], expected: str) -> None:
    there = [path for path in new if (folder / path.name).exists()]
    differing = [p.name for p in there if not filecmp.cmp(p, folder / p.name, shallow=False)]
    what = f"other lists are there already: {', '.join(differing)} would change"
    remedy = "overwrite=true replaces them; stores made from the old lists do not fit then"
    require(not differing, what, where=folder, expected=expected, remedy=remedy)
