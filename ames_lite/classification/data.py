"""Global descriptors with classes, split so that all images of a scene are on one side; and which
clusters of a VLAD vocabulary tell classes apart. A scene is what images share beside their class (a
house, a place, a walk). With images of one scene on both sides, an image is recognised by its
neighbours, and the accuracy says nothing of new ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ames_lite.classification.scikit import mutual_information
from ames_lite.datasets.relation import Relation
from ames_lite.errors import ConfigError, check_config, require
from ames_lite.extraction.aggregators import Vlad
from ames_lite.records import LocalDescriptors
from ames_lite.retrieval.rows import Float32, Float64, Ids
from ames_lite.retrieval.vlad import assign
from ames_lite.stores.global_store import GlobalStore
from ames_lite.stores.row_layout import DONE

SIDES = ("train", "val", "test")
TRAIN, VAL, TEST = range(3)
Texts = npt.NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class Labelled:
    """Images with descriptors [N, D], labels [N] into classes, scenes [N], sides [N] into SIDES."""

    names: tuple[str, ...]
    vectors: Float32
    labels: Ids
    classes: tuple[str, ...]
    scenes: Ids
    side: Ids

    def __len__(self) -> int:
        return len(self.names)

    def of(self, side: int) -> tuple[Float32, Ids]:
        """Descriptors and labels of a side."""
        rows = self.side == side
        return self.vectors[rows], self.labels[rows]

    def masked(self, clusters: list[int], num_clusters: int) -> Labelled:
        """VLAD vectors restricted to these clusters."""
        dim = self.vectors.shape[1] // num_clusters * len(clusters)
        return replace(self, vectors=take_clusters(self.vectors, clusters, dim))

    def sizes(self) -> str:
        """How many classes, images and scenes there are."""
        sides = [(name, self.side == at) for at, name in enumerate(SIDES)]
        said = [f"{rows.sum()} {s} ({len({*self.scenes[rows]})} scenes)" for s, rows in sides]
        return f"{len(self.classes)} classes; images: {', '.join(said)}"


def take_clusters(vectors: Float32, clusters: list[int] | None, dim: int) -> Float32:
    """The parts of VLAD vectors [N, C * D] of these clusters (None: all), unit length or 0."""
    if clusters is None:
        return vectors
    parts = vectors.reshape(len(vectors), -1, dim // len(clusters))[:, clusters]
    found = np.ascontiguousarray(parts.reshape(len(vectors), dim))
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    return np.asarray(found / np.where(lengths > 0, lengths, 1), np.float32)


@dataclass(frozen=True)
class Splitting:
    """How images are split. scene: a pattern, whose first group in a name is the scene; None: the
    column `scene`, else each image is one. test, val: shares of the images of a class, about.
    """

    scene: str | None = None
    test: float = 0.2
    val: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        for key in ("test", "val"):
            share = getattr(self, key)
            check_config(0 < share < 1, f"{key}_share={share}", "a share between 0 and 1")


def read_labelled(
    stores: Sequence[GlobalStore], made: Relation, how: Splitting
) -> tuple[Labelled, list[str]]:
    """The described images of a custom data set with classes, and notes on those left out.

    stores: of its gallery, and of its queries where they are other images. Where the labels say
    which images are queries, these are the test side. Raises ConfigError for labels without
    classes, BadInput where the sides do not fit.
    """
    expected = "labels=folders, or a CSV file,label[,scene][,split]"
    check_config(made.codes, f"labels of the kind {made.kind} have no classes", expected)
    names = np.array([name for store in stores for name in store.names])
    missing = sorted({*made.gallery_names, *made.query_names} - {*names.tolist()})
    what = f"{len(missing)} labelled images are not in the store, first {missing[:1]}"
    require(not missing, what, where=stores[0].path, remedy="extract them again, overwrite=true")
    labels, notes = _labels(names, made)
    done = np.concatenate([store.status == DONE for store in stores])
    if bad := int((~done & (labels != "")).sum()):
        notes.append(f"{bad} images could not be described: left out")
    scenes = _scenes(names, made, how.scene)
    kept = np.flatnonzero(done & (labels != ""))
    if not made.queries_are_named:
        kept, alone = _with_two_scenes(kept, labels, scenes)
        said = f"{len(alone)} classes have one scene (or image) and cannot be tested: left out"
        notes += [f"{said}, {', '.join(alone[:3])}"] * bool(alone)
    given = np.isin(names[kept], list(made.query_names)) if made.queries_are_named else None
    vectors = np.concatenate([store.read(0, len(store)) for store in stores])[kept]
    classes, numbers = np.unique(labels[kept], return_inverse=True)
    groups = np.unique(scenes[kept], return_inverse=True)[1]
    side = split_scenes(numbers, groups, how, given)
    _check_sides(side, labels[kept], scenes[kept])
    whole = tuple(names[kept].tolist()), vectors.astype(np.float32), numbers
    return Labelled(*whole, tuple(classes.tolist()), groups, side), notes


def _labels(names: Texts, made: Relation) -> tuple[Texts, list[str]]:
    """The class of each image without blanks around, "" where it has none."""
    codes = made.codes or {}
    written = [made.classes[codes[n]] if n in codes else "" for n in names.tolist()]
    written = ["" if codes.get(n) == made.alone else w for n, w in zip(names, written, strict=True)]
    odd = sorted({text for text in written if text != text.strip()})
    notes = [f"classes are taken without blanks around, first '{odd[0]}'"] if odd else []
    return np.array([text.strip() for text in written]), notes


def _scenes(names: Texts, made: Relation, pattern: str | None) -> Texts:
    if pattern is None:
        known = made.scenes or {}
        return np.array([known.get(name) or name for name in names.tolist()])
    try:
        found = [re.search(pattern, name) for name in names.tolist()]
    except re.error as error:
        raise ConfigError(f"scene={pattern}: {error}", expected="a regular expression") from error
    other = next((name for name, one in zip(names, found, strict=True) if one is None), None)
    what = f"scene={pattern} is not in the name '{other}'"
    check_config(other is None, what, "a pattern that is in every name, as '^(.*)/'")
    return np.array([one[one.re.groups > 0] for one in found if one is not None])


def _with_two_scenes(kept: Ids, labels: Texts, scenes: Texts) -> tuple[Ids, list[str]]:
    """The rows whose class has a second scene, and the classes that have none."""
    pairs = {*zip(labels[kept].tolist(), scenes[kept].tolist(), strict=True)}
    classes, counts = np.unique([label for label, _ in pairs], return_counts=True)
    alone = classes[counts < 2]
    return kept[~np.isin(labels[kept], alone)], alone.tolist()


def split_scenes(
    labels: Ids, scenes: Ids, how: Splitting, given: npt.NDArray[np.bool_] | None = None
) -> Ids:
    """Sides [N] of images: whole scenes, of each class about the shares.

    Scenes come in random order. One goes to a side where one of its classes has no image there yet,
    or more than half of its images are wanted; no class loses its last image to train on. given
    [N]: the images that are the test side.
    """
    side = np.where(given, TEST, TRAIN) if given is not None else np.zeros_like(labels)
    order = np.argsort(scenes, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(scenes[order])) + 1)
    shuffled = np.random.default_rng(how.seed).permutation(len(groups))
    total = np.bincount(labels[side == TRAIN], minlength=labels.max() + 1)
    left = total.copy()
    for place, share in ((TEST, how.test), (VAL, how.val))[given is not None :]:
        there = np.zeros_like(total)
        for rows in (groups[at] for at in shuffled):
            of, count = np.unique(labels[rows], return_counts=True)
            if side[rows[0]] != TRAIN or (left[of] <= count).any():
                continue
            wanted = np.minimum(count, share * total[of] - there[of]).sum()
            if (there[of] == 0).any() or 2 * wanted > count.sum():
                side[rows], left[of], there[of] = place, left[of] - count, there[of] + count
    return side


def _check_sides(side: Ids, labels: Texts, scenes: Texts) -> None:
    """Raise BadInput for an empty side, and what must be on one side, or on both."""
    sides = {name: side == number for number, name in enumerate(SIDES)}
    empty = [name for name, rows in sides.items() if not rows.any()]
    expected = "two classes or more, of each three images or scenes"
    what = f"no image is on the side {' and '.join(empty)}"
    require(not empty, what, expected, remedy="more images, or a larger share")
    require(len({*labels.tolist()}) > 1, "there is one class", expected)
    new = sorted({*labels.tolist()} - {*labels[sides["train"]].tolist()})
    what = f"{len(new)} classes to test are unknown to training: {', '.join(new[:3])}"
    require(not new, what, "images of each to train on, or none to test")
    shared = sorted({*scenes[sides["test"]].tolist()} & {*scenes[~sides["test"]].tolist()})
    what = f"{len(shared)} scenes are trained on and tested: {', '.join(shared[:3])}"
    require(not shared, what, "a scene on one side", remedy="no column split: it is drawn")


def cluster_shares(images: Iterable[LocalDescriptors], vlad: Vlad) -> Float64:
    """How much of the descriptors of each image is in each cluster, [N, C]; zeros without any."""
    found = []
    for local in images:
        counts = np.bincount(assigned(local, vlad), minlength=len(vlad.centroids))
        found.append(counts / max(local.count, 1))
    return np.array(found)


def assigned(local: LocalDescriptors, vlad: Vlad) -> Ids:
    """The cluster [K] of each descriptor of an image."""
    return assign(local.descriptors, vlad.centroids, vlad.form)


def choose_clusters(shares: Float64, labels: Ids, wanted: int | list[int], seed: int) -> list[int]:
    """Those given, or the `wanted` whose shares [N, C] tell most of labels [N]. ConfigError."""
    total = shares.shape[1]
    if not isinstance(wanted, int):
        fine = wanted and all(0 <= one < total for one in wanted) and len({*wanted}) == len(wanted)
        check_config(fine, f"clusters={wanted}", f"numbers from 0 to {total - 1}, each once")
        return wanted
    check_config(0 < wanted <= total, f"clusters={wanted}", f"1 to {total} clusters")
    return np.argsort(-mutual_information(shares, labels, seed), kind="stable")[:wanted].tolist()
