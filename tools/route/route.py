"""A rendered street as a place recognition set: two traverses, frames with positions in metres.

Input: a `RouteSpec` and a folder. Output there: `database/*.jpg` (the gallery traverse, the
whole street) and `queries/*.jpg` (a part of it on another day: other light, other lane, camera
turned, other things standing about), in the common folder format: UTM east and north of every frame
stand in its name. Lists and ground truth are made as of any layout (dataset=synthetic-route).
`world.json`, written last, is the spec.

Every facade, piece of ground, traverse and frame is drawn from its own child seed, so the number of
processes changes no byte; the roles of one seed share nothing, neither with each other nor with the
landmark worlds of that seed.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ames_lite import __version__
from ames_lite.errors import BadInput
from ames_lite.io.images import save_jpeg
from ames_lite.processes import watch_parent
from ames_lite.runtime import progress_bar
from ames_lite.synthetic.facades import Facade, Image, Style, make_facade, make_style, relief
from ames_lite.synthetic.views import light
from ames_lite.synthetic.world import ROLES, is_complete
from tools.route.passing import Thing, make_things
from tools.route.street import FAR, KERB, Pose, Street, look, make_ground

GALLERY, QUERY = 0, 1
FOLDERS = ("database", "queries")
STYLE, CLUTTER, FACADE, GROUND, DAY, FRAME, PLACE = range(10, 17)  # landmark worlds have 0 to 3


@dataclass(frozen=True)
class RouteSpec:
    """What is drawn. Lengths in metres, angles in degrees, to the right of the street."""

    role: str
    seed: int = 0
    length: float = 1500.0  # of the gallery traverse
    gallery_step: float = 5.0
    query_begin: float = 500.0  # where the query traverse begins and ends
    query_end: float = 1000.0
    query_step: float = 5.0
    num_styles: int = 6  # of all facades of the street
    heading: float = 32.0  # of the gallery's camera; ahead, and to the right side of the street
    turn: float = 18.0  # how much farther the query's camera is turned, to either side
    lanes: tuple[float, float] = (1.0, -1.6)  # gallery, query: to the right of the middle
    shares: tuple[float, float] = (0.5, 0.7)  # gallery, query: places taken by what stands about

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise BadInput(f"a route of role '{self.role}'", expected=f"one of {ROLES}")
        if self.seed < 0:
            raise BadInput(f"route seed {self.seed}", expected="a seed of at least 0")
        if self.num_styles < 1:
            raise BadInput(f"a route of {self.num_styles} styles", expected="at least 1")
        if min(self.gallery_step, self.query_step) <= 0:
            steps = f"steps of {self.gallery_step} and {self.query_step} m"
            raise BadInput(steps, expected="steps above 0")
        if not 0 <= self.query_begin < self.query_end <= self.length:
            raise BadInput(
                f"queries from {self.query_begin} to {self.query_end} m of a street of "
                f"{self.length} m",
                expected="0 <= query_begin < query_end <= length",
            )


@dataclass(frozen=True, eq=False)
class Day:
    """What all frames of one traverse share."""

    things: tuple[Thing, ...]
    sky: npt.NDArray[np.float32]  # [2, 3]
    tint: npt.NDArray[np.float32]  # [3]


def _seeds(spec: RouteSpec, kind: int, *number: int) -> np.random.Generator:
    key = (ROLES.index(spec.role), kind, *number)
    return np.random.default_rng(np.random.SeedSequence(spec.seed, spawn_key=key))


@lru_cache(maxsize=32)
def route_style(spec: RouteSpec, number: int) -> Style:
    """Style `number` of this street."""
    return make_style(_seeds(spec, STYLE, number))


@lru_cache(maxsize=4)
def route_clutter(spec: RouteSpec) -> tuple[Image, ...]:
    """What the boards of this street show."""
    rng = _seeds(spec, CLUTTER)
    return tuple(relief(rng, 72, rng.uniform(30, 225, 3).astype(np.float32)) for _ in range(40))


@lru_cache(maxsize=64)
def route_facade(spec: RouteSpec, number: int) -> Facade:
    """Facade `number` of this street: even on the left, odd on the right; from -2 on."""
    rng = _seeds(spec, FACADE, number + 1000)
    return make_facade(rng, route_style(spec, int(rng.integers(spec.num_styles))))


@lru_cache(maxsize=32)
def route_ground(spec: RouteSpec, number: int) -> Image:
    """The ground between facades 2 · number and 2 · number + 1."""
    return make_ground(_seeds(spec, GROUND, number + 1000))


@lru_cache(maxsize=4)
def route_day(spec: RouteSpec, traverse: int) -> Day:
    """Weather and what stands about during a traverse."""
    rng = _seeds(spec, DAY, traverse)
    things = make_things(rng, route_clutter(spec), spec.length + FAR, KERB, spec.shares[traverse])
    bright = rng.uniform(185, 235) if traverse == GALLERY else rng.uniform(120, 170)
    sky = np.clip(bright + rng.normal(0, 12, (2, 3)) + [[-30, -5, 25], [0, 0, 0]], 0, 255)
    tint = rng.uniform(0.9, 1.05, 3) if traverse == GALLERY else rng.uniform(0.6, 0.9, 3)
    return Day(things, sky.astype(np.float32), tint.astype(np.float32))


def poses(spec: RouteSpec, traverse: int) -> list[Pose]:
    """Where the frames of a traverse are taken, in the order of the street."""
    begin, end, step = (
        (0.0, spec.length, spec.gallery_step)
        if traverse == GALLERY
        else (spec.query_begin, spec.query_end, spec.query_step)
    )
    day = _seeds(spec, PLACE, traverse + 1)
    side = 1 if day.random() < 0.5 else -1
    heading = spec.heading + (0.0 if traverse == GALLERY else side * spec.turn)
    found = []
    for index, along in enumerate(np.arange(begin, end, step)):
        rng = _seeds(spec, PLACE, traverse + 1, index)
        forward, right, yaw, pitch, roll, height = rng.uniform(-1, 1, 6).tolist()
        found.append(
            Pose(
                along=float(along) + 0.3 * step * forward,
                right=spec.lanes[traverse] + 0.5 * right,
                heading=heading + 7 * yaw,
                pitch=2.5 * pitch,
                roll=2 * roll,
                height=1.6 + 0.15 * height,
            )
        )
    return found


def utm(spec: RouteSpec, pose: Pose) -> tuple[float, float, float]:
    """East and north in metres, and the heading in degrees from north."""
    rng = _seeds(spec, PLACE, 0)
    east, north, bearing = rng.uniform([300e3, 4e6, 0.0], [700e3, 6e6, 360.0]).tolist()
    sin, cos = np.sin(np.deg2rad(bearing)), np.cos(np.deg2rad(bearing))
    east += pose.along * sin + pose.right * cos
    north += pose.along * cos - pose.right * sin
    return float(east), float(north), float((bearing + pose.heading) % 360)


def frame_name(spec: RouteSpec, traverse: int, index: int, pose: Pose) -> str:
    """The name of a frame in the common folder format, zone and latitude left empty."""
    east, north, heading = utm(spec, pose)
    note = f"{spec.role}{spec.seed}_{index:04d}"
    fields = [f"{east:010.2f}", f"{north:010.2f}", "", "", "", "", note, "", f"{heading:.1f}"]
    fields += [f"{pose.pitch:.1f}", f"{pose.roll:.1f}", f"{pose.height:.2f}", "", ""]
    return f"{FOLDERS[traverse]}/@{'@'.join(fields)}@.jpg"


def render_frame(spec: RouteSpec, traverse: int, index: int, pose: Pose) -> Image:
    """One frame [H, W, 3] as the camera gives it."""
    street = Street(partial(route_facade, spec), partial(route_ground, spec))
    day = route_day(spec, traverse)
    canvas = look(street, pose, day.things, day.sky)
    return light(_seeds(spec, FRAME, traverse, index), canvas * day.tint)


def _photograph(folder: Path, spec: RouteSpec, frame: tuple[int, int, Pose]) -> None:
    traverse, index, pose = frame
    path = folder / frame_name(spec, traverse, index, pose)
    save_jpeg(path, render_frame(spec, traverse, index, pose), quality=85)


def render_route(spec: RouteSpec, folder: str | Path, workers: int = 1) -> Path:
    """Write both traverses into `folder` and return the folder.

    A folder that already holds this very route is left as it is; one that holds another is refused.
    """
    folder = Path(folder)
    made: dict[str, object] = json.loads(json.dumps(asdict(spec)))
    wanted: dict[str, object] = {"name": "route", "version": __version__, "spec": made}
    if is_complete(folder, wanted):
        return folder
    for name in FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    frames = [
        (traverse, index, pose)
        for traverse in (GALLERY, QUERY)
        for index, pose in enumerate(poses(spec, traverse))
    ]
    work = partial(_photograph, folder, spec)
    bar = partial(progress_bar, len(frames), f"render route {spec.role}", "frame")
    if workers <= 1:
        _exhaust(bar(map(work, frames)))
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context, watch_parent) as pool:
            _exhaust(bar(pool.map(work, frames, chunksize=16)))
    (folder / "world.json").write_text(json.dumps(wanted, indent=1))
    return folder


def _exhaust(done: Iterable[None]) -> None:
    for _ in done:
        pass
