"""`python scripts/benchmark.py suite=…`: what things cost on this machine; a table and JSON.

Output: `benchmark.json` in the run directory, {"schema": 1, "suite", "config", "machine": {...},
"seconds", "cells": [...]}; the cells of suite=head are described in benchmarks/heads.py, those of
suite=rerank in benchmarks/rerank.py, of suite=train in benchmarks/training/, of suite=extract and
suite=search in benchmarks/extraction/.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ames_lite.cli.compose import as_dict
from ames_lite.cli.shell import (
    as_list,
    command,
    print_table,
    run_dir,
)
from ames_lite.errors import ConfigError
from ames_lite.io.writing import replacing
from ames_lite.runtime import cpu_threads
from benchmarks.heads import MODES, HeadSpeed, measure_heads
from benchmarks.keys import (
    PRECISIONS,
    chosen,
    count_of,
    devices_of,
    parse_size,
    precisions_of,
)
from benchmarks.machine import describe_machine
from benchmarks.schema import Benchmark
from benchmarks.subjects import DENSE, variants
from benchmarks.suites.evaluate import prepare_evaluate, show_evaluate
from benchmarks.suites.extract import prepare_extract, show_extract
from benchmarks.suites.rerank import prepare_rerank, show_rerank
from benchmarks.suites.search import prepare_search, show_search
from benchmarks.suites.train import prepare_train, show_train

SCHEMA = 1
ENC = ("", "+enc")  # the modes, in the heads of columns
Cells = list[dict[str, Any]]
SPEED_NOTE = """
1 query, {pairs} candidates a call, median of {rounds} rounds or more, in turns with the dense
referee in fp32. ratio: seconds of the referee / seconds of the head. +enc: candidates are encoded
in the measured time, otherwise beforehand; the query always is in it. ms: of a query; ~: worked
out from pairs/s.
"""
COST_NOTE = """
MiB: peak of a call that encodes and scores. GFLOP: matrix products of a pair; without +enc both
images are encoded beforehand. of rate: share of the device's measured rate of matrix products.
logit: largest difference from the referee's; in brackets, where a head has none, from its own in
fp32, pair by pair.
"""

LAST = "benchmark.json"  # what a run writes last


def main(overrides: Sequence[str] | None = None) -> int:
    """The command."""
    return command("benchmark", run, overrides)


def run(config: Benchmark) -> dict[str, Any]:
    """Measure, print the table, write benchmark.json; returns its content."""
    if config.suite not in SUITES:
        raise ConfigError(
            f"there is no suite '{config.suite}'", expected=f"one of {', '.join(SUITES)}"
        )
    prepare, show = SUITES[config.suite]
    threads = None if config.threads is None else count_of("threads", config.threads)
    measure = prepare(config)
    folder = run_dir(config, f"benchmark_{config.suite}", LAST)
    began = time.perf_counter()
    with cpu_threads(threads):
        machine, cells = describe_machine(), measure(folder)
    results = {
        "schema": SCHEMA,
        "suite": config.suite,
        "config": as_dict(config),
        "machine": machine,
        "seconds": time.perf_counter() - began,
        "cells": cells,
    }
    path = folder / LAST
    with replacing(path) as partial:
        partial.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    show(results)
    print(f"results: {path}")
    return results


def prepare_heads(config: Benchmark) -> Callable[[Path], Cells]:
    """Everything that a user can have wrong, checked; what is left is the measuring."""
    devices = devices_of(config.device)
    precisions = precisions_of(config.precisions, devices)
    heads = chosen("heads", config.heads, list(variants()))
    sizes = dict.fromkeys(parse_size(text) for text in config.sizes)
    candidates = dict.fromkeys(count_of("candidates", num) for num in as_list(config.candidates))
    one: dict[str, Any] = {
        key: count_of(key, getattr(config, key)) for key in ("pairs", "repeats", "dim_in")
    }
    for key, values in {"sizes": sizes, "candidates": candidates}.items():
        if not values:
            raise ConfigError(f"{key} is empty", expected="at least one")

    def measure(folder: Path) -> Cells:
        cells: Cells = []
        for device in devices:
            own = [name for name in precisions if name in PRECISIONS[device.type]]
            options = HeadSpeed(
                heads,
                list(sizes),
                own,
                **one,
                candidates=list(candidates),
                seed=config.seed,
                budget=float(config.budget),
            )
            cells += measure_heads(options, device)
        return cells

    return measure


def show_heads(results: dict[str, Any]) -> None:
    """The tables of suite=head, and how to read them."""
    cells, machine = results["cells"], results["machine"]
    flags = [flag for flag, there in (machine["cpu_flags"] or {}).items() if there]
    print(f"{machine['cpu']}, {machine['threads']} threads, {' '.join(flags)}")
    print(f"torch {machine['torch']}; {', '.join(machine['gpus']) or 'no CUDA device'}\n")
    columns = [
        f"ms/{line['candidates']}{mode}" for line in cells[0]["ms_per_query"] for mode in ENC
    ]
    header = ["", "Q x T", "pairs/s", "+enc", "dense", "ratio", "+enc", *columns]
    print_table(header, [_speed_row(cell) for cell in cells])
    rounds = min(cell["repeats"] for cell in cells)
    print(SPEED_NOTE.format(pairs=cells[0]["pairs"], rounds=rounds))
    header = ["", "Q x T", "MiB", "dense", "ratio", "GFLOP", "+enc", "dense", "of rate", "logit"]
    print_table(header, [_cost_row(cell) for cell in cells])
    print(COST_NOTE)


def _name(cell: dict[str, Any]) -> list[object]:
    name = f"{cell['device']} {cell['precision']} {cell['head']}"
    return [name, f"{cell['num_query']}x{cell['num_gallery']}"]


def _speed_row(cell: dict[str, Any]) -> list[object]:
    row = _name(cell)
    row += [f"{cell['pairs_per_second'][name]:.1f}" for name in (*MODES, DENSE)]
    row += [f"{cell['ratio'][mode]:.1f}" for mode in MODES]
    return row + [_milliseconds(line[mode]) for line in cell["ms_per_query"] for mode in MODES]


def _cost_row(cell: dict[str, Any]) -> list[object]:
    memory, difference = cell["peak_memory_mib"], cell["difference"]
    row = _name(cell) + [_or_dash(memory[name], ".0f") for name in ("with_encoding", DENSE)]
    row += [_or_dash(memory["ratio"], ".1f")]
    row += [f"{cell['flops_per_pair'][name] / 1e9:.3g}" for name in (*MODES, DENSE)]
    row += [f"{cell['matmul_fraction']['encoded']:.2f}"]
    text = f"{difference['logit']:.1e}"
    return [*row, text if difference["tolerance"] is not None else f"({text})"]


def _milliseconds(found: dict[str, Any]) -> str:
    text = _or_dash(found["ms"], ".1f")
    return text if found["measured"] else f"~{text}"


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"


# What suite= may name: how to get ready to measure, and how to show what was found.
Prepare = Callable[[Benchmark], Callable[[Path], Cells]]
SUITES: dict[str, tuple[Prepare, Callable[[dict[str, Any]], None]]] = {
    "head": (prepare_heads, show_heads),
    "extract": (prepare_extract, show_extract),
    "evaluate": (prepare_evaluate, show_evaluate),
    "rerank": (prepare_rerank, show_rerank),
    "search": (prepare_search, show_search),
    "train": (prepare_train, show_train),
}
