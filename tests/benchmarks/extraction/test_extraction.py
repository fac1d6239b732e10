"""Extraction is measured against a plain loop that gives the same descriptors."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ames_lite.extraction.batches import Job, describe_all
from benchmarks.extraction import extraction
from benchmarks.extraction.extraction import ExtractionSpeed, compare, measure_extraction
from benchmarks.extraction.pictures import make_pictures
from benchmarks.extraction.subjects import PLAIN, TINY, Network
from tests.helpers import peak_here

CPU = torch.device("cpu")
SHAPES = [(60, 80), (70, 70), (90, 40)]
NETWORK = Network(TINY, image_size=70, top_k=9)


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> list[Job]:
    return make_pictures(tmp_path_factory.mktemp("pictures"), SHAPES, 6, seed=0)


def test_pictures_follow_from_their_seed(jobs: list[Job], tmp_path: Path) -> None:
    again = make_pictures(tmp_path, SHAPES, 4, seed=0)
    assert [job.image.read_bytes() for job in again] == [j.image.read_bytes() for j in jobs[:4]]
    assert len({job.image.read_bytes() for job in jobs}) == 6


@pytest.mark.slow
def test_the_plain_loop_gives_the_stages_descriptors(jobs: list[Job]) -> None:
    """Also where the grid is not the trained one, and to the same order."""
    stage = list(describe_all(jobs, NETWORK.backbone("fp32", CPU), 1))
    for one, other in zip(stage, NETWORK.plain(CPU).run(jobs), strict=True):
        assert not isinstance(one, str)
        np.testing.assert_allclose(one.local.descriptors, other.descriptors, atol=1e-5)
        np.testing.assert_allclose(one.local.weight, other.weight, rtol=1e-5)


@pytest.mark.slow
def test_descriptors_of_other_patches_are_noticed(jobs: list[Job]) -> None:
    plain, backbone = NETWORK.plain(CPU), NETWORK.backbone("fp32", CPU)
    found = list(describe_all(jobs, backbone, 1))
    same = compare(plain, jobs, found, "fp32")
    assert same["difference"]["chosen_alike"] == 1.0
    assert sum(same["shapes"].values()) == len(jobs) and "70x70" in same["shapes"]
    with pytest.raises(RuntimeError, match="fp32 differ from the plain loop's.*nothing was timed"):
        compare(plain, jobs, [*found[3:], *found[:3]], "fp32")  # of the same shapes
    with pytest.raises(RuntimeError, match="was not described: broken"):
        compare(plain, jobs, ["broken", *found[1:]], "fp32")


@pytest.mark.slow
def test_every_figure_is_a_ratio_to_the_plain_loop_of_the_same_rounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(extraction, "peak_of", peak_here)
    options = ExtractionSpeed([TINY], ["bf16"], SHAPES, 5, 56, 8, repeats=3)
    cells = measure_extraction(options, CPU)
    assert [cell["precision"] for cell in cells] == ["bf16"]
    for cell in cells:
        medians = {name: statistics.median(values) for name, values in cell["seconds"].items()}
        assert cell["repeats"] == 3 and set(medians) == {"project", PLAIN}
        assert cell["ratio"] == pytest.approx(medians[PLAIN] / medians["project"])
        for name, value in medians.items():
            assert cell["images_per_second"][name] == pytest.approx(5 / value)
            assert cell["peak_memory_mib"][name] > 50
        assert 0 < cell["difference"]["one_minus_cosine"] <= 1e-3


def test_without_a_budget_there_is_one_round(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(extraction, "peak_of", lambda job, **given: asked.append(given))
    options = ExtractionSpeed([TINY], ["fp32", "bf16"], SHAPES, 2, 56, 8, repeats=5, budget=0.0)
    cells = measure_extraction(options, CPU)
    assert cells[0]["seconds"][PLAIN] == cells[1]["seconds"][PLAIN]
    for cell in cells:
        assert cell["repeats"] == 1 and cell["peak_memory_mib"] == {"project": None, PLAIN: None}
    assert [given["what"] for given in asked] == [PLAIN, "fp32", "bf16"]
    assert all(len(given["paths"]) == 2 for given in asked)
