"""Fronts against their definition, bytes against what a head keeps, and the plot of both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ames_lite.evaluation.figures import save_figure
from ames_lite.models import build_head
from benchmarks.frontier.grid import Cell, bytes_per_image, front, fronts, kept_bits
from benchmarks.frontier.plot import draw_frontier

CELL = Cell(
    head="ames",
    descriptors=25,
    query_descriptors=600,
    num_rerank=50,
    bytes_per_image=100.0,
    ms_per_query=2.0,
    ms_measured=False,
    timed_on="a machine",
    reused=False,
    lamb=0.5,
    temp=0.2,
    tuned_on="gldv2-val",
    role="frozen",
    metrics={"map": 0.5},
)


def a_cell(head: str, descriptors: int, num: int, value: float | None, ms: float | None) -> Cell:
    size = descriptors * (256.0 if head == "ames" else 16.0)
    given = {"head": head, "descriptors": descriptors, "num_rerank": num, "bytes_per_image": size}
    return replace(CELL, **given, ms_per_query=ms, metrics={"map": value})


def referee(costs: list[float], values: list[float]) -> set[int]:
    """Nobody is at least as good in both and better in one; of equals the first."""
    rows = list(enumerate(zip(costs, values, strict=True)))
    return {
        i
        for i, (c, v) in rows
        if not any(
            (d <= c and w >= v) and ((d, -w) != (c, -v) or j < i) for j, (d, w) in rows if j != i
        )
    }


@pytest.mark.parametrize("seed", range(20))
def test_nobody_beats_a_row_of_the_front_and_somebody_every_other(seed: int) -> None:
    generator = np.random.default_rng(seed)
    costs, values = generator.integers(0, 8, (2, 25)).astype(float)
    found = front(costs.tolist(), values.tolist())
    assert set(found) == referee(costs.tolist(), values.tolist()) and len(set(found)) == len(found)
    assert (np.diff(costs[found]) > 0).all() and (np.diff(values[found]) > 0).all()


def test_rows_without_a_number_are_on_no_front() -> None:
    assert front([1, None, 0, 2], [0.5, 0.9, None, 0.4]) == [0]
    assert front([], []) == []
    cells = [a_cell("ames", 25, 50, 0.5, None), a_cell("ames", 50, 50, 0.4, 1.0)]
    assert fronts(cells, "map") == {"bytes_per_image": [0], "ms_per_query": [1]}


def test_bytes_are_those_of_what_a_head_keeps_of_what_an_image_has() -> None:
    counts = np.array([10, 700, 30])
    heads = {
        "fp": build_head("ames", dim_in=768),
        "binary": build_head("ames", dim_in=768, binary=True),
        "elvis": build_head("elvis", dim_in=768),
    }
    found = {name: bytes_per_image(head, counts, 50) for name, head in heads.items()}
    mean = (10 + 50 + 30) / 3
    assert found == {"fp": mean * 256, "binary": mean * 16, "elvis": mean * 256}
    assert kept_bits(build_head("ames", dim_in=64, dim=32, binary=True)) == 32
    assert bytes_per_image(heads["binary"], counts, 1) == 16


def grid() -> list[Cell]:
    return [
        a_cell(head, count, num, 0.3 + 0.01 * count / 25 + 0.02 * num / 50, num * count / 100)
        for head in ("ames", "ames_binary")
        for count in (25, 100)
        for num in (50, 100)
    ]


def test_every_cell_is_drawn_in_its_place_and_the_front_is_named(tmp_path: Path) -> None:
    cells = grid()
    cells += [a_cell("ames", 200, 50, None, 1.0), a_cell("ames", 200, 100, 0.6, None)]
    best = fronts(cells, "map")
    figure = draw_frontier(cells, best, "map", 0.31, "a set: $map$ against its cost", "a machine")
    assert len(figure.axes) == 2
    for axes, (cost, chosen) in zip(figure.axes, best.items(), strict=True):
        lines = {line.get_marker(): line for line in axes.lines if line.get_color() != "black"}
        assert {"o", "s"} <= set(lines)  # a shape a num_rerank
        marks = [
            tuple(point)
            for line in axes.lines
            if line.get_marker() in ("o", "s") and line.get_color() != "black"
            for point in np.round(line.get_xydata(), 6).tolist()
        ]
        wanted = [
            (round(getattr(cell, cost), 6), round(100 * cell.metrics["map"], 6))
            for cell in cells
            if getattr(cell, cost) is not None and cell.metrics["map"] is not None
        ]
        rings = [line for line in axes.lines if line.get_markerfacecolor() == "none"]
        assert len(rings) == 1 and len(rings[0].get_xydata()) == len(chosen)
        assert sorted(set(marks) - set()) == sorted(set(wanted))
        names = [text.get_text() for text in axes.texts]
        assert names == [f"{cells[n].descriptors}·{cells[n].num_rerank}" for n in chosen]
        boxes = [text.get_window_extent() for text in axes.texts]
        assert not any(a.overlaps(b) for a, b in zip(boxes, boxes[1:], strict=False))
        assert axes.get_ylim()[0] < 31 < axes.get_ylim()[1]
    assert figure.legends[0].get_title().get_text() == "a machine"  # not under the legend
    first = save_figure(figure, tmp_path / "a.png").read_bytes()
    again = draw_frontier(cells, best, "map", 0.31, "a set: $map$ against its cost", "a machine")
    assert save_figure(again, tmp_path / "b.png").read_bytes() == first


def test_a_grid_of_one_cell_and_one_without_times_are_drawn(tmp_path: Path) -> None:
    for number, cells in enumerate(([CELL], [replace(CELL, ms_per_query=None)])):
        best = fronts(cells, "map")
        figure = draw_frontier(cells, best, "map", None, "one")
        assert save_figure(figure, tmp_path / f"{number}.png").stat().st_size > 1000
