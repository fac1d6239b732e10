"""`python scripts/benchmark.py suite=extract`: its keys, its parts, its tables.

What is measured is in extract/speed/; its files say what their cells hold. Parts that are networks
run on every device, the others on the CPU; the budget is shared out by SHARES among the parts that
are asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ames_lite.cli.shell import as_list, print_table
from ames_lite.errors import ConfigError
from ames_lite.extraction.backbones.dinov2 import PATCH
from benchmarks.extraction.extraction import ExtractionSpeed, measure_extraction
from benchmarks.extraction.neighbours import NeighbourSpeed, measure_neighbours
from benchmarks.extraction.reading import ReadingSpeed, check_reading, measure_reading
from benchmarks.extraction.subjects import NETWORKS, PLAIN
from benchmarks.keys import (
    PRECISIONS,
    chosen,
    count_of,
    devices_of,
    parse_size,
    precisions_of,
    scratch_of,
)
from benchmarks.schema import Benchmark

SHARES = {"extract": 0.5, "read": 0.1, "knn": 0.4}  # of the budget
Cells = list[dict[str, Any]]
EXTRACT_NOTE = """
From JPEG files to descriptors of {images} images, medians of {repeats} rounds in turns. plain: one
image at a time in fp32, transformers' forward as it stands, the same weights (random) and resizing.
ratio: seconds of plain / of the project, higher is better. MiB: peak of a process that does nothing
else (CUDA: of the allocator). 1-cos: largest of a kept descriptor, from plain's of the same patch;
alike: share of the same patches chosen.
"""
READ_NOTE = """
{rows} random images x {count} descriptors x {dim} float16 of a store of {gib:.1f} GiB, dropped from
the system's memory before every reading; other images every round, {repeats} rounds. ratio: seconds
of the store / of memmap, lower is better. from disk: bytes that the system read / that were wanted;
above 1 it read ahead, below 1 they were in memory and the figures are worth nothing (scratch= has
to be on a disk, not on a tmpfs).
"""
KNN_NOTE = """
{rows} vectors of width {dim} against themselves, {k} neighbours, {threads} threads of faiss,
{repeats} rounds. flat: one search of faiss' flat index for one more. ratio: seconds of exact_knn /
of flat, lower is better. MiB: peak of a process that has the vectors, searches and keeps the lists.
"""


def prepare_extract(config: Benchmark) -> Callable[[Path], Cells]:
    """Everything that a user can have wrong, checked; what is left is the measuring."""
    parts = chosen("parts", config.parts, list(SHARES))
    scratch = scratch_of(config.scratch)
    makers: dict[str, Callable[[Benchmark], Callable[..., Any]]] = {
        "extract": _extraction,
        "read": _reading,
        "knn": _neighbours,
    }
    options = {part: makers[part](config) for part in parts}
    if "read" in options:
        check_reading(options["read"](budget=0.0), scratch or Path.cwd())
    devices = devices_of(config.device) if "extract" in parts else []
    precisions = precisions_of(config.precisions, devices) if devices else []

    def measure(folder: Path) -> Cells:
        began, cells = time.perf_counter(), []
        for index, part in enumerate(parts):
            left = max(0.0, config.budget - (time.perf_counter() - began))
            share = left * SHARES[part] / sum(SHARES[name] for name in parts[index:])
            if part == "extract":
                for device in devices:
                    own = [name for name in precisions if name in PRECISIONS[device.type]]
                    timed = options[part](precisions=own, budget=share / len(devices))
                    cells += measure_extraction(timed, device)
            elif part == "read":
                cells += measure_reading(options[part](budget=share), scratch or folder)
            else:
                cells += measure_neighbours(options[part](budget=share))
        return cells

    return measure


def _extraction(config: Benchmark) -> Callable[..., ExtractionSpeed]:
    own = vars(config.extract)
    counts: dict[str, Any] = {
        key: count_of(f"extract.{key}", own[key])
        for key in ("num_images", "image_size", "top_k", "workers")
    }
    if counts["image_size"] < PATCH:
        raise ConfigError(f"extract.image_size={own['image_size']}", expected=f"{PATCH} or more")
    pixels = own["batch_pixels"]
    if pixels is not None and (not isinstance(pixels, int) or pixels < 0):
        raise ConfigError(f"extract.batch_pixels={pixels}", expected="a number from 0, or null")
    shapes = [parse_size(text) for text in as_list(own["shapes"])]
    if not shapes:
        raise ConfigError("extract.shapes is empty", expected="at least one, such as 900x900")
    return partial(
        ExtractionSpeed,
        variants=chosen("extract.variants", own["variants"], NETWORKS),
        shapes=shapes,
        batch_pixels=pixels,
        **counts,
        **_shared(config),
    )


def _reading(config: Benchmark) -> Callable[..., ReadingSpeed]:
    own = vars(config.read)
    counts: dict[str, Any] = {
        key: count_of(f"read.{key}", own[key]) for key in ("stored", "rows", "count")
    }
    return partial(
        ReadingSpeed,
        store_gib=float(own["store_gib"]),
        dim=count_of("dim_in", config.dim_in),
        **counts,
        **_shared(config),
    )


def _neighbours(config: Benchmark) -> Callable[..., NeighbourSpeed]:
    counts = {key: count_of(f"knn.{key}", getattr(config.knn, key)) for key in ("rows", "k")}
    if counts["k"] >= counts["rows"]:
        raise ConfigError(
            f"knn.k={counts['k']} of knn.rows={counts['rows']}", expected="fewer neighbours"
        )
    dim = count_of("dim_in", config.dim_in)
    return partial(NeighbourSpeed, dim=dim, **counts, **_shared(config))


def _shared(config: Benchmark) -> dict[str, Any]:
    return {"repeats": count_of("repeats", config.repeats), "seed": config.seed}


def show_extract(results: dict[str, Any]) -> None:
    """The tables of suite=extract, and how to read them."""
    machine = results["machine"]
    flags = [flag for flag, there in (machine["cpu_flags"] or {}).items() if there]
    print(f"{machine['cpu']}, {machine['threads']} threads, {' '.join(flags)}")
    print(f"torch {machine['torch']}; {', '.join(machine['gpus']) or 'no CUDA device'}\n")
    for part, show in {
        "extract": _show_extraction,
        "read": _show_reading,
        "knn": _show_knn,
    }.items():
        cells = [cell for cell in results["cells"] if cell["part"] == part]
        if cells:
            show(cells)


def _show_extraction(cells: Cells) -> None:
    header = ["extract", "images/s", "plain", "ratio", "MiB", "plain", "1-cos", "alike"]
    rows = []
    for cell in cells:
        speed, memory, far = (
            cell[key] for key in ("images_per_second", "peak_memory_mib", "difference")
        )
        rows.append(
            [
                f"{cell['device']} {cell['precision']} {cell['variant']}",
                *(f"{speed[name]:.2f}" for name in ("project", PLAIN)),
                f"{cell['ratio']:.2f}",
                *(_mib(memory[name]) for name in ("project", PLAIN)),
                f"{far['one_minus_cosine']:.1e}",
                f"{far['chosen_alike']:.3f}",
            ]
        )
    print_table(header, rows)
    repeats = min(cell["repeats"] for cell in cells)
    print(EXTRACT_NOTE.format(images=cells[0]["num_images"], repeats=repeats))


def _show_reading(cells: Cells) -> None:
    for cell in cells:
        rows = [
            [name, f"{cell['mib_per_second'][name]:.0f}", _share(cell["from_disk"][name])]
            for name in ("project", "memmap")
        ]
        rows[0].append(f"{cell['ratio']:.2f}")
        rows[1].append("")
        print_table(["read", "MiB/s", "from disk", "ratio"], rows)
        print(READ_NOTE.format(gib=cell["store_bytes"] / 2**30, **cell))


def _show_knn(cells: Cells) -> None:
    for cell in cells:
        median = {name: sorted(times)[len(times) // 2] for name, times in cell["seconds"].items()}
        rows = [
            [name, f"{median[name]:.1f}", _mib(cell["peak_memory_mib"][name])]
            for name in ("project", "flat")
        ]
        rows[0].append(f"{cell['ratio']:.2f}")
        rows[1].append("")
        print_table(["knn", "s", "MiB", "ratio"], rows)
        print(KNN_NOTE.format(**cell))


def _mib(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
