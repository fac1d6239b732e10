"""How fast heads score pairs: every cell a ratio to the dense referee in the same run.

A cell is a head at a precision on a device with Q x T descriptors. Input: `HeadSpeed`, what to
measure. Output: JSON-able dicts, one a cell. First of all the logits of every cell are compared
with the referee's; only then is anything timed. One query is scored against many candidates, in two
modes. `encoded`: candidates were encoded beforehand, the query is encoded in the measured time.
`with_encoding`: all is computed in it. The referee, `dense`, knows no such halves.

What is measured for real and what is not: `pairs` candidates are timed in turns, head and referee,
and the medians make pairs a second and ratios. Milliseconds of a query with more candidates are
measured (`measured`: true) while the budget lasts, otherwise, and for the referee always, they are
worked out from pairs a second. On a CPU more candidates are the same `pairs` ones as often as
needed; on CUDA they are distinct and scored in one call.

A cell: device, head, precision, num_query, num_gallery; `difference` of logits; pairs, repeats,
`seconds` of every round, `pairs_per_second` and `ratio` (to dense) by mode; `flops_per_pair` (see
flops.py) and `matmul_fraction`, the share of `matmul_flops_per_second` (measured) that is reached;
`peak_memory_mib` (see memory.py); `ms_per_query`, one row for each number of candidates.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from ames_lite.models import AMES
from benchmarks.flops import ames_flops, count_flops, matmul_rate
from benchmarks.memory import MemoryJob, peak_memory
from benchmarks.subjects import (
    DENSE,
    Dense,
    Size,
    Subject,
    build_variant,
    noise_images,
)
from benchmarks.timing import interleaved, middle, stopwatch

MODES = ("encoded", "with_encoding")
TOLERANCE = {"fp32": 1e-4, "bf16": 5e-3, "fp16": 5e-3}  # of a logit of AMES
CHECKED_PAIRS = 4
SHARE_FOR_ROUNDS = 0.4  # of the budget: no fourth round is begun after it
LONG = 1.0  # seconds of a query: it is timed once
CPU = torch.device("cpu")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HeadSpeed:
    """What to measure."""

    heads: Sequence[str]  # of variants()
    sizes: Sequence[Size]  # Q, T
    precisions: Sequence[str]
    pairs: int = 16  # candidates of a timed call
    candidates: Sequence[int] = (100, 1600)  # of a query
    repeats: int = 5
    dim_in: int = 768
    seed: int = 0
    budget: float = 480.0  # seconds; see above


class Key(NamedTuple):
    """The name of a cell on a device."""

    head: str
    precision: str
    size: Size


Cells = dict[Key, dict[str, Any]]


@torch.inference_mode()
def measure_heads(options: HeadSpeed, device: torch.device) -> list[dict[str, Any]]:
    """All cells on a device. Raises RuntimeError where logits differ from the referee's."""
    began = time.perf_counter()
    bench = Bench(options, device)
    cells = bench.compare()
    rates = {name: matmul_rate(device, name) for name in options.precisions}
    bench.time_rounds(cells, until=began + SHARE_FOR_ROUNDS * options.budget)
    bench.count(cells, rates)
    bench.weigh(cells)
    bench.time_queries(cells, until=began + options.budget)
    return list(cells.values())


class Bench:
    """Heads and referee on a device."""

    def __init__(self, options: HeadSpeed, device: torch.device) -> None:
        self.options, self.device = options, device
        names = dict.fromkeys([*options.heads, "ames"])
        self.heads = {n: build_variant(n, options.dim_in, options.seed, device) for n in names}
        self.dense = Dense(cast(AMES, self.heads["ames"]))

    def subject(self, key: Key) -> Subject:
        """The head of a cell."""
        return Subject(self.heads[key.head], key.precision, self.device)

    def images(self, size: Size, num: int) -> tuple[Tensor, Tensor]:
        """A query and num gallery images."""
        return noise_images(size, num, self.options.dim_in, self.options.seed, self.device)

    def compare(self) -> Cells:
        """The cells, with how far their logits are from what they should be."""
        cells: Cells = {}
        for size in self.options.sizes:
            for name in self.options.heads:
                head, images = self.heads[name], self.images(size, CHECKED_PAIRS)
                exact = self._exact(name, *images)
                for precision in self.options.precisions:
                    key = Key(name, precision, size)
                    logits = self.subject(key).answer(images[0], [images[1]], encoded=False)
                    largest = (logits.double() - exact.double()).abs().max().item()
                    cells[key] = self._cell(key, largest, isinstance(head, AMES))
        return cells

    def _exact(self, name: str, query: Tensor, gallery: Tensor) -> Tensor:
        """The referee's logits; of heads without a referee their own, pair by pair."""
        head = self.heads[name]
        if isinstance(head, AMES):
            return Dense(head)(query, gallery)
        alone = [head(query, tgt_local=gallery[i : i + 1]) for i in range(len(gallery))]
        return torch.cat(cast(list[Tensor], alone))

    def _cell(self, key: Key, largest: float, judged: bool) -> dict[str, Any]:
        tolerance = TOLERANCE[key.precision] if judged else None
        if tolerance is not None and not largest <= tolerance:
            raise RuntimeError(
                f"logits of {key.head} in {key.precision} at {key.size[0]} x {key.size[1]} on "
                f"{self.device} differ from the dense referee's by {largest:.2e}; at most "
                f"{tolerance:g} was expected: nothing was timed"
            )
        return {
            "device": str(self.device),
            "head": key.head,
            "precision": key.precision,
            "num_query": key.size[0],
            "num_gallery": key.size[1],
            "difference": {
                "logit": largest,
                "from": "dense, fp32" if judged else "the same head, fp32, pair by pair",
                "tolerance": tolerance,
            },
        }

    def time_rounds(self, cells: Cells, until: float) -> None:
        """Seconds of `pairs` candidates, heads and referee in turns; pairs a second and ratios."""
        pairs, began = self.options.pairs, time.perf_counter()
        for number, size in enumerate(self.options.sizes, start=1):
            query, gallery = self.images(size, pairs)
            works: dict[tuple[Key | None, str], Callable[[], object]] = {
                (None, DENSE): partial(self.dense, query, gallery)
            }
            for key in (key for key in cells if key.size == size):
                for mode in MODES:
                    works[key, mode] = self._work(key, query, [gallery], mode)
            share = (until - began) * number / len(self.options.sizes)
            seconds = interleaved(works, self.options.repeats, self.device, began + share)
            for key in (key for key in cells if key.size == size):
                own = {mode: seconds[key, mode] for mode in MODES} | {DENSE: seconds[None, DENSE]}
                cells[key] |= _speeds(own, pairs)
            log.info("timed %d x %d, %d rounds", *size, len(seconds[None, DENSE]))

    def _work(
        self, key: Key, query: Tensor, blocks: Sequence[Tensor], mode: str
    ) -> Callable[[], object]:
        """The call that a mode measures. Blocks of one length are taken for one and the same."""
        subject, ready = self.subject(key), {}
        if mode == "with_encoding":
            return partial(subject.answer, query, blocks, encoded=False)
        for block in blocks:
            if len(block) not in ready:
                ready[len(block)] = subject.encode(block)
        return partial(subject.answer, query, [ready[len(b)] for b in blocks], encoded=True)

    def count(self, cells: Cells, rates: dict[str, float]) -> None:
        """Operations of a pair, and which part of the device's measured rate they reach."""
        found: dict[tuple[str, Size], dict[str, Any]] = {}
        for key, cell in cells.items():
            at = (key.head, key.size)
            if at not in found:
                found[at] = count_pair(key.head, key.size, self.options)
            cell["flops_per_pair"], rate = found[at], rates[key.precision]
            cell["matmul_flops_per_second"] = rate
            for mode in MODES:
                once = found[at]["query"] / self.options.pairs
                work = (found[at][mode] + once) * cell["pairs_per_second"][mode]
                cell.setdefault("matmul_fraction", {})[mode] = work / rate

    def weigh(self, cells: Cells) -> None:
        """Peak memory of a call with `pairs` candidates, all of it computed there."""
        jobs = [self._job(DENSE, "fp32", size) for size in self.options.sizes]
        jobs += [self._job(*key) for key in cells]
        found = peak_memory(jobs, self.device)
        dense = dict(zip(self.options.sizes, found, strict=False))
        for key, own in zip(cells, found[len(dense) :], strict=True):
            whole = dense[key.size]
            ratio = whole / own if own and whole is not None else None
            cells[key]["peak_memory_mib"] = {"with_encoding": own, DENSE: whole, "ratio": ratio}
        log.info("weighed %d calls", len(jobs))

    def _job(self, head: str, precision: str, size: Size) -> MemoryJob:
        o, threads = self.options, torch.get_num_threads()
        return MemoryJob(head, precision, *size, o.pairs, o.dim_in, o.seed, threads)

    def time_queries(self, cells: Cells, until: float) -> None:
        """Milliseconds of a query, the quickest first, while there is time."""
        for cell in cells.values():
            cell["ms_per_query"] = [
                {"candidates": num, **_estimates(cell["pairs_per_second"], num)}
                for num in self.options.candidates
            ]
        waiting = [
            (row[mode]["ms"] / 1000, order, key, row, mode)
            for order, (key, cell) in enumerate(cells.items())
            for row in cell["ms_per_query"]
            for mode in MODES
        ]
        for expected, _, key, row, mode in sorted(waiting, key=lambda one: one[:2]):
            if time.perf_counter() + 1.5 * expected <= until:
                row[mode] = self._time_query(key, cells[key], row["candidates"], mode)
                if row[mode]["ms"] is not None:
                    row[mode]["ratio"] = row[DENSE]["ms"] / row[mode]["ms"]

    def _time_query(self, key: Key, cell: dict[str, Any], num: int, mode: str) -> dict[str, Any]:
        """One query with num candidates: the median of three runs, of one where it takes long."""
        query, blocks = self._candidates(key.size, num)
        cuda = self.device.type == "cuda"
        if cuda:
            torch.cuda.reset_peak_memory_stats(self.device)
        try:
            work = self._work(key, query, blocks, mode)
            seconds = [stopwatch(work, self.device)]
            while len(seconds) < 3 and seconds[0] < LONG:
                seconds.append(stopwatch(work, self.device))
        except torch.cuda.OutOfMemoryError:
            return {"ms": None, "ratio": None, "measured": True, "reason": "out of memory"}
        second, flops = middle(seconds), cell["flops_per_pair"]
        rate = (flops["query"] + num * flops[mode]) / second
        found = {"ms": 1000 * second, "measured": True, "runs": len(seconds)}
        found["matmul_fraction"] = rate / cell["matmul_flops_per_second"]
        if cuda:
            found["peak_memory_mib"] = torch.cuda.max_memory_allocated(self.device) / 2**20
        return found

    def _candidates(self, size: Size, num: int) -> tuple[Tensor, list[Tensor]]:
        """A query and num candidates in blocks, as many as are scored at a time."""
        if self.device.type == "cuda":
            query, gallery = self.images(size, num)
            return query, [gallery]
        step = self.options.pairs
        query, gallery = self.images(size, min(num, step))
        return query, [gallery[: num - first] for first in range(0, num, step)]


def _estimates(speeds: dict[str, float], num: int) -> dict[str, Any]:
    """What pairs a second promise for a query with num candidates."""
    return {
        name: {"ms": 1000 * num / speed, "ratio": speed / speeds[DENSE], "measured": False}
        for name, speed in speeds.items()
    }


def _speeds(seconds: dict[str, list[float]], pairs: int) -> dict[str, Any]:
    medians = {name: middle(values) for name, values in seconds.items()}
    return {
        "pairs": pairs,
        "repeats": len(seconds[DENSE]),
        "seconds": seconds,
        "pairs_per_second": {name: pairs / value for name, value in medians.items()},
        "ratio": {mode: medians[DENSE] / medians[mode] for mode in MODES},
    }


def count_pair(name: str, size: Size, options: HeadSpeed) -> dict[str, Any]:
    """Operations of one pair on a CPU: counted, and for AMES worked out too."""
    head = build_variant(name, options.dim_in, options.seed, CPU)
    query, gallery = noise_images(size, 1, options.dim_in, options.seed, CPU)
    subject = Subject(head, "fp32", CPU)
    encoded = subject.encode(gallery)
    once = count_flops(lambda: head.encode(query))
    scoring = count_flops(lambda: subject.answer(query, [encoded], encoded=True)) - once
    referee = head if isinstance(head, AMES) else build_variant("ames", options.dim_in, 0, CPU)
    found: dict[str, Any] = {
        "query": once,
        "encoded": scoring,
        "with_encoding": scoring + count_flops(lambda: subject.encode(gallery)),
        DENSE: count_flops(partial(Dense(cast(AMES, referee)), query, gallery)),
    }
    if isinstance(head, AMES):
        found["worked_out"] = ames_flops(head.arguments, *size)._asdict()
    return found
