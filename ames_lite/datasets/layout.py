"""Where the files of a data set are: the one resolver of names under `data_root`.

For reading, a file is looked for under its native name, then under the published ones; two of them
side by side are an error.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from glob import escape
from itertools import chain
from pathlib import Path

from ames_lite.datasets.ground_truth import read_ground_truth
from ames_lite.errors import BadInput, MissingFile
from ames_lite.io import remedies
from ames_lite.records import GroundTruth

FAMILIES = "families.csv"
SPLITS = ("query", "gallery", "train")
PUBLISHED_LISTS = dict(query="test_query.txt", gallery="test_gallery.txt", train="train_750k.txt")
PUBLISHED_BY_NAME = ("cls", "gem")  # their lists are published as nn_{desc}.pkl too
NETWORK_OF = {"superglobal": "cvnet"}  # files are named after the network, desc_name= or not


@dataclass(frozen=True)
class DatasetFiles:
    """The files of one data set."""

    data_root: Path
    option: str  # what the data set is called
    folder: str  # under data_root
    desc_name: str  # prefix of descriptor files
    page: str  # where images and lists come from, for messages
    ground_truth_of: str | None = None  # a data set whose published ground truth serves too
    skip_queries: int = 0  # at its end, which are left out
    image_folder: str | None = None  # under data_root; None: folder
    swapped: bool = False  # queries and gallery have changed places (swap=true)

    @property
    def name(self) -> str:
        """The name of the data set; that of its other direction is another."""
        return f"{self.option}_swapped" if self.swapped else self.option

    @property
    def root(self) -> Path:
        return self.data_root / self.folder

    @property
    def image_root(self) -> Path:
        """What image names are relative to: the data set's folder, or that of another set."""
        return self.data_root / (self.image_folder or self.folder)

    def prefix(self, kind: str) -> str:
        """What the files of a global descriptor begin with."""
        return network_of(kind) or self.desc_name

    def local_path(self, split: str) -> Path:
        return self.global_path(split, "local")

    def global_path(self, split: str, kind: str) -> Path:
        """Where the global descriptors of a split belong; kind: cls, vlad, …, vladw (whitened)."""
        middle = "" if split == "train" else f"_{split}"
        return self.root / f"{self.prefix(kind)}{middle}_{kind}.hdf5"

    def neighbors_path(self, kind: str, form: str = "native") -> Path:
        """Where the neighbour lists by a global descriptor belong; form: native or published."""
        suffix = "pkl" if form == "published" else "hdf5"
        name = kind if network_of(kind) else f"{self.desc_name}_{kind}"
        return self.root / f"nn_{name}.{suffix}"

    def vocabulary_path(self, domain: str) -> Path:
        """Where a VLAD vocabulary belongs; domain: the name of what it was built from."""
        return self.data_root / f"vlad_{self.desc_name}_{domain}.npz"

    def binarization_path(self, domain: str) -> Path:
        return self.data_root / f"itq_{self.desc_name}_{domain}.npz"

    def whitening_path(self, kind: str, domain: str) -> Path:
        return self.data_root / f"pca_{self.prefix(kind)}_{kind}_{domain}.npz"

    def image_list(self, split: str) -> Path:
        paths = [self.root / name for name in (f"{split}.txt", PUBLISHED_LISTS[split])]
        return _first_of(paths, f"the {split} image list of {self.name}", **self.make_lists(split))

    def names(self, split: str) -> tuple[str, ...]:
        """The image list of a split, read."""
        from ames_lite.datasets.image_lists import read_image_list  # loads libraries of images

        return read_image_list(self.image_list(split)).names

    def families(self) -> Path | None:
        """The families of the training labels, for reading; None where there are none."""
        path = self.root / FAMILIES
        return path if path.is_file() else None

    def ground_truth(self) -> Path:
        names = [f"{self.folder}.json", f"{self.folder}.pkl"]
        names += [] if self.ground_truth_of is None else [f"{self.ground_truth_of}.pkl"]
        paths = [self.root / f"gnd_{name}" for name in names]
        return _first_of(paths, f"the ground truth of {self.name}", **self.make_lists())

    def read_truth(self, query_names: Sequence[str], gallery_names: Sequence[str]) -> GroundTruth:
        """The ground truth of these lists; of a shared file, without the queries of other sets."""
        path = self.ground_truth()
        skipped = self.skip_queries if path.name == f"gnd_{self.ground_truth_of}.pkl" else 0
        return read_ground_truth(path, query_names, gallery_names, skip_last=skipped)

    def local(self, split: str) -> Path:
        what = f"the local descriptors ({self.desc_name}) of {self.name}, {split}"
        remedy = self.make_local(**({"splits": [split]} if split == "train" else {}))
        return _first_of([self.local_path(split)], what, remedy)

    def global_descriptors(self, split: str, kind: str) -> Path:
        what = f"the global descriptors ({self.desc_name} {kind}) of {self.name}, {split}"
        return _first_of([self.global_path(split, kind)], what, self.make_globals(split, kind))

    def neighbors(self, kind: str, *, of_train: bool = False) -> Path:
        """By a global descriptor's name, or at a path; of_train: the training set's own."""
        own, more = is_path(kind), {"self_search": True} if of_train else {}
        paths = [Path(kind)] if own else self._neighbors_paths(kind)
        remedy = None if own else self.make_neighbors(kind, **more)
        what, choose = f"the neighbour lists ({kind}) of {self.name}", "choose one: neighbors={}"
        return _first_of(paths, what, remedy, choose, self._other_lists(kind))

    def _neighbors_paths(self, kind: str) -> list[Path]:
        of_desc = f"nn_{self.desc_name}_{kind}"
        names = [f"{of_desc}.hdf5", f"{of_desc}.pkl", f"nn_{kind}.pkl"]
        if kind in PUBLISHED_BY_NAME:
            names.append(f"nn_{self.desc_name}.pkl")
        return [self.neighbors_path(kind), *(self.root / name for name in names)]

    def _other_lists(self, kind: str) -> str | None:
        """What may be used in place of missing lists: other lists, or descriptors for some."""
        with_lists, with_descriptors = [], []
        for other in sorted(self._global_kinds() - {kind, "local"}):
            if any(path.is_file() for path in self._neighbors_paths(other)):
                with_lists.append(f"neighbors={other}, whose lists are there")
            elif all(self.global_path(split, other).is_file() for split in ("query", "gallery")):
                made = self.make_neighbors(other)
                with_descriptors.append(f"neighbors={other}, whose descriptors are there: {made}")
        said = with_lists + with_descriptors
        return "; or ".join(["these lists", *said]) if said else None

    def _global_kinds(self) -> set[str]:
        """Kinds of global descriptors that may have lists or descriptors in the folder."""
        kinds = {"cls", "gem", "mean", "vlad", *NETWORK_OF}
        for start in (f"nn_{self.desc_name}_", f"{self.desc_name}_gallery_"):
            found = self.root.glob(f"{escape(start)}*")
            kinds |= {path.name.removeprefix(start).split(".")[0] for path in found}
        return kinds

    # What provides a missing file, in words; the command line has commands (cli/remedies.py).

    def make_lists(self, split: str | None = None) -> dict[str, str]:
        """Of an image list or the ground truth: remedy=, and expected= where there is more."""
        return {"remedy": self.page}

    def make_local(self, **more: object) -> str:
        return remedies.EXTRACT

    def make_globals(self, split: str, kind: str) -> str:
        return remedies.EXTRACT

    def make_neighbors(self, kind: str, **more: object) -> str:
        """kind: a global descriptor, or a path."""
        return remedies.NEIGHBORS


def is_path(kind: str) -> bool:
    """Whether neighbors= is a file and not the name of a global descriptor."""
    return bool(Path(kind).suffix) or len(Path(kind).parts) > 1


def network_of(kind: str) -> str | None:
    """The network whose global descriptor it is, whitened or not; None: that of desc_name=.

    >>> network_of("superglobal"), network_of("vlad")
    ('cvnet', None)
    """
    return NETWORK_OF.get(kind.removesuffix("w"))


def find_all(finders: Mapping[str, Callable[[], Path]]) -> dict[str, Path]:
    """All paths by name, or one MissingFile: all that is missing, each remedy once."""
    found: dict[str, Path] = {}
    missing: dict[tuple[str, ...], list[str]] = {}  # by what provides it
    for name, finder in finders.items():
        try:
            found[name] = finder()
        except MissingFile as error:
            lines = str(error).split("\n")
            missing.setdefault(tuple(lines[2:]), []).extend(lines[:2])
    if missing:
        raise MissingFile("\n".join(chain(*(files + [*how] for how, files in missing.items()))))
    return found


def _first_of(
    paths: Sequence[Path],
    what: str,
    remedy: str | None,
    choose: str = "remove the other",
    expected: str | None = None,
) -> Path:
    """The one that is there. choose: the remedy where there are two, {} is the first of them."""
    found = [path for path in dict.fromkeys(paths) if path.is_file()]
    if len(found) > 1:
        where, choice = " and ".join(map(str, found)), choose.format(found[0])
        raise BadInput(f"{what} are there twice", where=where, expected="one file", remedy=choice)
    if not found:
        where = " or ".join(str(path.absolute()) for path in dict.fromkeys(paths))
        raise MissingFile(f"missing: {what}", where=where, expected=expected, remedy=remedy)
    return found[0]
