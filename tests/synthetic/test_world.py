"""Laws of the rendered world."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ames_lite.cli.demo import DESCRIPTORS, prepare_sift, worlds
from ames_lite.cli.steps import Steps
from ames_lite.datasets.ground_truth import read_ground_truth
from ames_lite.datasets.image_lists import read_image_list
from ames_lite.errors import BadInput
from ames_lite.evaluation.protocols import evaluate_ranking
from ames_lite.io.digest import array_digest, file_digest
from ames_lite.io.images import load_image
from ames_lite.records import GroundTruth
from ames_lite.synthetic import WorldSpec, render_world
from ames_lite.synthetic.facades import make_facade, make_style
from ames_lite.synthetic.views import EASY, HARD, grade, project, render, sample_camera
from ames_lite.synthetic.world import world_clutter, world_facade, world_style
from tests.conftest import TINY, TinyWorld

SMALL = WorldSpec(
    "test", 5, num_styles=2, landmarks_per_style=1, queries=1, easy=1, hard=1, junk=1, distractors=3
)


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in files}


def truth_of(folder: Path, name: str) -> GroundTruth:
    lists = [read_image_list(folder / f"{split}.txt").names for split in ("query", "gallery")]
    return read_ground_truth(folder / f"gnd_{name}.json", *lists)


def overlap_ranking(folder: Path, truth: GroundTruth) -> np.ndarray:
    """Gallery rows by how many cells of the query's landmark are visible in both pictures."""
    with np.load(folder / "geometry.npz") as geometry:
        row = {name: i for i, name in enumerate(geometry["name"].tolist())}
        label, visible = geometry["label"], geometry["visible"]
    q = [row[name] for name in truth.query_names]
    g = [row[name] for name in truth.gallery_names]
    same = label[q][:, None] == label[g][None]
    overlap = np.einsum("qij,gij->qg", visible[q].astype(int), visible[g].astype(int)) * same
    return np.argsort(-overlap, axis=1, kind="stable").astype(np.int32)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small world; tests only read it."""
    return render_world(SMALL, tmp_path_factory.mktemp("small"), "own")


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes(small: Path, tmp_path: Path) -> None:
    first = contents(small)
    assert first == contents(render_world(SMALL, tmp_path / "b", "own", workers=2))
    other = contents(render_world(replace(SMALL, seed=6), tmp_path / "c", "own"))
    pictures = [name for name in first if name.endswith(".jpg")]
    assert len(pictures) == 2 * 4 + 3
    assert not {first[name] for name in pictures} & set(other.values())


def test_another_world_in_the_folder_is_refused(small: Path) -> None:
    before = contents(small)
    render_world(SMALL, small, "own")
    with pytest.raises(BadInput, match="another rendered world"):
        render_world(replace(SMALL, seed=6), small, "own")
    assert contents(small) == before


def pieces(spec: WorldSpec) -> set[str]:
    """Digests of everything that a world is drawn from."""
    found = {array_digest(tile) for tile in world_clutter(spec)}
    for number in range(spec.num_styles):
        style = world_style(spec, number)
        arrays = [*style.windows, *style.ornaments, *style.glyphs, style.wall, style.shades]
        found |= {array_digest(array) for array in arrays}
    for number in range(spec.num_landmarks + -(-spec.distractors // 5)):
        facade = world_facade(spec, number)
        found |= {array_digest(facade.front), *(array_digest(p.tile) for p in facade.parts)}
    return found


def at_most(spec: WorldSpec, most: int) -> WorldSpec:
    """The first styles and landmarks of a world."""
    styles, landmarks = min(spec.num_styles, most), min(spec.landmarks_per_style, most - 1)
    distractors = min(spec.distractors, 5 * (most - 1))
    return replace(spec, num_styles=styles, landmarks_per_style=landmarks, distractors=distractors)


@pytest.mark.parametrize("most", [3, pytest.param(999, marks=pytest.mark.slow)])
def test_the_worlds_of_a_seed_share_nothing(most: int) -> None:
    """No style, no texture, no clutter; and training never sees a label of the others."""
    train, val, test = (pieces(at_most(spec, most)) for spec in worlds(0).values())
    assert min(len(train), len(val), len(test)) > 300
    assert not train & val and not train & test and not val & test
    assert not test & pieces(at_most(worlds(1)["synthetic"], most))


def test_grades_follow_visibility_and_obliqueness() -> None:
    assert grade(1.0, 0.0) == "easy"
    assert grade(EASY[0] - 0.01, 0.0) == "hard" and grade(1.0, EASY[1] + 1) == "hard"
    assert grade(HARD[0] - 0.01, 0.0) == "junk" and grade(1.0, HARD[1] + 1) == "junk"


def test_the_homography_says_where_the_landmark_is() -> None:
    """A dot painted on the front is found where the homography puts it."""
    rng = np.random.default_rng(0)
    facade = make_facade(rng, make_style(rng))
    height, width = facade.size
    x, y = width // 2, height // 2
    facade.front[:] = 60
    facade.front[y - 12 : y + 12, x - 12 : x + 12] = 250
    bare = replace(facade, parts=())
    clutter = [np.full((8, 8, 3), 60, np.uint8)]
    found = 0
    for _ in range(10):
        camera = sample_camera(rng, facade.size, 30, (0.9, 1.0))
        view = render(rng, bare, camera, clutter)
        at = project(view.homography, np.array([[x, y]], float))[0].astype(int)
        rows, columns = view.picture.shape[:2]
        inside = 6 < at[0] < columns - 6 and 6 < at[1] < rows - 6
        if inside and view.visible[12, 12]:
            around = view.picture[at[1] - 2 : at[1] + 3, at[0] - 2 : at[0] + 3].mean()
            assert around > np.median(view.picture) + 20
            found += 1
    assert found >= 5


def test_lists_boxes_and_pictures_agree(tiny_world: TinyWorld) -> None:
    folder, spec = tiny_world.folder(), TINY["synthetic"]
    truth = truth_of(folder, "synthetic")
    queries, gallery = (
        read_image_list(folder / "query.txt"),
        read_image_list(folder / "gallery.txt"),
    )
    assert len(queries) == spec.num_landmarks * spec.queries
    assert len(gallery) == spec.num_landmarks * (spec.easy + spec.hard + spec.junk) + 10
    for q in range(len(queries)):
        counts = [len(rows[q]) for rows in (truth.easy, truth.hard, truth.junk)]
        assert counts == [spec.easy, spec.hard, spec.junk]
        assert gallery.labels is not None and queries.labels is not None
        own = np.concatenate([truth.easy[q], truth.hard[q], truth.junk[q]])
        assert (gallery.labels[own] == queries.labels[q]).all()
        picture = load_image(folder / queries.names[q])
        assert queries.sizes is not None
        assert picture.shape[:2] == tuple(queries.sizes[q])
        box = truth.bbox[q]
        assert box is not None
        assert 0 <= box[0] < box[2] <= picture.shape[1] and 0 <= box[1] < box[3] <= picture.shape[0]


def test_training_lists_have_the_gldv2_form(tiny_world: TinyWorld) -> None:
    folder, spec = tiny_world.folder("synthetic-train"), TINY["synthetic-train"]
    images = read_image_list(folder / "train.txt")
    assert images.labels is not None and images.sizes is not None
    assert sorted(set(images.labels.tolist())) == list(range(spec.num_landmarks))
    assert json.loads((folder / "world.json").read_text())["spec"]["role"] == "train"


def test_true_overlap_solves_the_tiny_world(tiny_world: TinyWorld) -> None:
    truth = truth_of(tiny_world.folder(), "synthetic")
    ids = overlap_ranking(tiny_world.folder(), truth)
    assert evaluate_ranking(ids, truth, "revisitop").metrics["map_medium"] >= 0.9


def test_the_demo_of_the_shipped_heads_leaves_the_files_of_the_other_alone(tmp_path: Path) -> None:
    from ames_lite.cli import demo
    from ames_lite.cli.compose import compose

    trained, shipped = (
        demo._folders(
            compose(
                "demo",
                [f"data_root={tmp_path}", f"output_dir={tmp_path / str(train)}", f"train={train}"],
            ),
            "elvis",
        )[0]
        for train in (True, False)
    )
    assert trained == tmp_path and shipped == tmp_path / "released"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 7, 11])
def test_the_world_can_be_solved_and_is_not_solved_already(seed: int, tmp_path: Path) -> None:
    """True overlap reaches mAP 0.90; VLAD with 64 clusters lies between 0.35 and 0.60."""
    from ames_lite.stores.neighbor_lists import read_neighbors

    for name, spec in worlds(seed).items():
        render_world(spec, tmp_path / name, name, workers=2)
        prepare_sift(Steps(tmp_path), name, workers=2, descriptors=DESCRIPTORS)
    folder = tmp_path / "synthetic"
    truth = truth_of(folder, "synthetic")
    solved = evaluate_ranking(overlap_ranking(folder, truth), truth, "revisitop")
    assert solved.metrics["map_medium"] >= 0.90
    lists = (truth.query_names, truth.gallery_names)
    vlad = read_neighbors(folder / "nn_sift_vlad.hdf5", *lists)
    assert 0.35 <= evaluate_ranking(vlad, truth, "revisitop").metrics["map_medium"] <= 0.60
