"""suite=search: an index of noise over a folder of tiny files, looked through and searched.

In: sizes. Out: cells
  unchanged  finding out that nothing changed: in this process, and by the whole command
  query      one query from its descriptors to its list: opening the index, candidates, scoring
Files and index are made, nothing is described. Files are of few bytes, as
only their names, sizes and times are looked at; vectors and descriptors have the full size.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ames_lite.errors import MissingFile
from ames_lite.extraction.aggregators import Vlad
from ames_lite.extraction.backbones.sift import Sift
from ames_lite.io.digest import file_digest
from ames_lite.io.provenance import check_provenance
from ames_lite.models import build_head
from ames_lite.records import LocalDescriptors
from ames_lite.reranking.scorer import PairScorer, ScoringOptions
from ames_lite.runtime import peak_memory_mib
from ames_lite.search.image_search import Ranker, find_candidates, query_vectors, search_index
from ames_lite.search.index import (
    Entry,
    IndexRecord,
    OpenIndex,
    local_path,
    scan_images,
    vector_path,
    vocabulary_path,
    write_record,
)
from ames_lite.search.indexing import index_images, vocabulary_digest
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.fitted import write_vocabulary
from ames_lite.stores.row_writer import GlobalWriter
from benchmarks.timing import middle

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "search.py"
A_WHILE_NS = 10**12  # files that are as old as that are trusted by their times
FOLDERS = 100  # that the files are spread over
HEAD = {"num_heads": 1, "num_layers": 3, "dim_feedforward": 256}  # about what is released
BLOCK = 500  # vectors written at a time


@dataclass(frozen=True)
class SearchSpeed:
    """What is measured. descriptors: of every image; clusters: of the vocabulary."""

    images: int = 10_000
    descriptors: int = 100
    num_rerank: int = 100
    clusters: int = 64
    repeats: int = 5
    seed: int = 0


def measure_search(options: SearchSpeed, folder: Path) -> list[dict[str, Any]]:
    """The cells; files are made in `folder` and stay there."""
    images, index = folder / "images", folder / "index"
    backbone = Sift(top_k=options.descriptors)
    make_files(images, options.images)
    make_index(images, index, backbone, options)
    seconds = _times(lambda: index_images(images, index, backbone), options.repeats)
    cells = [_cell(options, "unchanged", seconds)]
    command = _command(images, index, options)
    cells.append(_cell(options, "unchanged, whole command", _times(command, options.repeats)))
    return cells + _query_cells(options, folder, index, backbone)


def make_files(folder: Path, num: int) -> None:
    """Files with the names of images, each of other bytes, of long ago."""
    then = time.time_ns() - A_WHILE_NS
    for number in range(num):
        path = folder / f"{number % FOLDERS:02}" / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(str(number).encode())
        os.utime(path, ns=(then, then))


def make_index(images: Path, index: Path, backbone: Sift, options: SearchSpeed) -> None:
    """A finished index of these files, whose descriptors and vectors are noise."""
    index.mkdir(parents=True)
    rng, files = np.random.default_rng(options.seed), scan_images(images)[0]
    names, made = [file.name for file in files], check_provenance(backbone.provenance)
    vocabulary = index / "vocabulary.npz"
    write_vocabulary(vocabulary, _unit(rng, options.clusters, backbone.dim), made)
    digest = vocabulary_digest(Vlad(vocabulary))
    vocabulary.rename(vocabulary_path(index, digest))
    sizes = (options.descriptors, backbone.dim, "float16")
    with DescriptorStore.create(local_path(index, 1), names, *sizes, made) as store:
        for name in names:
            store.append(name, _local(rng, options.descriptors, backbone.dim))
    width = options.clusters * backbone.dim
    path = vector_path(index, 1, digest)
    with GlobalWriter(path, names, width, made, dtype="float16") as writer:
        for first in range(0, len(names), BLOCK):
            part = names[first : first + BLOCK]
            writer.extend(part, _unit(rng, len(part), width))
    entries = tuple(
        Entry(*file, file_digest(images / file.name), 1, row, "") for row, file in enumerate(files)
    )
    record = IndexRecord(str(images.absolute()), made, digest, time.time_ns(), entries)
    write_record(index, record)


def _unit(rng: np.random.Generator, num: int, width: int) -> npt.NDArray[np.float32]:
    rows = rng.standard_normal((num, width), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def _local(rng: np.random.Generator, count: int, dim: int) -> LocalDescriptors:
    xy = rng.random((count, 2), dtype=np.float32)
    weight = np.linspace(1, 0.1, count, dtype=np.float32)
    return LocalDescriptors(_unit(rng, count, dim), xy, np.zeros(count, np.uint8), weight, (64, 64))


def _times(work: Callable[[], object], repeats: int) -> list[float]:
    """Seconds of every run but a first one, which fills caches."""
    work()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return seconds


def _command(images: Path, index: Path, options: SearchSpeed) -> Callable[[], object]:
    """The command in a process of its own. Raises MissingFile where there is no checkout."""
    if not SCRIPT.is_file():
        raise MissingFile("the command is missing", where=SCRIPT, expected="a checkout")
    given = [f"images={images.absolute()}", f"index={index.absolute()}", "backbone=sift"]
    given.append(f"backbone.arguments.top_k={options.descriptors}")
    words = [sys.executable, str(SCRIPT), *given]
    return lambda: subprocess.run(words, check=True, capture_output=True, cwd=images.parent)


def _query_cells(
    options: SearchSpeed, folder: Path, index: Path, backbone: Sift
) -> list[dict[str, Any]]:
    """A query as a whole, and its parts."""
    rng = np.random.default_rng(options.seed + 1)
    path, sizes = folder / "query_local.hdf5", (options.descriptors, backbone.dim, "float16")
    with DescriptorStore.create(path, ["query"], *sizes, backbone.provenance) as writer:
        writer.append("query", _local(rng, options.descriptors, backbone.dim))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        head = build_head("ames", dim_in=backbone.dim, **HEAD).eval().requires_grad_(False)
    scorer = PairScorer(head, "ames", "noise")
    with DescriptorStore.open(path) as queries:

        def whole() -> None:
            with OpenIndex(index) as opened:
                vectors = query_vectors(queries, Vlad(opened.vocabulary))
                _search(opened, vectors, queries, scorer, options)

        def opening() -> None:
            with OpenIndex(index) as opened:
                query_vectors(queries, Vlad(opened.vocabulary))

        with OpenIndex(index) as opened:
            vectors = query_vectors(queries, Vlad(opened.vocabulary))
            works: dict[str, Callable[[], object]] = {
                "query": whole,
                "  opening, its vector": opening,
                "  candidates": lambda: find_candidates(opened, vectors, options.num_rerank),
                "  both, opened": lambda: _search(opened, vectors, queries, scorer, options),
            }
            return [
                _cell(options, name, _times(work, options.repeats)) for name, work in works.items()
            ]


def _search(
    opened: OpenIndex,
    vectors: npt.NDArray[np.float32],
    queries: DescriptorStore,
    scorer: PairScorer,
    options: SearchSpeed,
) -> None:
    sides = ScoringOptions(options.descriptors, options.descriptors)
    ranker = Ranker(scorer, 0.5, 0.2, options.num_rerank, options=sides)
    search_index(opened, vectors, queries, ranker)


def _cell(options: SearchSpeed, work: str, seconds: list[float]) -> dict[str, Any]:
    """seconds: the median; load: that of the machine, afterwards."""
    return {
        "work": work,
        "images": options.images,
        "descriptors": options.descriptors,
        "num_rerank": options.num_rerank,
        "seconds": middle(seconds),
        "fastest": min(seconds),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "peak_memory_mib": peak_memory_mib(),
    }
