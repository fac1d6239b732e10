"""Official ground truth on planted descriptors: whole data sets whose results are known beforehand.

Input: ROxford's or RParis' official file and a ranking of its gallery for every query. Output: a
data root with image lists, global and local descriptors, in native or published form. Two things
are planted. Global: query q is the unit vector e_q and gallery image n the vector of its 70
similarities, so that any ranking at all can be asked for, exactly. Local: descriptors are words of
a Hadamard code (±1/16, or 256 bits), any two of which are orthogonal, so that every cosine is 0 or
1 and every chamfer similarity a small fraction that float32 holds exactly.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ames_lite.cli import prepare_topk_global
from ames_lite.cli.compose import compose
from ames_lite.records import GroundTruth, LocalDescriptors
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.published.safe_pickle import read_pickle, write_pickle
from ames_lite.stores.row_writer import GlobalWriter
from tests.helpers import shared_file
from tests.stores.published.forms import Images, write_published

OPTIONS = {"roxford5k": "roxford", "rparis6k": "rparis"}
GRADES = ("easy", "hard", "junk")
DIM = 256
OWN = 2  # words that a query shares with no other
QUERY_NOISE = range(70 * OWN, 70 * OWN + 71)  # words of no landmark; a query has two of them
NOISE = range(200, DIM)  # those that images of the gallery have: some queries meet them by chance
SHOWN = {"junk": OWN, "easy": OWN, "hard": OWN - 1}  # of a query's own words, by an image
COUNTS = (4, 8, 16)  # descriptors of a gallery image
STEP = np.float32(2.0**-13)  # between the sims of neighbouring places


def hadamard() -> npt.NDArray[np.int64]:
    """[256, 256] of -1 and 1, its rows orthogonal (Sylvester)."""
    matrix = np.ones((1, 1), np.int64)
    while len(matrix) < DIM:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix


@dataclass(frozen=True)
class Planted:
    """What is planted: the official lists, for every query a ranking, for every image its words.

    ranking [Q, N]: gallery rows, as the official file counts them.
    """

    dataset: str
    path: Path  # of the official file
    queries: list[str]
    gallery: list[str]
    truth: GroundTruth
    ranking: npt.NDArray[np.int64]

    @property
    def sims(self) -> npt.NDArray[np.float32]:
        """[N], of every place of a ranking; exact in float32."""
        return np.float32(1) - STEP * np.arange(len(self.gallery), dtype=np.float32)

    @cached_property
    def query_words(self) -> list[list[int]]:
        return [
            [*range(OWN * q, OWN * q + OWN), *QUERY_NOISE[q : q + 2]]
            for q in range(len(self.queries))
        ]

    @cached_property
    def gallery_words(self) -> list[list[int]]:
        """Junk shows its query's words like an easy image: reranked, it would come first."""
        generator = np.random.default_rng(len(self.gallery))
        found: list[list[int]] = [[] for _ in self.gallery]
        for grade, count in SHOWN.items():
            for q, rows in enumerate(getattr(self.truth, grade)):
                for row in rows:
                    found[row] += self.query_words[q][:count]
        for words in found:
            noise = generator.choice(NOISE, COUNTS[-1], replace=False).tolist()
            count = next((c for c in COUNTS if c > len(words)), COUNTS[-1])
            words[:] = [*words, *noise][:count]
        return found

    def logit(self, q: int, row: int) -> float:
        """The chamfer similarity of a pair, word by word."""
        query, image = self.query_words[q], self.gallery_words[row]
        there = sum(word in image for word in query) / len(query)
        back = sum(word in query for word in image) / len(image)
        return (there + back) / 2


def plant(dataset: str) -> Planted:
    """The official file, with the ranking of the fixture that the official code has judged."""
    path = shared_file(f"ground_truth/gnd_{dataset}.pkl")
    with np.load(shared_file(f"fixtures/ranks_{dataset}_planted.npz")) as fixture:
        ranking = fixture["ranks"].astype(np.int64)
    content: Any = read_pickle(path)
    queries, gallery = (
        [f"jpg/{name}.jpg" for name in content[key]] for key in ("qimlist", "imlist")
    )
    rows = {
        grade: tuple(np.array(entry[grade], np.int64) for entry in content["gnd"])
        for grade in GRADES
    }
    truth = GroundTruth(tuple(queries), tuple(gallery), **rows, bbox=(None,) * len(queries))
    return Planted(dataset, path, queries, gallery, truth, ranking)


def local_images(words: list[list[int]], packed: bool) -> Images:
    """The descriptors of images with these words."""
    count = np.array([len(row) for row in words], np.int32)
    real = np.arange(count.max()) < count[:, None]
    table = np.zeros(real.shape, np.int64)
    for row, shown in enumerate(words):
        table[row, : len(shown)] = shown
    code = hadamard()
    kept = np.packbits(code > 0, axis=1) if packed else (code / 16).astype(np.float16)
    generator = np.random.default_rng(len(words))
    return Images(
        kept[table] * real[..., None].astype(kept.dtype),
        (generator.random((*real.shape, 2)) * real[..., None]).astype(np.float32),
        np.zeros(real.shape, np.uint8),
        (np.arange(real.shape[1], 0, -1) * real).astype(np.float32),
        count,
    )


def write_native(
    root: Path, planted: Planted, desc_name: str, packed: bool, order: npt.NDArray[np.int64]
) -> None:
    """A native data set; its gallery list has the official rows in this order."""
    folder = root / planted.dataset
    folder.mkdir(parents=True)
    shutil.copy(planted.path, folder)
    names = {"query": planted.queries, "gallery": [planted.gallery[row] for row in order]}
    words = {
        "query": planted.query_words,
        "gallery": [planted.gallery_words[row] for row in order],
    }
    place = np.argsort(planted.ranking, axis=1)
    vectors = {
        "query": np.eye(len(planted.queries), dtype=np.float32),
        "gallery": planted.sims[place].T[order],
    }
    for split, listed in names.items():
        (folder / f"{split}.txt").write_text("".join(f"{name}\n" for name in listed))
        images = local_images(words[split], packed)
        size = (COUNTS[-1], DIM, "uint8" if packed else "float16", {"backbone": "planted"})
        path = folder / f"{desc_name}_{split}_local.hdf5"
        with DescriptorStore.create(path, listed, *size) as store:
            for row, name in enumerate(listed):
                parts = (images.descriptors, images.xy, images.scale, images.weight)
                values = (part[row, : images.count[row]] for part in parts)
                store.append(name, LocalDescriptors(*values, size=(480, 640)))
        path = folder / f"{desc_name}_{split}_cls.hdf5"
        with GlobalWriter(path, listed, len(planted.queries), {"backbone": "planted"}) as file:
            file.extend(listed, vectors[split])
    given = [f"dataset={OPTIONS[planted.dataset]}", f"desc_name={desc_name}", f"data_root={root}"]
    prepare_topk_global.run(
        compose("prepare_topk_global", [*given, "global=cls", f"num_neighbors={len(order)}"])
    )


def write_published_world(root: Path, planted: Planted, form: str) -> None:
    """The same in published files, under the names that they are published by."""
    folder = root / planted.dataset
    folder.mkdir(parents=True)
    shutil.copy(planted.path, folder)
    names = {"query": planted.queries, "gallery": planted.gallery}
    words = {"query": planted.query_words, "gallery": planted.gallery_words}
    for split, listed in names.items():
        target = folder / f"test_{split}.txt"
        if planted.dataset == "roxford5k":
            shutil.copy(shared_file(f"ground_truth/roxford5k_test_{split}.txt"), target)
        else:
            target.write_text("\n".join(f"{name},0,640,480" for name in listed))
        images = local_images(words[split], packed="packed" in form)
        write_published(folder / f"dinov2_{split}_local.hdf5", images, form)
    write_lists(folder, planted.ranking, np.broadcast_to(planted.sims, planted.ranking.shape))


def write_lists(folder: Path, ids: npt.NDArray[Any], sims: npt.NDArray[Any]) -> None:
    planes = np.stack([sims.astype(np.float32), ids.astype(np.float32)])
    write_pickle(folder / "nn_superglobal.pkl", torch.from_numpy(planes))
