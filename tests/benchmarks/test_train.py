"""suite=train: what it writes and refuses. Never how fast anything is."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ames_lite.cli.compose import compose
from ames_lite.errors import BadInput, ConfigError
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.training.model import TripletModel
from benchmarks import command as benchmark
from benchmarks.made_stores import write_noise
from benchmarks.training import data, steps
from benchmarks.training.data import A_LANDMARK, DataSpeed, Files, RawReads, Set, make_lists
from benchmarks.training.steps import DENSE, PROJECT, RECIPES, StepSpeed

pytestmark = pytest.mark.slow  # makes every cell

TINY = [
    *("suite=train", "device=cpu", "threads=1", "repeats=2", "dim_in=32"),
    *("train.triplets=2", "train.descriptors=6", f"train.recipes=[{','.join(RECIPES)}]"),
    *("train.data.store_gib=0.0008", "train.data.keep_gib=0.001", "train.data.stored=12"),
    *("train.data.descriptors=8", "train.data.triplets=50", "train.data.steps=2"),
    "train.data.neighbours=60",
]
SMALL = DataSpeed(0.0008, 0.0, 12, 8, 50, 2, 60, dim_in=32, repeats=3)


def results_of(folder: Path, *overrides: str) -> dict[str, Any]:
    return benchmark.run(compose("benchmark", [*TINY, f"output_dir={folder}", *overrides]))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("benchmark") / "run"
    with pytest.MonkeyPatch.context() as patch:
        for module in (steps, data):  # peak memory has tests of its own
            patch.setattr(module, "peak_of", lambda job, **given: 77.0)
        found = results_of(folder)
    assert found == json.loads((folder / "benchmark.json").read_text())
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["benchmark.json", "config.yaml", "overrides.yaml", "run.log"]
    return found


def cells_of(results: dict[str, Any], work: str) -> list[dict[str, Any]]:
    return [cell for cell in results["cells"] if cell["work"] == work]


def test_every_recipe_and_precision_has_a_cell(results: dict[str, Any]) -> None:
    found = [(cell["recipe"], cell["precision"]) for cell in cells_of(results, "step")]
    assert found == [(recipe, name) for recipe in RECIPES for name in ("fp32", "bf16")]
    assert results["suite"] == "train" and len(cells_of(results, "data")) == 1


def test_a_step_is_a_ratio_to_the_dense_one_of_the_same_rounds(results: dict[str, Any]) -> None:
    for cell in cells_of(results, "step"):
        assert set(cell["seconds"]) == {PROJECT, DENSE}
        assert all(len(values) == cell["repeats"] == 2 for values in cell["seconds"].values())
        medians = {name: statistics.median(values) for name, values in cell["seconds"].items()}
        assert cell["ratio"] == pytest.approx(medians[DENSE] / medians[PROJECT])
        for name, seconds in medians.items():
            assert cell["triplets_per_second"][name] == pytest.approx(2 / seconds)
        assert cell["peak_memory_mib"] == {PROJECT: 77.0, DENSE: 77.0}
        assert 0 <= cell["difference"]["gradient"] <= cell["tolerance"]["gradient"]
        if cell["precision"] == "fp32":
            assert cell["difference"]["gradient"] < 1e-4


def test_a_step_that_learns_something_else_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    options = StepSpeed(["ames_fp"], ["fp32"], 2, 5, dim_in=32, repeats=1)

    forward = TripletModel.forward

    def spoiled(self: Any, *given: Any) -> Any:
        result = forward(self, *given)
        return result._replace(loss=result.loss * 1.01)

    monkeypatch.setattr(TripletModel, "forward", spoiled)
    with pytest.raises(RuntimeError, match="ames_fp in fp32 differs.*nothing was timed"):
        steps.measure_steps(options, torch.device("cpu"))


def test_both_sides_read_as_many_bytes_and_nothing_is_left(results: dict[str, Any]) -> None:
    (cell,) = cells_of(results, "data")
    assert cell["images"] == int(0.0008 * 2**30) // (12 * 32 * 2)
    assert len(cell["seconds"]) == 3 and cell["repeats"] == len(cell["bytes"]) == 2
    assert all(len(values) == 2 for values in cell["seconds"].values())
    a_batch = 150 * 8 * 32 * 2
    assert all(0.5 * 2 * a_batch < size <= 2 * a_batch for size in cell["bytes"])
    fastest = max(rate for name, rate in cell["mib_per_second"].items() if name != "loader")
    assert cell["ratio"] == pytest.approx(cell["mib_per_second"]["loader"] / fastest)
    assert cell["peak_memory_mib"] == 77.0


def test_the_table_says_how_to_read_it(
    results: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark.SUITES["train"][1](results)
    said = capsys.readouterr().out
    for words in ("cpu bf16 ames_binary_distilled", "triplets/s", "loader", "disk, 1 thread"):
        assert words in said
    assert said.count("higher is better") == 2


def test_the_raw_reads_are_the_rows_of_the_store(tmp_path: Path) -> None:
    write_noise(tmp_path / "store.hdf5", 30, 12, 32, seed=0)
    rows = np.array([3, 7, 29])
    raw = RawReads(tmp_path / "store.hdf5", 8 * 32 * 2, threads=3)
    raw.read([np.array([0, 1, 2]), rows])
    with DescriptorStore.open(tmp_path / "store.hdf5") as store:
        expected, _ = store.read_descriptors(rows, 8)
    for buffer, row in zip(raw.buffers, expected, strict=True):
        np.testing.assert_array_equal(np.frombuffer(buffer, np.float16).reshape(8, 32), row)


def test_rounds_read_other_rows_and_every_triplet_of_them(tmp_path: Path) -> None:
    with data._made(SMALL, tmp_path) as files:
        known = Set(SMALL, files)
        assert known.load(0) == known.load(1) == 100
        rows = [known.rows(turn) for turn in range(2)]
        assert [len(batches) for batches in rows] == [2, 2]
        assert not np.array_equal(rows[0][0], rows[1][0])
        others = known.others(rows[0], (0, 1))
        assert list(map(len, others)) == list(map(len, rows[0]))
        assert all((np.diff(batch) > 0).all() for batch in others)
        known.close()
        assert len(list(tmp_path.iterdir())) == 2
    assert not list(tmp_path.iterdir())


def test_the_made_lists_give_triplets() -> None:
    for images, neighbours in ((400, 300), (997, 60)):
        lists = make_lists(images, neighbours, seed=0)
        assert lists.ids.shape == (images, neighbours)
        assert not (lists.ids == np.arange(images)[:, None]).any()
        landmark = np.arange(images) // A_LANDMARK
        own = (landmark[lists.ids] == landmark[:, None]).sum(1)
        assert (own[: images // A_LANDMARK * A_LANDMARK] == A_LANDMARK - 1).all()


@pytest.mark.slow
def test_peak_memory_is_that_of_a_process_of_its_own(tmp_path: Path) -> None:
    with data._made(SMALL, tmp_path) as files:
        work = data.ready(vars(SMALL), *map(str, Files(*files)))
        assert work() == 100
    options = vars(StepSpeed(["ames_fp"], ["fp32"], 2, 5, dim_in=32))
    asked = ("ames_fp", "fp32", "cpu")
    for what in (PROJECT, DENSE):
        steps.ready(options, *asked, what)()
    mib = steps.peak_of(
        f"{steps.__name__}:ready",
        options=options,
        **dict(zip(("recipe", "precision", "device"), asked, strict=True)),
        what=DENSE,
    )
    assert mib is not None and mib > 50


@pytest.mark.parametrize(
    "override, message",
    [
        ("train.parts=[steps]", "'steps'.*step, data"),
        ("train.recipes=[elvis]", "'elvis'.*ames_fp, ames_binary"),
        ("train.triplets=0", "train.triplets=0.*at least 1"),
        ("train.data.descriptors=13", "13 descriptors.*12 are stored"),
        ("train.data.neighbours=2000", "images of 12.*at least 2080"),
        ("train.data.keep_gib=1e7", "are to stay so.*smaller store_gib"),
        ("train.data.prefetch=-1", "prefetch=-1.*from 0"),
        ("train.data.rows=3", "no key 'train.data.rows'"),
        ("scratch=/nowhere", "scratch is /nowhere"),
    ],
)
def test_what_cannot_be_measured_is_refused(override: str, message: str, tmp_path: Path) -> None:
    with pytest.raises((BadInput, ConfigError), match=f"(?s){message}"):
        results_of(tmp_path / "run", override)
    assert not (tmp_path / "run").exists()
