"""Time and size of a report as large as ROxford's, of the photographs of a folder.

    python -m benchmarks.report_cost <folder of photographs>

70 queries with lists of 20 images that are theirs alone, as far as the photographs go around; the
pairs of the first 5 are explained by an AMES of the published size on 600 random descriptors of 768
dimensions an image, which cost what real ones do.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from ames_lite.cli.shell import exit_code, print_table
from ames_lite.errors import check_config
from ames_lite.evaluation.evaluator import plain_metrics
from ames_lite.evaluation.pair_view import PairViews
from ames_lite.evaluation.protocols import Retrieval, get_protocol
from ames_lite.evaluation.report import Shown, write_report
from ames_lite.evaluation.results_file import Rankings
from ames_lite.evaluation.tuning import grid
from ames_lite.io.images import list_images
from ames_lite.models import build_head
from ames_lite.records import GroundTruth, LocalDescriptors, Neighbors, PairScores

QUERIES, IMAGES, PAIRS = 70, 20, 5
DESCRIPTORS, WIDTH = 600, 768
HEADER = ["queries", "images", "pairs", "photographs", "seconds", "MB"]


@cache
def described(row: int) -> LocalDescriptors:
    rng = np.random.default_rng(row)
    vectors = rng.standard_normal((DESCRIPTORS, WIDTH)).astype(np.float32)
    weight = np.sort(rng.random(DESCRIPTORS, np.float32))[::-1]
    xy, scale = rng.random((DESCRIPTORS, 2), np.float32), np.ones(DESCRIPTORS, np.uint8)
    return LocalDescriptors(vectors, xy, scale, weight, (768, 1024))


def rankings(photographs: Sequence[Path], folder: Path) -> Rankings:
    """A run on links to the photographs, in that folder."""
    names = [
        f"{n}{photographs[n % len(photographs)].suffix}" for n in range(QUERIES * (IMAGES + 1))
    ]
    for n, name in enumerate(names):
        (folder / name).symlink_to(photographs[n % len(photographs)].absolute())
    gallery, queries = tuple(names[:-QUERIES]), tuple(names[-QUERIES:])
    rows = np.arange(len(gallery), dtype=np.int32).reshape(QUERIES, IMAGES)
    sims = np.tile(np.linspace(1, 0, IMAGES, dtype=np.float32), (QUERIES, 1))
    right, none = tuple(rows[:, ::3].astype(np.int64)), (np.empty(0, np.int64),) * QUERIES
    truth = GroundTruth(queries, gallery, none, right, none, (None,) * QUERIES)
    logits = np.random.default_rng(0).standard_normal(rows.size).astype(np.float32)
    scores = PairScores(np.repeat(np.arange(QUERIES), IMAGES), rows.ravel(), logits)
    lists = Retrieval(get_protocol("revisitop"), truth, Neighbors(rows, sims, len(gallery)))
    before = lists.evaluate()
    (row,) = grid(lists, scores, num_reranks=[IMAGES], lambs=[0.5], temps=[1.0])
    aps = zip(queries, before.main_ap.tolist(), row.main_ap.tolist(), strict=True)
    settings = {"num_rerank": IMAGES, "lamb": 0.5, "temp": 1.0, "tuned_on": None, "role": "given"}
    counts = {"query_desc_num": DESCRIPTORS, "gallery_desc_num": DESCRIPTORS}
    results = {
        **{"dataset": "photographs", "desc_name": "random", "model": "ames", "versions": {}},
        "global": plain_metrics(before.metrics),
        "rows": [{**settings, **counts, "metrics": plain_metrics(row.metrics)}],
        "per_query": [{"name": name, "global_ap": a, "ap": b} for name, a, b in aps],
    }
    return Rankings(lists.protocol, truth, lists.neighbors, scores, results, folder)


def main(arguments: Sequence[str]) -> None:
    check_config(len(arguments) == 1, "no folder is given", "a folder of photographs")
    root = Path(arguments[0])
    photographs = [root / name for name in list_images(root)]
    check_config(photographs, "there are no photographs", "a folder of them", where=root)
    views = PairViews(build_head("ames", dim_in=WIDTH), described, described)
    with tempfile.TemporaryDirectory() as folder:
        found, page = rankings(photographs, Path(folder)), Path(folder) / "report.html"
        began = time.perf_counter()
        write_report(page, found, folder, Shown(QUERIES, IMAGES, PAIRS), views)
        seconds, size = time.perf_counter() - began, page.stat().st_size / 1e6
    shown = [QUERIES, IMAGES, PAIRS, min(len(photographs), QUERIES * (IMAGES + 1))]
    print_table(HEADER, [[*shown, f"{seconds:.1f}", f"{size:.1f}"]])


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:])))
