"""Short measurements that a plan is worked out from: two images, a few vectors, pairs or steps."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch

from ames_lite.errors import MissingFile, require
from ames_lite.evaluation.data import EvaluationData
from ames_lite.extraction.backbones.dinov2 import Dinov2, random_network
from ames_lite.extraction.backbones.interface import Backbone
from ames_lite.extraction.batches import jobs_of, prepare_job
from ames_lite.models import SimilarityHead
from ames_lite.reranking.scorer import PairScorer, ScoringOptions
from ames_lite.retrieval.knn import MARGIN, exact_knn
from ames_lite.runtime import peak_memory_mib
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.training.recipe import Recipe
from ames_lite.training.sampler import TripletSampler
from ames_lite.training.trainer import Trainer

LEAST = 0.3  # seconds that are timed
MOST_ROWS, MOST_VALUES = 1 << 14, 1 << 26  # of the gallery that is searched in a probe
PROBED_PAIRS = 48  # of a query
PROBED_TRIPLETS, PROBED_STEPS = 8, 4  # the first step warms up


class Probe(NamedTuple):
    """seconds: before the first item, and of each; memory: MiB of this process and of a device."""

    once: float
    each: float
    memory: float
    device: float = 0.0


def timed(work: Callable[[], Any]) -> float:
    """Seconds of a call, the mean of as many as take LEAST."""
    began, rounds = time.perf_counter(), 0
    while rounds == 0 or time.perf_counter() - began < LEAST:
        work()
        rounds += 1
    return (time.perf_counter() - began) / rounds


def probe_images(
    backbone: Backbone, root: Path, names: Sequence[str], workers: int
) -> tuple[Probe, str]:
    """Two images of the list, prepared and described; and what a reader must know of it."""
    began = time.perf_counter()
    said = _load(backbone)
    once = time.perf_counter() - began
    rows = sorted({0, len(names) // 2})
    jobs = [job for row in rows for job in jobs_of(root, names, None, range(row, row + 1))]
    ready = [prepare_job(job, backbone.prepare) for job in jobs]
    unreadable = [one for one in ready if isinstance(one, str)]
    remedy = "images=<the folder that image names are relative to>"
    require(not unreadable, "".join(unreadable[:1]), expected="two images to try", remedy=remedy)
    backbone.describe(ready[:1])  # warm-up
    loaded = _device_mib()
    describing = timed(lambda: [backbone.describe([one]) for one in ready]) / len(ready)
    preparing = timed(lambda: [prepare_job(job, backbone.prepare) for job in jobs]) / len(jobs)
    each = preparing + describing
    if workers > 1:  # side by side, as far as the cores allow
        on_gpu = backbone.batch_pixels > 0
        shared = 0.0 if on_gpu else preparing / torch.get_num_threads()
        each = max(describing + shared, preparing / workers)
    pixels = max(getattr(one, "num_pixels", 1) for one in ready)
    batch = max(1, backbone.batch_pixels // pixels)
    peak = loaded + batch * max(0.0, _device_mib(peak=True) - loaded)
    return Probe(once, each, peak_memory_mib(), peak), said


def _load(backbone: Backbone) -> str:
    """Load the weights; where they are missing, random ones of the same shapes stand in."""
    try:
        _ = backbone.provenance
    except MissingFile:
        if not isinstance(backbone, Dinov2):
            raise
        spec: Any = backbone._spec
        vars(backbone)["_load"] = lambda: (random_network(spec, 0), "random")
        _ = backbone.provenance
        return "the weights are missing: random ones of the same shapes were timed"
    return ""


def _device_mib(*, peak: bool = False) -> float:
    if not torch.cuda.is_initialized():
        return 0.0
    found = torch.cuda.max_memory_allocated() if peak else torch.cuda.memory_allocated()
    return found / 2**20


def _resident_mib() -> float:
    """Of this process now, where the system says it, else at most so far."""
    path = Path("/proc/self/statm")
    if not path.is_file():
        return peak_memory_mib()
    return int(path.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def probe_knn(queries: int, gallery: int, dim: int, k: int, device: str) -> Probe:
    """A search of random vectors, as it grows with queries x gallery and x k. each: all of it."""
    rng = np.random.default_rng(0)
    q, n = min(queries, 256), min(gallery, MOST_ROWS, max(4, MOST_VALUES // dim))
    asked, searched = (rng.standard_normal((count, dim), np.float32) for count in (q, n))
    few = max(1, n // 4)
    deep = min(k, few)
    search = partial(exact_knn, asked, k=deep, device=device)
    search(searched[:few])  # warm-up
    small, whole = (timed(partial(search, searched[:count])) for count in (few, n))
    scan = max(0.0, whole - small) / max(1, n - few)  # of a gallery row
    lists = max(0.0, small - scan * few) * (min(k, gallery) + MARGIN) / (deep + MARGIN)
    seconds = (scan * gallery + lists) * queries / q
    held = 4 * (queries + min(gallery, max(1, (1 << 29) // (4 * dim)))) * dim + 8 * queries * k
    return Probe(0.0, seconds, peak_memory_mib() + held / 2**20, _device_mib(peak=True))


def probe_pairs(
    data: EvaluationData, scorer: PairScorer, options: ScoringOptions
) -> tuple[float, float, float]:
    """Seconds of an image that is read and encoded, and of a pair; MiB of this process. One query,
    and four, with the candidates of the first: two times for two unknowns.
    """
    near = np.sort(data.neighbors.ids[0][:PROBED_PAIRS])
    few, count = min(4, len(data.neighbors.ids)), len(near)

    def seconds(queries: int) -> float:
        query, gallery = np.repeat(np.arange(queries), count), np.tile(near, queries)
        return timed(lambda: scorer.score(*data.stores, query, gallery, options))

    seconds(1)  # warm-up
    one, several = seconds(1), seconds(few)
    if few == 1:
        return 0.0, one / count, peak_memory_mib()
    # one = (1 + count) image + count pair; several = (few + count) image + few count pair
    matrix = np.array([[1 + count, count], [few + count, few * count]], np.float64)
    image, pair = np.linalg.solve(matrix, [one, several]).tolist()
    if image < 0 or pair < 0:  # noise
        image, pair = (0.0, several / (few * count)) if image < 0 else (one / (1 + count), 0.0)
    return image, pair, peak_memory_mib()


def probe_steps(
    head: SimilarityHead,
    store: DescriptorStore,
    sampler: TripletSampler,
    recipe: Recipe,
    device: torch.device,
) -> Probe:
    """Steps of a small batch with a mean number of descriptors. each: of a step of the recipe."""
    high = min(recipe.max_count, store.max_count)
    low = min(recipe.min_count or high, high)
    mean, square = (low + high) / 2, (low * low + low * high + high * high) / 3
    count = round((mean + square**0.5) / 2)  # time grows between linearly and with the square
    few = {"batch_size": sampler.batch_size, "accumulate": 1, "min_count": 0, "max_count": count}
    before, ticks = _resident_mib(), [time.perf_counter()]
    with TemporaryDirectory() as folder:
        small = replace(recipe, **few)
        trainer = Trainer(head, store, sampler, small, folder, None, device, prefetch=0)
        with closing(trainer.run_steps(0, min(PROBED_STEPS, trainer.steps))) as steps:
            ticks += [time.perf_counter() for _ in steps]
    took = min(np.diff(ticks)[1:], default=ticks[-1] - ticks[0])
    share = recipe.batch_size / sampler.batch_size
    grown = (peak_memory_mib() - before) * share / recipe.accumulate * high / count
    held = _device_mib(peak=True) * share / recipe.accumulate
    return Probe(ticks[1] - ticks[0], float(took) * share, before + grown, held)
