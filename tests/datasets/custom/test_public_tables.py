"""Ground truth as it is published: small files in the form that their descriptions say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ames_lite.datasets.relation import Relation
from ames_lite.errors import BadInput
from tests.datasets.custom.test_truth import answers, make, table
from tests.helpers import touch

IDS = ("0a1b2c3d4e5f6071", "0a9b8c7d6e5f4031", "f00000000000000d", "f0000000000000aa")


def stored(folder: Path, *ids: str) -> Path:
    """Images as GLDv2 stores them: three folders of a letter, then the id."""
    return touch(folder, [f"{one[0]}/{one[1]}/{one[2]}/{one}.jpg" for one in ids])


def by_id(made: Relation) -> dict[str, list[str]]:
    return {Path(q).stem: [Path(g).stem for g in found] for q, found in answers(made).items()}


def test_gldv2_train_csv(tmp_path: Path) -> None:
    rows = [
        f"{one},http://h/{one}.jpg,{label}" for one, label in zip(IDS, (7, 7, 9, 7), strict=True)
    ]
    labels = table(tmp_path / "train.csv", "id,url,landmark_id", *rows)
    made = make(stored(tmp_path / "p", *IDS), labels)
    assert by_id(made) == {
        IDS[0]: [IDS[1], IDS[3]],
        IDS[1]: [IDS[0], IDS[3]],
        IDS[3]: [IDS[0], IDS[1]],
    }
    assert made.gallery_names[0] == f"0/a/1/{IDS[0]}.jpg"
    assert "column landmark_id is taken as label" in made.notes
    assert "columns ignored: url" in made.notes


def test_gldv2_train_clean_csv_lists_the_images_of_a_landmark(tmp_path: Path) -> None:
    images = stored(tmp_path / "p", *IDS)
    rows = [f"7,{IDS[0]} {IDS[1]} {IDS[3]}", f"9,{IDS[2]}"]
    clean = make(images, table(tmp_path / "train_clean.csv", "landmark_id,images", *rows))
    rows = [f"{one},u,{label}" for one, label in zip(IDS, (7, 7, 9, 7), strict=True)]
    plain = make(images, table(tmp_path / "train.csv", "id,url,landmark_id", *rows))
    assert by_id(clean) == by_id(plain)


def solved(tmp_path: Path, *rows: str, header: str = "id,images,Usage") -> Relation:
    labels = table(tmp_path / "retrieval_solution_v2.1.csv", header, *rows)
    queries = stored(tmp_path / "test", "aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb", "cccccccccccccccc")
    return make(stored(tmp_path / "index", *IDS), labels, query_images=queries)


def test_gldv2_retrieval_solution(tmp_path: Path) -> None:
    made = solved(
        tmp_path,
        f"bbbbbbbbbbbbbbbb,{IDS[2]},Private",
        "cccccccccccccccc,None,Ignored",
        f"aaaaaaaaaaaaaaaa,{IDS[3]} {IDS[0]},Public",
    )
    assert by_id(made) == {"aaaaaaaaaaaaaaaa": [IDS[0], IDS[3]], "bbbbbbbbbbbbbbbb": [IDS[2]]}
    assert len(made.gallery_names) == len(IDS)
    assert "1 public, 1 private, 1 ignored queries" in made.notes


def test_kaggles_submission_form(tmp_path: Path) -> None:
    made = solved(tmp_path, f"aaaaaaaaaaaaaaaa,{IDS[3]} {IDS[0]}", header="id,images")
    assert by_id(made) == {"aaaaaaaaaaaaaaaa": [IDS[0], IDS[3]]}


@pytest.mark.parametrize(
    "row, words",
    [
        (f"aaaaaaaaaaaaaaaa,{IDS[0]},Hidden", ["usage is 'hidden'", "line 3"]),
        (f"aaaaaaaaaaaaaaaa,{IDS[0]} {IDS[0]},Public", ["listed twice", "line 3"]),
        ("aaaaaaaaaaaaaaaa,ffffffffffffffff,Public", ["'ffffffffffffffff'", "line 3", "index"]),
        (f"dddddddddddddddd,{IDS[0]},Public", ["'dddddddddddddddd'", "line 3", "test"]),
        (f"aaaaaaaaaaaaaaaa,{IDS[0]}", ["2 cells", "line 3"]),
    ],
)
def test_a_bad_row_of_a_solution_is_named(row: str, words: list[str], tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        solved(tmp_path, f"bbbbbbbbbbbbbbbb,{IDS[1]},Public", row)
    assert not [word for word in [*words, "solution"] if word not in str(caught.value)], caught


def test_an_id_of_two_images_is_refused(tmp_path: Path) -> None:
    images = touch(tmp_path / "p", ["x/1.jpg", "y/1.png", "x/2.jpg"])
    labels = table(tmp_path / "l.csv", "id,class", "2,a", "1,a")
    with pytest.raises(BadInput, match=r"'1' fits 'x/1\.jpg' and 'y/1\.png'(.|\n)*line 3"):
        make(images, labels)


def test_msls_positions_of_one_city(tmp_path: Path) -> None:
    labels = table(
        tmp_path / "postprocessed.csv",
        ",key,easting,northing,unique_cluster,night,control_panel,view_direction",
        "0,kA,347000.5,6172000.0,0,False,False,Forward",
        "1,kB,347010.5,6172000.0,1,True,False,Sideways",
        "2,kC,347510.5,6172000.0,2,True,False,Sideways",
    )
    made = make(touch(tmp_path / "p", [f"images/k{c}.jpg" for c in "ABC"]), labels)
    assert answers(made) == {
        "images/kA.jpg": ["images/kB.jpg"],
        "images/kB.jpg": ["images/kA.jpg"],
    }


# ---------------------------------------------------------------- TREC qrels


def judged(tmp_path: Path, *rows: str, **more: Any) -> Relation:
    pytest.importorskip("ir_measures")
    labels = table(tmp_path / "truth.qrels", *rows)
    images = touch(tmp_path / "p", ["q/a b.jpg", "g/1.jpg", "g/2.jpg", "g/3.jpg"])
    return make(images, labels, **more)


def test_qrels_of_0_and_1_are_pairs(tmp_path: Path) -> None:
    made = judged(tmp_path, "q/a%20b.jpg 0 g/1.jpg 1", "", "q/a%20b.jpg\tQ0\t3 1", "1 0 2 0")
    assert answers(made) == {"q/a b.jpg": ["g/1.jpg", "g/3.jpg"], "g/1.jpg": []}
    assert not made.truth.graded and len(made.gallery_names) == 4


def test_graded_qrels_are_grades(tmp_path: Path) -> None:
    made = judged(tmp_path, "1 0 2 3", "1 0 3 1", "1 0 a%20b -1", "2 0 3 0", "3 0 1 2")
    easy, hard, junk = (answers(made, grade) for grade in ("easy", "hard", "junk"))
    assert easy == {"g/1.jpg": ["g/2.jpg"], "g/2.jpg": [], "g/3.jpg": ["g/1.jpg"]}
    assert hard["g/1.jpg"] == ["g/3.jpg"] and junk["g/1.jpg"] == ["q/a b.jpg"]


def test_unknown_names_of_qrels_are_counted(tmp_path: Path) -> None:
    made = judged(tmp_path, "1 0 2 1", "1 0 x17 1", "topic9 0 2 1", "topic9 0 3 0")
    assert answers(made) == {"g/1.jpg": ["g/2.jpg"]}
    assert any("3 of 4 judgements" in n and "first in line 2: left out" in n for n in made.notes)
    with pytest.raises(BadInput, match=r"1 of 1 judgements(.|\n)*truth\.qrels"):
        judged(tmp_path, "1 0 x17 1")


@pytest.mark.parametrize("row", ["1 0 2", "1 0 2 yes", "1 Q0 2 1 0.5 run", "1 0 2 1.5"])
def test_a_bad_line_of_qrels_is_named(row: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"(?s)no line of TREC qrels.*qrels, line 3.*query iter"):
        judged(tmp_path, "1 0 2 1", "", row)


def test_qrels_of_another_suffix_are_read_where_the_kind_is_said(tmp_path: Path) -> None:
    pytest.importorskip("ir_measures")
    labels = table(tmp_path / "qrels.txt", "1 0 2 1", "1 0 2 1")
    images = touch(tmp_path / "p", ["1.jpg", "2.jpg"])
    with pytest.raises(BadInput, match=r"'1\.jpg,2\.jpg' is listed twice(.|\n)*line 2"):
        make(images, labels, kind="qrels")
    with pytest.raises(BadInput, match=r"kind=qrels"):
        make(images, labels)


# ---------------------------------------------------------------- class folders of two sides


@pytest.mark.parametrize(
    "query, gallery", [("test/query", "test/gallery"), ("queries", "database")]
)
def test_class_folders_below_query_and_gallery(query: str, gallery: str, tmp_path: Path) -> None:
    names = [f"{query}/a/1.jpg", f"{query}/b/1.jpg", f"{gallery}/a/1.jpg", f"{gallery}/a/2.jpg"]
    images = touch(tmp_path / "p", [*names, "train/a/9.jpg", f"{gallery}/c/7.jpg"])
    made = make(images, "folders")
    assert made.root == (images / query).parent and any("queries are in" in n for n in made.notes)
    start = f"{Path(query).name}/", f"{Path(gallery).name}/"
    assert answers(made) == {
        f"{start[0]}a/1.jpg": [f"{start[1]}a/1.jpg", f"{start[1]}a/2.jpg"],
        f"{start[0]}b/1.jpg": [],
    }
    assert len(made.gallery_names) == 3  # train is no part of it


def test_a_flat_side_has_lists_and_nothing_right(tmp_path: Path) -> None:
    images = touch(
        tmp_path / "p", ["test/query/a/1.jpg", "test/gallery/1.jpg", "test/gallery/2.jpg"]
    )
    made = make(images, "folders")
    assert answers(made) == {"query/a/1.jpg": []} and not made.labelled
    assert made.gallery_names == ["gallery/1.jpg", "gallery/2.jpg"]
    assert any("gallery has no class folders" in note for note in made.notes)


def test_a_side_half_flat_is_a_mistake(tmp_path: Path) -> None:
    names = ["test/query/a/1.jpg", "test/gallery/a/1.jpg", "test/gallery/2.jpg"]
    with pytest.raises(BadInput, match=r"'2\.jpg' is in no class folder"):
        make(touch(tmp_path / "p", names), "folders")
