"""Laws of the rendered street: where frames are, what they show, what they share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ames_lite.datasets.vpr.by_position import parse_positions, read_utm
from ames_lite.errors import BadInput
from ames_lite.io.digest import array_digest, file_digest
from ames_lite.io.images import load_image
from ames_lite.synthetic.facades import Facade, Part
from ames_lite.synthetic.world import ROLES, WorldSpec, world_facade, world_style
from ames_lite.synthetic.world import world_clutter as landmark_clutter
from tools.route.passing import Thing
from tools.route.route import (
    FOLDERS,
    GALLERY,
    QUERY,
    RouteSpec,
    frame_name,
    poses,
    render_frame,
    render_route,
    route_clutter,
    route_facade,
    route_ground,
    route_style,
    utm,
)
from tools.route.street import (
    DEEP,
    PLOT,
    SIZE,
    TALL,
    WIDTH,
    Pose,
    Street,
    facade_place,
    focal_length,
    look,
    projection,
)

SMALL = RouteSpec(
    "test", 3, length=100, gallery_step=10, query_begin=40, query_end=64, query_step=8
)
SKY = np.full((2, 3), 200, np.float32)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_route(SMALL, tmp_path_factory.mktemp("route"))


def at(camera: np.ndarray, along: float, right: float, down: float) -> list[float]:
    u, v, distance = camera @ [along, right, down, 1.0]
    return [u / distance, v / distance, distance]


def test_a_camera_sees_a_point_where_it_is() -> None:
    """By hand: the picture is 320 wide and 75 degrees, so f = 160 / tan(37.5)."""
    focal = 160 / np.tan(np.deg2rad(37.5))
    assert focal_length() == pytest.approx(focal)
    ahead = projection(Pose(along=100, right=1, heading=0))
    assert at(ahead, 110, 3, 0) == pytest.approx([160 + 0.2 * focal, 120 + 0.16 * focal, 10])
    to_the_right = projection(Pose(along=100, right=1, heading=90))
    assert at(to_the_right, 98, 11, -1.6) == pytest.approx([160 + 0.2 * focal, 120, 10])
    upwards = projection(Pose(along=0, right=0, heading=0, pitch=45))
    assert at(upwards, 1, 0, -2.6) == pytest.approx([160, 120, np.sqrt(2)])
    rolled = projection(Pose(along=0, right=0, heading=0, roll=90))
    assert at(rolled, 10, 2, -1.6) == pytest.approx([160, 120 + 0.2 * focal, 10])


def test_facades_stand_side_by_side_and_face_the_street() -> None:
    size = (400, 350)
    left, right = facade_place(2, size), facade_place(3, size)  # both from 10 m to 20 m
    assert (left @ [0, 400, 0, 1])[:3] == pytest.approx([PLOT, -WIDTH / 2, 0])
    assert (left @ [350, 0, 0, 1])[:3] == pytest.approx([2 * PLOT, -WIDTH / 2, -400 * TALL])
    assert (right @ [0, 400, 0, 1])[:3] == pytest.approx([2 * PLOT, WIDTH / 2, 0])
    assert (right @ [350, 400, 0, 1])[:3] == pytest.approx([PLOT, WIDTH / 2, 0])
    assert (right @ [0, 400, 100, 1])[1] == pytest.approx(WIDTH / 2 - 100 * DEEP)
    assert (left @ [0, 400, 100, 1])[1] == pytest.approx(-WIDTH / 2 + 100 * DEEP)


def street_with(facade: Facade, number: int) -> Street:
    grey = Facade(np.full((400, 400, 3), 60, np.uint8), ())
    ground = np.full((156, 120, 3), 60, np.uint8)
    return Street(lambda other: facade if other == number else grey, lambda _: ground)


@pytest.mark.parametrize("number", [4, 5])
def test_a_dot_is_painted_where_the_geometry_puts_it(number: int) -> None:
    """And a thing that stands before it hides it, one that stands beside it does not."""
    front = np.full((400, 400, 3), 60, np.uint8)
    front[300:330, 190:220] = 250
    pose = Pose(along=15, right=0.5, heading=45.0 if number % 2 else -45.0, pitch=2, roll=3)
    dot = facade_place(number, (400, 400)) @ [205, 315, 0, 1]
    x, y, distance = at(projection(pose), *dot[:3])
    column, row = round(x), round(y)
    assert 10 < column < SIZE[1] - 10 and 10 < row < SIZE[0] - 10 and 8 < distance < 13
    street = street_with(Facade(front, ()), number)
    around = np.s_[row - 2 : row + 3, column - 2 : column + 3]
    assert look(street, pose, (), SKY)[around].mean() > 200
    assert look(street_with(Facade(front, ()), number + 2), pose, (), SKY)[around].mean() < 80
    board, mask = np.full((9, 9, 3), 9, np.uint8), np.full((9, 9), 255, np.uint8)
    middle = (np.array([pose.along, pose.right]) + dot[:2]) / 2
    before = Thing(board, mask, middle[0], middle[1], (3.0, 1.0))
    assert look(street, pose, (before,), SKY)[around].mean() < 30
    assert look(street, pose, (replace(before, along=middle[0] + 2),), SKY)[around].mean() > 200


def test_what_stands_out_is_seen_before_the_front() -> None:
    tile = np.full((60, 60, 3), 250, np.uint8)
    part = Part(tile, (170.0, 170.0, 60.0), (0.0, 0.0))
    bare = np.full((400, 400, 3), 60, np.uint8)
    pose = Pose(along=15, right=0, heading=45)
    place = facade_place(5, (400, 400))
    x, y, _ = at(projection(pose), *(place @ [200, 200, 60, 1])[:3])
    picture = look(street_with(Facade(bare, (part,)), 5), pose, (), SKY)
    assert picture[round(y), round(x)].mean() > 200


def test_positions_stand_in_the_names() -> None:
    """Along the street is the bearing, right of it is a quarter turn clockwise, in metres."""
    origin, ahead, aside = (
        np.array(utm(SMALL, Pose(along, right, 0.0))) for along, right in ((0, 0), (100, 0), (0, 3))
    )
    bearing = np.deg2rad(origin[2])
    assert (ahead - origin)[:2] == pytest.approx(100 * np.array([np.sin(bearing), np.cos(bearing)]))
    assert (aside - origin)[:2] == pytest.approx(3 * np.array([np.cos(bearing), -np.sin(bearing)]))
    pose = Pose(12.0, -1.0, 30.0)
    name = frame_name(SMALL, QUERY, 7, pose)
    east, north, heading = utm(SMALL, pose)
    assert parse_positions([name], str) == pytest.approx(np.array([[east, north]]), abs=0.0051)
    fields = name.split("@")
    assert name.startswith("queries/@") and len(fields) == 16  # fourteen fields between them
    assert float(fields[9]) == pytest.approx(heading, abs=0.051)
    assert heading == pytest.approx((origin[2] + 30) % 360)


def test_the_traverses_go_where_the_spec_says() -> None:
    gallery, query = poses(SMALL, GALLERY), poses(SMALL, QUERY)
    assert len(gallery) == 10 and len(query) == 3
    for found, begin, step, lane in ((gallery, 0, 10, 1.0), (query, 40, 8, -1.6)):
        for index, pose in enumerate(found):
            assert abs(pose.along - (begin + index * step)) <= 0.3 * step
            assert abs(pose.right - lane) <= 0.5
    turned = np.mean([p.heading for p in query]) - np.mean([p.heading for p in gallery])
    assert 8 < abs(turned) < 28


@pytest.mark.slow
def test_positives_are_the_frames_within_the_radius(small: Path) -> None:
    """Distances from the poses in the street, which know nothing of east and north."""
    found = read_utm(small, database="database", queries="queries", radius=25.0)
    named = {
        frame_name(SMALL, traverse, index, pose): pose
        for traverse in (GALLERY, QUERY)
        for index, pose in enumerate(poses(SMALL, traverse))
    }
    assert set(named) == {*found.query_names, *found.gallery_names}
    for name, right in zip(found.query_names, found.rows["easy"], strict=True):
        here = named[name]
        distances = [
            np.hypot(named[other].along - here.along, named[other].right - here.right)
            for other in found.gallery_names
        ]
        assert min(abs(np.array(distances) - 25)) > 0.01  # no frame on the edge
        assert right.tolist() == np.flatnonzero(np.array(distances) <= 25).tolist()
        assert 3 <= len(right) <= 6  # a frame about every 10 m
    ends = {name for name in found.gallery_names if not 10 < named[name].along < 90}
    rows = {row for right in found.rows["easy"] for row in right.tolist()}
    assert ends and not ends & {found.gallery_names[row] for row in rows}  # only distract


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in files}


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes(small: Path, tmp_path: Path) -> None:
    """Also where an interrupted run left half a picture, and with several processes."""
    first = contents(small)
    pictures = [name for name in first if name.endswith(".jpg")]
    assert len(pictures) == 10 + 3
    (tmp_path / FOLDERS[GALLERY]).mkdir()
    (tmp_path / pictures[0]).write_bytes(b"half a pic")
    assert first == contents(render_route(SMALL, tmp_path, workers=2))
    before = [path.stat().st_mtime_ns for path in sorted(small.rglob("*"))]
    render_route(SMALL, small)
    assert before == [path.stat().st_mtime_ns for path in sorted(small.rglob("*"))]
    with pytest.raises(BadInput, match="another rendered world"):
        render_route(replace(SMALL, seed=4), small)


def test_a_frame_depends_on_its_own_seed_alone(small: Path) -> None:
    index = 1
    pose = poses(SMALL, QUERY)[index]
    alone = render_frame(SMALL, QUERY, index, pose)
    stored = load_image(small / frame_name(SMALL, QUERY, index, pose)).astype(int)
    assert alone.shape == (*SIZE, 3) and np.abs(stored - alone).mean() < 8  # JPEG
    assert not np.array_equal(alone, render_frame(SMALL, QUERY, index + 1, pose))


def pieces(spec: RouteSpec) -> set[str]:
    """Digests of everything that a street is drawn from."""
    found = {array_digest(tile) for tile in route_clutter(spec)}
    found |= {array_digest(route_ground(spec, number)) for number in range(-1, 3)}
    for number in range(spec.num_styles):
        style = route_style(spec, number)
        found |= {array_digest(a) for a in (*style.windows, *style.ornaments, style.shades)}
    for number in range(-2, 6):
        facade = route_facade(spec, number)
        found |= {array_digest(facade.front), *(array_digest(p.tile) for p in facade.parts)}
    return found


def landmark_pieces(spec: WorldSpec) -> set[str]:
    found = {array_digest(tile) for tile in landmark_clutter(spec)}
    for number in range(6):
        style, facade = world_style(spec, number), world_facade(spec, number)
        found |= {array_digest(a) for a in (*style.windows, *style.ornaments, style.shades)}
        found |= {array_digest(facade.front), *(array_digest(p.tile) for p in facade.parts)}
    return found


@pytest.mark.slow
def test_roles_share_nothing() -> None:
    """Nor do seeds, nor streets and the landmark worlds of the same seed."""
    sets = [pieces(replace(SMALL, role=role)) for role in ROLES]
    sets += [landmark_pieces(WorldSpec(role, SMALL.seed)) for role in ROLES]
    sets.append(pieces(replace(SMALL, seed=4)))
    assert min(map(len, sets)) > 150
    assert len(set().union(*sets)) == sum(map(len, sets))


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"role": "tset"}, "role 'tset'"),
        ({"seed": -1}, "seed -1"),
        ({"num_styles": 0}, "0 styles"),
        ({"gallery_step": 0.0}, "steps of 0.0 and"),
        ({"query_step": -1.0}, "and -1.0 m"),
        ({"query_begin": 90.0}, "from 90.0 to 64 m"),
        ({"query_end": 101.0}, "of 100 m"),
        ({"query_begin": -1.0}, "from -1.0"),
        ({"length": float("nan")}, "of a street of nan"),
    ],
)
def test_a_route_that_cannot_be_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        replace(SMALL, **wrong)  # type: ignore[arg-type]
