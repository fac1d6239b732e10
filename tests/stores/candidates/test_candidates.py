"""Candidate lists: every form gives back what was written, and says where a file is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ames_lite.errors import BadInput, MissingFile
from ames_lite.records import Neighbors
from ames_lite.stores.candidates import (
    FORMS,
    WRITTEN,
    Candidates,
    in_form,
    read_candidates,
    write_candidates,
)

pytest.importorskip("ir_measures")
QUERIES, GALLERY = ("q/a.jpg", "q/b.jpg", "q/c.jpg"), ("g/1.jpg", "g/2.jpg", "g/3.jpg", "g/4.jpg")
TEXT = [form for form in WRITTEN if not FORMS[form].rows]
KEEPS_EMPTY = ("json", "json_scores", "run", "jsonl")
UNSCORED = ("json", "hloc", "npy")
NAMES = st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=6)


def lists(queries: tuple[str, ...] = QUERIES, gallery: tuple[str, ...] = GALLERY) -> Candidates:
    """Lists of three, one and two candidates."""
    found = [gallery[:3], gallery[3:4], (gallery[2], gallery[0])]
    sims = [np.array(row, np.float32) for row in ([0.9, 0.5, 0.25], [0.1], [0.75, -0.125])]
    return Candidates(queries, tuple(found), tuple(sims))


def same(read: Candidates, written: Candidates, form: str) -> None:
    assert read.queries == written.queries and read.form == form
    assert [list(row) for row in read.found] == [list(row) for row in written.found]
    if form in UNSCORED:
        assert read.sims is None
    else:
        assert read.sims is not None and written.sims is not None
        for a, b in zip(read.sims, written.sims, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("form", WRITTEN)
def test_every_form_gives_back_what_was_written_and_is_guessed(form: str, tmp_path: Path) -> None:
    written = in_form(lists(), form, QUERIES, GALLERY)
    if form in ("pickle", "npy"):  # of one length
        written = written.first(1)
    path = write_candidates(tmp_path / WRITTEN[form].format(""), form, written)
    same(read_candidates(path), written, form)
    named = in_form(read_candidates(path), "jsonl", QUERIES, GALLERY)
    assert [list(row) for row in named.found] == [
        list(row[: len(other)]) for row, other in zip(lists().found, written.found, strict=True)
    ]


@pytest.mark.parametrize("form", TEXT)
@given(names=st.lists(NAMES, min_size=7, max_size=7, unique=True))
@example(names=["a b", 'c,"d', "%20", "日本 ", "\n", "'", "\r"])
@settings(max_examples=10, deadline=None)
def test_names_come_back_or_are_refused(
    form: str, names: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    written = lists(tuple(names[:3]), tuple(names[3:]))
    path = tmp_path_factory.mktemp("form") / "file"
    try:
        write_candidates(path, form, written)
    except BadInput as error:
        assert FORMS[form].odd and "cannot hold the name" in str(error)
        return
    same(read_candidates(path, form), written, form)


@pytest.mark.parametrize("form", WRITTEN)
def test_a_query_without_candidates_keeps_an_empty_list(form: str, tmp_path: Path) -> None:
    none = np.zeros(0, np.float32)
    written = Candidates(("a", "b"), (("x",), ()), (np.ones(1, np.float32), none))
    numbered = in_form(written, form, ("a", "b"), ("x", "y"))
    assert "1 with none" in str(numbered)
    if form in ("pickle", "npy"):
        numbered = numbered.first(1)
    if form == "pickle":
        with pytest.raises(BadInput, match="several lengths"):
            write_candidates(tmp_path / "f", form, numbered)
        return
    path = write_candidates(tmp_path / "f", form, numbered)
    read = read_candidates(path, form)
    assert len(read) == (1 if form in TEXT and form not in KEEPS_EMPTY else 2)


PUBLIC: dict[str, tuple[str, str]] = {  # as their documentation shows them
    "trec": ("run.txt", "301 Q0 FR940202-2-00150 1 2.129133 STANDARD\n301\tQ0\tx 2 1.5 STANDARD"),
    "run": ("ranx.json", '{"q_1": {"d_12": 0.9, "d_25": 0.7}, "q_2": {"d_12": 0.5}}'),
    "hloc": ("pairs-query-netvlad20.txt", "query/IMG_1.jpg db/1.jpg\nquery/IMG_1.jpg db/2.jpg\n"),
    "hloc_scores": ("predictions_paths.txt", "q/1.jpg db/7.jpg 0.7123\nq/1.jpg db/3.jpg 0.6001\n"),
    "kapture": (
        "pairs.txt",
        "# kapture format: 1.1\n# query_image, map_image, score\nq.jpg, m 1.jpg, 0.9\n"
        "  q.jpg,   m2.jpg,  0.25\n",
    ),
    "vpr_preds": (
        "000.txt",
        "Query path:\n/d/q/@1@.jpg\n\nPredictions paths:\n/d/db/@2@.jpg\n/d/db/@3@.jpg\n\n"
        "Positives paths:\n/d/db/@3@.jpg\n",
    ),
}
FIRST = {
    "trec": ("301", ["FR940202-2-00150", "x"]),
    "run": ("q_1", ["d_12", "d_25"]),
    "hloc": ("query/IMG_1.jpg", ["db/1.jpg", "db/2.jpg"]),
    "hloc_scores": ("q/1.jpg", ["db/7.jpg", "db/3.jpg"]),
    "kapture": ("q.jpg", ["m 1.jpg", "m2.jpg"]),
    "vpr_preds": ("/d/q/@1@.jpg", ["/d/db/@2@.jpg", "/d/db/@3@.jpg"]),
}


@pytest.mark.parametrize("form", PUBLIC)
def test_files_as_others_write_them_are_guessed_and_read(form: str, tmp_path: Path) -> None:
    name, text = PUBLIC[form]
    (tmp_path / name).write_text(text)
    read = read_candidates(tmp_path / name)
    assert read.form == form and f"is read as {form}" in str(read)
    assert (read.queries or ("",))[0] == FIRST[form][0] and list(read.found[0]) == FIRST[form][1]


def test_mteb_predictions_are_a_run(tmp_path: Path) -> None:
    table = {"q": {"d1": 0.25, "d2": 0.5}}
    meta = {"model_name": "m", "revision": "r"}
    path = tmp_path / "Task_predictions.json"
    path.write_text(json.dumps({"mteb_model_meta": meta, "default": {"test": table}}))
    read = read_candidates(path)
    assert read.form == "run" and read.found == (["d2", "d1"],)  # a table has no order
    path.write_text(json.dumps({"mteb_model_meta": meta, "en": {"test": table}, "de": {}}))
    with pytest.raises(BadInput, match="several subsets or splits: en, de"):
        read_candidates(path)


def test_global_descriptors_of_vpr_evaluation_are_searched(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    gallery = generator.normal(size=(120, 8)).astype(np.float32)
    np.save(tmp_path / "database_descriptors.npy", gallery)
    np.save(tmp_path / "queries_descriptors.npy", gallery[:5] * 3)
    read = read_candidates(tmp_path)
    assert read.form == "vpr_descriptors" and [row[0] for row in read.found] == [0, 1, 2, 3, 4]
    assert (
        read.sims is not None and read.sims[0][0] == pytest.approx(1) and len(read.sims[0]) == 100
    )


@pytest.mark.parametrize("queries", [np.ones(8), np.array([["a"]])])
def test_global_descriptors_of_another_shape_or_of_texts_are_named(
    tmp_path: Path, queries: np.ndarray
) -> None:
    np.save(tmp_path / "database_descriptors.npy", np.ones((3, 8)))
    np.save(tmp_path / "queries_descriptors.npy", queries)
    with pytest.raises(BadInput, match=r"queries_descriptors.npy\n  expected: global descriptors"):
        read_candidates(tmp_path)


def test_arrays_of_faiss_may_be_padded_big_endian_and_lie_anyhow(tmp_path: Path) -> None:
    ids = np.array([[3, 1, -1], [0, 2, 1]], ">i8")
    sims = np.asfortranarray(np.array([[0.9, 0.5, -3.4e38], [0.8, 0.2, 0.1]], ">f4"))
    np.savez(tmp_path / "a.npz", D=sims, I=ids)
    np.save(tmp_path / "i.npy", ids)
    np.save(tmp_path / "s.npy", sims)
    both = read_candidates(tmp_path / "i.npy", sims=tmp_path / "s.npy")
    for read in (read_candidates(tmp_path / "a.npz"), both):
        assert read.queries is None and [row.tolist() for row in read.found] == [[3, 1], [0, 2, 1]]
        assert read.sims is not None and read.sims[0].tolist() == pytest.approx([0.9, 0.5])


def test_distances_are_noticed_and_become_similarities(tmp_path: Path) -> None:
    path = tmp_path / "predictions_paths.txt"
    path.write_text("".join(f"q.jpg {k}.jpg {k / 10}\n" for k in range(6)))
    with pytest.raises(BadInput, match=r"(?s)only rise.*line 1.*kind=squared_l2"):
        read_candidates(path)
    for kind, last in (("similarity", 0.5), ("distance", 0.5), ("squared_l2", 0.75)):
        read = read_candidates(path, kind=kind)
        assert read.sims is not None and read.sims[0][5] == pytest.approx(last)
        assert read.found[0][0] == "0.jpg"


WRONG: dict[str, tuple[str, str, str]] = {
    "fields": ("hloc", "a b\na b c d\n", "4 fields in 'a b c d'.*line 2"),
    "number": ("hloc", "a b 1\na c x\n", "could not convert.*line 2"),
    "partly": ("hloc", "a b 1\na c\n", "some candidates have a score"),
    "twice": ("hloc", "a b\na c\na b\n", "'b' is listed twice.*line 3"),
    "nan": ("kapture", "a, b, 0.5\na, c, nan\n", "score of 'c' is nan.*line 2"),
    "trec": ("trec", "a Q0 b 1 0.5 r\na Q0 c 2 0.4\n", "no line of a TREC run.*line 2"),
    "trec score": ("trec", "a Q0 b 1 high r\n", "no line of a TREC run.*line 1"),
    "header": ("csv", "query,image\na,b\n", "header is 'query,image'.*line 1"),
    "cells": ("csv", "query,gallery\na,b,c\n", "another number of cells.*line 2"),
    "json": ("json", '{"a": ["b", 3]}', "a candidate is 3.*query 'a'"),
    "json twice": ("run", '{"a": {"b": 1, "b": 2}}', "there twice"),
    "json text": ("json", '{"a": "b"}', "no list.*query 'a'"),
    "score": ("run", '{"a": {"b": "high"}}', "'b', 'high'.*query 'a'"),
    "lines": ("jsonl", '{"query": "a", "candidates": []}\n{"query": 3}\n', "no list.*line 2"),
    "line": ("jsonl", '{"query": "a", "candidates": [{"id": 3}]}', "a candidate is 3.*line 1"),
    "empty": ("hloc", "\n", "no candidates, read as hloc"),
    "bytes": ("hloc", "a \udcff", "not a text in UTF-8"),
    "form": ("other", "a b", "no form of candidates 'other'.*trec, json"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named_with_its_place(case: str, tmp_path: Path) -> None:
    form, text, words = WRONG[case]
    (tmp_path / "file").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BadInput, match=f"(?s){words}") as error:
        read_candidates(tmp_path / "file", form)
    assert case == "form" or "file" in str(error.value)


def test_a_file_of_no_known_form_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one two three four\n")
    with pytest.raises(BadInput, match="form of 'one two three four' is unknown"):
        read_candidates(tmp_path / "a")
    with pytest.raises(MissingFile, match="candidates are missing"):
        read_candidates(tmp_path / "b")
    np.savez(tmp_path / "c.npz", ids=np.zeros((2, 3), np.int64))
    with pytest.raises(BadInput, match=r"holds ids \(int64\)"):
        read_candidates(tmp_path / "c.npz")


ARRAYS: list[tuple[Any, Any, str]] = [
    (np.zeros(3, np.int64), None, r"ids \[3\] of int64"),
    (np.zeros((2, 3)), None, "float64"),
    (np.array([[0, 1]]), np.ones((2, 1)), r"sims \[2, 1\] of float64"),
    (np.array([[0, -1, 1]]), None, "query row 0 has the id -1 before others"),
    (np.array([[0, 1, 0]]), None, "'0' is listed twice.*query row 0, place 3"),
    (np.array([[0, 1]]), np.array([[1, np.inf]]), "score of '1' is inf.*query row 0, place 2"),
]


@pytest.mark.parametrize(("ids", "sims", "words"), ARRAYS)
def test_arrays_that_are_no_lists_are_refused(ids: Any, sims: Any, words: str) -> None:
    with pytest.raises(BadInput, match=f"(?s){words}"):
        Candidates.of_arrays(ids, sims)


def test_names_become_rows_as_a_whole_by_their_end_or_below_one_folder() -> None:
    rows, found = lists().rows(QUERIES[::-1], GALLERY)
    assert rows.tolist() == [2, 1, 0] and [row.tolist() for row in found] == [
        [0, 1, 2],
        [3],
        [2, 0],
    ]
    short = Candidates(("a", "b.jpg"), (["1"], ["4.jpg"]))
    assert [row.tolist() for row in short.rows(QUERIES, GALLERY)[1]] == [[0], [3]]
    long = Candidates(("/d/q/a.jpg",), (["/d/e/g/2.jpg", "/d/e/g/4.jpg"],))
    assert [row.tolist() for row in long.rows(QUERIES, GALLERY)[1]] == [[1, 3]]


def test_unknown_names_are_counted_and_the_first_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_text("q/a.jpg g/1.jpg\nq/a.jpg x\nq/a.jpg y\nq/d.jpg g/1.jpg\n")
    read = read_candidates(tmp_path / "pairs.txt")
    with pytest.raises(BadInput, match=r"(?s)1 of 2 names.*'q/d.jpg'.*pairs.txt, line 4"):
        read.rows(QUERIES, GALLERY)
    with pytest.raises(BadInput, match=r"(?s)2 of 3 names fit no image: 'x', 'y'.*line 2"):
        read.rows([*QUERIES, "q/d.jpg"], GALLERY)
    with pytest.raises(BadInput, match=r"(?s)id 7 is no gallery row.*place 2.*rows 0 to 3"):
        Candidates.of_arrays(np.array([[1, 7]])).rows(QUERIES, GALLERY)
    with pytest.raises(BadInput, match="the query list has 3"):
        Candidates.of_arrays(np.zeros((4, 1), np.int64)).rows(QUERIES, GALLERY)


def test_lists_of_one_length_become_neighbors_in_the_order_of_the_queries() -> None:
    near = lists().first(1).neighbors(QUERIES[::-1], GALLERY)
    assert isinstance(near, Neighbors) and near.ids.tolist() == [[2], [3], [0]]
    assert near.sims.tolist() == [[0.75], [pytest.approx(0.1)], [pytest.approx(0.9)]]
    with pytest.raises(BadInput, match=r"(?s)has 1 candidates, others up to 3.*query 'q/b.jpg'"):
        lists().neighbors(QUERIES, GALLERY)
    with pytest.raises(BadInput, match=r"(?s)1 of 4 queries have no list: 'q/z.jpg'"):
        lists().first(1).neighbors([*QUERIES, "q/z.jpg"], GALLERY)


def test_scores_or_names_that_a_form_needs_are_asked_for(tmp_path: Path) -> None:
    unscored = Candidates(("a",), (("b",),))
    with pytest.raises(BadInput, match="trec needs scores"):
        write_candidates(tmp_path / "f", "trec", unscored)
    with pytest.raises(BadInput, match="names or rows cannot be written as vpr_preds"):
        write_candidates(tmp_path / "f", "vpr_preds", unscored)
    with pytest.raises(BadInput, match="cannot be written as json"):
        write_candidates(tmp_path / "f", "json", Candidates.of_arrays(np.zeros((1, 1), np.int64)))
    assert write_candidates(tmp_path / "f", "hloc", unscored).read_text() == "a b\n"
