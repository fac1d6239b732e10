"""Peak memory of one call, each in a process of its own.

Input: jobs (a head or `dense`, precision, sizes). Output: MiB, or None where the system does not
tell. On a CPU: by how much the largest resident size of a fresh process exceeds what it was before
the call (weights, images and libraries, warmed up by a call on tiny images, are there by then). On
CUDA: by how much the allocator's peak exceeds what was allocated before.

`python -m benchmarks.memory` is the worker: jobs as JSON on standard input, answers
on standard output. It imports torch once, computes nothing, and forks for every job.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import cast

import torch

from ames_lite.models import AMES
from ames_lite.runtime import peak_memory_mib
from benchmarks.subjects import (
    DENSE,
    Dense,
    Size,
    Subject,
    build_variant,
    noise_images,
)

TINY = (3, 3)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MemoryJob:
    """One call: num_query x num_gallery descriptors, one query and `pairs` gallery images."""

    head: str  # one of variants(), or DENSE
    precision: str
    num_query: int
    num_gallery: int
    pairs: int
    dim_in: int
    seed: int
    threads: int


def peak_memory(jobs: Sequence[MemoryJob], device: torch.device) -> list[float | None]:
    """MiB of each job."""
    if device.type == "cuda":
        return [_peak_on_cuda(job, device) for job in jobs]
    if not hasattr(os, "fork"):
        return [None] * len(jobs)
    root = str(Path(__file__).resolve().parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [sys.executable, "-W", "ignore", "-m", __name__]
    done = subprocess.run(
        command,
        input=json.dumps([asdict(job) for job in jobs]),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    if done.returncode != 0:
        raise RuntimeError(f"the worker that measures memory ended with {done.stderr}")
    answers: list[float | None] = json.loads(done.stdout)
    for job, answer in zip(jobs, answers, strict=True):
        if answer is None:
            log.warning("no memory figure: its process was ended by the system: %s", job)
    return answers


def _work(
    job: MemoryJob, device: torch.device, size: Size, pairs: int
) -> Callable[[], torch.Tensor]:
    """What is measured, with all that is there before."""
    query, gallery = noise_images(size, pairs, job.dim_in, job.seed, device)
    if job.head == DENSE:
        head = build_variant("ames", job.dim_in, job.seed, device)
        return partial(Dense(cast(AMES, head)), query, gallery)
    subject = Subject(build_variant(job.head, job.dim_in, job.seed, device), job.precision, device)
    return partial(subject.answer, query, [gallery], encoded=False)


@torch.inference_mode()
def _peak_on_cuda(job: MemoryJob, device: torch.device) -> float | None:
    """None where the memory does not suffice."""
    _work(job, device, TINY, 1)()
    work = _work(job, device, (job.num_query, job.num_gallery), job.pairs)
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    try:
        work()
    except torch.cuda.OutOfMemoryError:
        return None
    return (torch.cuda.max_memory_allocated(device) - before) / 2**20


@torch.inference_mode()
def _peak_here(job: MemoryJob) -> float:
    """MiB of a job in this process, which computed nothing before."""
    torch.set_num_threads(job.threads)
    device = torch.device("cpu")
    _work(job, device, TINY, 1)()
    work = _work(job, device, (job.num_query, job.num_gallery), job.pairs)
    before = peak_memory_mib()
    work()
    return peak_memory_mib() - before


def _peak_in_child(job: MemoryJob) -> float | None:
    """The same in a child process; None where the system ended it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.write(writer, repr(_peak_here(job)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return None
    return float(answer)


if __name__ == "__main__":
    jobs = [MemoryJob(**job) for job in json.load(sys.stdin)]
    json.dump([_peak_in_child(job) for job in jobs], sys.stdout)
