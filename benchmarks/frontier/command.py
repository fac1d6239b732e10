"""`python scripts/frontier.py`: what accuracy costs in bytes and milliseconds, over a grid.

Output: frontier.json, {"schema": 1, "dataset", "desc_name", "metric", "role", "global", "heads",
"rows", "fronts": {"bytes_per_image": [numbers of rows], "ms_per_query": [...]}, "config",
"machine", "versions"}; rows are those of benchmarks/frontier/grid.py. And frontier.png. λ and
γ come from elsewhere (a head's meta.json, a tuned.json, or by hand) and are the same in all cells
of a head; nothing is chosen here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ames_lite import __version__
from ames_lite.cli.compose import as_dict
from ames_lite.cli.evaluate import numbers_of, open_data
from ames_lite.cli.scoring_run import scoring_options, settled
from ames_lite.cli.shell import (
    as_list,
    command,
    dataset_files,
    print_table,
    protocol_of,
    run_dir,
    run_prefix,
)
from ames_lite.errors import ConfigError
from ames_lite.evaluation import evaluator, passes
from ames_lite.evaluation.data import EvaluationData
from ames_lite.evaluation.figures import save_figure
from ames_lite.io.writing import replacing
from ames_lite.processes import Processes, process_group
from ames_lite.reranking.scorer import ScoringOptions
from benchmarks.frontier.grid import COSTS, Cell, bytes_per_image, fronts
from benchmarks.frontier.heads import Head, open_heads
from benchmarks.frontier.plot import draw_frontier
from benchmarks.frontier.score_cache import ScoreCache
from benchmarks.keys import count_of
from benchmarks.machine import describe_machine
from benchmarks.schema import Frontier

SCHEMA = 1
NOTE = """
front: B of bytes, T of time: no other row is as good for as little. bytes: of a gallery image as
the head keeps it, tokens in float16 or bits, without global descriptor, positions and weights. ms:
of a query with so many candidates, reading and encoding the images included; ~: from the rate of
the largest num_rerank, the one that was scored.
"""

LAST = "frontier.json"  # what a run writes last


def main(overrides: Sequence[str] | None = None) -> int:
    """The command."""
    return command("frontier", run, overrides)


def run(config: Frontier) -> dict[str, Any]:
    """Score what no earlier run has scored, draw and print; returns the content of frontier.json.

    Of several processes all but the first return {}: they only score.
    """
    with process_group(config.device) as (processes, device):
        config = settled(config, device, processes)
        # each cell has its own numbers of descriptors
        return _run(config, processes, scoring_options(config, device, 1, 1))


def _run(config: Frontier, processes: Processes, options: ScoringOptions) -> dict[str, Any]:
    files, numbers = dataset_files(config), sorted(numbers_of(config.num_rerank))
    counts = sorted({count_of("descriptors", n) for n in as_list(config.descriptors)})
    if not counts:
        raise ConfigError("descriptors is empty", expected="numbers of at least 1")
    heads = open_heads(config)
    data, numbers = open_data(files, protocol_of(config), config.neighbors, numbers, processes)
    counts = _clamped(counts, data, processes.first)
    metric = _metric(config.metric, data)
    folder = Path(
        processes.from_first(
            str(run_dir(config, run_prefix(config, "frontier"), LAST)) if processes.first else ""
        )
    )
    cache = ScoreCache(config.cache or folder / "scores", processes)
    cells: list[Cell] = []
    for head in heads:
        for count in counts:
            both = replace(options, query_count=config.query_desc_num or count, gallery_count=count)
            cells += score_cells(data, head, both, numbers, cache)
    if not processes.first:
        return {}
    results = _results(config, data, heads, cells, metric)
    _write(folder, results, cells)
    show(results)
    print(f"plot:    {folder / 'frontier.png'}\nresults: {folder / 'frontier.json'}")
    return results


def _clamped(counts: list[int], data: EvaluationData, say: bool) -> list[int]:
    """descriptors= within the store; said once where it changes."""
    most = data.stores[1].max_count
    if say and max(counts) > most:
        print(f"descriptors={max(counts)} is more than the store has: {most} are taken")
    return sorted({min(count, most) for count in counts})


def _metric(name: str | None, data: EvaluationData) -> str:
    known = data.evaluate().metrics
    if name is not None and name not in known:
        raise ConfigError(f"there is no metric '{name}'", expected=f"one of {', '.join(known)}")
    return name or data.protocol.main


def score_cells(
    data: EvaluationData,
    head: Head,
    options: ScoringOptions,
    num_reranks: Sequence[int],
    cache: ScoreCache,
) -> list[Cell]:
    """The cells of one head and one number of descriptors: scored once, for the largest."""
    found = cache.scores(data, head.scorer, max(num_reranks), options)
    prepared = passes.prepare_passes(data, found.scores, max(num_reranks))
    size = bytes_per_image(head.model, data.stores[1].count, options.gallery_count)
    pair = found.seconds_per_pair
    cells = []
    for num in num_reranks:
        cell = passes.Cell(num, head.lamb, head.temp)
        reached = passes.evaluate_passes(prepared, data.protocol, cell)
        cells.append(
            Cell(
                head=head.label,
                descriptors=options.gallery_count,
                query_descriptors=options.query_count,
                num_rerank=num,
                bytes_per_image=size,
                ms_per_query=None if pair is None else 1000 * pair * num,
                ms_measured=num == found.num_rerank,
                timed_on=found.timed_on,
                reused=found.reused,
                lamb=head.lamb,
                temp=head.temp,
                tuned_on=head.tuned_on,
                role=head.role,
                metrics=evaluator.plain_metrics(reached.metrics),
            )
        )
    return cells


def _results(
    config: Frontier,
    data: EvaluationData,
    heads: Sequence[Head],
    cells: Sequence[Cell],
    metric: str,
) -> dict[str, Any]:
    before = data.evaluate().metrics
    return {
        "schema": SCHEMA,
        "dataset": data.files.name,
        "desc_name": data.files.desc_name,
        "metric": metric,
        "role": config.dataset.role,
        "global": evaluator.plain_metrics(before),
        "heads": [head.plain() for head in heads],
        "rows": [cell.plain() for cell in cells],
        "fronts": fronts(cells, metric),
        "config": as_dict(config),
        "machine": describe_machine(),
        "versions": {
            "ames_lite": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
    }


def _write(folder: Path, results: dict[str, Any], cells: Sequence[Cell]) -> None:
    metric = results["metric"]
    title = f"{results['dataset']}, {results['desc_name']}: {metric} against its cost"
    timed = " · ".join(dict.fromkeys(cell.timed_on for cell in cells if cell.ms_per_query))
    figure = draw_frontier(
        cells, results["fronts"], metric, results["global"][metric], title, timed
    )
    save_figure(figure, folder / "frontier.png")
    with replacing(folder / LAST) as partial:
        text = json.dumps(results, indent=1, allow_nan=False, default=str)
        partial.write_text(text + "\n", encoding="utf-8")


def show(results: dict[str, Any]) -> None:
    """The table of all rows, and how to read it."""
    metric, marks = results["metric"], dict(zip(COSTS, "BT", strict=True))
    header = ["", "descriptors", "num_rerank", "λ", "γ", "", "bytes", "ms", metric, "front"]
    rows: list[list[object]] = [
        ["global", "-", "-", "-", "-", "", "-", "-", results["global"][metric], ""]
    ]
    for number, row in enumerate(results["rows"]):
        on = "".join(mark for cost, mark in marks.items() if number in results["fronts"][cost])
        ms = row["ms_per_query"]
        rows.append(
            [
                *(row[key] for key in ("head", "descriptors", "num_rerank")),
                *(f"{row[key]:g}" for key in ("lamb", "temp")),
                row["role"],
                f"{row['bytes_per_image']:.0f}",
                "-" if ms is None else f"{'' if row['ms_measured'] else '~'}{ms:.1f}",
                row["metrics"][metric],
                on,
            ]
        )
    print_table(header, rows)
    print(NOTE)
    for line in _remarks(results):
        print(line)


def _remarks(results: dict[str, Any]) -> list[str]:
    """What a reader must know to use the rows rightly."""
    said = [
        f"{head['label']}: λ, γ {'tuned on ' + head['tuned_on'] if head['tuned_on'] else 'given'}, "
        "the same in all its rows"
        for head in results["heads"]
    ]
    if results["role"] == "test":
        said.append("of a test set: whoever picks a row from a front has tuned on the test set")
    timed = dict.fromkeys(row["timed_on"] for row in results["rows"] if row["ms_per_query"])
    reused = sum(row["reused"] for row in results["rows"])
    said.append(f"{reused} of {len(results['rows'])} rows from scores of earlier runs")
    if len(timed) > 1:
        said.append(f"milliseconds of different machines or settings: {'; '.join(timed)}")
    return said
