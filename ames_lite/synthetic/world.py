"""A whole dataset of rendered landmarks, written as files in the ROxford form.

A folder holds `jpg/*.jpg`; for test and validation `query.txt`, `gallery.txt` and
`gnd_{name}.json`, for training `train.txt` (the GLDv2 form: path,label,width,height);
`geometry.npz`, the true homographies and what is visible; `world.json`, written last, the spec.
Every landmark is drawn from its own child seed, so neither the order nor the number of processes
changes a byte, and the roles (train, val, test) of one seed share no style, texture or clutter.
"""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from ames_lite import __version__
from ames_lite.datasets.ground_truth import GRADES, write_ground_truth
from ames_lite.datasets.image_lists import ImageList, write_image_list
from ames_lite.errors import require
from ames_lite.io.images import Box, save_jpeg
from ames_lite.io.json_file import read_json_file, write_json_file
from ames_lite.processes import watch_parent
from ames_lite.records import GroundTruth
from ames_lite.runtime import progress_bar
from ames_lite.synthetic import facades
from ames_lite.synthetic.facades import Facade, Image, Rng, Size, Style
from ames_lite.synthetic.views import Flags, Floats, View, grade, project, render, sample_camera

ROLES = ("train", "val", "test")
PLANS: dict[str, tuple[float, tuple[float, float]]] = {  # maximal yaw, zoom of the facade
    "query": (25.0, (0.85, 1.3)),
    "easy": (35.0, (0.75, 1.4)),
    "hard": (52.0, (0.65, 2.0)),
    "junk": (75.0, (0.45, 4.0)),
}


@dataclass(frozen=True)
class WorldSpec:
    """What is drawn. `views` counts pictures a landmark by grade; queries are easy views too."""

    role: str
    seed: int = 0
    num_styles: int = 8
    landmarks_per_style: int = 5
    queries: int = 2
    easy: int = 3
    hard: int = 4
    junk: int = 2
    distractors: int = 160  # pictures of other landmarks of the same styles, and of clutter alone

    def __post_init__(self) -> None:
        require(self.role in ROLES, f"a world of role '{self.role}'", f"one of {ROLES}")
        require(self.seed >= 0, f"world seed {self.seed}", "a seed of at least 0")

    @property
    def num_landmarks(self) -> int:
        """Landmarks with views of their own (distractor landmarks not counted)."""
        return self.num_styles * self.landmarks_per_style


@dataclass(frozen=True, eq=False)
class Shot:
    """What is known of one picture. Distractors carry labels of their own, behind the landmarks."""

    name: str
    kind: str  # query, easy, hard, junk or distractor
    label: int
    size: Size
    homography: Floats  # facade pixels → image pixels; or a projection [3, 4]
    visible: Flags
    box: Box  # around what is visible of the landmark; the whole image where nothing is


def _seeds(spec: WorldSpec, kind: int, number: int) -> Rng:
    """The generator of style (kind 0), clutter (1) or landmark (2) `number` of this world."""
    key = (ROLES.index(spec.role), kind, number)
    return np.random.default_rng(np.random.SeedSequence(spec.seed, spawn_key=key))


def world_style(spec: WorldSpec, number: int) -> Style:
    return facades.make_style(_seeds(spec, 0, number))


@lru_cache(maxsize=4)
def world_clutter(spec: WorldSpec) -> tuple[Image, ...]:
    """The things that stand about in this world's pictures: 160 tiles."""
    rng = _seeds(spec, 1, 0)
    bases = (rng.uniform(30, 225, 3).astype(np.float32) for _ in range(160))
    return tuple(facades.relief(rng, 72, base) for base in bases)


def world_facade(spec: WorldSpec, number: int) -> Facade:
    """Landmark `number` (from num_landmarks on: of the distractors)."""
    rng, style = _seeds(spec, 2, number), world_style(spec, number % spec.num_styles)
    return facades.make_facade(rng, style)


def kinds_of(spec: WorldSpec, number: int) -> list[str]:
    """What is photographed of landmark `number`; a distractor: 2 easy, 2 hard, 1 of clutter."""
    if number < spec.num_landmarks:
        counts = {"query": spec.queries, "easy": spec.easy, "hard": spec.hard, "junk": spec.junk}
        return [kind for kind, count in counts.items() for _ in range(count)]
    left = spec.distractors - 5 * (number - spec.num_landmarks)
    return ["easy", "easy", "hard", "hard", "clutter"][:left]


def _view_of_kind(rng: Rng, facade: Facade, kind: str, clutter: Sequence[Image]) -> View:
    """Draw cameras until the rendered view has the grade that its kind asks for."""
    if kind == "clutter":
        return render(rng, None, sample_camera(rng, facade.size, 40, (0.5, 1.0)), clutter)
    wanted = "easy" if kind == "query" else kind
    for _ in range(500):
        view = render(rng, facade, sample_camera(rng, facade.size, *PLANS[kind]), clutter)
        if grade(float(view.visible.mean()), view.oblique) == wanted and view.visible.any():
            return view
    raise RuntimeError(f"no {kind} view in 500 draws: its plan cannot be met")


def photograph_facade(
    spec: WorldSpec, number: int, folder: Path, label: int | None = None
) -> list[Shot]:
    """Render and write all pictures of landmark `number`, labelled so, or as given."""
    rng = _seeds(spec, 3, number)
    facade, clutter = world_facade(spec, number), world_clutter(spec)
    is_landmark = number < spec.num_landmarks
    label = number if label is None else label
    shots = []
    for index, kind in enumerate(kinds_of(spec, number)):
        view = _view_of_kind(rng, facade, kind, clutter)
        name = f"jpg/{'landmark' if is_landmark else 'distractor'}{label:04d}_{index}_{kind}.jpg"
        save_jpeg(folder / name, view.picture, quality=int(rng.integers(60, 93)))
        size = view.picture.shape[:2]
        box = visible_box(view.homography, view.visible, size, facade.size)
        known = kind if is_landmark else "distractor"
        shots.append(Shot(name, known, label, size, view.homography, view.visible, box))
    return shots


def visible_box(homography: Floats, visible: Flags, size: Size, facade: Size) -> Box:
    """Around what is visible of a landmark in an image; see Shot."""
    height, width = size
    if not visible.any():
        return (0.0, 0.0, float(width), float(height))
    rows, columns = np.nonzero(visible)
    cells = np.array(visible.shape)
    low, high = np.array([rows.min(), columns.min()]), np.array([rows.max(), columns.max()]) + 1
    (top, left), (bottom, right) = low / cells * facade, high / cells * facade
    points = np.array([[left, top], [right, top], [left, bottom], [right, bottom]])
    image = project(homography, points)
    least = np.clip(np.floor(np.nanmin(image, axis=0)), 0, [width - 33, height - 33])
    most = np.clip(np.ceil(np.nanmax(image, axis=0)), least + 32, [width, height])
    return (float(least[0]), float(least[1]), float(most[0]), float(most[1]))


Take = Callable[..., list[Shot]]  # (spec, number, folder) → all pictures of one landmark


def _photograph_all(spec: WorldSpec, folder: Path, workers: int, take: Take) -> Iterator[Shot]:
    numbers = range(spec.num_landmarks + -(-spec.distractors // 5))
    work = partial(take, spec, folder=folder)
    bar = partial(progress_bar, len(numbers), f"render {spec.role}", "landmark")
    if workers <= 1:
        yield from (shot for shots in bar(map(work, numbers)) for shot in shots)
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), watch_parent) as pool:
        done: Iterable[list[Shot]] = pool.map(work, numbers, chunksize=4)
        yield from (shot for shots in bar(done) for shot in shots)


def _ground_truth(queries: list[Shot], gallery: list[Shot]) -> GroundTruth:
    labels = np.array([shot.label for shot in gallery])
    kinds = np.array([shot.kind for shot in gallery])
    easy, hard, junk = (
        tuple(np.flatnonzero((labels == query.label) & (kinds == kind)) for query in queries)
        for kind in GRADES
    )
    names = tuple(query.name for query in queries), tuple(shot.name for shot in gallery)
    return GroundTruth(*names, easy, hard, junk, bbox=tuple(query.box for query in queries))


def _write_list(path: Path, shots: list[Shot]) -> None:
    labels = np.array([shot.label for shot in shots])
    sizes = np.array([shot.size for shot in shots])
    write_image_list(path, ImageList(tuple(shot.name for shot in shots), labels, sizes))


def render_world(
    spec: WorldSpec, folder: str | Path, name: str, workers: int = 1, take: Take = photograph_facade
) -> Path:
    """Write the dataset `name`; returns the folder. One that is there is kept, another refused."""
    folder = Path(folder)
    wanted: dict[str, object] = {"name": name, "version": __version__, "spec": asdict(spec)}
    if is_complete(folder, wanted):
        return folder
    (folder / "jpg").mkdir(parents=True, exist_ok=True)
    shots = list(_photograph_all(spec, folder, workers, take))
    if spec.role == "train":
        _write_list(folder / "train.txt", shots)
    else:
        queries = [shot for shot in shots if shot.kind == "query"]
        gallery = [shot for shot in shots if shot.kind != "query"]
        _write_list(folder / "query.txt", queries)
        _write_list(folder / "gallery.txt", gallery)
        write_ground_truth(folder / f"gnd_{name}.json", _ground_truth(queries, gallery))
    kind = "homography" if shots[0].homography.shape == (3, 3) else "projection"
    arrays: dict[str, Any] = {
        "name": np.array([shot.name for shot in shots]),
        "label": np.array([shot.label for shot in shots]),
        kind: np.stack([shot.homography for shot in shots]),
        "visible": np.stack([shot.visible for shot in shots]),
    }
    np.savez_compressed(folder / "geometry.npz", **arrays)
    write_json_file(folder / "world.json", wanted)
    return folder


def is_complete(folder: Path, wanted: dict[str, object]) -> bool:
    """Whether the folder holds the wanted world; BadInput where it holds another."""
    mark, expected = folder / "world.json", str(wanted)
    if not mark.exists():
        return False
    found = read_json_file(mark, expected, f"remove {folder}")
    what = f"another rendered world is there: {found}"
    remedy = f"give another data_root=, or remove {folder}"
    require(found == wanted, what, expected, where=folder, remedy=remedy)
    return True
