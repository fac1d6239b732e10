"""Legends of the plots of benchmarks and tools."""

from collections.abc import Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.lines import Line2D


def mark(label: str, colour: str, marker: str, size: float, edge: str | None = None) -> Line2D:
    """An entry of a legend; size in points."""
    look: dict[str, Any] = {"linestyle": "", "markeredgecolor": edge or colour}
    return Line2D([], [], marker=marker, color=colour, label=label, markersize=size, **look)


def by_column(entries: Sequence[Artist], columns: int) -> list[Artist]:
    """The entries of a legend that is read row by row: matplotlib fills it by columns."""
    return [entry for column in range(columns) for entry in entries[column::columns]]
