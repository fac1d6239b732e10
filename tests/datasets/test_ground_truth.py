import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ames_lite.datasets.ground_truth import read_ground_truth, write_ground_truth
from ames_lite.errors import BadInput, MissingFile
from ames_lite.records import GroundTruth
from tests.evaluation.official import official_truth

QUERIES = ["jpg/q0.jpg", "jpg/q1.jpg"]
GALLERY = ["jpg/a.jpg", "jpg/b.jpg", "jpg/c.jpg", "jpg/d.jpg"]


def native(**changes: Any) -> dict[str, Any]:
    first = {"name": "q0", "bbox": [1, 2.5, 30, 40], "easy": ["b"], "hard": [], "junk": ["d"]}
    second = {"name": "q1", "easy": [], "hard": ["jpg/a.jpg", "c"], "junk": []}
    return {"queries": [first | changes, second]}


def official(**changes: Any) -> dict[str, Any]:
    first = {"bbx": [1, 2.5, 30, 40], "easy": [1], "hard": [], "junk": [3]}
    second = {"bbx": None, "easy": [], "hard": [0, 2], "junk": []}
    lists = {"imlist": ["a", "b", "c", "d"], "qimlist": ["q0", "q1"]}
    return {"gnd": [first | changes, second], **lists}


def write(path: Path, content: object) -> Path:
    if path.suffix == ".json":
        path.write_text(json.dumps(content))
    else:
        path.write_bytes(pickle.dumps(content, 3))
    return path


def same(one: GroundTruth, two: GroundTruth) -> bool:
    lists = all(
        np.array_equal(a, b)
        for name in ("easy", "hard", "junk")
        for a, b in zip(getattr(one, name), getattr(two, name), strict=True)
    )
    named = (one.query_names, one.gallery_names) == (two.query_names, two.gallery_names)
    return lists and named and (one.bbox, one.graded) == (two.bbox, two.graded)


def test_native_and_official_say_the_same(tmp_path: Path) -> None:
    one = read_ground_truth(write(tmp_path / "g.json", native()), QUERIES, GALLERY)
    two = read_ground_truth(write(tmp_path / "g.pkl", official()), QUERIES, GALLERY)
    assert same(one, two) and one.graded
    assert [rows.tolist() for rows in one.easy] == [[1], []]
    assert [rows.tolist() for rows in one.hard] == [[], [0, 2]]
    assert [rows.tolist() for rows in one.junk] == [[3], []]
    assert one.bbox == ((1.0, 2.5, 30.0, 40.0), None)


@pytest.mark.parametrize("name", ["g.json", "g.pkl"])
def test_rows_follow_the_lists_in_use_not_the_file(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, native() if name == "g.json" else official())
    gallery = ["far/away.jpg", *GALLERY[::-1]]  # another order, and a distractor
    truth = read_ground_truth(path, QUERIES[::-1], gallery)
    assert truth.query_names == ("jpg/q1.jpg", "jpg/q0.jpg")
    assert [{gallery[row] for row in rows} for rows in truth.hard] == [
        {"jpg/a.jpg", "jpg/c.jpg"},
        set(),
    ]
    assert [gallery[row] for row in truth.easy[1]] == ["jpg/b.jpg"]
    assert truth.bbox == (None, (1.0, 2.5, 30.0, 40.0))


def test_positives_alone_are_not_graded(tmp_path: Path) -> None:
    queries = [{"name": "q0", "positives": ["c", "a"]}, {"name": "q1", "positives": []}]
    one = read_ground_truth(write(tmp_path / "g.json", {"queries": queries}), QUERIES, GALLERY)
    gnd: list[dict[str, Any]] = [{"ok": np.array([2, 0])}, {"ok": [], "junk": []}]
    named = {"gnd": gnd, "imlist": ["a", "b", "c", "d"], "qimlist": ["q0", "q1"]}
    two = read_ground_truth(write(tmp_path / "named.pkl", named), QUERIES, GALLERY)
    three = read_ground_truth(write(tmp_path / "rows.pkl", {"gnd": gnd}), QUERIES, GALLERY)
    assert same(one, two) and same(one, three) and not one.graded
    assert [rows.tolist() for rows in one.easy] == [[2, 0], []]


def test_junk_may_stand_beside_positives(tmp_path: Path) -> None:
    queries = [
        {"name": "q0", "positives": ["c", "a"], "junk": ["b"]},
        {"name": "q1", "positives": ["d"], "junk": []},
    ]
    one = read_ground_truth(write(tmp_path / "g.json", {"queries": queries}), QUERIES, GALLERY)
    gnd = [{"ok": [2, 0], "junk": [1]}, {"ok": [3]}]
    two = read_ground_truth(write(tmp_path / "rows.pkl", {"gnd": gnd}), QUERIES, GALLERY)
    back = read_ground_truth(write_ground_truth(tmp_path / "w.json", one), QUERIES, GALLERY)
    assert same(one, two) and same(one, back) and not one.graded
    assert [rows.tolist() for rows in one.junk] == [[1], []]


@pytest.mark.parametrize("graded", [True, False])
def test_written_ground_truth_comes_back(tmp_path: Path, graded: bool) -> None:
    none = np.zeros(0, np.int64)
    truth = GroundTruth(
        query_names=("q,ü.jpg", 'p".jpg'),
        gallery_names=("a b.jpg", "c.png", "d.jpg"),
        easy=(np.array([2, 0]), none),
        hard=(none, np.array([1]) if graded else none),
        junk=(np.array([1]) if graded else none, none),
        bbox=((0.5, 1.0, 2.0, 3.25), None),
        graded=graded,
    )
    path = write_ground_truth(tmp_path / "g.json", truth)
    assert same(read_ground_truth(path, truth.query_names, truth.gallery_names), truth)
    assert [file.name for file in tmp_path.iterdir()] == ["g.json"]


BAD_NATIVE: dict[str, tuple[Any, str]] = {
    "no object": ([], "wrong keys"),
    "other keys": ({"queries": [], "more": 1}, "wrong keys"),
    "no list": ({"queries": {}}, "no list"),
    "a query is text": ({"queries": ["q0"]}, "query 0"),
    "unknown key": (native(esay=[]), "esay"),
    "both forms": (native(positives=["b"]), "positives"),
    "name is a number": (native(name=3), "'name'"),
    "names are rows": (native(easy=[1]), "'easy'"),
    "unknown image": (native(easy=["nowhere"]), "'nowhere'"),
    "in two lists": (native(junk=["b"]), "twice"),
    "twice in a list": (native(easy=["b", "b"]), "twice"),
    "unknown query": (native(name="q9"), "'q9'"),
    "query twice": (native(name="q1"), "'q1' is listed twice"),
    "query missing": ({"queries": native()["queries"][:1]}, "'jpg/q1.jpg' has no ground truth"),
    "flat box": (native(bbox=[5, 5, 5, 9]), "bounding box"),
    "three numbers": (native(bbox=[1, 2, 3]), "bounding box"),
    "a nan": (native(bbox=[1, 2, 3, float("nan")]), "bounding box"),
    "mixed forms": (
        {"queries": [{"name": "q0", "positives": ["b"]}, native()["queries"][1]]},
        "some queries have grades",
    ),
}
BAD_OFFICIAL: dict[str, tuple[Any, str]] = {
    "no dict": ([1], "'gnd'"),
    "no gnd": ({"imlist": []}, "'gnd'"),
    "entry is no dict": (official() | {"gnd": [1, 2]}, "no dict"),
    "no grades": (official() | {"gnd": [{"bbx": None}] * 2}, "keys"),
    "grade missing": (official() | {"gnd": [{"easy": [], "junk": []}] * 2}, "keys"),
    "both forms": (official(ok=[1]), "keys"),
    "junk that is ok": (official() | {"gnd": [{"ok": [1], "junk": [1]}] * 2}, "twice"),
    "row too high": (official(easy=[4]), "names rows 4 to 4"),
    "row below zero": (official(easy=[-1]), "names rows -1"),
    "rows are text": (official(easy=["b"]), "'easy'"),
    "rows are real": (official(easy=[1.0]), "'easy'"),
    "rows are flags": (official(easy=[True]), "'easy'"),
    "one row": (official(easy=1), "'easy'"),
    "ragged rows": (official(easy=[[1], [2, 3]]), "'easy'"),
    "counts differ": (official() | {"qimlist": ["q0"]}, "'gnd' has 2 entries for 1 queries"),
    "list too short": (official() | {"gnd": [{"ok": []}], "qimlist": ["q0"]}, "'jpg/q1.jpg'"),
    "image not in the list": (official() | {"imlist": ["a", "b", "c", "x"]}, "'x'"),
    "imlist repeats": (official() | {"imlist": ["a", "b", "c", "a"]}, "twice"),
    "imlist of numbers": (official() | {"imlist": [1, 2, 3, 4]}, "'imlist'"),
    "box is text": (official(bbx="abcd"), "bounding box"),
    "box is a number": (official(bbx=3), "bounding box"),
}


@pytest.mark.parametrize(
    ("name", "case"),
    [("g.json", case) for case in BAD_NATIVE] + [("g.pkl", case) for case in BAD_OFFICIAL],
)
def test_bad_ground_truth_is_named_with_its_file(tmp_path: Path, name: str, case: str) -> None:
    content, words = (BAD_NATIVE if name == "g.json" else BAD_OFFICIAL)[case]
    path = write(tmp_path / name, content)
    with pytest.raises(BadInput) as caught:
        read_ground_truth(path, QUERIES, GALLERY)
    assert words in str(caught.value) and str(path) in str(caught.value)


def test_lists_that_disagree_are_both_named(tmp_path: Path) -> None:
    path = write(tmp_path / "g.pkl", official())
    with pytest.raises(BadInput, match=r"imlist of .*g\.pkl against the gallery list"):
        read_ground_truth(path, QUERIES, GALLERY[:3])
    with pytest.raises(BadInput, match=r"g\.pkl has 2 queries, the query list 3"):
        read_ground_truth(path, [*QUERIES, "jpg/q2.jpg"], GALLERY)
    with pytest.raises(BadInput, match=r"queries of .*g\.pkl against the query list"):
        read_ground_truth(path, QUERIES[:1], GALLERY)


def test_files_that_are_no_ground_truth_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match=r"absent\.json"):
        read_ground_truth(tmp_path / "absent.json", QUERIES, GALLERY)
    for name in ("g.txt", "g.json", "g.pkl"):
        (tmp_path / name).write_bytes(b"\xff{")
        with pytest.raises(BadInput, match=name):
            read_ground_truth(tmp_path / name, QUERIES, GALLERY)


def test_a_tampered_ground_truth_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Attack:
        def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
            return os.mkdir, (str(marker),)

    path = write(tmp_path / "g.pkl", official(junk=Attack()))
    with pytest.raises(BadInput, match=r"mkdir(.|\n)*g\.pkl"):
        read_ground_truth(path, QUERIES, GALLERY)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("dataset", "gallery", "easy", "hard", "junk"),
    [("roxford5k", 4993, 3029, 2497, 1356), ("rparis6k", 6322, 6874, 10350, 7153)],
)
def test_the_official_files_hold_what_was_published(
    dataset: str, gallery: int, easy: int, hard: int, junk: int
) -> None:
    truth = official_truth(dataset)
    assert (len(truth.query_names), len(truth.gallery_names)) == (70, gallery)
    totals = [sum(map(len, rows)) for rows in (truth.easy, truth.hard, truth.junk)]
    assert totals == [easy, hard, junk] and truth.graded
    assert all(box is not None for box in truth.bbox)


def test_the_official_file_survives_the_native_form(tmp_path: Path) -> None:
    truth = official_truth("roxford5k")
    path = write_ground_truth(tmp_path / "g.json", truth)
    assert same(read_ground_truth(path, truth.query_names, truth.gallery_names), truth)
    assert truth.bbox[0] == (136.5, 34.1, 648.5, 955.7)
