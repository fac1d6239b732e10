"""Class folders split by family into a training set and a validation set.

A family is a group of classes that look alike or belong together, as a table says
(`instance,family[,kind]`, instance: the class folder). All of a family is on one side. In training,
its members are no negatives of each other; in validation, they are the hard negatives. Queries of
the validation set are gallery images as well, with the others of their class as positives.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ames_lite.datasets.custom.images import ImageFolders, find_images
from ames_lite.datasets.custom.labels import first_folder
from ames_lite.datasets.custom.truth import CustomOptions, finish
from ames_lite.datasets.image_lists import ImageList
from ames_lite.datasets.relation import Relation
from ames_lite.datasets.rules import ALONE, same_label
from ames_lite.datasets.tables import Form, read_table
from ames_lite.errors import check_config, require
from ames_lite.io.names import check_once

KIND = "folders"  # of labels that can be split
FORM = Form("families", ("instance", "family"), ("kind",))
PLAIN = ("query_images", "queries", "gallery", "radius", "tolerance")  # options of other sets


class Instance(NamedTuple):
    """What the table says of a class: its family, and its kind ("" without that column)."""

    family: str
    kind: str


@dataclass(frozen=True, eq=False)
class Split:
    """Both sides of a split."""

    instances: dict[str, Instance]  # by class
    codes: dict[str, int]  # the label of each class, the same on both sides
    train: ImageList
    val: Relation
    held_out: frozenset[str]  # the families of the validation set

    def families(self, held_out: bool) -> list[tuple[int, str, str, str]]:
        """Rows of families.csv for the classes of one side: label, family, class, kind."""
        return [
            (self.codes[name], one.family, name, one.kind)
            for name, one in self.instances.items()
            if (one.family in self.held_out) == held_out
        ]


def split_folders(options: CustomOptions) -> Split:
    share, seed, most = _checked(options)
    assert options.families is not None
    instances, notes = read_instances(options.families)
    images = find_images(options.images, options.distractors, second="distractors")
    class_of = _classes(images)
    _check_same({*instances}, {*class_of.values()} - {ALONE}, options.families, images)
    held_out = choose_families(instances.values(), share, seed)
    what = f"no kind has two families: {len(instances)} instances"
    expected = "families that can be split, of one kind at least"
    require(held_out, what, where=options.families, expected=expected)
    codes = {name: code for code, name in enumerate(instances)}
    train, val = dict[str, str](), dict[str, str]()
    for name, label in class_of.items():
        side = val if label == ALONE or instances[label].family in held_out else train
        side[name] = label
    relation = _validation(val, codes, most, seed)
    relation = replace(relation, notes=(*images.notes, *notes))
    made = finish(relation, KIND, images.root, options.labels)
    labels = np.array([codes[label] for label in train.values()], np.int64)
    return Split(instances, codes, ImageList(tuple(train), labels), made, held_out)


def read_instances(path: Path) -> tuple[dict[str, Instance], tuple[str, ...]]:
    """The instances of a table, sorted, without `distractor`; notes on how it was read."""
    table = read_table(path, FORM.kind, (FORM,))
    names, families = (table.columns[column] for column in FORM.required)
    kinds = table.columns.get("kind", [""] * len(table))
    kind_of: dict[str, str] = {}
    for row, (family, kind) in enumerate(zip(families, kinds, strict=True)):
        known = kind_of.setdefault(family, kind)
        what = f"family '{family}' is of kind '{known}' and of kind '{kind}'"
        require(known == kind, what, where=table.where(row), expected="one kind for each family")
    check_once(names, table.where, expected="one row for each instance")
    rows = sorted(zip(names, families, kinds, strict=True))
    return {name: Instance(*said) for name, *said in rows if name != ALONE}, table.notes


def choose_families(instances: Iterable[Instance], share: float, seed: int) -> frozenset[str]:
    """The families of the validation set: of each kind about `share` of the instances.

    Families are visited from the largest to the smallest, equal ones in random order, and taken
    where the instances taken stay within the share of those visited. Of a kind with several
    families at least one is taken and one left; a single one is for training.
    """
    of_kind: dict[str, Counter[str]] = {}
    for one in instances:
        of_kind.setdefault(one.kind, Counter())[one.family] += 1
    rng, chosen = np.random.default_rng(seed), set[str]()
    for _, sizes in sorted(of_kind.items()):
        order = rng.permutation(sorted(sizes)).tolist()
        order.sort(key=lambda family: -sizes[family])  # stable
        visited, held, taken = 0, 0, set[str]()
        for family in order:
            visited += sizes[family]
            if held + sizes[family] <= share * visited + 0.5:
                held += sizes[family]
                taken.add(family)
        if len(taken) == len(order):
            taken.remove(order[0])
        if not taken and len(order) > 1:
            taken.add(order[-1])
        chosen |= taken
    return frozenset(chosen)


def _checked(options: CustomOptions) -> tuple[float, int, int]:
    share, most, seed = options.val_share, options.queries_per_label, options.seed
    what = f"val_share= is given with labels={options.labels}, kind={options.kind}"
    fits = options.labels == KIND and options.kind in (None, KIND)
    check_config(fits, what, f"labels={KIND}: class folders below images=")
    expected = f"families=<a CSV {','.join(FORM.required)}[,{FORM.optional[0]}]>"
    check_config(options.families, "val_share= is given without families=", expected)
    for key in PLAIN:
        fits, what = getattr(options, key) is None, f"{key}= is given with val_share="
        check_config(fits, what, f"no {key}=")
    expected = "the share of the instances to validate on, such as val_share=0.25"
    check_config(share is not None and 0 < share < 1, f"val_share={share}", expected)
    check_config(most is not None and most >= 1, f"queries_per_label={most}", "at least 1")
    check_config(seed is not None and seed >= 0, f"seed={seed}", "0 or more")
    assert share is not None and seed is not None and most is not None
    return share, seed, most


def _classes(images: ImageFolders) -> dict[str, str]:
    """The class of each image, by name; images of a folder of their own are distractors."""
    found = dict.fromkeys(images.names, ALONE)
    for name in (name for name in images.names if images.side_of(name) != "query"):
        found[name] = unicodedata.normalize("NFC", first_folder(name, images))  # as tables are read
    return found


def _check_same(rows: set[str], folders: set[str], table: Path, images: ImageFolders) -> None:
    """Raise BadInput, with counts and names, where rows and class folders are not the same."""
    said, absent = [], {"class folders have no row": sorted(folders - rows)}
    absent["rows have no folder with images"] = sorted(rows - folders)
    for what, names in absent.items():
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        few = ", ".join(f"'{name}'" for name in names[:3])
        said += [f"{len(names)} {what}: {few}{more}"] * bool(names)
    where = f"{table} against {images.folder('gallery')}"
    require(not said, "; ".join(said), where=where, expected="a row for each class folder")


def _validation(class_of: dict[str, str], codes: dict[str, int], most: int, seed: int) -> Relation:
    """The validation set: up to `most` queries of each class with two images, drawn by seed."""
    rng = np.random.default_rng((seed, 1))
    members: dict[str, list[str]] = {}
    for name, label in class_of.items():
        members.setdefault(label, []).append(name)
    queries: list[str] = []
    for label, names in sorted(members.items()):
        if label != ALONE and len(names) > 1:
            queries += sorted(rng.permutation(names)[:most].tolist())
    right = same_label([class_of[name] for name in queries], list(class_of.values()))
    alone = len(codes)  # behind the classes, so that distractors change no label
    numbers = {name: codes.get(label, alone) for name, label in class_of.items()}
    return Relation(queries, list(class_of), {"easy": right}, codes=numbers, alone=alone)
