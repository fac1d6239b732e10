"""suite=train: what a training step costs beside the dense one, and what the data path delivers."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ames_lite.cli.shell import print_table
from ames_lite.errors import ConfigError
from benchmarks.keys import PRECISIONS, chosen, count_of, devices_of, precisions_of, scratch_of
from benchmarks.schema import Benchmark
from benchmarks.subjects import DENSE
from benchmarks.training.data import LOADER, DataSpeed, check_data, measure_data
from benchmarks.training.steps import PROJECT, RECIPES, StepSpeed, measure_steps

PARTS = ("step", "data")
Cells = list[dict[str, Any]]
STEP_NOTE = """
{triplets} triplets of {descriptors} x {dim_in} float16 a side, in memory; loss, gradient and AdamW.
dense: a forward pass for the positive and one for the negative pairs (with a teacher as many more),
masks, float32, in turns; medians of {repeats} rounds. ratio: its seconds / those of the project,
higher is better. MiB: peak of a process that does nothing else (CUDA: of the allocator). loss,
gradient: how far from the dense ones (gradient: relative length).
"""
DATA_NOTE = """
Batches of {triplets} triplets x {descriptors} x {dim_in} float16, drawn, read and put together, of
a store of {gib:.1f} GiB ({images} images) that is dropped from the system's memory before each of
{repeats} rounds of {steps} batches. disk: as many random rows by the system's own call. ratio: of
the quicker disk's rate, higher is better. from disk: bytes that the system read / of the rows;
below 1 they were in memory and the figures are worth nothing (scratch= has to be on a disk, not on
a tmpfs). MiB: peak of a process that opens the set and takes {steps} batches.
"""


def prepare_train(config: Benchmark) -> Callable[[Path], Cells]:
    """Everything that a user can have wrong, checked; what is left is the measuring."""
    own = vars(config.train)
    parts, scratch = chosen("train.parts", own["parts"], PARTS), scratch_of(config.scratch)
    shared = {"repeats": count_of("repeats", config.repeats), "seed": config.seed}
    shared["dim_in"] = count_of("dim_in", config.dim_in)
    recipes = chosen("train.recipes", own["recipes"], list(RECIPES))
    sizes = {k: count_of(f"train.{k}", own[k]) for k in ("triplets", "descriptors")}
    devices = devices_of(config.device) if "step" in parts else []
    precisions = precisions_of(config.precisions, devices) if devices else []
    data = _data(vars(own["data"]), shared)
    if "data" in parts:
        check_data(data(budget=0.0), scratch or Path.cwd())

    def measure(folder: Path) -> Cells:
        began, cells = time.perf_counter(), []
        for device in devices:
            names = [name for name in precisions if name in PRECISIONS[device.type]]
            budget = config.budget / (len(parts) * len(devices))
            given = StepSpeed(recipes, names, **sizes, **shared, budget=budget)
            cells += measure_steps(given, device)
        if "data" in parts:
            left = max(0.0, config.budget - (time.perf_counter() - began))
            cells += measure_data(data(budget=left), scratch or folder)
        return cells

    return measure


def _data(own: dict[str, Any], shared: dict[str, Any]) -> Callable[..., DataSpeed]:
    whole = ("stored", "descriptors", "triplets", "steps", "neighbours")
    counts = {key: count_of(f"train.data.{key}", own[key]) for key in whole}
    if not isinstance(own["prefetch"], int) or own["prefetch"] < 0:
        raise ConfigError(f"train.data.prefetch={own['prefetch']}", expected="a number from 0")
    sizes: dict[str, Any] = {key: float(own[key]) for key in ("store_gib", "keep_gib")}

    def options(budget: float) -> DataSpeed:
        return DataSpeed(**sizes, **counts, prefetch=own["prefetch"], **shared, budget=budget)

    return options


def show_train(results: dict[str, Any]) -> None:
    """The tables of suite=train, and how to read them."""
    machine = results["machine"]
    flags = [flag for flag, there in (machine["cpu_flags"] or {}).items() if there]
    print(f"{machine['cpu']}, {machine['threads']} threads, {' '.join(flags)}")
    print(f"torch {machine['torch']}; {', '.join(machine['gpus']) or 'no CUDA device'}\n")
    for work, show in {"step": _show_steps, "data": _show_data}.items():
        cells = [cell for cell in results["cells"] if cell["work"] == work]
        if cells:
            show(cells)


def _show_steps(cells: Cells) -> None:
    header = ["step", "triplets/s", DENSE, "ratio", "MiB", DENSE, "loss", "gradient"]
    print_table(header, [_step_row(cell) for cell in cells])
    print(STEP_NOTE.format(**{**cells[0], "repeats": min(cell["repeats"] for cell in cells)}))


def _step_row(cell: dict[str, Any]) -> list[object]:
    sides = (PROJECT, DENSE)
    return [
        f"{cell['device']} {cell['precision']} {cell['recipe']}",
        *(f"{cell['triplets_per_second'][side]:.2f}" for side in sides),
        f"{cell['ratio']:.2f}",
        *(_whole(cell["peak_memory_mib"][side]) for side in sides),
        *(f"{cell['difference'][key]:.1e}" for key in ("loss", "gradient")),
    ]


def _show_data(cells: Cells) -> None:
    for cell in cells:
        rows: list[list[object]] = [
            [name, f"{rate:.0f}", _share(cell["from_disk"][name]), "", ""]
            for name, rate in cell["mib_per_second"].items()
        ]
        assert rows[0][0] == LOADER
        rows[0][3:] = [f"{cell['ratio']:.2f}", _whole(cell["peak_memory_mib"])]
        print_table(["data", "MiB/s", "from disk", "ratio", "MiB"], rows)
        print(DATA_NOTE.format(gib=cell["store_bytes"] / 2**30, **cell))


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
