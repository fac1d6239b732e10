"""Clusters and detector weights over the images that the descriptors come from.

    figure = cluster_sheet([Marked(image, xy, cluster, scale)], num_clusters=64)
    figure = weight_sheet([Marked(image, xy, weight)], "DoG response")
    save_png(figure, "clusters.png")

Sheets show several images on one page, each beside its overlay. Patches of a dense backbone are
filled cells, keypoints are circles: of clusters with an area that doubles from scale to scale, of
weights with an area that grows with the weight. All pictures of a sheet share one colour scale, so
that they can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput
from ames_lite.evaluation.views.canvas import (
    LARGE,
    Axes,
    Figure,
    Key,
    Page,
    add_cells,
    add_circles,
    add_outline,
    heat_colours,
    show_image,
)
from ames_lite.evaluation.views.colours import GREY, HEAT, cluster_colours
from ames_lite.evaluation.views.marked import Box, Marked, dimmed, shrink

Floats = npt.NDArray[np.floating[Any]]

MAX_PICTURES = 100
NAMED_CLUSTERS = 12  # of the key, the largest
MARGIN, GAP, CAPTION, HEADER, FOOTER = 0.25, 0.12, 0.26, 0.55, 0.75  # inches
ALONE, IN_SHEET = 5.2, 3.2  # inches: width of a picture, where it is the only one and else
TALLEST = 1.35  # height of a row, in widths of a picture
DOT, DOT_GROWTH = 0.018, 0.045  # width of circles, in longer sides of the image
CELL_ALPHA, DOT_ALPHA = 0.8, 0.9
KEY_WIDTH = 0.98  # inches of an entry of the key


def cluster_sheet(
    pictures: Sequence[Marked], num_clusters: int, *, title: str = "", marks: str = "auto"
) -> Figure:
    """Images and, beside each, which cluster its descriptors belong to.

    values of the pictures: cluster numbers, 0 to num_clusters - 1. The key names the clusters that
    have the most descriptors on this sheet. marks: auto, cells or circles. Raises BadInput for
    other numbers, no picture, or more than 100.
    """
    colours = cluster_colours(num_clusters)
    for picture in pictures:
        _check_clusters(picture, num_clusters)

    def paint(axes: Axes, picture: Marked) -> str:
        assert picture.scale is not None
        longer = float(max(picture.image.shape[:2]))
        widths = DOT * longer * 2 ** (picture.scale.astype(np.float64) / 2)
        _paint(axes, picture, colours[picture.values], widths, marks)
        present = len(np.unique(picture.values))
        return f"{len(picture.values)} descriptors, {present} clusters"

    page = _sheet(pictures, title, paint)
    sizes = np.zeros(num_clusters, np.int64)
    for picture in pictures:
        sizes += np.bincount(picture.values, minlength=num_clusters)
    entries = _cluster_keys(sizes, colours)
    top = page.height - FOOTER
    page.text(MARGIN, top, "cluster: share of the descriptors on this sheet")
    page.keys(MARGIN, top + 0.24, entries, columns=_key_columns(page, len(entries)))
    return page.figure


def weight_sheet(
    pictures: Sequence[Marked],
    weight_name: str = "weight",
    *,
    title: str = "",
    marks: str = "auto",
) -> Figure:
    """Images and, beside each, the detector's weight of its descriptors.

    values of the pictures: weights. The colours run from the 1st to the 99th percentile of the
    sheet. marks: auto, cells or circles. Raises BadInput for no picture, or more than 100.
    """
    low, high = _limits([picture.values for picture in pictures])

    def paint(axes: Axes, picture: Marked) -> str:
        weight = np.asarray(picture.values, np.float64)
        share = np.clip((weight - low) / (high - low), 0, 1)
        longer = max(picture.image.shape[:2])
        widths = longer * np.sqrt(DOT**2 + DOT_GROWTH**2 * share)
        _paint(axes, picture, heat_colours(weight, low, high, HEAT), widths, marks)
        if not len(weight):
            return "0 descriptors"
        return f"{len(weight)} descriptors, weights {weight.min():.3g} to {weight.max():.3g}"

    page = _sheet(pictures, title, paint)
    wide = min(6.0, page.width - 2 * MARGIN - 0.6)
    box = (MARGIN + 0.3, page.height - FOOTER + 0.08, wide, 0.16)
    page.colour_bar(box, low, high, HEAT, weight_name)
    return page.figure


def _paint(axes: Axes, picture: Marked, colours: Floats, widths: Floats, marks: str) -> None:
    """Every descriptor once: cells of coarse scales below fine ones, large circles below small."""
    sides = picture.cells(marks)
    size = np.array(picture.image.shape[1::-1], np.float64)  # width, height
    places = np.asarray(picture.xy, np.float64) * size
    if sides is not None:
        order = np.argsort(-sides.prod(axis=1), kind="stable")
        add_cells(axes, places[order], (sides * size)[order], colours[order], CELL_ALPHA)
    else:
        order = np.argsort(-widths, kind="stable")
        add_circles(axes, places[order], widths[order], colours[order], DOT_ALPHA)


def _sheet(pictures: Sequence[Marked], title: str, paint: Callable[[Axes, Marked], str]) -> Page:
    """A page of image and overlay side by side; paint draws one and says what is to be said."""
    if not 1 <= len(pictures) <= MAX_PICTURES:
        raise BadInput(f"{len(pictures)} pictures for a sheet", expected=f"1 to {MAX_PICTURES}")
    width = ALONE if len(pictures) == 1 else IN_SHEET
    columns = 1 if len(pictures) == 1 else 2
    rows = [pictures[i : i + columns] for i in range(0, len(pictures), columns)]
    heights = [max(_height(picture, width) for picture in row) for row in rows]
    header = HEADER if title else MARGIN
    pair = 2 * width + GAP
    page = Page(
        2 * MARGIN + columns * pair + (columns - 1) * 2 * GAP,
        header + sum(heights) + len(rows) * (CAPTION + GAP) + FOOTER + GAP,
    )
    if title:
        page.text(MARGIN, 0.16, title, size=LARGE, width=page.width - 2 * MARGIN)
    top = header
    for row, height in zip(rows, heights, strict=True):
        for column, picture in enumerate(row):
            left = MARGIN + column * (pair + 2 * GAP)
            _pair(page, picture, (left, top, width, height), paint)
        top += height + CAPTION + GAP
    return page


def _height(picture: Marked, width: float) -> float:
    """Inches of a picture that is `width` wide, unless it is too tall for a row."""
    height, wide = picture.image.shape[:2]
    return width * min(height / wide, TALLEST)


def _pair(
    page: Page,
    picture: Marked,
    box: tuple[float, float, float, float],
    paint: Callable[[Axes, Marked], str],
) -> None:
    left, top, width, height = box
    top += CAPTION
    shown = shrink(picture.image)
    plain, overlay = (page.axes(at, top, width, height) for at in (left, left + width + GAP))
    for axes, image in ((plain, shown), (overlay, dimmed(shown))):
        show_image(axes, image, size=picture.image.shape[1::-1])
    said = paint(overlay, picture)
    if picture.box is not None:
        for axes in (plain, overlay):
            add_outline(axes, _pixels(picture.box, picture.image))
    page.text(left, top - CAPTION + 0.07, picture.name, width=width)
    page.text(left + width + GAP, top - CAPTION + 0.07, said, width=width)


def _pixels(box: Box, image: npt.NDArray[np.uint8]) -> Box:
    height, width = image.shape[:2]
    x1, y1, x2, y2 = (np.clip(box, 0, 1) * (width, height, width, height)).tolist()
    return x1, y1, x2, y2


def _check_clusters(picture: Marked, num_clusters: int) -> None:
    values = picture.values
    whole = np.issubdtype(values.dtype, np.integer)
    if not whole or (len(values) and (values.min() < 0 or values.max() >= num_clusters)):
        raise BadInput(
            f"clusters are {values.dtype}"
            + (f" from {values.min()} to {values.max()}" if len(values) else ""),
            where=picture.name,
            expected=f"integers from 0 to {num_clusters - 1}",
        )


def _cluster_keys(sizes: npt.NDArray[np.int64], colours: Floats) -> list[Key]:
    """The largest clusters, and how much the others have together."""
    total = max(int(sizes.sum()), 1)
    largest = np.argsort(-sizes, kind="stable")
    named = [int(cluster) for cluster in largest[:NAMED_CLUSTERS] if sizes[cluster]]
    entries = []
    for cluster in named:
        red, green, blue = colours[cluster].tolist()
        text = f"{cluster}: {sizes[cluster] / total:.1%}"
        entries.append(Key(text, (red, green, blue), "s", GREY, 8))
    rest = int(np.count_nonzero(sizes)) - len(named)
    if rest:
        share = 1 - sizes[named].sum() / total
        entries.append(Key(f"{rest} others: {share:.1%}", (1.0, 1.0, 1.0), "s", GREY, 8))
    return entries


def _key_columns(page: Page, entries: int) -> int:
    return max(1, min(entries, int((page.width - 2 * MARGIN) / KEY_WIDTH)))


def _limits(values: Sequence[npt.NDArray[np.number]]) -> tuple[float, float]:
    """The 1st and 99th percentile; 0.5 around a single value."""
    together = np.concatenate([np.zeros(0), *values])
    if not len(together):
        return 0.0, 1.0
    low, high = np.percentile(together, [1, 99]).tolist()
    return (low, high) if high > low else (low - 0.5, high + 0.5)
