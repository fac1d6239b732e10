"""Very long neighbour lists are read as far as a protocol looks, with the same numbers."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ames_lite.cli.compose import compose
from ames_lite.cli.shell import dataset_files
from ames_lite.errors import BadInput
from ames_lite.evaluation import data
from ames_lite.evaluation.data import load_data
from ames_lite.evaluation.passes import Cell
from ames_lite.evaluation.protocols import evaluate_ranking, get_protocol
from ames_lite.records import Neighbors
from ames_lite.stores import neighbor_lists
from ames_lite.stores.neighbor_lists import read_neighbors, write_neighbors
from ames_lite.stores.published import neighbors as published_neighbors
from ames_lite.stores.published.safe_pickle import write_pickle
from tests.cli.test_tuned_and_scores import gldv2
from tests.conftest import TinyWorld
from tests.evaluation.toy import evaluate_reranked, judged, make_neighbors, make_scores, make_truth

LONG = 3000  # a file of which a part can be read is not a small one
NAMES = [f"q{q}.jpg" for q in range(6)], [f"g{n}.jpg" for n in range(LONG)]


@pytest.fixture
def all_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists of any size count as large."""
    monkeypatch.setattr(neighbor_lists, "WHOLE_BYTES", 0)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["vpr", "vpr_all"])
def test_what_is_left_out_changes_no_number(name: str, seed: int) -> None:
    """Junk too: it goes to the end, and takes a place of those that are read."""
    protocol, neighbors, scores = get_protocol(name), make_neighbors(seed), make_scores(seed)
    protocol = replace(protocol, ap_at=5, recall_at=(1, 5))
    graded = make_truth(seed)
    truth = replace(
        graded, easy=graded.easy, hard=make_truth(seed, graded=False).hard, graded=False
    )
    for num in (1, 4, 9):
        most = data._looked_at(truth, protocol, max(num, protocol.depth))
        assert most is not None and 5 < most < 20
        cut = Neighbors(neighbors.ids[:, :most], neighbors.sims[:, :most], 40)
        wanted, found = (evaluate_ranking(lists, truth, protocol) for lists in (neighbors, cut))
        assert wanted.metrics == found.metrics
        wanted, found = (
            evaluate_reranked(judged(lists, truth, protocol), scores, Cell(num, 0.3, 0.7))
            for lists in (neighbors, cut)
        )
        assert wanted.metrics == found.metrics
        np.testing.assert_array_equal(wanted.main_ap, found.main_ap)


def test_average_precision_over_the_whole_ranking_needs_all_of_it() -> None:
    assert data._looked_at(make_truth(0), get_protocol("revisitop"), 10) is None


@pytest.mark.parametrize("suffix", ["hdf5", "pkl"])
def test_large_lists_are_read_in_part(suffix: str, tmp_path: Path, all_large: None) -> None:
    neighbors = make_neighbors(3, 6, LONG, LONG)
    path = write_neighbors(tmp_path / f"nn.{suffix}", neighbors, *NAMES, {})
    found = read_neighbors(path, *NAMES, most=7)
    np.testing.assert_array_equal(found.ids, neighbors.ids[:, :7])
    np.testing.assert_array_equal(found.sims, neighbors.sims[:, :7])
    assert read_neighbors(path, *NAMES, most=9000).ids.shape == (6, LONG)
    assert read_neighbors(path, *NAMES).ids.shape == (6, LONG)
    with pytest.raises(BadInput, match="6 queries|query list"):
        read_neighbors(path, NAMES[0][:5], NAMES[1], most=7)


@pytest.mark.parametrize("suffix", ["hdf5", "pkl"])
def test_small_lists_are_read_in_full(suffix: str, tmp_path: Path) -> None:
    path = write_neighbors(tmp_path / f"nn.{suffix}", make_neighbors(3, 6, LONG, LONG), *NAMES, {})
    assert read_neighbors(path, *NAMES, most=7).ids.shape == (6, LONG)


def test_an_image_is_left_out_of_the_part_that_is_read(tmp_path: Path, all_large: None) -> None:
    neighbors = make_neighbors(4, 6, LONG, LONG)
    path = write_neighbors(tmp_path / "nn.pkl", neighbors, *NAMES, {})
    names = [f"g{row}.jpg" for row in (*neighbors.ids[:3, 2], *neighbors.ids[3:, 30])]
    found = read_neighbors(path, names, NAMES[1], most=7)
    own = np.array([int(name[1:-4]) for name in names])
    for q, ids in enumerate(neighbors.ids):
        assert found.ids[q].tolist() == ids[ids != own[q]][:7].tolist()
    wrong = neighbors.ids.astype(np.float32)
    wrong[2, 3] = 9999
    write_pickle(path, torch.from_numpy(np.stack([neighbors.sims, wrong])))
    with pytest.raises(BadInput, match=r"query 2 has the id 9999\.0 in place 3"):
        read_neighbors(path, *NAMES, most=7)


def test_a_shortlist_is_looked_for_without_reading_two_planes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_neighbors(tmp_path / "nn.pkl", make_neighbors(5, 6, LONG, LONG), *NAMES, {})
    monkeypatch.setattr(published_neighbors.safe_pickle, "read_pickle", None)
    assert published_neighbors.read_shortlist(path, *NAMES) is None


def test_an_evaluation_takes_no_more_of_its_lists_than_it_needs(
    tiny_world: TinyWorld, tmp_path: Path, all_large: None
) -> None:
    folder = gldv2(tiny_world, tmp_path, "gldv2-test", 0)
    for name in ("sift_query_local", "sift_gallery_local", "nn_sift_vlad"):
        shutil.copy(tiny_world.folder() / f"{name}.hdf5", folder)
    given = ["dataset=gldv2-test", f"data_root={tmp_path}", "desc_name=sift"]
    files = dataset_files(compose("evaluate", given))
    data = {whole: load_data(files, "vpr", "vlad", 7, whole=whole) for whole in (False, True)}
    assert [one.neighbors.ids.shape[1] for one in data.values()] == [20, 40]
    metrics = [one.evaluate().metrics for one in data.values()]
    assert metrics[0] == metrics[1]
