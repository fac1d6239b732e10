"""Pictures: confusion, epochs, the hidden layer by t-SNE, clusters on images."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy.spatial import cKDTree

from ames_lite.classification.data import SIDES, TEST, Ids
from ames_lite.evaluation import figures
from ames_lite.evaluation.figures import HUES, MEDIUM, PALE, SMALL, fitting, titled_figure

CURVES = {  # of an epoch's line, by panel
    "loss": ("loss", "val_loss"),
    "accuracy": ("accuracy", "val_accuracy"),
    "recall of the hidden layer": ("recall@1", "recall@5", "recall@10"),
}
IMAGE, TINT = 0.6, 0.4  # shares of a picture with its clusters drawn over it
REACH = 0.75  # of the usual distance between descriptors: how far from one a pixel is still its own
Picture = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.floating[Any]]
COLUMNS, SIDE = 4, 2.6  # of a sheet of images, and inches of one


def confusion_figure(counts: Ids, classes: Sequence[str], title: str) -> Figure:
    """Counts [C, C] of images by class and predicted class; colours are shares of a row."""
    size = max(4.5, min(0.45 * len(classes), 0.16 * len(classes) + 9) + 2)  # letters just fit
    figure = titled_figure((size + 0.6, size), title)
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    for row, column in np.argwhere(counts).tolist():
        tone = "white" if shares[row, column] < 0.5 else "black"
        look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": SMALL, "color": tone}
        axes.text(column, row, str(counts[row, column]), **look)
    names = [fitting(name, 1.5) for name in classes]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=SMALL)
    axes.set_yticks(range(len(names)), names, fontsize=SMALL)
    axes.set_xlabel("predicted", fontsize=MEDIUM)
    axes.set_ylabel("class", fontsize=MEDIUM)
    return figure


def epochs_figure(lines: Sequence[Mapping[str, float]], title: str) -> Figure:
    """Loss, accuracy and recall of every epoch."""
    figure = titled_figure((12.0, 3.8), title)
    x = [line["epoch"] for line in lines]
    for axes, (panel, keys) in zip(figure.subplots(1, 3), CURVES.items(), strict=True):
        for key, hue in zip(keys, HUES[4:], strict=False):
            axes.plot(x, [line[key] for line in lines], color=hue, label=key)
        axes.set_xlabel("epoch", fontsize=MEDIUM)
        axes.set_title(panel, fontsize=MEDIUM, loc="left")
        axes.legend(frameon=False, fontsize=SMALL)
        figures.style_axes(axes)
        axes.set_ylim(-0.02, None if panel == "loss" else 1.02)
    return figure


def tsne_figure(
    points: npt.NDArray[np.float64], labels: Ids, side: Ids, classes: Sequence[str], title: str
) -> Figure:
    """Images at points [N, 2]: a look for each class, those of the test side with a black edge."""
    figure = titled_figure((8.6, 6.5), title)
    axes, styles, test = figure.subplots(), figures.label_styles(), side == TEST
    keys = []
    for number, name in enumerate(classes):
        hue, marker = styles[number % len(styles)]
        keys.append(Line2D([], [], color=hue, marker=marker, linestyle="", label=fitting(name, 2)))
        for edge, rows in (("white", ~test), ("black", test)):
            at = points[rows & (labels == number)]
            axes.scatter(at[:, 0], at[:, 1], s=30, color=hue, marker=marker, edgecolors=edge)
    more = {"marker": "o", "linestyle": "", "color": PALE}
    keys.append(Line2D([], [], markeredgecolor="black", label=SIDES[TEST], **more))  # type: ignore[arg-type]
    figure.legend(handles=keys, loc="outside right upper", fontsize=SMALL, frameon=False)
    figures.style_axes(axes)
    axes.set(xticks=[], yticks=[])
    return figure


def cluster_sheet(
    pictures: Sequence[tuple[str, Picture]], clusters: Sequence[int], title: str
) -> Figure:
    """Tinted images and their names; the key names the clusters in their colours."""
    rows = -(-len(pictures) // COLUMNS)
    tall = max(picture.shape[0] / picture.shape[1] for _, picture in pictures)
    figure = titled_figure((COLUMNS * SIDE, rows * (SIDE * tall + 0.3) + 1.0), title)
    for number, axes in enumerate(figure.subplots(rows, COLUMNS, squeeze=False).flat):
        axes.set_axis_off()
        if number < len(pictures):
            name, picture = pictures[number]
            axes.imshow(picture)
            axes.set_title(fitting(name, SIDE), fontsize=SMALL, loc="left")
    hues = zip(clusters, cluster_hues(len(clusters)), strict=True)
    keys = [Patch(color=tuple(hue), label=f"cluster {one}") for one, hue in hues]
    figure.legend(handles=keys, loc="outside lower left", ncols=8, fontsize=SMALL, frameon=False)
    return figure


def cluster_hues(count: int) -> npt.NDArray[np.float64]:
    """Colours [count, 3] in [0, 1]; they repeat after the 15th."""
    more = colormaps["tab20"]([10, 8, 16, 6, 11, 9, 17, 7])  # brown, purple, olive, red, paler ones
    hues = [*map(to_rgb, HUES), *(tuple(hue[:3]) for hue in more)]
    return np.array([hues[at % len(hues)] for at in range(count)])


def tinted(image: Picture, xy: Floats, own: Ids, colours: Floats) -> Picture:
    """An image [H, W, 3] with patches of clusters over it: xy [K, 2] in [0, 1] and own [K] of its
    descriptors, colours [C, 3] in [0, 1], NaN for clusters that are not drawn.
    """
    size = np.array(image.shape[1::-1])
    if len(xy) < 2:
        return image
    tree = cKDTree(xy * size)
    reach = REACH * float(np.median(tree.query(xy * size, k=[2])[0]))
    y, x = np.mgrid[: size[1], : size[0]]
    away, near = tree.query(np.stack([x, y], axis=-1) + 0.5)
    tint = colours[own[near]]
    drawn = (away <= max(reach, 1.0)) & ~np.isnan(tint).any(axis=-1)
    out = image.copy()
    out[drawn] = (IMAGE * image[drawn] + TINT * 255 * tint[drawn]).round().astype(np.uint8)
    return out
