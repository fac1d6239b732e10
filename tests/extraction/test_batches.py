"""Batches and workers: order kept, bounds kept, a bad image harms no other, nothing waits."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.extraction.backbones.interface import Described
from ames_lite.extraction.backbones.sift import Sift
from ames_lite.extraction.batches import (
    WINDOW,
    Job,
    batches_of,
    describe_all,
    in_order,
    window_of,
)
from ames_lite.io.images import save_jpeg
from ames_lite.records import LocalDescriptors


@dataclass
class Seen:
    shape: int
    number: int
    num_pixels: int = 10


class Counting:
    """A backbone that remembers its batches; every seventh image has NaN for a reason."""

    dim, global_kind, global_dim, batch_pixels = 4, None, 0, 30

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def prepare(self, image: np.ndarray, box: Any = None) -> Seen:
        if image.shape[1] == 41:
            raise BadInput("41 wide")
        return Seen(image.shape[0], image.shape[1])

    @property
    def provenance(self) -> dict[str, Any]:
        return {}

    def describe(self, batch: Sequence[Seen]) -> list[Described]:
        assert len({seen.shape for seen in batch}) == 1
        self.batches.append([seen.number for seen in batch])
        if any(seen.number == 47 for seen in batch):
            raise BadInput("47 wide")
        return [Described(record(seen.number)) for seen in batch]

    def extract(self, image: np.ndarray, box: Any = None) -> LocalDescriptors:
        return self.describe([self.prepare(image)])[0].local


def record(number: int) -> LocalDescriptors:
    one = np.full((1, 4), number, np.float32)
    zero = np.zeros((1, 2), np.float32)
    return LocalDescriptors(one, zero, np.zeros(1, np.uint8), np.ones(1, np.float32), (9, number))


def images(folder: Path, count: int) -> list[Job]:
    jobs = []
    for number in range(count):
        picture = np.zeros((20 + 10 * (number % 2), 40 + number, 3), np.uint8)
        save_jpeg(folder / f"{number}.jpg", picture, 80)
        jobs.append(Job(f"{number}.jpg", folder / f"{number}.jpg", None))
    return jobs


def test_groups_are_of_one_shape_and_within_the_bound() -> None:
    rng = np.random.default_rng(0)
    shapes, bound = rng.integers(0, 4, 100).tolist(), 25
    pixels = [1 + 5 * shape for shape in shapes]
    items = [Seen(s, 0, p) for s, p in zip(shapes, pixels, strict=True)]
    batches = batches_of(items, bound)
    assert sorted(index for batch in batches for index in batch) == list(range(100))
    for batch in batches:
        assert len({shapes[index] for index in batch}) == 1 and batch == sorted(batch)
        assert sum(pixels[index] for index in batch) <= bound
    fewest = sum(-(-shapes.count(s) // (bound // (1 + 5 * s))) for s in range(4))
    assert len(batches) == fewest
    assert batches_of([Seen(0, 0, 100)], 1) == [[0]]  # a large image goes alone
    assert batches_of(items, 0) == [[index] for index in range(100)]


def test_results_come_in_order_and_a_bad_image_harms_no_other(tmp_path: Path) -> None:
    jobs, backbone = images(tmp_path, 12), Counting()
    (tmp_path / "3.jpg").unlink()
    (tmp_path / "4.jpg").write_bytes(b"")
    found = [r if isinstance(r, str) else r.local for r in describe_all(jobs, backbone, 1)]
    for number, result in enumerate(found):
        if number in (1, 3, 4, 7):
            assert isinstance(result, str)
        else:
            assert isinstance(result, LocalDescriptors) and result.size == (9, 40 + number)
    assert "41 wide" in str(found[1]) and "missing" in str(found[3])
    assert "cannot be decoded" in str(found[4]) and "47 wide" in str(found[7])
    assert max(map(len, backbone.batches)) == 3


def test_a_run_that_begins_at_a_window_forms_the_same_batches(tmp_path: Path) -> None:
    jobs, whole, rest = images(tmp_path, WINDOW + 9), Counting(), Counting()
    list(describe_all(jobs, whole, 1))
    list(describe_all(jobs[WINDOW:], rest, 1))
    assert rest.batches and whole.batches[-len(rest.batches) :] == rest.batches
    assert window_of(whole) == WINDOW and window_of(Sift()) == 1


def double(number: int) -> int:
    time.sleep(0.002 * (number % 3))
    return 2 * number


def die(number: int) -> int:
    os._exit(9) if number == 5 else None
    return number


@pytest.mark.parametrize("method", ["forkserver", "fork"])
def test_workers_keep_the_order(method: str) -> None:
    assert list(in_order(double, range(100), 2, method)) == [2 * n for n in range(100)]


def test_few_results_wait_at_any_time() -> None:
    drawn = []

    class Jobs(list[int]):
        def __iter__(self) -> Any:
            for job in super().__iter__():
                drawn.append(job)
                yield job

    results = in_order(double, Jobs(range(300)), 2, "fork")
    for _ in range(10):
        next(results)
    results.close()
    assert len(drawn) <= 10 + WINDOW


def test_a_worker_that_dies_is_an_error_that_says_so() -> None:
    with pytest.raises(BadInput, match="a worker process died"):
        list(in_order(die, range(50), 2, "fork"))
