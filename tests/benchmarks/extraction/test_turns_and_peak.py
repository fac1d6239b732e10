"""Long works take turns within a budget; peak memory is that of one work alone."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import own_process
from benchmarks.extraction.turns import in_turns

CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parents[3]


def test_the_order_turns_round_from_round_to_round() -> None:
    done: list[str] = []
    works = {name: lambda name=name: done.append(name) for name in "ab"}
    seconds = in_turns(works, 3, CPU, until=float("inf"))
    assert "".join(done) == "abbaab"
    assert [len(values) for values in seconds.values()] == [3, 3]


def test_the_first_round_is_run_whatever_the_clock_says_and_no_other() -> None:
    works: dict[str, Any] = {"a": lambda: None}
    assert len(in_turns(works, 5, CPU, until=time.perf_counter() - 1)["a"]) == 1
    slow = {"a": lambda: time.sleep(0.05)}
    assert len(in_turns(slow, 9, CPU, until=time.perf_counter() + 0.06)["a"]) == 1


@pytest.mark.slow
def test_what_was_needed_before_does_not_count() -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("this system cannot forget a peak")
    code = """
import torch
from benchmarks import own_process as peak
large = torch.ones(1 << 25)  # 128 MiB
before = peak.peak_mib()
del large
peak.forget_peak()
after = peak.peak_mib()
large = torch.ones(1 << 25)
print(before - after, peak.peak_mib() - after)
"""
    done = subprocess.run(  # a process that has freed nothing else
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    forgotten, again = map(float, done.stdout.split())
    assert forgotten > 100 and again > 100


@pytest.mark.slow
def test_a_job_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match="(?s)the worker.*rows"):
        own_process.peak_of("benchmarks.extraction.neighbours:peak_job", dim=3)
