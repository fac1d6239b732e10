"""The one owner of matplotlib: figures, marks at places, keys, and the PNG file.

Figures are made by their class and drawn by Agg: no pyplot, no window, no state beside the figure.
Lengths of a page are inches from its top left corner; an image of H × W pixels spans x 0 to W and y
0 to H, y down, so that a position in [0, 1] times (W, H) is its place. The same figure gives the
same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import EllipseCollection, PolyCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.patches import Rectangle

from ames_lite.io.writing import replacing

__all__ = ["Axes", "Figure", "Key", "Page"]

DPI = 110
SMALL, MEDIUM, LARGE = 8, 9.5, 12  # points
CLIPPED = "…"
Floats = npt.NDArray[np.floating[Any]]
Colour = tuple[float, float, float]
BLACK: Colour = (0.0, 0.0, 0.0)


class Key(NamedTuple):
    """What one mark means; edge: None is the colour; size in points."""

    text: str
    colour: Colour
    marker: str
    edge: Colour | None
    size: float


class Page:
    """A white page of `width` × `height` inches, on which things are put by their place."""

    def __init__(self, width: float, height: float) -> None:
        self.figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
        FigureCanvasAgg(self.figure)
        self.width, self.height = width, height

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes in a box, in inches from the top left corner."""
        bottom = self.height - top - height
        box = (left / self.width, bottom / self.height, width / self.width, height / self.height)
        return self.figure.add_axes(box)

    def text(
        self,
        left: float,
        top: float,
        words: str,
        *,
        size: float = SMALL,
        width: float = 0,
        colour: Colour = BLACK,
    ) -> None:
        """One line, its top left corner given; cut at the front where it is wider than `width`."""
        at = (left / self.width, 1 - top / self.height)
        # parse_math: a dollar sign in a file name is a dollar sign
        look: dict[str, Any] = {"fontsize": size, "color": colour, "parse_math": False}
        put = self.figure.text(*at, words, va="top", **look)
        while width and words and put.get_window_extent().width > width * DPI:
            words = words[1:]
            put.set_text(CLIPPED + words)

    def keys(self, left: float, top: float, entries: Sequence[Key], columns: int) -> None:
        """What colours and marks mean, from the top left corner given, row by row."""
        at = (left / self.width, 1 - top / self.height)
        legend = self.figure.legend(
            handles=[_handle(entries[i]) for i in _by_column(len(entries), columns)],
            loc="upper left",
            bbox_to_anchor=at,
            ncols=columns,
            fontsize=SMALL,
            frameon=False,
            borderaxespad=0,
            borderpad=0,
            handletextpad=0.3,
        )
        _plain_text(legend)

    def colour_bar(
        self, box: tuple[float, float, float, float], low: float, high: float, heat: str, name: str
    ) -> None:
        """A lying bar in a box (left, top, width, height) of the colours from low to high."""
        bar = self.figure.colorbar(
            ScalarMappable(Normalize(low, high), heat),
            cax=self.axes(*box),
            orientation="horizontal",
            extend="both",
        )
        bar.ax.tick_params(labelsize=SMALL)
        bar.ax.set_xlabel(name, fontsize=MEDIUM, parse_math=False)


def _by_column(count: int, columns: int) -> list[int]:
    """Where the entries of a key go that is read row by row: a legend is filled by columns.

    >>> _by_column(5, 2)
    [0, 2, 4, 1, 3]
    """
    return [i for column in range(columns) for i in range(column, count, columns)]


def _handle(entry: Key) -> Line2D:
    return Line2D(
        [],
        [],
        linestyle="",
        marker=entry.marker,
        color=entry.colour,
        label=entry.text,
        markeredgecolor=entry.edge or entry.colour,
        markersize=entry.size,
    )


def _plain_text(legend: Legend) -> None:
    for text in legend.get_texts():
        text.set_parse_math(False)


def save_png(figure: Figure, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write the figure; returns the path. Raises BadInput for a file that exists already."""
    with replacing(path, overwrite=overwrite) as partial:
        figure.savefig(partial, format="png", dpi=DPI, metadata={"Software": None})
    return Path(path)


def heat_colours(values: Floats, low: float, high: float, heat: str) -> Floats:
    """The colours [K, 3] of values [K] on a scale from low to high, as `Page.colour_bar` has it."""
    return ScalarMappable(Normalize(low, high, clip=True), heat).to_rgba(values)[:, :3]


def show_image(axes: Axes, image: npt.NDArray[np.uint8], size: tuple[int, int]) -> None:
    """An image [h, w, 3] in its proportions, without a frame; size: the W, H that it spans."""
    width, height = size
    axes.imshow(image, extent=(0, width, height, 0), interpolation="antialiased")
    axes.set_anchor("NW")
    axes.set_axis_off()


def span_of(points: Floats) -> float:
    """What both axes of a plot of points [N, 2] span: their range with some room."""
    return 1.16 * float(np.ptp(points, axis=0).max()) or 1.0


def style_plot(axes: Axes, points: Floats, names: tuple[str, str]) -> None:
    """Limits around points [N, 2] with some room, equal spans, thin axes and their names."""
    middle = (points.max(axis=0) + points.min(axis=0)) / 2
    half = span_of(points) / 2
    axes.set_xlim(middle[0] - half, middle[0] + half)
    axes.set_ylim(middle[1] - half, middle[1] + half)
    axes.set_xlabel(names[0], fontsize=MEDIUM, parse_math=False)
    axes.set_ylabel(names[1], fontsize=MEDIUM, parse_math=False)
    axes.tick_params(labelsize=SMALL, colors="0.4")
    axes.grid(color="0.93", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("0.7")


def add_cells(axes: Axes, places: Floats, sides: Floats, colours: Floats, alpha: float) -> None:
    """Filled rectangles around places [K, 2] with sides [K, 2], in pixels; colours [K, 3]."""
    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    # to 0.01 pixels: neighbours then have one and the same edge, and no seam between them
    outlines = np.round(places[:, None] + corners * sides[:, None], 2)
    axes.add_collection(
        PolyCollection(
            list(outlines), facecolors=colours, alpha=alpha, linewidths=0, antialiaseds=False
        ),
        autolim=False,
    )


def add_circles(axes: Axes, places: Floats, widths: Floats, colours: Floats, alpha: float) -> None:
    """Filled circles at places [K, 2], `widths` [K] wide, in pixels; colours [K, 3]."""
    axes.add_collection(
        EllipseCollection(
            widths,
            widths,
            np.zeros(len(widths)),
            units="xy",
            offsets=places,
            offset_transform=axes.transData,
            facecolors=np.column_stack([colours, np.full(len(colours), alpha)]),
            edgecolors="white",
            linewidths=0.5,
        ),
        autolim=False,
    )


def add_outline(axes: Axes, box: tuple[float, float, float, float]) -> None:
    """An outline (x1, y1, x2, y2) in pixels, white on black so that it shows on any picture."""
    x1, y1, x2, y2 = box
    for colour, line in (("black", 2.5), ("white", 1.0)):
        axes.add_patch(
            Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=line)
        )


def add_frame(axes: Axes, size: tuple[int, int], colour: Colour) -> None:
    """A frame on the edge of an image that spans W, H."""
    frame = Rectangle((0, 0), *size, fill=False, edgecolor=colour, linewidth=4, clip_on=False)
    axes.add_patch(frame)


def add_words(axes: Axes, place: tuple[float, float], words: str, colour: Colour) -> None:
    """Words in the middle of a place, in the axes' own units."""
    middle: dict[str, Any] = {"ha": "center", "va": "center"}
    axes.text(*place, words, fontsize=MEDIUM, color=colour, parse_math=False, **middle)


def add_points(
    axes: Axes, places: Floats, colour: Colour, marker: str, *, size: float, edge: Colour | str
) -> None:
    """Points at places [K, 2], of one look; size in points."""
    axes.scatter(
        places[:, 0],
        places[:, 1],
        s=size**2,
        color=[colour],
        marker=marker,
        edgecolors=[edge],
        linewidths=0.9 if edge == "black" else 0.4,
    )


def add_thumbnail(
    axes: Axes, place: Floats, image: npt.NDArray[np.uint8], inches: float, edge: Colour
) -> None:
    """A small image, its longer side `inches`, centred at a place; framed in a colour."""
    zoom = inches * 72 / max(image.shape[:2])
    frame = {"edgecolor": edge, "linewidth": 2.2, "boxstyle": "square,pad=0"}
    picture = OffsetImage(image, zoom=zoom)
    axes.add_artist(
        AnnotationBbox(picture, (float(place[0]), float(place[1])), pad=0, bboxprops=frame)
    )
