"""Rankings on disk: what is written is read back, by this project and by whoever sorts by score."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.records import Neighbors
from ames_lite.stores.candidates import texts
from ames_lite.stores.candidates.texts import falling_scores
from tests.evaluation.trec import read_trec_run
from tests.stores.candidates.writing import write_ranking

QUERIES = ["q a.jpg", "jpg/q%20b.jpg", "q\udcffc.jpg"]
GALLERY = [
    "a b.jpg",
    "a%20b.jpg",
    "Zürich 3\u3000.jpg",
    "tab\t.jpg",
    "x\n.jpg",
    'c,"d".jpg',
    "日本",
]


def make_ranking(seed: int, ties: bool = True) -> Neighbors:
    generator = np.random.default_rng(seed)
    ids = np.stack([generator.permutation(len(GALLERY)) for _ in QUERIES]).astype(np.int32)
    scores = generator.integers(-3, 4, ids.shape) / 4 if ties else generator.random(ids.shape)
    return Neighbors(ids, scores.astype(np.float32), len(GALLERY))


@pytest.mark.parametrize("seed", range(5))
def test_a_run_is_read_back_as_it_was(seed: int, tmp_path: Path) -> None:
    ranking = make_ranking(seed)
    path = write_ranking(tmp_path / "run.trec", "trec", QUERIES, GALLERY, ranking, tag="my run")
    again = read_trec_run(path, QUERIES, GALLERY)
    np.testing.assert_array_equal(again.ids, ranking.ids)
    np.testing.assert_array_equal(again.sims, falling_scores(ranking.sims))


def test_a_run_has_six_fields_however_the_names_look(tmp_path: Path) -> None:
    ranking = make_ranking(0)
    path = write_ranking(tmp_path / "run.trec", "trec", QUERIES, GALLERY, ranking, tag="my run")
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == ranking.ids.size and {len(line) for line in lines} == {6}
    assert [line[3] for line in lines[:7]] == list("1234567")
    assert {line[1] for line in lines} == {"Q0"} and {line[5] for line in lines} == {"my%20run"}
    assert len({line[0] for line in lines}) == 3 and len({line[2] for line in lines}) == 7
    assert "日本" in {line[2] for line in lines}  # names are left alone where they can be


def test_whoever_sorts_a_run_by_score_gets_the_ranking(tmp_path: Path) -> None:
    """As trec_eval does: by score in single precision, then by name backwards; ranks are unread."""
    ranking = make_ranking(1)
    path = write_ranking(tmp_path / "run.trec", "trec", QUERIES, GALLERY, ranking, tag="r")
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    for q in range(len(QUERIES)):
        mine = lines[q * 7 : (q + 1) * 7]
        np.random.default_rng(0).shuffle(mine)
        mine.sort(key=lambda line: (np.float32(line[4]), line[2]), reverse=True)
        assert [int(line[3]) for line in mine] == list(range(1, 8))


@pytest.mark.parametrize("level", [0.0, 1e-30, -0.4, 1.0, 37.5, 1e6, -3e5])
def test_falling_scores_fall_strictly_and_stay_near(level: float) -> None:
    generator = np.random.default_rng(0)
    scores = (level + generator.integers(-2, 3, (4, 3000)) / 8).astype(np.float32)
    falling = falling_scores(scores)
    assert falling.dtype == np.float32 and (np.diff(falling, axis=1) < 0).all()
    lowest = np.minimum.accumulate(scores, axis=1)
    step = max(2.0**-24, float(np.spacing(np.float32(abs(level) + 1))))
    assert (falling <= lowest).all() and (lowest - falling).max() <= 3000 * step
    already = np.sort(generator.random((3, 50)).astype(np.float32), axis=1)[:, ::-1]
    np.testing.assert_array_equal(falling_scores(already), already)


def test_json_has_the_names_in_their_order(tmp_path: Path) -> None:
    ranking = make_ranking(2, ties=False)
    plain = json.loads(
        write_ranking(tmp_path / "a.json", "json", QUERIES, GALLERY, ranking).read_text()
    )
    assert list(plain) == QUERIES
    for q, query in enumerate(QUERIES):
        assert plain[query] == [GALLERY[image] for image in ranking.ids[q]]
    path = write_ranking(tmp_path / "b.json", "json_scores", QUERIES, GALLERY, ranking)
    scored = json.loads(path.read_text())
    assert {query: [name for name, _ in rows] for query, rows in scored.items()} == plain
    values = np.array([[score for _, score in scored[query]] for query in QUERIES], np.float32)
    np.testing.assert_array_equal(values, ranking.sims)
    empty = Neighbors(np.zeros((0, 3), np.int32), np.zeros((0, 3), np.float32), 7)
    path = write_ranking(tmp_path / "c.json", "json", [], GALLERY, empty)
    assert json.loads(path.read_text()) == {}


def test_csv_files_give_names_and_numbers_back(tmp_path: Path) -> None:
    ranking = make_ranking(3, ties=False)
    sims = np.random.default_rng(0).random(ranking.ids.shape).astype(np.float32)
    logits = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32) * 1e-6
    write_ranking(tmp_path / "r.csv", "csv", QUERIES, GALLERY, ranking)
    behind = {"sim": sims, "logit": logits}
    write_ranking(tmp_path / "p.csv", "pairs", QUERIES, GALLERY, ranking, **behind)
    rows, pairs = (
        list(csv.DictReader(open(tmp_path / name, newline="", errors="surrogatepass")))
        for name in ("r.csv", "p.csv")
    )
    assert [row["gallery"] for row in rows] == [GALLERY[i] for i in ranking.ids.ravel()]
    assert [row["rank"] for row in rows] == list("1234567") * 3
    for column, values in (("score", ranking.sims), ("sim", sims)):
        read = np.array([pair[column] for pair in pairs], np.float32)
        np.testing.assert_array_equal(read, values.ravel())
    read = np.array([pair["logit"] for pair in pairs if pair["logit"]], np.float32)
    np.testing.assert_array_equal(read, logits.ravel())
    assert [pair["logit"] == "" for pair in pairs[:7]] == [False] * 4 + [True] * 3
    assert [pair["query"] for pair in pairs[::7]] == QUERIES


def test_a_failure_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.trec"
    path.write_text("mine")

    def fail(name: str) -> str:
        if name == QUERIES[2]:
            raise OSError("disk full")
        return name

    monkeypatch.setattr(texts, "escaped", fail)
    with pytest.raises(BadInput, match="disk full"):
        write_ranking(path, "trec", QUERIES, GALLERY, make_ranking(0), tag="r")
    assert (tmp_path / "run.trec").read_text() == "mine" and [
        p.name for p in tmp_path.iterdir()
    ] == ["run.trec"]
