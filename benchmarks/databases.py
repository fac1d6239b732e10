"""Vectors in a database against those of an index folder, each in a process of its own.

    python -m benchmarks.databases [<rows> [<folder for the databases>]]

The vectors [rows, 1280] have unit length and come from a mixture of Gaussians: a row is the centre
of its cluster (100 rows each, centres uniform on the sphere) plus noise of 0.7 times its length; so
are the 50 queries. Columns: recall@100 against the exact result in float32; median ms of a query
for 100 names; MB on disk; seconds and peak resident MiB of the process while it writes. The index
folder is read again for every query, as by a search. Qdrant is in memory: its folder form commits
every row by itself, 15 to 20 ms each here.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.cli.shell import exit_code, print_table
from ames_lite.retrieval.knn import most_similar
from ames_lite.search.databases import open_database
from ames_lite.stores.global_store import GlobalStore
from ames_lite.stores.row_writer import GlobalWriter
from benchmarks.own_process import forget_peak, peak_mib

WIDTH, QUERIES, FOUND, SEED = 1280, 50, 100, 0
PER_CLUSTER, NOISE, BLOCK = 100, 0.7, 1 << 13
KINDS = ("index folder", "milvus", "qdrant", "lancedb")
HEADER = ["", "recall@100", "ms/query", "MB on disk", "s to write", "peak MiB"]
Floats = npt.NDArray[np.float32]
Search = Callable[[Floats], list[str]]


def name_of(row: int) -> str:
    return f"images/{row // 1000:04}/{row:08}.jpg"


def unit(rows: Floats) -> Floats:
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def drawn(rows: int, number: int, count: int) -> Floats:
    """Block `number` of the mixture for so many rows; -1: the queries."""
    clusters = max(1, rows // PER_CLUSTER)
    centres = np.random.default_rng(SEED).standard_normal((clusters, WIDTH), np.float32)
    rng = np.random.default_rng([SEED, number + 1])
    noise = unit(rng.standard_normal((count, WIDTH), np.float32)) * np.float32(NOISE)
    return unit(unit(centres)[rng.integers(0, clusters, count)] + noise)


def blocks(rows: int) -> Iterator[tuple[list[str], Floats]]:
    for number, first in enumerate(range(0, rows, BLOCK)):
        count = min(BLOCK, rows - first)
        names = [name_of(row) for row in range(first, first + count)]
        yield names, drawn(rows, number, count)


def exact(rows: int) -> list[list[str]]:
    """The names that are most similar to each query, by the product of all."""
    queries = drawn(rows, -1, QUERIES)
    sims = np.concatenate([queries @ block.T for _, block in blocks(rows)], axis=1)
    best = np.argsort(-sims, axis=1)[:, :FOUND]
    return [[name_of(row) for row in one] for one in best.tolist()]


def fill_folder(rows: int, folder: Path) -> Search:
    path, names = folder / "global.hdf5", [name_of(row) for row in range(rows)]
    with GlobalWriter(path, names, WIDTH, {}, dtype="float16") as writer:
        for part, block in blocks(rows):
            writer.extend(part, block)

    def search(query: Floats) -> list[str]:
        with GlobalStore(path) as store:
            starts = range(0, rows, BLOCK)
            parts = (np.arange(start, min(start + BLOCK, rows)) for start in starts)
            read = ((store.rows(int(ids[0]), int(ids[-1]) + 1), ids) for ids in parts)
            return [names[row] for row in most_similar(query, read, FOUND, rows).ids[0].tolist()]

    return search


def fill_database(kind: str, rows: int, folder: Path) -> Search:
    place = ":memory:" if kind == "qdrant" else folder / "a.db"
    database = open_database(f"{kind}:{place}#vectors", create=True)
    for names, block in blocks(rows):
        sizes: Any = [{"size": 100_000 + len(name)} for name in names]
        database.upsert(names, block, sizes)
    return lambda query: database.search(query, FOUND).names[0]


def measured(kind: str, rows: int, folder: Path) -> dict[str, Any]:
    """Write and search in this process; the figures of a row."""
    forget_peak()
    began = time.perf_counter()
    search = fill_folder(rows, folder) if kind == KINDS[0] else fill_database(kind, rows, folder)
    seconds, peak = time.perf_counter() - began, peak_mib()
    found, times = [], []
    for query in drawn(rows, -1, QUERIES):
        began = time.perf_counter()
        found.append(search(query[None]))
        times.append(1000 * (time.perf_counter() - began))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {
        "found": found,
        "ms": statistics.median(times),
        "mb": size / 1e6,
        "seconds": seconds,
        "mib": peak,
    }


def in_own_process(kind: str, rows: int, folder: Path) -> dict[str, Any]:
    words = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "benchmarks.databases",
        str(rows),
        str(folder),
        kind,
    ]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def row_of(kind: str, rows: int, folder: Path, wanted: list[list[str]]) -> list[object]:
    with TemporaryDirectory(dir=folder) as place:
        one = in_own_process(kind, rows, Path(place))
    both = zip(one["found"], wanted, strict=True)
    recall = np.mean([len(set(a) & set(b)) / len(b) for a, b in both])
    figures = (f"{one['ms']:.0f}", f"{one['mb']:.0f}", f"{one['seconds']:.0f}", f"{one['mib']:.0f}")
    return [kind, f"{recall:.4f}", *figures]


def main(words: list[str]) -> None:
    rows, folder = int((words or ["100000"])[0]), Path((words[1:] or ["."])[0])
    if len(words) == 3:
        sys.stdout.write(json.dumps(measured(words[2], rows, folder)) + "\n")
        return
    wanted = exact(rows)
    print_table(HEADER, [row_of(kind, rows, folder, wanted) for kind in KINDS])


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:])))
