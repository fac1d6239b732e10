"""Pictures: what is drawn stands where it belongs, and looks the same each time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.collections import Collection, PathCollection, PolyCollection
from matplotlib.figure import Figure

from ames_lite.classification.scikit import pca
from ames_lite.errors import BadInput
from ames_lite.evaluation.figures import label_styles, save_figure
from ames_lite.records import LocalDescriptors
from tests.classification.test_scikit import blobs
from tools.view import overlays
from tools.view.colours import cluster_colours
from tools.view.lattice import find_cells
from tools.view.overlays import Shown, cluster_sheet, weight_sheet
from tools.view.scatter import draw_globals, thumbnail_rows

Array = npt.NDArray[Any]
HEIGHT, WIDTH = 60, 90


def picture(seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def keypoints(count: int = 40, seed: int = 0) -> Array:
    return np.random.default_rng(seed).random((count, 2)).astype(np.float32)


def grid(rows: int, columns: int, keep: int, seed: int = 0) -> Array:
    """`keep` patch centres of a grid, in any order."""
    y, x = np.mgrid[0:rows, 0:columns]
    centres = np.stack([(x + 0.5) / columns, (y + 0.5) / rows], axis=-1).reshape(-1, 2)
    chosen = np.random.default_rng(seed).permutation(len(centres))[:keep]
    return centres[chosen].astype(np.float32)


def shown(
    xy: Array | None = None,
    scale: Array | None = None,
    weight: Array | None = None,
    seed: int = 0,
    name: str = "",
) -> Shown:
    """An image with descriptors at some places."""
    xy = keypoints() if xy is None else xy
    k = len(xy)
    local = LocalDescriptors(
        np.zeros((k, 4), np.float16),
        xy.astype(np.float32),
        np.zeros(k, np.uint8) if scale is None else scale.astype(np.uint8),
        (np.linspace(1, 0, k) if weight is None else weight).astype(np.float32),
        (HEIGHT, WIDTH),
    )
    return Shown(name, picture(seed), local)


def drawn(figure: Figure, panel: int = 1) -> Collection:
    """The descriptors of an overlay."""
    (found,) = figure.axes[panel].collections
    assert isinstance(found, PathCollection | PolyCollection)
    return found


def marks_of(figure: Figure, panel: int = 1) -> tuple[Array, Array]:
    """Places [K, 2] in [0, 1] and colours [K, 3], sorted by place."""
    found = drawn(figure, panel)
    if isinstance(found, PathCollection):
        places = np.asarray(found.get_offsets())
    else:
        places = np.array([path.vertices[:4].mean(axis=0) for path in found.get_paths()])
    order = np.lexsort(places.T.round(3))
    return places[order], found.get_facecolor()[order, :3]


def bytes_of(figure: Figure, folder: Path, name: str) -> bytes:
    return save_figure(figure, folder / name).read_bytes()


# ---------------------------------------------------------------- overlays


@pytest.mark.parametrize("xy", [keypoints(), grid(6, 9, 30)], ids=["keypoints", "patches"])
def test_every_descriptor_is_drawn_once_at_its_place(xy: Array) -> None:
    for figure in (
        cluster_sheet([shown(xy)], [np.arange(len(xy)) % 11], 11),
        weight_sheet([shown(xy)], "weight"),
    ):
        places, _ = marks_of(figure)
        np.testing.assert_allclose(places, xy[np.lexsort(xy.T.round(3))], atol=2e-4)


@pytest.mark.parametrize("xy", [keypoints(), grid(6, 9, 30)], ids=["keypoints", "patches"])
def test_colours_are_a_function_of_the_cluster_alone(xy: Array) -> None:
    rng = np.random.default_rng(1)
    clusters = [*rng.integers(0, 30, (2, len(xy)))]
    scale = rng.integers(0, 3, len(xy)) if len(xy) == 40 else None
    figure = cluster_sheet([shown(xy, scale), shown(xy, seed=1)], clusters, 30)
    order = np.lexsort(xy.T.round(3))
    for panel, cluster in zip((1, 3), clusters, strict=True):
        _, colours = marks_of(figure, panel)
        np.testing.assert_allclose(colours, cluster_colours(30)[cluster[order]], atol=1e-9)


def test_clusters_have_colours_of_their_own_whatever_their_number() -> None:
    colours = cluster_colours(256)
    assert len(np.unique(colours.round(6), axis=0)) == 256
    assert colours.min() >= 0 and colours.max() <= 1
    np.testing.assert_array_equal(cluster_colours(40), colours[:40])
    np.testing.assert_array_equal(cluster_colours(300)[256:], colours[:44])
    assert len(set(label_styles())) == len(label_styles()) == 21
    apart = np.linalg.norm(colours[:32, None] - colours[None, :32], axis=2) + np.eye(32)
    assert apart.min() > 0.2
    with pytest.raises(BadInput, match="at least 1"):
        cluster_colours(0)


def test_circles_grow_with_the_scale_and_small_ones_lie_on_top() -> None:
    xy = keypoints(4)
    one = shown(xy, np.array([0, 2, 1, 0]))
    found = drawn(cluster_sheet([one], [np.arange(4)], 4, marks="circles"))
    assert isinstance(found, PathCollection)
    sizes = found.get_sizes()
    np.testing.assert_allclose(sizes[[0, 1]] / sizes[3], [4, 2])
    np.testing.assert_allclose(np.asarray(found.get_offsets())[0], xy[1], rtol=1e-6)


def test_weights_of_a_sheet_share_one_scale() -> None:
    xy = grid(6, 9, 54)
    low, high = (shown(xy, weight=np.full(54, weight)) for weight in (1.0, 3.0))
    together = weight_sheet([low, high])
    colours = [marks_of(together, panel)[1] for panel in (1, 3)]
    assert (np.ptp(colours[0], axis=0) == 0).all() and not np.allclose(colours[0], colours[1])
    assert together.axes[-1].get_xlim() == pytest.approx((1.0, 3.0))
    assert weight_sheet([low], "feature norm").axes[-1].get_xlabel() == "feature norm"


def test_an_image_without_descriptors_is_an_image_all_the_same(tmp_path: Path) -> None:
    none = shown(np.zeros((0, 2)))
    for name, figure in {
        "clusters": cluster_sheet([none], [np.zeros(0, np.int64)], 3, marks="cells"),
        "weights": weight_sheet([none], "weight"),
    }.items():
        assert len(bytes_of(figure, tmp_path, f"{name}.png")) > 1000


def test_no_words_of_a_sheet_overlap_and_names_are_shown_as_they_are(tmp_path: Path) -> None:
    names = ["a/very/long/path" * 9 + "/end.jpg", "price_$5$_x_{.jpg", "b.jpg"]
    pictures = [shown(seed=i, name=name) for i, name in enumerate(names)]
    figure = cluster_sheet(pictures, [np.arange(40) % 20] * 3, 20, title="a title " * 40)
    save_figure(figure, tmp_path / "a.png")  # places everything
    axes = [one for one in figure.axes if one.images]
    titles = [one._left_title for one in axes]  # as they are drawn
    said = [text.get_text() for text in titles]
    assert said[0].startswith("…") and said[0].endswith("/end.jpg")
    assert said[2] == r"price_\$5\$_x_{.jpg"  # no mathematics
    title = figure._suptitle
    assert title is not None
    (legend,) = figure.subfigs[1].legends
    boxes = [one.get_window_extent() for one in (*axes, *titles, title, legend)]
    page = figure.bbox
    for i, box in enumerate(boxes):
        assert box.x0 >= page.x0 and box.x1 <= page.x1 and box.y0 >= page.y0 and box.y1 <= page.y1
        assert not any(box.overlaps(other) for other in boxes[:i])


def test_the_key_names_the_largest_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlays, "NAMED_CLUSTERS", 2)
    cluster = np.array([3] * 20 + [1] * 15 + [0] * 4 + [2])
    (legend,) = cluster_sheet([shown()], [cluster], 6).subfigs[1].legends
    words = [text.get_text() for text in legend.get_texts()]
    assert words == ["3: 50.0%", "1: 37.5%", "2 others: 12.5%"]


def test_cells_of_keypoints_are_refused() -> None:
    with pytest.raises(BadInput, match="no grid"):
        weight_sheet([shown()], marks="cells")


# ---------------------------------------------------------------- grids


@pytest.mark.parametrize("kind", [np.float32, np.float16])
@pytest.mark.parametrize("rows, columns, keep", [(55, 55, 700), (10, 7, 50), (3, 4, 9)])
def test_the_patch_of_a_grid_is_found(rows: int, columns: int, keep: int, kind: Any) -> None:
    xy = grid(rows, columns, keep).astype(kind)
    cells = find_cells(xy, np.zeros(keep, np.uint8))
    assert cells is not None and cells.shape == (keep, 2)
    np.testing.assert_allclose(cells, np.full((keep, 2), [1 / columns, 1 / rows]), rtol=0.01)


def test_every_scale_of_a_cropped_grid_has_its_patch() -> None:
    box = np.array([0.2, 0.1]), np.array([0.5, 0.8])
    parts = [grid(4, 5, 16), grid(8, 10, 60), grid(8, 10, 2, seed=1)]
    scale = np.repeat([0, 1, 2], [16, 60, 2])
    cells = find_cells(box[0] + box[1] * np.concatenate(parts), scale)
    assert cells is not None
    np.testing.assert_allclose(cells[0], box[1] / [5, 4], rtol=1e-4)
    np.testing.assert_allclose(cells[16:], np.tile(box[1] / [10, 8], (62, 1)), rtol=1e-4)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 20, 700])
def test_keypoints_are_on_no_grid(count: int) -> None:
    for seed in range(50):
        assert find_cells(keypoints(count, seed), np.zeros(count, np.uint8)) is None


# ---------------------------------------------------------------- maps


def scatter_of(figure: Figure) -> list[tuple[Array, Array, float]]:
    """Of every set of points: places, colour, size."""
    return [
        (np.asarray(c.get_offsets()), c.get_facecolor()[0, :3], float(c.get_sizes()[0]))
        for c in figure.axes[0].collections
    ]


def test_every_image_is_one_point_of_the_map() -> None:
    points = np.random.default_rng(0).normal(0, 1, (200, 2))
    labels = np.repeat(np.arange(40), 5)
    labels[:7] = -1
    labels[7:60] = 39
    is_query = np.arange(200) % 9 == 0
    figure = draw_globals(points, labels, is_query, label_names={39: "$a$"}, title="t")
    found = scatter_of(figure)
    places = np.concatenate([part[0] for part in found])
    np.testing.assert_allclose(np.sort(places, axis=0), np.sort(points, axis=0))
    rows = [int(np.flatnonzero((points == place).all(axis=1))[0]) for place in places]
    assert sorted(rows) == list(range(200))
    sizes = np.concatenate([[size] * len(part) for part, _, size in found])
    assert sizes[is_query[rows]].min() > sizes[~is_query[rows]].max()
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    # the 53 rows from 7 on leave nothing of the labels 2 to 11 and all of 12 to 38
    assert words[:3] == ["query (23)", "gallery (177)", r"\$a\$ (58)"]
    assert words[-2:] == ["14 other labels (70)", "no label (7)"] and len(words) == 18


def test_named_labels_have_looks_of_their_own() -> None:
    labels = np.repeat(np.arange(12), 3)
    points = np.random.default_rng(0).normal(0, 1, (36, 2))
    figure = draw_globals(points, labels, np.zeros(36, bool))
    looks = {
        (tuple(c.get_facecolor()[0].round(3)), c.get_paths()[0].vertices.tobytes())
        for c in figure.axes[0].collections
    }
    assert len(looks) == len(figure.axes[0].collections) == 12


def test_thumbnails_never_lie_over_each_other(tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(0, 1, (80, 2))
    rows = thumbnail_rows(points, range(80))
    assert 5 < len(rows) < 80
    images = {row: picture(row) for row in rows}
    figure = draw_globals(points, np.zeros(80, np.int64), np.zeros(80, bool), thumbnails=images)
    save_figure(figure, tmp_path / "a.png")  # places everything
    boxes = [artist.get_window_extent() for artist in figure.axes[0].artists]
    assert len(boxes) == len(rows)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


# ---------------------------------------------------------------- files


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    for name, make in {
        "clusters": lambda: cluster_sheet([shown(name="a")], [np.arange(40) % 5], 5),
        "weights": lambda: weight_sheet([shown(grid(6, 9, 30))], "weight"),
        "globals": lambda: draw_globals(
            pca(blobs()[0]).points, blobs()[1], np.arange(60) < 30, thumbnails={3: picture()}
        ),
    }.items():
        first, second = (bytes_of(make(), tmp_path, f"{name}{i}.png") for i in (1, 2))
        assert first == second and first.startswith(b"\x89PNG")
