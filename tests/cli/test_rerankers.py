"""`rerank=` of the neighbour lists at the command: every name, what it writes, and wrong input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ames_lite.cli.compose import compose
from ames_lite.cli.prepare_topk_global import run as run_topk
from ames_lite.retrieval import rerank_parts
from ames_lite.retrieval.knn import exact_knn
from ames_lite.retrieval.rerankers import RERANKERS
from ames_lite.stores import hdf5
from ames_lite.stores.neighbor_lists import SCHEMA, read_neighbors
from tests.helpers import main_of
from tests.retrieval.test_rerankers import made, unit
from tests.stores.files import read_globals, write_globals

NEW = [name for name in RERANKERS if name != "mda"]
ROXFORD, TRAINING = "roxford5k", "gldv2"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Global descriptors of queries, a gallery (in half precision) and a training set."""
    world = made()
    rows = {"query": world.query, "gallery": unit(world.gallery).astype(np.float16)}
    for side, vectors in rows.items():
        names = [f"{side}{row}.jpg" for row in range(len(vectors))]
        write_globals(tmp_path / ROXFORD / f"dinov2_{side}_vlad.hdf5", names, vectors, {})
    names = [f"train{row}.jpg" for row in range(60)]
    write_globals(tmp_path / TRAINING / "dinov2_vlad.hdf5", names, world.gallery[:60], {})
    return tmp_path


def given(root: Path, *more: str, dataset: str = "roxford") -> list[str]:
    return [f"dataset={dataset}", "desc_name=dinov2", f"data_root={root}", "global=vlad", *more]


def lists(root: Path, *more: str) -> tuple[Any, dict[str, Any]]:
    run_topk(compose("prepare_topk_global", given(root, *more, "overwrite=true")))
    path = root / ROXFORD / "nn_dinov2_vlad.hdf5"
    names = [
        read_globals(root / ROXFORD / f"dinov2_{side}_vlad.hdf5")[0]
        for side in ("query", "gallery")
    ]
    return read_neighbors(path, *names), hdf5.read_provenance(path, SCHEMA)


@pytest.mark.parametrize("name", NEW)
def test_every_name_writes_its_lists_cut_behind_the_reranking(root: Path, name: str) -> None:
    found, said = lists(root, f"rerank={name}", "num_neighbors=9")
    rows = [
        read_globals(root / ROXFORD / f"dinov2_{side}_vlad.hdf5")[1]
        for side in ("query", "gallery")
    ]
    plain, options = exact_knn(*rows, len(rows[1])), RERANKERS[name]()
    expected = options.rerank(*rows, plain)
    np.testing.assert_array_equal(found.ids, expected.ids[:, :9])
    np.testing.assert_array_equal(found.sims, expected.sims[:, :9])
    assert said.items() >= options.provenance.items()
    assert said["search"] == "exact inner product"


@pytest.mark.parametrize(
    "words, key, value",
    [
        (["rerank=aqe", "aqe.neighbors=3"], "aqe_neighbors", 3),
        (["rerank=aqe", "aqe.alpha=1"], "aqe_alpha", 1.0),
        (["rerank=dba", "dba.query_neighbors=2"], "dba_query_neighbors", 2),
        (["rerank=kreciprocal", "kreciprocal.num=20"], "kreciprocal_num", 20),
        (["rerank=kreciprocal", "kreciprocal.lamb=0"], "kreciprocal_lamb", 0.0),
        (["rerank=diffusion", "diffusion.num=20"], "diffusion_num", 20),
        (["rerank=diffusion", "diffusion.alpha=0.5"], "diffusion_alpha", 0.5),
    ],
)
def test_a_setting_changes_the_lists_and_is_named(
    root: Path, words: list[str], key: str, value: float
) -> None:
    default, before = lists(root, words[0])
    found, after = lists(root, *words)
    assert before[key] != value == after[key]
    assert (found.sims != default.sims).any()


@pytest.mark.parametrize(
    "words",
    [
        ["rerank=aqe", "aqe.neighbors=0"],
        ["rerank=dba", "dba.neighbors=0"],
        ["rerank=diffusion", "diffusion.alpha=0"],
        ["rerank=none"],
    ],
)
def test_switched_off_the_order_is_that_of_the_search(root: Path, words: list[str]) -> None:
    plain, _ = lists(root)
    np.testing.assert_array_equal(lists(root, *words)[0].ids, plain.ids)


@pytest.mark.parametrize("name", RERANKERS)
def test_a_set_against_itself_leaves_every_image_out_of_its_list(root: Path, name: str) -> None:
    run_topk(
        compose(
            "prepare_topk_global",
            given(root, "self_search=true", f"rerank={name}", dataset="gldv2"),
        )
    )
    names = read_globals(root / TRAINING / "dinov2_vlad.hdf5")[0]
    found = read_neighbors(root / TRAINING / "nn_dinov2_vlad.hdf5", names, names)
    assert found.ids.shape == (60, 59)
    assert not (found.ids == np.arange(60)[:, None]).any()


@pytest.mark.parametrize(
    "words",
    [
        ["rerank=aqe", "aqe.neighbors=100000"],
        ["rerank=dba", "dba.neighbors=100000", "dba.query_neighbors=100000"],
        ["rerank=kreciprocal", "kreciprocal.k1=100000", "kreciprocal.k2=100000"],
        ["rerank=kreciprocal", "kreciprocal.num=100000"],
        ["rerank=diffusion", "diffusion.neighbors=100000", "diffusion.query_neighbors=100000"],
        ["rerank=diffusion", "diffusion.num=100000"],
    ],
)
def test_more_than_the_gallery_is_clamped(root: Path, words: list[str]) -> None:
    found, _ = lists(root, *words)
    assert found.ids.shape == (6, 112) and found.rising == 0


@pytest.mark.parametrize(
    "words, what",
    [
        (["rerank=qe"], f"one of published, {', '.join(RERANKERS)}, none"),
        (["rerank=AQE"], "one of published, mda, aqe, dba, kreciprocal, diffusion, none"),
        (["rerank=aqe", "aqe.neighbors=-1"], "neighbors is -1"),
        (["rerank=aqe", "aqe.neighbors=2.5"], "a whole number"),
        (["rerank=aqe", "aqe.n=3"], "no key 'aqe.n'"),
        (["rerank=dba", "dba.alpha=-3"], "alpha is -3"),
        (["rerank=kreciprocal", "kreciprocal.k1=-20"], "k1 is -20"),
        (["rerank=kreciprocal", "kreciprocal.num=0"], "num is 0"),
        (["rerank=kreciprocal", "kreciprocal.lamb=1.3"], "lamb is 1.3"),
        (["rerank=kreciprocal", "kreciprocal.lamb=-0.1"], "lamb is -0.1"),
        (["rerank=diffusion", "diffusion.alpha=1"], "alpha is 1"),
        (["rerank=diffusion", "diffusion.num=many"], "a whole number or null"),
        (["rerank=diffusion", "lists=nn.pkl"], "as they are"),
    ],
)
def test_wrong_input_is_one_message(
    root: Path, words: list[str], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main_of("prepare_topk_global")(given(root, *words)) == 1
    said = capsys.readouterr().err
    assert what in said and "Traceback" not in said
    assert not list(root.rglob("nn_*"))


def test_beyond_the_memory_bound_the_remedy_works_as_printed(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rerank_parts, "HELD_BYTES", 1 << 16)
    words = given(root, "rerank=kreciprocal")
    assert main_of("prepare_topk_global")(words) == 1
    said = capsys.readouterr().err
    assert "GiB" in said and "kreciprocal.num=400:" in said
    assert main_of("prepare_topk_global")([*words, "kreciprocal.num=400"]) == 0
    assert main_of("prepare_topk_global")(given(root, "rerank=diffusion", "overwrite=true")) == 1
    assert "rerank=aqe" in capsys.readouterr().err
    assert main_of("prepare_topk_global")(given(root, "rerank=aqe", "overwrite=true")) == 0
