"""A map of global descriptors: one point an image, coloured by its label.

    figure = draw_globals(pca(descriptors).points, labels, is_query, axis_names=("first", "second"))

Label -1 means that nothing is known; only the largest labels have colours and names of their own,
the others are grey; queries are large and outlined in black.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput
from ames_lite.evaluation.views.canvas import (
    LARGE,
    Axes,
    Colour,
    Figure,
    Key,
    Page,
    add_points,
    add_thumbnail,
    span_of,
    style_plot,
)
from ames_lite.evaluation.views.colours import GREY, PALE, label_styles, num_styles
from ames_lite.evaluation.views.marked import shrink

Floats = npt.NDArray[np.floating[Any]]
Style = tuple[Colour, str]  # of points: colour, marker

UNKNOWN = -1
NAMED_LABELS = 14  # at most
SIDE, KEY_WIDTH = 7.6, 2.6  # inches
LEFT, TOP, BOTTOM = 0.75, 0.6, 0.65
GALLERY_POINT, QUERY_POINT, UNKNOWN_POINT = 6.0, 10.0, 4.5  # points
THUMBNAIL = 0.62  # inches, the longer side
APART = 1.12  # thumbnails keep this many of their sides between centres
THUMBNAIL_PIXELS = 160
KEY_TEXT = 26  # characters


def draw_globals(
    points: Floats,
    labels: npt.NDArray[np.integer],
    is_query: npt.NDArray[np.bool_],
    *,
    label_names: Mapping[int, str] | None = None,
    axis_names: tuple[str, str] = ("", ""),
    title: str = "",
    thumbnails: Mapping[int, npt.NDArray[np.uint8]] | None = None,
) -> Figure:
    """points [N, 2]; labels [N], -1 unknown; is_query [N].

    label_names: what the key calls a label (by default its number). thumbnails: images [H, W, 3] by
    row; one that would lie over another is left out, in the order given. Raises BadInput where
    shapes do not fit, points are not finite, or there is none.
    """
    _check(points, labels, is_query)
    styles = _styles(labels)
    page = Page(LEFT + SIDE + 0.2 + KEY_WIDTH, TOP + SIDE + BOTTOM)
    axes = page.axes(LEFT, TOP, SIDE, SIDE)
    style_plot(axes, points, axis_names)
    _draw_points(axes, points, labels, is_query, styles)
    _draw_thumbnails(axes, points, labels, styles, thumbnails or {})
    page.text(LEFT, 0.2, title, size=LARGE, width=page.width - LEFT - 0.2)
    entries = _keys(labels, is_query, styles, label_names or {})
    page.keys(LEFT + SIDE + 0.25, TOP, entries, columns=1)
    return page.figure


def _check(
    points: Floats, labels: npt.NDArray[np.integer], is_query: npt.NDArray[np.bool_]
) -> None:
    n = len(points)
    fits = points.shape == (n, 2) and labels.shape == is_query.shape == (n,) and n > 0
    kinds = np.issubdtype(labels.dtype, np.integer) and is_query.dtype == np.bool_
    if not fits or not kinds or not bool(np.isfinite(points).all()):
        raise BadInput(
            f"points {points.shape}, labels {labels.shape} ({labels.dtype}) and is_query "
            f"{is_query.shape} ({is_query.dtype})",
            expected="finite points [N, 2], integer labels [N] and booleans [N], N at least 1",
        )


def largest_labels(labels: npt.NDArray[np.integer], count: int) -> list[int]:
    """The `count` labels that most images have, largest first, ties by number; -1 is none.

    >>> largest_labels(np.array([3, 3, 1, 1, 5, -1, -1, -1]), 2)
    [1, 3]
    """
    values, sizes = np.unique(labels[labels != UNKNOWN], return_counts=True)
    return [int(label) for label in values[np.argsort(-sizes, kind="stable")[:count]]]


def _styles(labels: npt.NDArray[np.integer]) -> dict[int, Style]:
    named = largest_labels(labels, min(NAMED_LABELS, num_styles()))
    return dict(zip(named, label_styles(len(named)), strict=True))


def _draw_points(
    axes: Axes,
    points: Floats,
    labels: npt.NDArray[np.integer],
    is_query: npt.NDArray[np.bool_],
    styles: Mapping[int, Style],
) -> None:
    """Grey ones first, queries last: what matters is never covered by what does not."""
    known = labels != UNKNOWN
    named = np.isin(labels, list(styles))
    for query in (False, True):
        of_kind = is_query == query
        size, edge = (QUERY_POINT, "black") if query else (GALLERY_POINT, "white")
        small = QUERY_POINT if query else UNKNOWN_POINT
        looks = [(of_kind & ~known, PALE, "o", small), (of_kind & known & ~named, GREY, "o", size)]
        looks += [
            (of_kind & (labels == label), colour, marker, size)
            for label, (colour, marker) in styles.items()
        ]
        for rows, colour, marker, wide in looks:
            if rows.any():
                add_points(axes, points[rows], colour, marker, size=wide, edge=edge)


def _draw_thumbnails(
    axes: Axes,
    points: Floats,
    labels: npt.NDArray[np.integer],
    styles: Mapping[int, Style],
    thumbnails: Mapping[int, npt.NDArray[np.uint8]],
) -> None:
    for row in thumbnail_rows(points, list(thumbnails)):
        colour = styles.get(int(labels[row]), (GREY, "o"))[0]
        picture = shrink(thumbnails[row], THUMBNAIL_PIXELS)
        add_thumbnail(axes, points[row], picture, THUMBNAIL, colour)


def thumbnail_rows(points: Floats, rows: Sequence[int]) -> list[int]:
    """Those of `rows` whose thumbnails do not overlap on the map of points [N, 2].

    In the order given: a row is left out where it would overlap with one taken before.

    >>> thumbnail_rows(np.array([[0.0, 0.0], [0.01, 0.0], [0.0, 1.5]]), [0, 1, 2])
    [0, 2]
    """
    inches = points / span_of(points) * SIDE
    taken: list[int] = []
    for row in rows:
        away = np.abs(inches[taken] - inches[row]).max(axis=1)
        if bool((away >= THUMBNAIL * APART).all()):
            taken.append(row)
    return taken


def _keys(
    labels: npt.NDArray[np.integer],
    is_query: npt.NDArray[np.bool_],
    styles: Mapping[int, Style],
    label_names: Mapping[int, str],
) -> list[Key]:
    entries: list[Key] = []
    white = (1.0, 1.0, 1.0)
    if is_query.any() and not is_query.all():
        entries.append(Key(f"query ({is_query.sum()})", white, "o", (0.0, 0.0, 0.0), 9))
        entries.append(Key(f"gallery ({(~is_query).sum()})", white, "o", GREY, 6))
    for label, (colour, marker) in styles.items():
        name = label_names.get(label, f"label {label}")
        name = name if len(name) <= KEY_TEXT else "…" + name[1 - KEY_TEXT :]
        entries.append(Key(f"{name} ({(labels == label).sum()})", colour, marker, None, 7))
    known = labels != UNKNOWN
    others = known & ~np.isin(labels, list(styles))
    if others.any():
        number = len(np.unique(labels[others]))
        words = f"{number} other label{'s' if number > 1 else ''} ({others.sum()})"
        entries.append(Key(words, GREY, "o", None, 6))
    if not known.all():
        entries.append(Key(f"no label ({(~known).sum()})", PALE, "o", None, 4.5))
    return entries
