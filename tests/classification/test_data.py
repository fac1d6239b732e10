"""The laws of the split: whole scenes, every class known, nothing that failed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ames_lite.classification.data import (
    SIDES,
    TEST,
    TRAIN,
    VAL,
    Labelled,
    Splitting,
    read_labelled,
    split_scenes,
    take_clusters,
)
from ames_lite.datasets.relation import Relation
from ames_lite.errors import BadInput, ConfigError
from ames_lite.stores.global_store import GlobalStore
from ames_lite.stores.row_writer import GlobalWriter

ROOMS = {"bath": "abcd", "bed": "abcd", "kitchen": "abcd"}  # in houses a to d, three photos each


def names_of(rooms: dict[str, str]) -> list[str]:
    return [f"{room}/{house}{n}.jpg" for room, in_ in rooms.items() for house in in_ for n in "123"]


def store_of(folder: Path, names: list[str], failed: dict[str, str] | None = None) -> GlobalStore:
    path = folder / "x_gallery_cls.hdf5"
    block = np.random.default_rng(0).standard_normal((len(names), 6)).astype("f4")
    with GlobalWriter(path, names, 6, {"global": "cls"}, overwrite=True) as writer:
        writer.extend(names, block, failed or {})
    return GlobalStore(path)


def relation(names: list[str], **more: object) -> Relation:
    labels = [name.split("/")[0] for name in names]
    classes = tuple(sorted({*labels}))
    codes = {name: classes.index(label) for name, label in zip(names, labels, strict=True)}
    given = {"queries_are_named": False, "codes": codes, "classes": classes, **more}
    return Relation(names, names, {"easy": []}, **given)  # type: ignore[arg-type]


def read(folder: Path, rooms: dict[str, str], how: Splitting, **more: object) -> Labelled:
    names = names_of(rooms)
    return read_labelled([store_of(folder, names)], relation(names, **more), how)[0]


@pytest.mark.parametrize("seed", range(5))
def test_photos_of_one_scene_are_on_one_side(tmp_path: Path, seed: int) -> None:
    data = read(tmp_path, ROOMS, Splitting(r"/(\w)", seed=seed))
    for scene in np.unique(data.scenes):
        assert len({*data.side[data.scenes == scene]}) == 1
    for side in range(3):
        assert {*data.labels[data.side == side]} == {0, 1, 2}
    assert len({*data.scenes}) == 4


def test_without_scenes_each_class_is_split_by_its_images(tmp_path: Path) -> None:
    data = read(tmp_path, ROOMS, Splitting())
    for label in range(3):
        counts = np.bincount(data.side[data.labels == label], minlength=3)
        assert counts[[TEST, VAL]].tolist() == [2, 2] and counts[TRAIN] == 8


def test_a_split_is_a_function_of_the_seed() -> None:
    rng = np.random.default_rng(0)
    labels, scenes = rng.integers(0, 4, 200), rng.integers(0, 60, 200)
    first = split_scenes(labels, scenes, Splitting(seed=1))
    np.testing.assert_array_equal(first, split_scenes(labels, scenes, Splitting(seed=1)))
    assert not np.array_equal(first, split_scenes(labels, scenes, Splitting(seed=2)))
    shares = np.bincount(first) / 200
    assert shares[TEST] == pytest.approx(0.2, abs=0.08) and shares[VAL] == pytest.approx(
        0.2, abs=0.08
    )
    assert {*labels[first == TRAIN]} == {0, 1, 2, 3}


def test_the_column_scene_is_the_scene(tmp_path: Path) -> None:
    names = names_of(ROOMS)
    scenes = {name: name.split("/")[1][0] for name in names}
    by_column = read(tmp_path, ROOMS, Splitting(), scenes=scenes)
    np.testing.assert_array_equal(by_column.side, read(tmp_path, ROOMS, Splitting(r"/(\w)")).side)


def test_images_that_failed_are_on_no_side(tmp_path: Path) -> None:
    names = names_of(ROOMS)
    store = store_of(tmp_path, names, {names[0]: "cut off", names[5]: "cut off"})
    data, notes = read_labelled([store], relation(names), Splitting())
    assert not {names[0], names[5]} & {*data.names} and len(data) == len(names) - 2
    assert "2 images could not be described: left out" in notes


def test_a_class_of_one_image_is_left_out_and_named(tmp_path: Path) -> None:
    names = [*names_of(ROOMS), "attic/a1.jpg"]
    data, notes = read_labelled([store_of(tmp_path, names)], relation(names), Splitting())
    assert data.classes == ("bath", "bed", "kitchen") and "attic" in notes[0]
    _, notes = read_labelled(
        [store_of(tmp_path, names + ["attic/a2.jpg"])],
        relation(names + ["attic/a2.jpg"]),
        Splitting(r"/(\w)"),
    )
    assert "attic" in notes[0]  # two photos of one house


def test_blanks_around_classes_are_taken_away_and_said(tmp_path: Path) -> None:
    names = [*names_of(ROOMS), "bed /z1.jpg"]
    data, notes = read_labelled([store_of(tmp_path, names)], relation(names), Splitting())
    assert data.classes == ("bath", "bed", "kitchen") and "'bed '" in notes[0]
    assert data.classes[data.labels[data.names.index("bed /z1.jpg")]] == "bed"


def test_distractors_have_no_class(tmp_path: Path) -> None:
    made = relation(names_of(ROOMS | {"distractor": "a"}))
    names = names_of(ROOMS | {"distractor": "a"})
    made = replace(made, alone=made.classes.index("distractor"))
    data, _ = read_labelled([store_of(tmp_path, names)], made, Splitting())
    assert data.classes == ("bath", "bed", "kitchen")


def test_named_queries_are_the_test_side(tmp_path: Path) -> None:
    names = names_of(ROOMS)
    asked = [name for name in names if "/d" in name]
    made = replace(relation(names), query_names=asked, queries_are_named=True)
    data, _ = read_labelled([store_of(tmp_path, names)], made, Splitting(r"/(\w)"))
    assert sorted(n for n, side in zip(data.names, data.side, strict=True) if side == TEST) == asked
    assert {*data.side} == {TRAIN, VAL, TEST}
    mixed = replace(made, query_names=[names[0], names[12]])
    with pytest.raises(BadInput, match="1 scenes are trained on and tested: a"):
        read_labelled([store_of(tmp_path, names)], mixed, Splitting(r"/(\w)"))


def test_what_cannot_be_split_is_refused(tmp_path: Path) -> None:
    names = names_of(ROOMS)
    store, made = store_of(tmp_path, names), relation(names)
    new = [name for name in names if name.startswith("bath")]
    with pytest.raises(BadInput, match="1 classes to test are unknown to training: bath"):
        asked = replace(made, query_names=new, queries_are_named=True)
        read_labelled([store], asked, Splitting())
    with pytest.raises(BadInput, match="no image is on the side val"):
        read(tmp_path, {"bath": "ab", "bed": "ab"}, Splitting(r"/(\w)"))
    with pytest.raises(BadInput, match="there is one class"):
        read(tmp_path, {"bath": "abcd"}, Splitting())
    with pytest.raises(ConfigError, match="have no classes"):
        read_labelled([store], replace(made, codes=None, kind="pairs"), Splitting())
    with pytest.raises(ConfigError, match=r"is not in the name 'bath/a1\.jpg'"):
        read_labelled([store], made, Splitting("house"))
    with pytest.raises(ConfigError, match="regular expression"):
        read_labelled([store], made, Splitting("("))
    with pytest.raises(BadInput, match=r"1 labelled images are not in the store, first \['x"):
        more = [*names, "x/1.jpg"]
        read_labelled([store], relation(more), Splitting())
    with pytest.raises(ConfigError, match="test_share=1"):
        Splitting(test=1)


def test_clusters_are_cut_out_and_brought_to_unit_length() -> None:
    vectors = np.arange(24, dtype=np.float32).reshape(2, 12)  # 4 clusters of width 3
    vectors[1, 3:6] = 0
    found = take_clusters(vectors, [1], 3)
    np.testing.assert_allclose(found[0], vectors[0, 3:6] / np.linalg.norm(vectors[0, 3:6]))
    assert not found[1].any() and take_clusters(vectors, None, 12) is vectors
    both = take_clusters(vectors, [3, 0], 6)[0]
    np.testing.assert_allclose(both / both[3:].max() * 2, [9, 10, 11, 0, 1, 2], rtol=1e-5)
    assert SIDES[TRAIN] == "train"
