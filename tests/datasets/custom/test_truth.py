"""Pictures and labels of every form: examples to check by eye, and laws between the forms."""

from __future__ import annotations

import csv
import time
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ames_lite.cli.own_folder import prepare_command
from ames_lite.datasets.custom import images as custom_images
from ames_lite.datasets.custom.files import (
    check_sources,
    read_description,
    write_custom,
)
from ames_lite.datasets.custom.truth import CustomOptions, make_custom
from ames_lite.datasets.ground_truth import read_ground_truth
from ames_lite.datasets.image_lists import ImageList, read_image_list, write_image_list
from ames_lite.datasets.relation import Relation
from ames_lite.errors import BadInput, ConfigError, MissingFile
from ames_lite.io.images import save_jpeg
from tests.helpers import touch

Answers = dict[str, list[str]]


def table(path: Path, *rows: str) -> str:
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return str(path)


def table_of(path: Path, header: str, rows: Iterable[Sequence[object]]) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header.split(","), *rows])
    return str(path)


def names_file(path: Path, names: Sequence[str]) -> Path:
    return write_image_list(path, ImageList(tuple(names)))


def make(images: Path, labels: object, **more: Any) -> Relation:
    return make_custom(CustomOptions(images, str(labels), **more))


def answers(made: Relation, grade: str = "easy") -> Answers:
    """The positives of each query, by name."""
    truth = made.truth
    return {
        name: [truth.gallery_names[row] for row in rows]
        for name, rows in zip(truth.query_names, getattr(truth, grade), strict=True)
    }


# ---------------------------------------------------------------- by eye


def test_class_folders(tmp_path: Path) -> None:
    names = ["cat/1.jpg", "cat/far/2.jpg", "dog/1.jpg", "distractor/3.jpg", "distractor/4.jpg"]
    made = make(touch(tmp_path, names), "folders")
    assert answers(made) == {"cat/1.jpg": ["cat/far/2.jpg"], "cat/far/2.jpg": ["cat/1.jpg"]}
    assert made.truth.gallery_names == tuple(sorted(names))  # the lone dog and distractors too
    assert made.codes is not None and made.codes["dog/1.jpg"] == 2
    assert made.root == tmp_path and not made.truth.graded and made.without_positives == ()


def test_labels_with_commas_accents_folders_and_a_split(tmp_path: Path) -> None:
    names = ["a, b.jpg", "ü/é.jpg", "ü/東.png", "lone.jpg", "not listed.jpg"]
    images = touch(tmp_path / "p", names)
    rows = ['"a, b.jpg",x', "ü/é.jpg,x", "ü/東.png,x", "lone.jpg,y"]
    made = make(images, table(tmp_path / "l.csv", "\ufefffile,label", *rows))
    assert answers(made) == {
        "a, b.jpg": ["ü/é.jpg", "ü/東.png"],
        "ü/é.jpg": ["a, b.jpg", "ü/東.png"],
        "ü/東.png": ["a, b.jpg", "ü/é.jpg"],
    }
    assert made.truth.gallery_names == tuple(names[:4])
    assert any("1 images are not in" in note for note in made.notes)
    sides = ["query", "gallery", "gallery", "query"]
    rows = [f"{row},{side}" for row, side in zip(rows, sides, strict=True)]
    made = make(images, table(tmp_path / "l.csv", "file,label,split", *rows))
    assert answers(made) == {"a, b.jpg": ["ü/é.jpg", "ü/東.png"], "lone.jpg": []}
    assert made.truth.gallery_names == ("ü/é.jpg", "ü/東.png")
    assert made.without_positives == ("lone.jpg",)  # named as a query: kept, and counted


def test_a_name_is_found_however_its_accents_are_composed(tmp_path: Path) -> None:
    apart, whole = unicodedata.normalize("NFD", "é1.jpg"), unicodedata.normalize("NFC", "é2.jpg")
    images = touch(tmp_path / "p", [apart, whole])
    other = [unicodedata.normalize("NFC", apart), unicodedata.normalize("NFD", whole)]
    rows = [f"{name},x" for name in other]
    made = make(images, table(tmp_path / "l.csv", "file,label", *rows))
    assert made.truth.gallery_names == (apart, whole)  # as they are on disk


@pytest.mark.parametrize("kind", ["labels", "pairs", "frames"])
def test_a_listed_image_is_read_by_its_content_whatever_its_suffix(
    kind: str, tmp_path: Path
) -> None:
    rows = {
        "labels": ("file,label", "a.xyz,1", "b,1", "c.jpg,2", "d.dat,2"),
        "pairs": ("query,gallery", "a.xyz,b", "c.jpg,d.dat"),
        "frames": ("file,frame", "a.xyz,1", "b,2", "c.jpg,8", "d.dat,9"),
    }[kind]
    for name in ("a.xyz", "b", "c.jpg", "d.dat"):
        save_jpeg(tmp_path / name, np.zeros((9, 9, 3), np.uint8), 90)
    more = {"tolerance": 1} if kind == "frames" else {}
    found = answers(make(tmp_path, table(tmp_path / "rows.csv", *rows), **more))
    assert found["a.xyz"] == ["b"] and found["c.jpg"] == ["d.dat"]
    (tmp_path / "c.jpg").unlink()  # also where no file has a suffix that is listed
    with pytest.raises(BadInput, match="1 of . listed images are absent, first 'c.jpg'"):
        make(tmp_path, table(tmp_path / "rows.csv", *rows), **more)


def test_a_listed_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    images = touch(tmp_path / "p", ["a.jpg", "b.jpg"])
    (images / "notes.txt").write_text("no image")
    (tmp_path / "out.png").write_text("not below the folder")
    for name, what in {
        "notes.txt": "cannot be decoded",
        "../out.png": "lies outside",
        str(tmp_path / "out.png"): "lies outside",
    }.items():
        labels = table(tmp_path / "l.csv", "file,label", "a.jpg,1", "b.jpg,1", f"{name},1")
        with pytest.raises(BadInput, match=what) as caught:
            make(images, labels)
        assert "l.csv, line 4" in str(caught.value)


def test_two_folders_keep_equal_names_apart(tmp_path: Path) -> None:
    touch(tmp_path / "set/queries", ["1.jpg", "2.jpg", "9.jpg"])
    touch(tmp_path / "set/database", ["1.jpg", "2.jpg", "3.jpg"])
    folders = {"query_images": tmp_path / "set/queries"}
    made = make(tmp_path / "set/database", "frames", tolerance=1, **folders)
    assert answers(made) == {
        "queries/1.jpg": ["database/1.jpg", "database/2.jpg"],
        "queries/2.jpg": ["database/1.jpg", "database/2.jpg", "database/3.jpg"],
        "queries/9.jpg": [],
    }
    assert made.root == tmp_path / "set" and made.without_positives == ("queries/9.jpg",)
    pairs = table(tmp_path / "p.csv", "query,gallery", "1.jpg,3.jpg", "queries/2.jpg,1.jpg")
    made = make(tmp_path / "set/database", pairs, **folders)
    assert answers(made) == {
        "queries/1.jpg": ["database/3.jpg"],
        "queries/2.jpg": ["database/1.jpg"],
    }
    labels = table(tmp_path / "l.csv", "file,label", "9.jpg,a", "3.jpg,a", "database/1.jpg,b")
    assert answers(make(tmp_path / "set/database", labels, **folders)) == {
        "queries/9.jpg": ["database/3.jpg"]
    }
    both = table(tmp_path / "l.csv", "file,label", "9.jpg,a", "3.jpg,a", "1.jpg,b")
    with pytest.raises(
        BadInput, match=r"'1\.jpg' fits 'queries/1\.jpg' and 'database/1\.jpg'"
    ) as e:
        make(tmp_path / "set/database", both, **folders)
    assert "l.csv, line 4" in str(e.value)


def test_pairs_and_a_query_that_answers_itself(tmp_path: Path) -> None:
    images = touch(tmp_path / "p", ["a.jpg", "b.jpg", "c.jpg", "d.jpg"])
    rows = ["b.jpg,b.jpg,1", "b.jpg,a.jpg,1", "a.jpg,c.jpg,0", "b.jpg,c.jpg,0"]
    made = make(images, table(tmp_path / "p.csv", "query,gallery,relevant", *rows))
    assert answers(made) == {"b.jpg": ["a.jpg"], "a.jpg": []}
    assert made.truth.gallery_names == ("a.jpg", "b.jpg", "c.jpg", "d.jpg")
    assert made.without_positives == ("a.jpg",) and made.codes is None
    lists = {"queries": names_file(tmp_path / "q.txt", ["b.jpg"])}
    lists["gallery"] = names_file(tmp_path / "g.txt", ["c.jpg", "a.jpg", "b.jpg"])
    made = make(images, tmp_path / "p.csv", **lists)
    assert made.truth.query_names == ("b.jpg",) and made.truth.easy[0].tolist() == [1]


def test_grades_of_pairs_and_of_labels(tmp_path: Path) -> None:
    images = touch(tmp_path / "p", ["q.jpg", "e.jpg", "h.jpg", "j.jpg", "n.jpg"])
    rows = ["q.jpg,e.jpg,easy", "q.jpg,h.jpg,hard", "q.jpg,j.jpg,junk"]
    one = make(images, table(tmp_path / "p.csv", "query,gallery,grade", *rows))
    lines = ["q.jpg,x,query,", "e.jpg,x,gallery,easy", "h.jpg,x,gallery,hard"]
    lines += ["j.jpg,x,gallery,junk", "n.jpg,distractor,gallery,"]
    two = make(images, table(tmp_path / "l.csv", "file,label,split,grade", *lines))
    for made in (one, two):
        assert made.truth.graded
        graded = [answers(made, grade)["q.jpg"] for grade in ("easy", "hard", "junk")]
        assert graded == [["e.jpg"], ["h.jpg"], ["j.jpg"]]
    assert "q.jpg" in one.truth.gallery_names and "q.jpg" not in two.truth.gallery_names
    assert not one.notes
    made = make(images, table(tmp_path / "p.csv", "query,gallery,grade", *rows[::2]))
    assert any("nothing is graded hard" in note for note in made.notes)
    with pytest.raises(BadInput, match="none of 1 queries has a positive"):
        make(images, table(tmp_path / "p.csv", "query,gallery,grade", rows[2]))
    with pytest.raises(BadInput, match=r"'e\.jpg' has a label and no grade(.|\n)*line 2"):
        make(images, table(tmp_path / "l.csv", "file,label,grade", "e.jpg,x,", "h.jpg,x,hard"))


def test_coordinates_in_metres_and_in_degrees(tmp_path: Path) -> None:
    images = touch(tmp_path / "p", ["a.jpg", "b.jpg", "c.jpg"])
    metres = table(tmp_path / "m.csv", "file,x,y", "a.jpg,0,0", "b.jpg,15,20", "c.jpg,30,40.1")
    assert answers(make(images, metres)) == {"a.jpg": ["b.jpg"], "b.jpg": ["a.jpg"]}
    assert answers(make(images, metres, radius=26)).keys() == {"a.jpg", "b.jpg", "c.jpg"}
    # one thousandth of a degree of latitude is 111.19 m
    rows = ["a.jpg,50,14,query", "b.jpg,50.0002,14,gallery", "c.jpg,50.0003,14,gallery"]
    degrees = table(tmp_path / "d.csv", "file,lat,lon,split", *rows)
    made = make(images, degrees)
    assert answers(made) == {"a.jpg": ["b.jpg"]}
    assert any("span lat 50.00000 to 50.00030" in note for note in made.notes)


def test_frames_by_names_and_by_a_column(tmp_path: Path) -> None:
    names = ["run2/x_0100.jpg", "run2/x_0101.jpg", "run2/x_0103.jpg"]
    images = touch(tmp_path / "p", names)
    wanted = {names[0]: [names[1]], names[1]: [names[0]]}
    assert answers(make(images, "frames", tolerance=1)) == wanted
    rows = [f"{name},{frame}" for name, frame in zip(names, (-1, 0, 2), strict=True)]
    labels = table(tmp_path / "f.csv", "file,frame", *rows)
    assert answers(make(images, labels, tolerance=1)) == wanted


# ---------------------------------------------------------------- laws


@pytest.fixture
def world(tmp_path: Path) -> tuple[Path, list[str], list[str]]:
    """Sixty images in sub-folders, some names with commas and accents, and their labels."""
    rng = np.random.default_rng(11)
    words = ["ročník", "a,b", "c", "d e", "distractor", "alone"]
    labels = [words[k] for k in rng.integers(0, 5, 59)] + ["alone"]
    names = [f'{label}/ž {n},"{n % 3}".jpg' for n, label in enumerate(labels)]
    return touch(tmp_path / "world", names), names, labels


def same(one: Relation, other: Relation) -> bool:
    grades = ("easy", "hard", "junk")
    return all(answers(one, grade) == answers(other, grade) for grade in grades)


def test_class_folders_equal_the_same_labels_in_a_file(
    world: tuple[Path, list[str], list[str]], tmp_path: Path
) -> None:
    images, names, labels = world
    order = sorted(range(60), key=lambda row: names[row])
    rows = [(names[row], labels[row]) for row in order]
    one, two = (
        make(images, "folders"),
        make(images, table_of(tmp_path / "l.csv", "file,label", rows)),
    )
    assert same(one, two) and one.codes == two.codes
    assert one.truth.gallery_names == two.truth.gallery_names
    wanted = {  # the slow referee
        name: [other for other, word in rows if word == label and other != name]
        for name, label in rows
        if label != "distractor"
    }
    assert answers(one) == {name: right for name, right in wanted.items() if right}


def test_pairs_equal_the_matrix(world: tuple[Path, list[str], list[str]], tmp_path: Path) -> None:
    images, names, _ = world
    rng = np.random.default_rng(2)
    queries = [names[row] for row in rng.permutation(60)[:20]]
    gallery = [names[row] for row in rng.permutation(60)[:50]]
    matrix = rng.random((20, 50)) < 0.1
    lists = {"queries": names_file(tmp_path / "q.txt", queries)}
    lists["gallery"] = names_file(tmp_path / "g.txt", gallery)
    rows = [(q, g, int(matrix[i, j])) for i, q in enumerate(queries) for j, g in enumerate(gallery)]
    rows = [rows[row] for row in rng.permutation(len(rows))]
    pairs = make(images, table_of(tmp_path / "p.csv", "query,gallery,relevant", rows), **lists)
    np.save(tmp_path / "m.npy", matrix)
    np.savez(tmp_path / "m.npz", anything=matrix.astype(np.float32))
    for file in ("m.npy", "m.npz"):
        made = make(images, tmp_path / file, **lists)
        assert same(made, pairs) and made.truth.query_names == tuple(queries)
        assert made.truth.gallery_names == tuple(gallery)
        assert made.without_positives == pairs.without_positives
    right = {  # the slow referee: the query itself is never its own answer
        q: [g for j, g in enumerate(gallery) if matrix[i, j] and g != q]
        for i, q in enumerate(queries)
    }
    assert answers(pairs) == right and any(q in gallery for q in queries)


def test_frames_equal_positions_on_a_line(
    world: tuple[Path, list[str], list[str]], tmp_path: Path
) -> None:
    images, names, _ = world
    numbers = np.random.default_rng(4).integers(0, 200, 60).tolist()
    sides = ["query" if n % 3 else "gallery" for n in range(60)]
    rows = list(zip(names, numbers, sides, strict=True))
    frames = table_of(tmp_path / "f.csv", "file,frame,split", rows)
    line = [(name, number, 0, side) for name, number, side in rows]
    one = make(images, frames, tolerance=7)
    assert same(one, make(images, table_of(tmp_path / "x.csv", "file,x,y,split", line), radius=7))
    assert one.without_positives


def test_what_is_written_is_what_was_made(
    world: tuple[Path, list[str], list[str]], tmp_path: Path
) -> None:
    images, _, _ = world
    made, folder = make(images, "folders"), tmp_path / "root" / "own"
    options = CustomOptions(images, "folders")
    written = write_custom(folder, made, options, "instance", "val", overwrite=False)
    lists = {side: read_image_list(folder / f"{side}.txt") for side in ("query", "gallery")}
    assert lists["gallery"].labels is not None and len(set(lists["gallery"].labels.tolist())) == 6
    path = folder / "gnd_own.json"
    truth = read_ground_truth(path, lists["query"].names, lists["gallery"].names)
    assert [rows.tolist() for rows in truth.easy] == [rows.tolist() for rows in made.truth.easy]
    assert truth.query_names == made.truth.query_names
    assert read_description(folder) == written
    found = {path.name for path in folder.iterdir()}
    assert found == {"query.txt", "gallery.txt", "gnd_own.json", "dataset.json"}


@pytest.mark.slow
def test_a_hundred_thousand_positions_take_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, rng = 100_000, np.random.default_rng(0)
    names = [f"{n:06d}.jpg" for n in range(count)]
    rows = rng.uniform(0, 20_000, (count, 2)).round(2).tolist()
    labels = table_of(
        tmp_path / "xy.csv", "file,x,y", [(n, *xy) for n, xy in zip(names, rows, strict=True)]
    )
    monkeypatch.setattr(custom_images, "list_folder", lambda folder, **_: (names, ()))
    start = time.process_time()
    made = make(tmp_path, labels, radius=100)
    seconds = time.process_time() - start
    assert len(made.truth.gallery_names) == count
    assert 5 * count < sum(map(len, made.truth.easy)) < 10 * count  # π · 100² / 20000² of them each
    assert seconds < 30  # about 3; all pairs would be 10¹⁰


# ---------------------------------------------------------------- what is wrong

WRONG_LABELS: dict[str, tuple[list[str], dict[str, Any], list[str]]] = {
    "no form": (["name,class", "a.jpg,x"], {}, ["line 1", "name,class", "file,label", "query,gal"]),
    "no header": (["a.jpg,x", "b.jpg,x"], {}, ["a.jpg,x", "fits no form", "a row"]),
    "two forms": (["file,label,frame", "a.jpg,x,1"], {}, ["several forms", "kind="]),
    "two positions": (["file,x,y,lat,lon", "a.jpg,1,1,1,1"], {"kind": "coordinates"}, ["several"]),
    "an unknown column": (["file,label,splt", "a.jpg,x,query"], {}, ["splt", "kind=labels"]),
    "a column twice": (["file,label,label", "a.jpg,x,x"], {}, ["twice"]),
    "another kind": (["file,label", "a.jpg,x"], {"kind": "frames"}, ["fits no form", "file,frame"]),
    "grade and relevant": (["query,gallery,grade,relevant", "a.jpg,b.jpg,easy,1"], {}, ["both"]),
    "slashes": (["file/label", "a.jpg/x"], {}, ["file/label"]),
    "empty": ([""], {}, ["empty"]),
    "only a header": (["file,label"], {}, ["no rows"]),
    "a comma too many": (
        ["file,label", "a.jpg,x", "b,c.jpg,x"],
        {},
        ["line 3", "3 cells", "quotes"],
    ),
    "an open quote": (["file,label", 'a.jpg,"x'], {}, ["not a CSV"]),
    "absent": (["file,label", "a.jpg,x", "z.jpg,x"], {}, ["'z.jpg'", "line 3", "1 of 2", "/p"]),
    "twice": (
        ["file,label", "a.jpg,x", "a.jpg,x"],
        {},
        ["'a.jpg' is listed twice", "line 2", "line 3"],
    ),
    "two labels": (
        ["file,label", "a.jpg,x", "b.jpg,x", "a.jpg,y"],
        {},
        ["'a.jpg'", "line 2", "as 'x'", "'y'", "line 4"],
    ),
    "no label": (["file,label", "a.jpg,x", "b.jpg,"], {}, ["label is ''", "line 3"]),
    "a wrong side": (
        ["file,label,split", "a.jpg,x,test"],
        {},
        ["split is 'test'", "line 2", "query"],
    ),
    "no query": (["file,label,split", "a.jpg,x,gallery"], {}, ["no image is on the query side"]),
    "no gallery": (["file,label,split", "a.jpg,x,query"], {}, ["no image is on the gallery side"]),
    "no partners": (["file,label", "a.jpg,x", "b.jpg,y"], {}, ["none of 2 queries has a positive"]),
    "only itself": (["query,gallery", "a.jpg,a.jpg"], {}, ["none of 1 queries", "itself"]),
    "a wrong grade": (["query,gallery,grade", "a.jpg,b.jpg,ok"], {}, ["'ok'", "line 2", "junk"]),
    "not 0 or 1": (["query,gallery,relevant", "a.jpg,b.jpg,yes"], {}, ["'yes'", "'0' or '1'"]),
    "an absent pair": (["query,gallery", "a.jpg,b.jpg", "a.jpg,z.jpg"], {}, ["'z.jpg'", "line 3"]),
    "a pair twice": (
        ["query,gallery,relevant", "a.jpg,b.jpg,1", "a.jpg,b.jpg,0"],
        {},
        ["a.jpg,b.jpg", "line 2", "'1'", "'0'", "line 3"],
    ),
    "nan": (["file,x,y", "a.jpg,1,nan"], {}, ["y is 'nan'", "line 2"]),
    "infinite": (["file,x,y", "a.jpg,1,2", "b.jpg,1e999,2"], {}, ["x is '1e999'", "line 3"]),
    "no number": (["file,x,y", "a.jpg,1,here"], {}, ["y is 'here'", "line 2"]),
    "no position": (["file,x,y", "a.jpg,1,"], {}, ["y is ''", "line 2"]),
    "swapped": (["file,lat,lon", "a.jpg,139.7,35.6"], {}, ["lat is 139.7", "swapped", "line 2"]),
    "off the earth": (["file,lat,lon", "a.jpg,35.6,181"], {}, ["lon is 181", "line 2"]),
    "a radius below zero": (["file,x,y", "a.jpg,1,2"], {"radius": -1}, ["radius is -1"]),
    "a radius for labels": (["file,label", "a.jpg,x"], {"radius": 5}, ["radius=5", "labels"]),
    "half a frame": (
        ["file,frame", "a.jpg,1.5", "b.jpg,2", "c.jpg,3"],
        {"tolerance": 1},
        ["frame is '1.5'", "line 2"],
    ),
    "a huge frame": (
        ["file,frame", f"a.jpg,{10**19}", "b.jpg,2", "c.jpg,3"],
        {"tolerance": 1},
        ["whole number"],
    ),
    "no tolerance": (["file,frame", "a.jpg,1"], {}, ["tolerance is None", "|i - j|"]),
    "a short frame list": (
        ["file,frame", "a.jpg,1", "b.jpg,2"],
        {"tolerance": 1},
        ["2 images have a frame, 3 are there", "'c.jpg' has none"],
    ),
}


@pytest.mark.parametrize("case", WRONG_LABELS)
def test_wrong_labels_are_named_with_file_and_line(tmp_path: Path, case: str) -> None:
    rows, more, words = WRONG_LABELS[case]
    images = touch(tmp_path / "p", ["a.jpg", "b.jpg", "c.jpg"])
    with pytest.raises((BadInput, ConfigError)) as caught:
        make(images, table(tmp_path / "labels.csv", *rows), **more)
    message = str(caught.value)
    assert not [word for word in words if word not in message], message
    measure = "radius" in more or "tolerance" in message.split("\n")[0]
    assert "labels.csv" in message or measure, message


def test_other_columns_are_ignored_where_the_kind_is_said(tmp_path: Path) -> None:
    images = touch(tmp_path / "p", ["a.jpg", "b.jpg"])
    labels = table(
        tmp_path / "l.csv", "file, label ,frame,when", "a.jpg,x,1,noon", "b.jpg,x,9,dusk"
    )
    made = make(images, labels, kind="labels")
    assert answers(made) == {"a.jpg": ["b.jpg"], "b.jpg": ["a.jpg"]}
    assert "columns ignored: frame, when" in made.notes
    assert answers(make(images, labels, kind="frames", tolerance=8)) == answers(made)


def matrix_case(
    tmp_path: Path, matrix: object, name: str = "m.npy"
) -> tuple[Path, dict[str, Path]]:
    touch(tmp_path / "p", ["a.jpg", "b.jpg", "c.jpg"])
    if isinstance(matrix, np.ndarray):
        np.save(tmp_path / name, matrix, allow_pickle=matrix.dtype.hasobject)
    elif isinstance(matrix, dict):
        np.savez(tmp_path / name, **matrix)
    else:
        (tmp_path / name).write_bytes(bytes(str(matrix), "utf-8"))
    queries = names_file(tmp_path / "q.txt", ["a.jpg", "b.jpg"])
    gallery = names_file(tmp_path / "g.txt", ["a.jpg", "b.jpg", "c.jpg"])
    return tmp_path / name, {"queries": queries, "gallery": gallery}


@pytest.mark.parametrize(
    ("matrix", "name", "words"),
    [
        (np.ones((3, 2), bool), "m.npy", ["[3, 2]", "[2, 3]", "transposed", "query list"]),
        (np.ones((2, 4), bool), "m.npy", ["[2, 4]", "[2, 3]"]),
        (np.ones(6, bool), "m.npy", ["[6]"]),
        (np.ones((2, 3), complex), "m.npy", ["complex"]),
        (np.full((2, 3), 2), "m.npy", ["row 0, column 0 is 2"]),
        (np.full((2, 3), None), "m.npy", ["cannot be read"]),
        ("no array", "m.npy", ["cannot be read"]),
        ("no zip", "m.npz", ["cannot be read"]),
        ({"one": np.ones((2, 3)), "two": np.ones(1)}, "m.npz", ["one, two"]),
        (np.eye(2, 3, dtype=bool), "m.npy", ["none of 2 queries"]),
    ],
)
def test_a_wrong_matrix_is_named(
    tmp_path: Path, matrix: object, name: str, words: list[str]
) -> None:
    path, lists = matrix_case(tmp_path, matrix, name)
    with pytest.raises(BadInput) as caught:
        make(tmp_path / "p", path, **lists)
    message = str(caught.value)
    assert not [word for word in [*words, name] if word not in message], message


def test_a_matrix_needs_its_lists_and_its_file(tmp_path: Path) -> None:
    path, lists = matrix_case(tmp_path, np.ones((2, 3), bool))
    with pytest.raises(ConfigError, match="queries=<image list> gallery=<image list>"):
        make(tmp_path / "p", path, queries=lists["queries"])
    with pytest.raises(MissingFile, match=r"none\.npy"):
        make(tmp_path / "p", tmp_path / "none.npy", **lists)


def test_lists_that_do_not_fit_the_labels_are_named(tmp_path: Path) -> None:
    images = touch(tmp_path / "p", ["a.jpg", "b.jpg", "c.jpg"])
    labels = table(tmp_path / "l.csv", "file,label", "a.jpg,x", "b.jpg,x")
    listed = names_file(tmp_path / "q.txt", ["a.jpg", "c.jpg"])
    for key, side in (("queries", "query"), ("gallery", "gallery")):
        with pytest.raises(BadInput, match=rf"1 of 2 images of the {side} list(.|\n)*l\.csv"):
            make(images, labels, **{key: listed})
    absent = names_file(tmp_path / "g.txt", ["a.jpg", "z.jpg"])
    with pytest.raises(BadInput, match=r"'z\.jpg'(.|\n)*g\.txt, image 2"):
        make(images, labels, gallery=absent)
    pairs = table(tmp_path / "p.csv", "query,gallery", "a.jpg,c.jpg", "a.jpg,b.jpg")
    with pytest.raises(BadInput, match=r"'b\.jpg' is not in the list(.|\n)*p\.csv, line 3"):
        make(images, pairs, gallery=listed)
    other = names_file(tmp_path / "o.txt", ["b.jpg"])
    with pytest.raises(BadInput, match="none of the 1 images of queries="):
        make(images, pairs, queries=other)


def test_folders_that_do_not_fit_are_named(tmp_path: Path) -> None:
    touch(tmp_path / "p", ["a/1.jpg", "2.jpg"])
    with pytest.raises(BadInput, match=r"'2\.jpg' is in no class folder(.|\n)*distractor/"):
        make(tmp_path / "p", "folders")
    with pytest.raises(BadInput, match="one of the folders"):
        make(tmp_path / "p", "folders", query_images=tmp_path / "p" / "a")
    with pytest.raises(BadInput, match="one of the folders"):
        make(tmp_path / "p", "folders", query_images=tmp_path / "p")
    with pytest.raises(MissingFile, match="nowhere"):
        make(tmp_path / "nowhere", "folders")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="no images"):
        make(tmp_path / "empty", "folders")
    with pytest.raises(MissingFile, match=r"none\.csv(.|\n)*file,lat,lon"):
        make(tmp_path / "p", tmp_path / "none.csv")
    with pytest.raises(BadInput, match=r"no frame number(.|\n)*x\.jpg"):
        make(touch(tmp_path / "f", ["1.jpg", "x.jpg"]), "frames", tolerance=1)
    for labels, kind in (("folders", "frames"), ("m.npy", "pairs"), ("l.csv", "folders")):
        with pytest.raises(ConfigError, match=f"labels=.*{labels} is not of kind={kind}"):
            make(tmp_path / "p", labels, kind=kind)
    with pytest.raises(ConfigError, match=r"no kind 'utm'(.|\n)*coordinates"):
        make(tmp_path / "p", "folders", kind="utm")


def test_a_name_that_is_no_utf8_is_refused_before_a_list_is_written(tmp_path: Path) -> None:
    folder = touch(tmp_path / "p", ["x/1.jpg"])
    try:
        (folder / "x" / b"\xff.jpg".decode("utf-8", "surrogateescape")).touch()
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    with pytest.raises(BadInput, match="not UTF-8"):
        make(folder, "folders")


# ---------------------------------------------------------------- the folder of a set


def prepared(tmp_path: Path, *, overwrite: bool = False) -> Path:
    options = CustomOptions(tmp_path / "p", "folders")
    made, folder = make_custom(options), tmp_path / "root" / "own"
    write_custom(folder, made, options, "instance", "test", overwrite)
    return folder


def test_the_same_is_written_again_and_another_only_when_asked(tmp_path: Path) -> None:
    touch(tmp_path / "p", ["a/1.jpg", "a/2.jpg"])
    folder = prepared(tmp_path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    prepared(tmp_path)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    touch(tmp_path / "p", ["a/3.jpg"])
    with pytest.raises(BadInput, match=r"gallery\.txt(.|\n)*overwrite=true"):
        prepared(tmp_path)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    prepared(tmp_path, overwrite=True)
    assert len(read_image_list(folder / "gallery.txt")) == 3
    (folder / "test_query.txt").touch()
    with pytest.raises(BadInput, match=r"published(.|\n)*test_query\.txt"):
        prepared(tmp_path, overwrite=True)


def test_changed_sources_are_refused_with_both_digests_and_the_command(tmp_path: Path) -> None:
    images = touch(tmp_path / "p q", ["a.jpg", "b.jpg", "c.jpg"])
    labels = table(tmp_path / "l.csv", "file,label", "a.jpg,x", "b.jpg,x")
    options = CustomOptions(images, labels)
    folder = tmp_path / "root" / "own"
    made = make_custom(options)
    write_custom(folder, made, options, "instance", "test", overwrite=False)
    description = read_description(folder)
    assert description is not None
    check_sources(folder, description, images, labels, prepare_command)
    touch(images, ["d.jpg"])  # not listed: changes nothing
    check_sources(folder, description, images, labels, prepare_command)
    moved = tmp_path / "moved.csv"
    moved.write_text(Path(labels).read_text())
    check_sources(folder, description, images, str(moved), prepare_command)
    table(tmp_path / "l.csv", "file,label", "a.jpg,x", "b.jpg,x", "c.jpg,x")
    with pytest.raises(BadInput) as caught:
        check_sources(folder, description, images, labels, prepare_command)
    message = str(caught.value)
    assert description.digests["labels"][:12] in message and "the labels changed" in message
    assert prepare_command(options, folder) in message and "overwrite=true" in message
    assert f"images='{images}'" in message  # in quotes: it has a blank
    with pytest.raises(BadInput, match=r"the labels changed(.|\n)*folders"):
        check_sources(folder, description, images, "folders", prepare_command)


def test_a_damaged_description_is_named(tmp_path: Path) -> None:
    touch(tmp_path / "p", ["a/1.jpg", "a/2.jpg"])
    path = prepared(tmp_path) / "dataset.json"
    whole = path.read_text()
    for text in ("{", "[]", '{"schema": 2}', whole.replace('"kind"', '"king"'), "null"):
        path.write_text(text)
        with pytest.raises(BadInput, match=r"dataset\.json"):
            read_description(path.parent)
