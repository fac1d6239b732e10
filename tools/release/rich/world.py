"""The rich rendered world: scenes in space that look more like photographs, as a data set.

Input: a `RichSpec` and a folder. Output: the files of `ames_lite.synthetic.world`, in the same
forms; `geometry.npz` has projections [3, 4] instead of homographies, and `visible` counts points of
the landmark (synthetic.photographs). The worlds of a seed share nothing with each other, nor with
the plain worlds of that seed, but for `plain_styles`: those are of the plain world of the same
role.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput
from ames_lite.io.images import Box, save_jpeg
from ames_lite.synthetic.views import GRID, grade
from ames_lite.synthetic.world import (
    ROLES,
    Shot,
    WorldSpec,
    kinds_of,
    photograph_facade,
    render_world,
)
from tools.release.rich.photographs import (
    PLANS,
    Photograph,
    Props,
    landmark_points,
    make_props,
    photograph,
    sample_eye,
)
from tools.release.rich.scenes import Scene, Style, make_scene, make_style

LEAST_VISIBLE = 0.25  # of the landmark, in a picture to train on
OF_A_STYLE = 16  # landmarks to train on: what tells those of a style apart is to be learned


@dataclass(frozen=True)
class RichSpec(WorldSpec):
    """What is drawn, as for the plain world. A world to train on takes any view but junk.

    plain_styles: so many of its styles, the last ones, are drawn as in the plain world.
    """

    kind: str = "rich"
    plain_styles: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.plain_styles and (self.distractors or self.plain_styles >= self.num_styles):
            what = f"{self.plain_styles} plain of {self.num_styles} styles"
            raise BadInput(what, expected="fewer than all, in a world without distractors")

    @property
    def first_plain(self) -> int:
        """The number of the first landmark that is drawn as in the plain world."""
        return (self.num_styles - self.plain_styles) * self.landmarks_per_style


def release_worlds(seed: int, landmarks: int = 3200) -> dict[str, RichSpec]:
    """The rich worlds that a head is trained, tuned and reported on; they share nothing.

    Half of the landmarks to train on are drawn as in the plain world to train on, so that a head
    has seen both renderers. `landmarks` are rounded down to whole styles.
    """
    per_style = min(landmarks, OF_A_STYLE)
    return {
        "rich-train": RichSpec(
            *("train", seed, landmarks // per_style, per_style),
            plain_styles=landmarks // per_style // 2,
            queries=0,
            easy=3,
            hard=5,
            junk=0,
            distractors=0,
        ),
        "rich-val": RichSpec("val", seed, 10, 4, distractors=200),
        "rich": RichSpec("test", seed, 12, 4, distractors=240),
    }


def render_rich_world(spec: RichSpec, folder: str | Path, name: str, workers: int = 1) -> Path:
    """Write the data set `name` into `folder`, as `render_world` does, and return the folder."""
    return render_world(spec, folder, name, workers, _photograph_landmark)


def _seeds(spec: WorldSpec, kind: int, number: int) -> np.random.Generator:
    """The generator of style (10), props (11), landmark (12) or pictures (13) `number`."""
    key = (ROLES.index(spec.role), kind, number)
    return np.random.default_rng(np.random.SeedSequence(spec.seed, spawn_key=key))


@lru_cache(maxsize=2)
def rich_style(spec: WorldSpec, number: int) -> Style:
    """Style `number` of this world."""
    return make_style(_seeds(spec, 10, number))


@lru_cache(maxsize=2)
def rich_props(spec: WorldSpec) -> Props:
    """What stands about in this world's pictures."""
    return make_props(_seeds(spec, 11, 0))


def rich_scene(spec: WorldSpec, number: int) -> Scene:
    """Landmark `number` (from num_landmarks on: of the distractors)."""
    # Neighbouring numbers share a style, so that a process draws it once.
    style = (number // spec.landmarks_per_style) % spec.num_styles
    return make_scene(_seeds(spec, 12, number), rich_style(spec, style))


def _photograph_landmark(spec: WorldSpec, number: int, folder: Path) -> list[Shot]:
    """Render and write all pictures of one landmark."""
    assert isinstance(spec, RichSpec)
    if spec.plain_styles and number >= spec.first_plain:
        return _photograph_plain(spec, number, folder)
    rng = _seeds(spec, 13, number)
    scene, props = rich_scene(spec, number), rich_props(spec)
    points = landmark_points(rng, scene)
    is_landmark = number < spec.num_landmarks
    shots = []
    for index, kind in enumerate(kinds_of(spec, number)):
        taken = _view_of_kind(rng, scene, points, props, kind, spec.role == "train")
        name = f"jpg/{'landmark' if is_landmark else 'distractor'}{number:04d}_{index}_{kind}.jpg"
        save_jpeg(folder / name, taken.picture, quality=int(rng.integers(45, 95)))
        shots.append(
            Shot(
                name=name,
                kind=kind if is_landmark else "distractor",
                label=number,
                size=taken.picture.shape[:2],
                homography=taken.projection,
                visible=taken.visible.reshape(GRID),
                box=visible_box(taken),
            )
        )
    return shots


def _photograph_plain(spec: RichSpec, number: int, folder: Path) -> list[Shot]:
    """Pictures of a landmark of the plain world: a plane at depth 0 of its projection."""
    views = (spec.queries, spec.easy, spec.hard, spec.junk)
    world = WorldSpec(
        spec.role, spec.seed, spec.plain_styles, spec.landmarks_per_style, *views, distractors=0
    )
    shots = photograph_facade(world, number - spec.first_plain, folder, number)
    return [replace(s, homography=np.insert(s.homography, 2, 0.0, axis=1)) for s in shots]


def _view_of_kind(
    rng: np.random.Generator,
    scene: Scene,
    points: npt.NDArray[np.float64],
    props: Props,
    kind: str,
    training: bool,
) -> Photograph:
    """Take pictures until one has the grade that its kind asks for."""
    if kind == "clutter":
        kind, training = "junk", True
    grade_of_kind = "easy" if kind == "query" else kind

    def wanted(visible: float, oblique: float) -> bool:
        if training:
            return visible >= (0 if kind == "junk" else LEAST_VISIBLE)
        return visible > 0 and grade(visible, oblique) == grade_of_kind

    for _ in range(300):
        eye = sample_eye(rng, *PLANS[kind], scene.flat)
        taken = photograph(rng, scene, points, props, eye, wanted)
        if taken is not None:
            return taken
    raise RuntimeError(f"no {kind} view in 300 draws: its plan cannot be met")


def visible_box(taken: Photograph) -> Box:
    """Around what is visible of the landmark; the whole picture where nothing is."""
    height, width = taken.picture.shape[:2]
    if not taken.visible.any():
        return (0.0, 0.0, float(width), float(height))
    seen = taken.pixels[taken.visible]
    least = np.clip(np.floor(seen.min(0)), 0, [width - 33, height - 33])
    most = np.clip(np.ceil(seen.max(0)) + 1, least + 32, [width, height])
    return (float(least[0]), float(least[1]), float(most[0]), float(most[1]))
