"""Benchmarks: what they write and refuse. Never how fast anything is."""

from __future__ import annotations

import json
import re
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ames_lite.cli.compose import compose
from ames_lite.models import AMES, HEADS
from benchmarks import command as benchmark
from benchmarks import flops
from benchmarks import heads as speed
from benchmarks.flops import ames_flops, count_flops
from benchmarks.memory import MemoryJob, _peak_here, peak_memory
from benchmarks.subjects import DENSE, Dense, variants
from benchmarks.timing import interleaved
from tests.models.seeded import descriptors, seeded_head

CPU = torch.device("cpu")
MEASURED = ("ames_binary", "chamfer")
TINY = ["sizes=[6x4,5x9]", "pairs=3", "candidates=[2,7]", "dim_in=16", "threads=1", "repeats=2"]


@pytest.fixture(scope="module", autouse=True)
def small_products() -> Iterator[None]:
    """The machine's rate is measured on small matrices: no test asks how large it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(flops.MATRIX_SIZE, "cpu", 64)
        yield


def results_of(folder: Path, *overrides: str) -> dict[str, Any]:
    given = [*TINY, "device=cpu", f"output_dir={folder}", *overrides]
    return benchmark.run(compose("benchmark", given))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("benchmark") / "run"
    with pytest.MonkeyPatch.context() as patch:  # processes of their own have tests of their own
        patch.setattr(speed, "peak_memory", lambda jobs, device: list(map(_peak_here, jobs)))
        found = results_of(folder, f"heads=[{','.join(MEASURED)}]")
    assert found == json.loads((folder / "benchmark.json").read_text())
    assert (folder / "config.yaml").is_file()
    return found


def test_every_head_precision_and_size_has_a_cell(results: dict[str, Any]) -> None:
    assert set(variants()) == {"ames_binary", *HEADS}
    cells = results["cells"]
    keys = ("device", "head", "precision", "num_query", "num_gallery")
    names = [tuple(cell[key] for key in keys) for cell in cells]
    expected = {
        ("cpu", head, precision, *size)
        for head in MEASURED
        for precision in ("fp32", "bf16")
        for size in ((6, 4), (5, 9))
    }
    assert set(names) == expected and len(names) == len(expected)
    assert results["schema"] == 1 and results["suite"] == "head"


def test_every_figure_is_a_ratio_to_the_referee_of_the_same_rounds(results: dict[str, Any]) -> None:
    for cell in results["cells"]:
        medians = {name: statistics.median(cell["seconds"][name]) for name in cell["seconds"]}
        assert set(medians) == {"encoded", "with_encoding", "dense"}
        assert all(len(values) == cell["repeats"] == 2 for values in cell["seconds"].values())
        for name, seconds in medians.items():
            assert cell["pairs_per_second"][name] == pytest.approx(3 / seconds)
        for mode in ("encoded", "with_encoding"):
            assert cell["ratio"][mode] == pytest.approx(medians["dense"] / medians[mode])
        shared = [c for c in results["cells"] if c["num_query"] == cell["num_query"]]
        assert all(c["seconds"]["dense"] == cell["seconds"]["dense"] for c in shared)


def test_a_query_with_more_candidates_is_measured_and_the_referee_never(
    results: dict[str, Any],
) -> None:
    for cell in results["cells"]:
        assert [row["candidates"] for row in cell["ms_per_query"]] == [2, 7]
        for row in cell["ms_per_query"]:
            assert not row["dense"]["measured"]
            dense = 1000 * row["candidates"] / cell["pairs_per_second"]["dense"]
            assert row["dense"]["ms"] == pytest.approx(dense)
            for mode in ("encoded", "with_encoding"):
                assert row[mode]["measured"] and row[mode]["runs"] in (1, 3)
                assert row[mode]["ratio"] == pytest.approx(row["dense"]["ms"] / row[mode]["ms"])


def test_differences_memory_and_operations_are_recorded(results: dict[str, Any]) -> None:
    for cell in results["cells"]:
        difference, judged = cell["difference"], cell["head"] in ("ames", "ames_binary")
        assert difference["tolerance"] == (speed.TOLERANCE[cell["precision"]] if judged else None)
        assert difference["logit"] <= (difference["tolerance"] or 0.1)
        assert ("dense" in difference["from"]) == judged
        assert set(cell["peak_memory_mib"]) == {"with_encoding", "dense", "ratio"}
        assert all(value is None or value >= 0 for value in cell["peak_memory_mib"].values())
        flops = cell["flops_per_pair"]
        assert 0 < flops["encoded"] <= flops["with_encoding"] and flops["dense"] > 0
        assert all(0 < share for share in cell["matmul_fraction"].values())


def test_the_machine_is_described(results: dict[str, Any]) -> None:
    machine = results["machine"]
    assert machine["cpu"] and machine["threads"] == 1 and machine["torch"] == torch.__version__
    assert machine["cpu_flags"] is None or {"avx512_bf16", "amx_bf16"} <= set(machine["cpu_flags"])


@pytest.mark.slow
def test_without_a_budget_a_query_is_worked_out_and_marked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    threads = torch.get_num_threads()
    given = ["budget=0", "heads=[chamfer]", "precisions=[fp32]", "repeats=5", "sizes=[4x4]"]
    (cell,) = results_of(tmp_path / "run", *given)["cells"]
    assert torch.get_num_threads() == threads
    assert cell["repeats"] == 3  # those that are run in any case
    for row in cell["ms_per_query"]:
        for mode in ("encoded", "with_encoding"):
            expected = 1000 * row["candidates"] / cell["pairs_per_second"][mode]
            assert not row[mode]["measured"] and row[mode]["ms"] == pytest.approx(expected)
    printed = capsys.readouterr().out
    assert "cpu fp32 chamfer" in printed and " ~" in printed
    assert f"results: {tmp_path / 'run' / 'benchmark.json'}" in printed


def test_nothing_is_timed_where_logits_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError("something was timed")

    monkeypatch.setattr(speed.Bench, "time_rounds", refuse)
    monkeypatch.setattr(speed, "matmul_rate", refuse)
    monkeypatch.setitem(speed.TOLERANCE, "fp32", -1.0)
    with pytest.raises(RuntimeError, match="ames in fp32 at 6 x 4 on cpu differ.*nothing was"):
        results_of(tmp_path / "run")
    monkeypatch.setitem(speed.TOLERANCE, "fp32", 1e-4)
    monkeypatch.setattr(Dense, "__call__", lambda self, q, g: torch.full((len(g),), torch.nan))
    with pytest.raises(RuntimeError, match="differ from the dense referee's by nan"):
        results_of(tmp_path / "run2")


@pytest.mark.parametrize(
    "override, message",
    [
        ("suite=speed", "no suite 'speed'.*head"),
        ("heads=[ames,rrt]", "'rrt'.*ames, ames_binary, .*chamfer"),
        ("heads=[]", "heads is empty.*ames_binary"),
        ("precisions=[fp8]", "'fp8'.*fp32, bf16"),
        ("precisions=fp16", "'fp16'.*fp32, bf16"),
        ("sizes=[600]", "'600' is no size.*600x50"),
        ("sizes=[0x5]", "'0x5' is no size"),
        ("sizes=[]", "sizes is empty"),
        ("candidates=[100,0]", "candidates=0.*at least 1"),
        ("pairs=0", "pairs=0.*at least 1"),
        ("repeats=-1", "repeats=-1"),
        ("threads=none", "threads=none.*a whole number or null"),
        ("threads=true", "threads=true.*a whole number or null"),
        ("device=tpu", "device 'tpu'.*cpu"),
        ("device=meta", "device=meta.*cpu, cuda"),
        ("batch=3", "no key 'batch'.*pairs"),
    ],
)
def test_what_does_not_exist_is_refused_before_any_work(
    override: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [*TINY, "device=cpu", f"output_dir={tmp_path / 'run'}", override]
    assert benchmark.main(given) == 1
    error = capsys.readouterr().err
    assert re.search(f"(?s){message}", error), error
    assert not (tmp_path / "run").exists()


def test_a_run_never_overwrites_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "benchmark.json").write_text("{}")
    assert benchmark.main([*TINY, f"output_dir={tmp_path}"]) == 1
    assert "the run has ended" in capsys.readouterr().err
    assert (tmp_path / "benchmark.json").read_text() == "{}"


def test_the_referee_is_that_of_the_tests_and_is_missed_by_name(tmp_path: Path) -> None:
    head = seeded_head(3)
    query, gallery = descriptors(1, 1, 6, 48), descriptors(2, 3, 4, 48)
    with torch.no_grad():
        expected = head(query, tgt_local=gallery)
        assert (Dense(head)(query, gallery) - expected).abs().max() < 5e-5


def test_work_is_done_in_turns_after_a_first_run_that_does_not_count() -> None:
    done: list[str] = []
    works = {name: lambda name=name: done.append(name) for name in "ab"}
    seconds = interleaved(works, 4, CPU)
    assert "".join(done) == "ab" * 5
    assert [len(values) for values in seconds.values()] == [4, 4]
    late = interleaved(works, 4, CPU, until=time.perf_counter() - 1)
    assert [len(values) for values in late.values()] == [3, 3]


FORMS: list[dict[str, Any]] = [
    {},
    {"binary": True},
    {"num_layers": 1, "dim": 64},
    {"num_layers": 2, "num_heads": 4, "dim_feedforward": 48, "pre_norm": True},
]


@pytest.mark.parametrize("arguments", FORMS)
@torch.inference_mode()
def test_counted_operations_are_those_worked_out(arguments: dict[str, Any]) -> None:
    """Also those of attention, which torch's counter does not know on a CPU."""
    head = AMES(**{"dim_in": 32, **arguments}).eval().requires_grad_(False)
    query, gallery = descriptors(1, 1, 60, 32), descriptors(2, 1, 40, 32)
    encoded = head.encode(query), head.encode(gallery, gallery=True)
    expected = ames_flops(head.arguments, 60, 40)
    scoring = count_flops(lambda: head.score(*encoded))
    counted = {
        "query": count_flops(lambda: head.encode(query)),
        "encoded": scoring,
        "with_encoding": scoring + count_flops(lambda: head.encode(gallery, gallery=True)),
        "dense": count_flops(lambda: Dense(head)(query, gallery)),
    }
    for name, value in counted.items():
        assert value == pytest.approx(getattr(expected, name), rel=0.02), name
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.slow
def test_the_memory_of_the_fast_form_has_no_square() -> None:
    jobs = [MemoryJob(head, "fp32", 700, 700, 1, 32, 0, 1) for head in (DENSE, "ames")]
    dense, fast = peak_memory(jobs, CPU)
    if dense is None or fast is None:
        pytest.skip("this system tells no peak of a process")
    square = 2 * 1401**2 * 4 / 2**20  # the weights of one attention, MiB
    assert dense > 2 * square and 0 < fast < dense


@pytest.mark.gpu
def test_a_gpu_is_measured_too(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    cells = results_of(tmp_path / "run", "device=cuda", "candidates=[50]")["cells"]
    assert {cell["precision"] for cell in cells} == {"fp32", "bf16", "fp16"}
    for cell in cells:
        assert cell["device"].startswith("cuda") and cell["peak_memory_mib"]["dense"] > 0
        assert cell["ms_per_query"][0]["encoded"]["peak_memory_mib"] > 0
