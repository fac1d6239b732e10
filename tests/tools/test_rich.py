"""Laws of the rich rendered world."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ames_lite.datasets.image_lists import read_image_list
from ames_lite.errors import BadInput
from ames_lite.io.digest import array_digest, file_digest
from ames_lite.io.images import load_image
from ames_lite.synthetic.world import WorldSpec, render_world
from tools.release.rich.photographs import landmark_points, visible_points
from tools.release.rich.raster import draw, looking_at
from tools.release.rich.scenes import KINDS, Surface, box, make_style, upright
from tools.release.rich.textures import fractal
from tools.release.rich.world import (
    RichSpec,
    release_worlds,
    render_rich_world,
    rich_props,
    rich_scene,
)

SMALL = RichSpec("test", 5, 1, 2, queries=1, easy=1, hard=1, junk=0, distractors=1)
FRONT = looking_at(np.array([0.0, 0.0, -4.0]), np.zeros(3), 0.0, 200.0, (100, 120))


def flat(value: int) -> np.ndarray:
    return np.full((20, 20, 4), (value, value, value, 255), np.uint8)


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in files}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_rich_world(SMALL, tmp_path_factory.mktemp("rich"), "own")


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes(world: Path, tmp_path: Path) -> None:
    first = contents(world)
    assert first == contents(render_rich_world(SMALL, tmp_path / "b", "own"))
    pictures = [name for name in first if name.endswith(".jpg")]
    assert len(pictures) == 2 * 3 + 1 == len({first[name] for name in pictures})


def test_lists_boxes_and_visibility_agree(world: Path) -> None:
    queries, gallery = (read_image_list(world / f"{s}.txt") for s in ("query", "gallery"))
    assert (len(queries), len(gallery)) == (2, 5)
    for images in (queries, gallery):
        assert images.sizes is not None
        for name, size in zip(images.names, images.sizes, strict=True):
            assert load_image(world / name).shape[:2] == tuple(size)
    with np.load(world / "geometry.npz") as geometry:
        assert geometry["projection"].shape == (7, 3, 4) and "homography" not in geometry
        shown = geometry["visible"].mean((1, 2))
        easy = [i for i, name in enumerate(geometry["name"].tolist()) if "_easy" in name]
    assert (shown[easy] >= 0.55).all()


@pytest.mark.slow
def test_a_share_of_the_landmarks_to_train_on_is_of_the_plain_world(tmp_path: Path) -> None:
    views = {"queries": 0, "easy": 1, "hard": 1, "junk": 0, "distractors": 0}
    spec = RichSpec("train", 5, 2, 1, **views, plain_styles=1)
    render_rich_world(spec, tmp_path / "mixed", "own")
    alone = render_world(WorldSpec("train", 5, 1, 1, **views), tmp_path / "plain", "own")
    images = read_image_list(tmp_path / "mixed" / "train.txt")
    assert images.labels is not None and images.labels.tolist() == [0, 0, 1, 1]
    kinds = ("0_easy", "1_hard")
    for kind, name in zip(kinds, images.names[2:], strict=True):
        assert name == f"jpg/landmark0001_{kind}.jpg"
        there = alone / f"jpg/landmark0000_{kind}.jpg"
        assert file_digest(tmp_path / "mixed" / name) == file_digest(there)
    rich_alone = replace(spec, num_styles=1, plain_styles=0)
    render_rich_world(rich_alone, tmp_path / "rich", "own")
    for kind in kinds:
        one, other = (tmp_path / w / f"jpg/landmark0000_{kind}.jpg" for w in ("mixed", "rich"))
        assert file_digest(one) == file_digest(other)
    point = np.array([7.0, 9.0])
    with (
        np.load(tmp_path / "mixed" / "geometry.npz") as mixed,
        np.load(alone / "geometry.npz") as flat,
    ):
        assert mixed["projection"].shape == (4, 3, 4) and mixed["visible"].shape[0] == 4
        for projection, homography in zip(mixed["projection"][2:], flat["homography"], strict=True):
            expected = homography @ np.append(point, 1.0)
            np.testing.assert_allclose(projection @ [*point, 0.0, 1.0], expected, rtol=1e-12)


def test_a_world_that_is_plain_altogether_is_refused() -> None:
    with pytest.raises(BadInput, match="2 plain of 2 styles"):
        RichSpec("train", 5, 2, 1, distractors=0, plain_styles=2)
    with pytest.raises(BadInput, match="without distractors"):
        RichSpec("test", 5, 2, 1, distractors=1, plain_styles=1)


@pytest.mark.parametrize(
    ("landmarks", "styles", "of_a_style", "plain"),
    [(3200, 200, 16, 100), (100, 6, 16, 3), (20, 1, 16, 0), (8, 1, 8, 0)],
)
def test_the_world_to_train_on_has_whole_styles(
    landmarks: int, styles: int, of_a_style: int, plain: int
) -> None:
    spec = release_worlds(0, landmarks)["rich-train"]
    assert (spec.num_styles, spec.landmarks_per_style) == (styles, of_a_style)
    assert spec.plain_styles == plain
    assert spec.num_landmarks == styles * of_a_style <= landmarks
    assert spec.first_plain == (styles - plain) * of_a_style


@pytest.mark.slow
def test_the_worlds_of_a_seed_share_nothing() -> None:
    specs = list(release_worlds(0, 8).values())
    specs.append(replace(specs[0], seed=1))
    digests = []
    for spec in specs:
        tiles = [*rich_props(spec).things, *rich_props(spec).grounds]
        tiles += [surface.tile for surface in rich_scene(spec, 0).surfaces]
        # Tiles of one colour (poles) may be alike; what has structure may not.
        digests.append({array_digest(np.ascontiguousarray(t)) for t in tiles if t.size > 5000})
    for i, one in enumerate(digests):
        assert len(one) > 50
        assert not any(one & other for other in digests[i + 1 :])


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_scene_shows_its_landmark(kind: str) -> None:
    rng = np.random.default_rng(3)
    scene = KINDS[kind][1](rng, make_style(rng))
    assert scene.kind == kind and any(not surface.landmark for surface in scene.surfaces)
    points = landmark_points(rng, scene)
    assert np.isfinite(points).all() and np.ptp(points[:, 0]) > 0.3
    eye = looking_at(np.array([0.0, -0.25, -4.2]), np.zeros(3), 0.0, 330.0, (256, 256))
    _, depths = draw(scene.surfaces, eye)
    assert visible_points(points, eye, depths)[1].mean() > 0.95


def test_the_nearer_surface_covers_the_farther_one_in_either_order() -> None:
    near, far = (upright(flat(v), (0.0, 0.0, z), 1.0) for v, z in ((200, -1.0), (90, 0.0)))
    for order in ([near, far], [far, near]):
        colours, depths = draw(order, FRONT)
        assert colours[50, 60].tolist() == [200] * 3
        assert depths[50, 60] == pytest.approx(1 / 3, rel=1e-4)
    assert depths[2, 2] == 0 and colours[2, 2].tolist() == [0] * 3


def test_surfaces_cut_through_each_other() -> None:
    """Two crossed planes: each is in front on one side of the line that they share."""
    one, other = (
        upright(flat(v), (0.0, 0.0, 0.0), 2.0, yaw) for v, yaw in ((200, 0.6), (90, -0.6))
    )
    colours, _ = draw([one, other], FRONT)
    left, right = colours[50, 40, 0], colours[50, 80, 0]
    assert {int(left), int(right)} == {90, 200}


def test_what_is_behind_the_camera_is_not_drawn() -> None:
    _, depths = draw([upright(flat(200), (0.0, 0.0, -8.0), 2.0)], FRONT)
    assert not depths.any()


def test_a_point_is_found_where_the_picture_shows_it() -> None:
    """The middle of a box's front, and not that of its back."""
    faces = box([flat(v) for v in (50, 90, 130, 170, 210)], (0.2, 0.1, 0.0), (1, 1, 1), 0.4)
    colours, depths = draw(faces, FRONT)
    middles = np.array([face.plane[:3] @ [10, 10, 1] for face in faces[:2]])
    pixels, seen = visible_points(middles, FRONT, depths)
    assert seen.tolist() == [True, False]
    x, y = pixels[0].astype(int)
    assert colours[y, x].tolist() == [50] * 3


def test_an_occluder_takes_points_away() -> None:
    wall = upright(flat(90), (0.0, 0.0, 0.0), 2.0)
    points = np.array([[-0.5, 0.0, 0.0], [0.5, 0.0, 0.0]])
    _, depths = draw([wall, upright(flat(9), (0.4, 0.0, -1.0), 0.5)], FRONT)
    assert visible_points(points, FRONT, depths)[1].tolist() == [True, False]


def test_a_surface_has_a_unit_normal() -> None:
    surface = upright(flat(1), (0.0, 0.0, 0.0), 3.0, 0.3)
    assert isinstance(surface, Surface)
    assert np.linalg.norm(surface.normal) == pytest.approx(1)
    assert abs(surface.normal @ [np.cos(0.3), 0, np.sin(0.3)]) < 1e-9


def test_fractal_noise_falls_like_photographs() -> None:
    """At 1 the amplitude falls about as 1/f: every octave has about the same energy."""
    field = fractal(np.random.default_rng(0), (256, 256), 1.0)
    power = np.abs(np.fft.fft2(field)) ** 2
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256)))
    octaves = [power[(f >= low) & (f < 2 * low)].sum() for low in (1 / 64, 1 / 32, 1 / 16, 1 / 8)]
    assert max(octaves) / min(octaves) < 4
    assert abs(float(field.mean())) < 1e-3 and float(field.std()) == pytest.approx(1, abs=1e-3)
