"""ames rerank: lists from anywhere, in the order that the library gives them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ames_lite.cli import evaluate, rerank
from ames_lite.cli.compose import compose
from ames_lite.datasets.image_lists import read_image_list
from ames_lite.errors import BadInput, ConfigError
from ames_lite.io.checkpoint import load_head
from ames_lite.reranking import Reranker
from ames_lite.stores.candidates import (
    FORMS,
    WRITTEN,
    Candidates,
    read_candidates,
    write_candidates,
)
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.neighbor_lists import read_neighbors
from tests.conftest import TinyWorld

ROOT = Path(__file__).resolve().parents[2]
HEAD = ROOT / "weights" / "sift_elvis"


@pytest.fixture
def names(tiny_world: TinyWorld) -> tuple[tuple[str, ...], tuple[str, ...]]:
    sides = (read_image_list(tiny_world.folder() / f"{s}.txt") for s in ("query", "gallery"))
    queries, gallery = (side.names for side in sides)
    return queries, gallery


@pytest.fixture
def lists(names: tuple[tuple[str, ...], tuple[str, ...]]) -> Candidates:
    """Of three queries: seven, one and no candidates."""
    queries, gallery = names
    found = (gallery[:7], gallery[9:10], gallery[:0])
    sims = tuple(np.linspace(0.9, 0.1, len(row)).astype(np.float32) for row in found)
    return Candidates(queries[1:4], found, sims)


def run(world: TinyWorld, candidates: Path, *more: str) -> Candidates:
    given = [f"candidates={candidates}", "dataset=synthetic", "desc_name=sift", "model=elvis"]
    given += [f"data_root={world.root}", f"output_dir={candidates.parent / 'run'}", *more]
    return rerank.run(compose("rerank", given))


def by_library(world: TinyWorld, lists: Candidates, sims: bool) -> list[list[str]]:
    """The names in the order of `Reranker.rerank` on the arrays of the stores."""
    reranker, found = Reranker(load_head(HEAD)[0], 0.3, 0.2), []
    sides = ("query", "gallery")
    paths = (world.folder() / f"sift_{side}_local.hdf5" for side in sides)
    queries, gallery = (DescriptorStore.open(path) for path in paths)
    for q, row in enumerate(lists.found):
        images = [gallery.read(gallery.names.index(name)).descriptors for name in row]
        query = queries.read(queries.names.index((lists.queries or ())[q])).descriptors
        given = lists.sims[q] if sims and lists.sims else None
        order = reranker.rerank(query, images, given).ids[0] if images else []
        found.append([row[k] for k in order])
    return found


@pytest.mark.parametrize("form", ["jsonl", "hloc", "faiss"])
def test_the_order_is_that_of_the_reranker_on_the_same_arrays(
    form: str, tiny_world: TinyWorld, tmp_path: Path, names: Any, lists: Candidates, capsys: Any
) -> None:
    given = lists.numbered(*names) if form == "faiss" else lists
    path = write_candidates(tmp_path / "given", form, given)
    run(tiny_world, path, f"form={form}", "lamb=0.3", "temp=0.2")
    printed = capsys.readouterr().out.splitlines()
    written = Path(printed[-1].removeprefix("results: "))
    assert len(printed) == 3 and written.parent == tmp_path / "run"
    read = read_candidates(written, form)
    wanted = by_library(tiny_world, lists, form != "hloc")
    if form == "faiss":
        read = read.named(*names)
        wanted = [wanted[i - 1] if 1 <= i < 4 else [] for i in range(len(names[0]))]
    found = {q: list(row) for q, row in zip(read.queries or (), read.found, strict=True) if row}
    assert [*found.values()] == [row for row in wanted if row]
    assert f"read as {form}: " in printed[0] and "8 pairs" in printed[1]
    assert ("the logits alone decide" in printed[1]) is (form == "hloc")


def test_a_part_is_reordered_and_a_part_is_written(
    tiny_world: TinyWorld, tmp_path: Path, lists: Candidates
) -> None:
    path = write_candidates(tmp_path / "c.jsonl", "jsonl", lists)
    found = run(tiny_world, path, "num_rerank=3", "top=5", "out_form=csv")
    assert [len(row) for row in found.found] == [7, 1, 0]
    assert sorted(found.found[0][:3]) == sorted(lists.found[0][:3])
    assert list(found.found[0][3:]) == list(lists.found[0][3:])
    read = read_candidates(tmp_path / "run" / "ranking.csv")
    assert read.form == "csv" and list(read.found[0]) == list(found.found[0][:5])


def test_a_folder_is_described_as_far_as_the_lists_name_it(
    tiny_world: TinyWorld, tmp_path: Path, names: Any, lists: Candidates
) -> None:
    path = write_candidates(tmp_path / "c.trec", "trec", lists.first(4))
    images, run_dir = tiny_world.folder(), tmp_path / "run"
    given = [f"candidates={path}", f"images={images}", "backbone=sift", "model=mutual_nn"]
    found = rerank.run(compose("rerank", [*given, f"output_dir={run_dir}", "workers=1"]))
    stored = DescriptorStore.open(run_dir / "gallery_local.hdf5")
    assert set(stored.names) == {*lists.found[0][:4], *lists.found[1]}
    assert read_candidates(run_dir / "run.trec").found == found.found[:2]


def test_evaluation_takes_lists_of_one_length_in_any_form(
    tiny_world: TinyWorld, tmp_path: Path, names: Any
) -> None:
    near = read_neighbors(tiny_world.folder() / "nn_sift_vlad.hdf5", *names)
    lists = Candidates.of_arrays(near.ids, near.sims).named(*names)
    for form, name in {"jsonl": "a.jsonl", "trec": "a.trec", "run": "a.json"}.items():
        read = read_neighbors(write_candidates(tmp_path / name, form, lists), *names)
        np.testing.assert_array_equal(read.ids, near.ids)
    short = write_candidates(tmp_path / "short.jsonl", "jsonl", lists_of_two_lengths(lists))
    given = ["dataset=synthetic", "desc_name=sift", f"data_root={tiny_world.root}"]
    given += ["model=mutual_nn", "lamb=0.3", "temp=0.1", f"neighbors={short}"]
    with pytest.raises(BadInput, match="(?s)candidates, others up to.*ames rerank"):
        evaluate.run(compose("evaluate", given))


def lists_of_two_lengths(lists: Candidates) -> Candidates:
    assert lists.sims is not None
    cut = [slice(None, 3 if q == 1 else None) for q in range(len(lists))]
    found, sims = (
        tuple(row[at] for row, at in zip(part, cut, strict=True))
        for part in (lists.found, lists.sims)
    )
    return Candidates(lists.queries, found, sims)


def test_the_page_reranks_a_file_in_ten_lines(
    tiny_world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lists: Candidates
) -> None:
    page = (ROOT / "docs" / "candidates.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    given = Candidates((lists.queries or ())[:2], lists.first(2).found[:2])
    path = write_candidates(tmp_path / "given.txt", "hloc", given)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "candidates.md", "exec"), {"path": path, "images": tiny_world.folder()})
    read = read_candidates("reranked.csv")
    assert [sorted(row) for row in read.found] == [sorted(row) for row in given.found]
    assert read.sims is not None and read.sims[0][0] >= read.sims[0][1]


def test_the_page_has_a_row_for_every_form() -> None:
    page = (ROOT / "docs" / "candidates.md").read_text()
    rows = re.findall(r"^\| (`.*)$", page, re.M)
    forms = {form: row for row in rows for form in re.findall(r"`(\w+)`", row.split(" | ")[0])}
    assert list(forms) and set(forms) == set(FORMS)
    assert {form for form, row in forms.items() if row.endswith("yes | yes |")} == set(WRITTEN)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["images=x"], "one of dataset= and images="),
        (["out_form=xls"], "no form to write 'xls'"),
        (["form=npz"], "no form of candidates 'npz'"),
        (["kind=dot"], "similarity or distance or squared_l2"),
        (["out_form=hloc"], "cannot hold the name 'a b.jpg'"),
    ],
)
def test_wrong_keys_and_names_are_refused_before_the_run(
    more: list[str], words: str, tiny_world: TinyWorld, tmp_path: Path, lists: Candidates
) -> None:
    odd = Candidates((lists.queries or ())[:1], (["a b.jpg"],), (np.ones(1, np.float32),))
    path = write_candidates(tmp_path / "c.jsonl", "jsonl", odd)
    with pytest.raises((BadInput, ConfigError), match=re.escape(words)):
        run(tiny_world, path, *more)
    assert not (tmp_path / "run").exists()
