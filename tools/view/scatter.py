"""A map of global descriptors: one point an image, coloured by its label.

Label -1 means that nothing is known; only the largest labels have colours and names of their own,
the others are grey; queries are large and outlined in black.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from ames_lite.evaluation.figures import (
    GREY,
    MEDIUM,
    PALE,
    SMALL,
    fitting,
    label_styles,
    plain,
    style_axes,
    titled_figure,
)
from benchmarks.legends import mark

Floats = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[np.integer]

UNKNOWN = -1
NAMED_LABELS = 14  # at most
SIDE, KEY_WIDTH = 8.0, 2.6  # inches
GALLERY_POINT, QUERY_POINT, UNKNOWN_POINT = 6.0, 10.0, 4.5  # points
MARGIN = 0.08  # around the points, of their range
THUMBNAIL = 0.62  # inches, the longer side
APART = 1.25  # thumbnails keep this many of their sides between centres
THUMBNAIL_PIXELS = 160


class Look(NamedTuple):
    """Some images, by row [N], that are drawn alike."""

    name: str
    rows: npt.NDArray[np.bool_]
    colour: str
    marker: str = "o"
    size: float = GALLERY_POINT


def draw_globals(
    points: Floats,
    labels: Labels,
    is_query: npt.NDArray[np.bool_],
    *,
    label_names: Mapping[int, str] | None = None,
    axis_names: tuple[str, str] = ("", ""),
    title: str = "",
    thumbnails: Mapping[int, npt.NDArray[np.uint8]] | None = None,
) -> Figure:
    """points [N, 2]; labels [N], -1 unknown; is_query [N].

    label_names: what the key calls a label (by default its number). thumbnails: images [H, W, 3] by
    row, those of `thumbnail_rows`.
    """
    looks = _looks(labels, label_names or {})
    figure = titled_figure((SIDE + KEY_WIDTH, SIDE + 0.5), title)
    axes = figure.add_subplot()
    axes.margins(MARGIN)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel(plain(axis_names[0]), fontsize=MEDIUM)
    axes.set_ylabel(plain(axis_names[1]), fontsize=MEDIUM)
    style_axes(axes)
    _draw_points(axes, points, is_query, looks)
    for row, image in (thumbnails or {}).items():
        own = (look.colour for look in looks if look.rows[row] and look.colour != PALE)
        _add_thumbnail(axes, points[row], image, next(own, GREY))
    keys = _keys(is_query, looks)
    figure.legend(handles=keys, loc="outside right upper", fontsize=SMALL, frameon=False)
    return figure


def _looks(labels: Labels, names: Mapping[int, str]) -> list[Look]:
    """What is drawn alike, in the order of drawing: what matters is not covered by what does not.

    The labels that most images have, ties by number, have a look of their own.
    """
    values, sizes = np.unique(labels[labels != UNKNOWN], return_counts=True)
    named = values[np.argsort(-sizes, kind="stable")[:NAMED_LABELS]].tolist()
    unknown, others = labels == UNKNOWN, ~np.isin(labels, [UNKNOWN, *named])
    number = len(np.unique(labels[others]))
    looks = [
        Look("no label", unknown, PALE, size=UNKNOWN_POINT),
        Look(f"{number} other label{'s' if number > 1 else ''}", others, GREY),
    ]
    for label, style in zip(named, label_styles(), strict=False):
        looks.append(Look(names.get(label, f"label {label}"), labels == label, *style))
    return [look for look in looks if look.rows.any()]


def _draw_points(
    axes: Axes, points: Floats, is_query: npt.NDArray[np.bool_], looks: Sequence[Look]
) -> None:
    for query in (False, True):
        for look in looks:
            if (rows := look.rows & (is_query == query)).any():
                axes.scatter(
                    points[rows, 0],
                    points[rows, 1],
                    s=(QUERY_POINT if query else look.size) ** 2,
                    color=look.colour,
                    marker=look.marker,
                    edgecolors="black" if query else "white",
                    linewidths=0.9 if query else 0.4,
                )


def _add_thumbnail(axes: Axes, place: Floats, image: npt.NDArray[np.uint8], edge: str) -> None:
    picture = OffsetImage(image, zoom=THUMBNAIL * 72 / max(image.shape[:2]))
    frame = {"edgecolor": edge, "linewidth": 2.2, "boxstyle": "square,pad=0"}
    at = (float(place[0]), float(place[1]))
    axes.add_artist(AnnotationBbox(picture, at, pad=0, bboxprops=frame))


def thumbnail_rows(points: Floats, rows: Sequence[int]) -> list[int]:
    """Those of `rows` whose thumbnails do not overlap on the map of points [N, 2].

    In the order given: a row is left out where it would overlap with one taken before.

    >>> thumbnail_rows(np.array([[0.0, 0.0], [0.01, 0.0], [0.0, 1.5]]), [0, 1, 2])
    [0, 2]
    """
    span = (1 + 2 * MARGIN) * float(np.ptp(points, axis=0).max())
    least = THUMBNAIL * APART / SIDE * (span or 1.0)
    taken: list[int] = []
    for row in rows:
        away = np.abs(points[taken] - points[row]).max(axis=1)
        if bool((away >= least).all()):
            taken.append(row)
    return taken


def _keys(is_query: npt.NDArray[np.bool_], looks: Sequence[Look]) -> list[Line2D]:
    entries = []
    if is_query.any() and not is_query.all():
        entries.append(mark(f"query ({is_query.sum()})", "white", "o", 9, "black"))
        entries.append(mark(f"gallery ({(~is_query).sum()})", "white", "o", 6, GREY))
    named = [look for look in looks if look.colour not in (PALE, GREY)]
    rest = [look for look in reversed(looks) if look.colour in (PALE, GREY)]
    for look in (*named, *rest):
        name = f"{fitting(look.name, KEY_WIDTH - 0.7)} ({look.rows.sum()})"
        entries.append(mark(name, look.colour, look.marker, look.size))
    return entries
