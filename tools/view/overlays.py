"""Clusters and detector weights over the images that the descriptors come from.

Sheets show several images on one page, each beside its overlay. Patches of a dense backbone are
filled cells, keypoints are circles: of clusters with an area that doubles from scale to scale, of
weights with an area that grows with the weight. All pictures of a sheet share one colour scale, so
that they can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke

from ames_lite.errors import BadInput
from ames_lite.evaluation.figures import GREY, SMALL, fitting, plain, titled_figure
from ames_lite.io.images import Box
from ames_lite.records import LocalDescriptors
from benchmarks.legends import by_column
from tools.view.colours import cluster_colours
from tools.view.lattice import MIN_POINTS, find_cells

Floats = npt.NDArray[np.floating[Any]]

MARKS = ("auto", "cells", "circles")
HEAT = "viridis"  # its lightness rises evenly, and no part of it is grey as the ground is
MAX_PICTURES = 100
NAMED_CLUSTERS = 12  # of the key, the largest
ALONE, IN_SHEET = 5.2, 3.2  # inches: width of a picture, where it is the only one and else
TALLEST = 1.35  # height of a row, in widths of a picture
TITLE, CAPTION, FOOTER, GAP = 0.4, 0.3, 0.75, 0.12  # inches
KEY_WIDTH = 1.15  # inches of an entry of the key
DOT, DOT_GROWTH = 4.2, 10.4  # diameters in points, of a picture in a sheet
CORNERS = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])  # of a cell
CELL_ALPHA, DOT_ALPHA = 0.8, 0.9


@dataclass(frozen=True, eq=False)
class Shown:
    """One image of a sheet [H, W, 3], shrunk, and its descriptors; box: a crop, in [0, 1]."""

    name: str
    image: npt.NDArray[np.uint8]
    local: LocalDescriptors
    box: Box | None = None


def cluster_sheet(
    pictures: Sequence[Shown],
    clusters: Sequence[npt.NDArray[np.integer]],
    num_clusters: int,
    *,
    title: str = "",
    marks: str = "auto",
) -> Figure:
    """Images and, beside each, which cluster its descriptors belong to.

    clusters: of each picture's descriptors [K]. The key names the clusters that have the most
    descriptors on this sheet. marks: one of MARKS. Raises BadInput where cells are asked for and
    descriptors are on no grid.
    """
    colours = cluster_colours(num_clusters)

    def draw(axes: Axes, number: int) -> str:
        local, own = pictures[number].local, clusters[number]
        areas = DOT**2 * 2.0**local.scale
        _draw_marks(axes, pictures[number], colours[own], areas, marks)
        return f"{len(own)} descriptors, {len(np.unique(own))} clusters"

    figure, footer = _sheet(pictures, title, draw)
    counts = np.bincount(np.concatenate(clusters), minlength=num_clusters)
    entries = _cluster_keys(counts, colours)
    columns = max(1, min(len(entries), int(figure.get_figwidth() / KEY_WIDTH)))
    footer.legend(
        handles=by_column(entries, columns),
        title="cluster: share of the descriptors on this sheet",
        loc="upper left",
        ncols=columns,
        alignment="left",
        fontsize=SMALL,
        title_fontsize=SMALL,
        frameon=False,
    )
    return figure


def weight_sheet(
    pictures: Sequence[Shown], weight_name: str = "weight", *, title: str = "", marks: str = "auto"
) -> Figure:
    """Images and, beside each, the detector's weight of its descriptors.

    The colours run from the 1st to the 99th percentile of the sheet. marks: as `cluster_sheet`.
    """
    scale = _colour_scale(np.concatenate([one.local.weight for one in pictures]))

    def draw(axes: Axes, number: int) -> str:
        weight = pictures[number].local.weight.astype(np.float64)
        areas = DOT**2 + DOT_GROWTH**2 * np.asarray(scale.norm(weight))
        _draw_marks(axes, pictures[number], scale.to_rgba(weight)[:, :3], areas, marks)
        span = f", weights {weight.min():.3g} to {weight.max():.3g}" if len(weight) else ""
        return f"{len(weight)} descriptors{span}"

    figure, footer = _sheet(pictures, title, draw)
    bar = footer.subplots(gridspec_kw={"left": 0.1, "right": 0.9, "top": 0.8, "bottom": 0.6})
    bar.tick_params(labelsize=SMALL)
    figure.colorbar(scale, bar, orientation="horizontal", extend="both", label=plain(weight_name))
    return figure


def _sheet(
    pictures: Sequence[Shown], title: str, draw: Callable[[Axes, int], str]
) -> tuple[Figure, SubFigure]:
    """A page of image and overlay side by side, and its foot, for a key.

    draw draws an overlay and says what is to be said of it.
    """
    columns, width = (1, ALONE) if len(pictures) == 1 else (2, IN_SHEET)
    rows = [pictures[i : i + columns] for i in range(0, len(pictures), columns)]
    heights = [width * max(map(_aspect, row)) for row in rows]
    total = TITLE + sum(heights) + CAPTION * len(rows)
    size = (2 * columns * (width + GAP) + GAP, total + FOOTER)
    figure = titled_figure(size, title, fixed=True)  # a layout engine doubles the time
    top, foot = figure.subfigures(2, 1, squeeze=False, height_ratios=[total, FOOTER])[:, 0]
    places = {
        "left": GAP / size[0],
        "right": 1 - GAP / size[0],
        "top": 1 - (TITLE + CAPTION) / total,
        "bottom": 0,
        "wspace": GAP / width,
        "hspace": CAPTION * len(rows) / sum(heights),
    }
    grid = {"squeeze": False, "height_ratios": heights, "gridspec_kw": places}
    axes = top.subplots(len(rows), 2 * columns, **grid)
    for one in axes.flat:
        one.set_axis_off()
    for number, (picture, pair) in enumerate(zip(pictures, axes.reshape(-1, 2), strict=False)):
        for panel, image in zip(pair, (picture.image, _dimmed(picture.image)), strict=True):
            panel.imshow(image, extent=(0, 1, 1, 0), aspect=image.shape[0] / image.shape[1])
            panel.set_anchor("NW")
        said = draw(pair[1], number)
        for panel, words in zip(pair, (picture.name, said), strict=True):
            panel.set_title(fitting(words, width), loc="left", fontsize=SMALL)
            panel.set(xlim=(0, 1), ylim=(1, 0))
            if picture.box is not None:
                _outline(panel, picture.box)
    return figure, foot


def _aspect(picture: Shown) -> float:
    return min(picture.image.shape[0] / picture.image.shape[1], TALLEST)


def _draw_marks(axes: Axes, picture: Shown, colours: Floats, areas: Floats, marks: str) -> None:
    """Every descriptor once: cells of coarse scales below fine ones, large circles below small."""
    local = picture.local
    cells = None if marks == "circles" else find_cells(local.xy, local.scale)
    if cells is not None:
        order = np.argsort(-cells.prod(axis=1), kind="stable")
        outlines = local.xy[order, None] + CORNERS * cells[order, None]
        cover = PolyCollection(list(outlines), facecolors=colours[order], alpha=CELL_ALPHA)
        cover.set(linewidths=0, antialiaseds=False)
        axes.add_collection(cover)
        return
    if marks == "cells" and local.count:
        raise BadInput(
            "the descriptors are on no grid of patches",
            where=picture.name,
            expected=f"at least {MIN_POINTS} of a dense backbone",
            remedy="marks=circles",
        )
    order = np.argsort(-areas, kind="stable")
    axes.scatter(
        local.xy[order, 0],
        local.xy[order, 1],
        s=areas[order],
        c=colours[order],
        alpha=DOT_ALPHA,
        edgecolors="white",
        linewidths=0.5,
    )


def _dimmed(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The image in grey, dark and with less contrast: a ground that colours show on."""
    dark = (25 + 0.42 * (image @ [0.299, 0.587, 0.114])).round().astype(np.uint8)
    return np.repeat(dark[..., None], 3, axis=2)


def _outline(axes: Axes, box: Box) -> None:
    """White on black, so that it shows on any picture."""
    x1, y1, x2, y2 = np.clip(box, 0, 1).tolist()
    frame = Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor="white", linewidth=1.0)
    frame.set_path_effects([withStroke(linewidth=2.5, foreground="black")])
    axes.add_patch(frame)


def _cluster_keys(counts: npt.NDArray[np.integer], colours: Floats) -> list[Patch]:
    """The largest clusters, and how much the others have together."""
    total = max(int(counts.sum()), 1)
    named = [int(one) for one in np.argsort(-counts, kind="stable")[:NAMED_CLUSTERS] if counts[one]]
    entries = [(f"{one}: {counts[one] / total:.1%}", colours[one]) for one in named]
    rest = int(np.count_nonzero(counts)) - len(named)
    if rest:
        entries.append((f"{rest} others: {1 - counts[named].sum() / total:.1%}", np.ones(3)))
    return [Patch(facecolor=colour, edgecolor=GREY, label=text) for text, colour in entries]


def _colour_scale(values: Floats) -> ScalarMappable:
    """From the 1st to the 99th percentile; 0.5 around a single value."""
    low, high = np.percentile(values, [1, 99]).tolist() if len(values) else (0.0, 1.0)
    if high <= low:
        low, high = low - 0.5, high + 0.5
    return ScalarMappable(Normalize(low, high, clip=True), HEAT)
