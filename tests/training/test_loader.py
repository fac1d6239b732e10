"""What steps see: the same whatever the number of processes, parts and threads."""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ames_lite.errors import BadInput
from ames_lite.processes import ALONE, Processes
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.training.dataset import BatchLoader, Part
from ames_lite.training.recipe import Recipe
from tests.conftest import TinyWorld
from tests.reranking.packing import pack_store
from tests.training.test_trainer import trainer_of

RECIPE = Recipe(epochs=2, batch_size=13, max_count=20, min_count=4)


def loader_of(
    world: TinyWorld,
    recipe: Recipe = RECIPE,
    processes: Processes = ALONE,
    prefetch: int = 0,
    whole: bool = False,
) -> BatchLoader:
    trainer = trainer_of(world, Path("unused"), recipe)
    given = (trainer.store, trainer.sampler, recipe, processes)
    return BatchLoader(*given, prefetch=prefetch, whole=whole)


def all_parts(loader: BatchLoader, first: int = 0, stop: int = 4) -> list[list[Part]]:
    with closing(loader.steps(first, stop)) as steps:
        return [list(parts) for _, parts in steps]


def joined(parts: list[Part]) -> list[torch.Tensor]:
    return [torch.cat([part.batch[side].descriptors for part in parts]) for side in range(3)]


def test_parts_and_processes_see_every_triplet_once(tiny_world: TinyWorld) -> None:
    whole = all_parts(loader_of(tiny_world), 0, 9)
    assert any(len(parts[0].batch.query.descriptors) < 13 for parts in whole)  # a last batch
    for size in (2, 3):
        for accumulate in (1, 2, 4):
            recipe = Recipe(**{**vars(RECIPE), "accumulate": accumulate})
            loaders = [loader_of(tiny_world, recipe, Processes(r, size)) for r in range(size)]
            runs = [all_parts(loader, 0, 9) for loader in loaders]
            for step, own in enumerate(whole):
                real = [part for run in runs for part in run[step] if part.share > 0]
                assert sum(part.share for part in real) == pytest.approx(1)
                assert {part.counts for part in real} == {own[0].counts}
                for a, b in zip(joined(real), joined(own), strict=True):
                    assert torch.equal(a, b)
                for run in runs:
                    assert [part.last for part in run[step]][-1]
                    assert sum(part.last for part in run[step]) == 1


def test_the_size_of_a_step_is_known_without_drawing_it(tiny_world: TinyWorld) -> None:
    loader = loader_of(tiny_world)
    sizes = [len(loader.triplets(step).anchor) for step in range(2 * len(loader.sampler))]
    assert [loader.num_triplets(step) for step in range(len(sizes))] == sizes
    assert len(set(sizes)) == 2


def test_a_process_without_triplets_gets_one_that_counts_for_nothing(
    tiny_world: TinyWorld,
) -> None:
    recipe = Recipe(**{**vars(RECIPE), "batch_size": 2})
    parts = all_parts(loader_of(tiny_world, recipe, Processes(0, 3)), 0, 1)[0]
    assert len(parts) == 1 and parts[0].share == 0 and parts[0].last
    assert len(parts[0].batch.query.descriptors) == 1


@pytest.mark.parametrize(("last", "most"), [(False, 19), (True, 20)])
def test_counts_are_drawn_from_all_of_the_range(
    last: bool, most: int, tiny_world: TinyWorld
) -> None:
    """max_count is not among them, as published, unless draw_max_count says so."""
    loader = loader_of(tiny_world, replace(RECIPE, draw_max_count=last))
    drawn = np.array([loader.counts(step) for step in range(2000)])
    assert [set(side) for side in drawn.T.tolist()] == [set(range(4, most + 1))] * 2
    assert (drawn[:, 0] != drawn[:, 1]).any()


def test_equal_counts_are_not_drawn(tiny_world: TinyWorld) -> None:
    for low in (0, 20):
        loader = loader_of(tiny_world, replace(RECIPE, min_count=low))
        assert {loader.counts(step) for step in range(50)} == {(20, 20)}


def test_reading_ahead_changes_nothing_and_leaves_no_thread(tiny_world: TinyWorld) -> None:
    plain = all_parts(loader_of(tiny_world))
    for prefetch in (1, 2, 50):
        ahead = all_parts(loader_of(tiny_world, prefetch=prefetch))
        for a, b in zip(plain, ahead, strict=True):
            assert all(torch.equal(x, y) for x, y in zip(joined(a), joined(b), strict=True))
    steps = loader_of(tiny_world, prefetch=2).steps(0, 10)
    next(steps)
    steps.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("prefetch")]


def test_what_goes_wrong_ahead_is_raised_here(tiny_world: TinyWorld) -> None:
    loader = loader_of(tiny_world, prefetch=2)
    read = loader.store.read_descriptors
    calls: list[int] = []

    def failing(*given: object) -> object:
        calls.append(1)
        if len(calls) == 5:
            raise BadInput("row 7 cannot be read")
        return read(*given)  # type: ignore[arg-type]

    loader.store.read_descriptors = failing  # type: ignore[assignment, method-assign]
    with pytest.raises(BadInput, match="row 7"):
        all_parts(loader)
    assert not [t for t in threading.enumerate() if t.name.startswith("prefetch")]


def test_no_more_is_read_than_is_needed(tiny_world: TinyWorld) -> None:
    loader = loader_of(tiny_world)
    asked: list[tuple[int, int]] = []
    read = loader.store.read_descriptors

    def counting(rows: np.ndarray, count: int) -> object:
        asked.append((len(rows), count))
        return read(rows, count)

    loader.store.read_descriptors = counting  # type: ignore[assignment, method-assign]
    parts = all_parts(loader, 0, 3)
    expected = [(26, p[0].counts[1]) for p in parts] + [(13, p[0].counts[0]) for p in parts]
    assert sorted(asked) == sorted(expected)
    assert len({p[0].counts for p in parts}) > 1
    for part in (p[0] for p in parts):
        assert part.batch.query.descriptors.dtype == torch.float16
        assert part.batch.query.descriptors.shape[1] == part.counts[0]
        assert part.batch.positive.descriptors.shape[1] == part.counts[1]


def test_a_teacher_is_given_all(tiny_world: TinyWorld) -> None:
    for part in (p[0] for p in all_parts(loader_of(tiny_world, whole=True))):
        assert part.batch.query.descriptors.shape[1] == 20
        assert part.batch.strongest(*part.counts).negative.descriptors.shape[1] == part.counts[1]


def test_packed_bits_stay_packed(tiny_world: TinyWorld, tmp_path: Path) -> None:
    source = tiny_world.folder("synthetic-train") / "sift_local.hdf5"
    loader = loader_of(tiny_world)
    loader.store = DescriptorStore.open(pack_store(source, tmp_path / "packed.hdf5"))
    query = all_parts(loader, 0, 1)[0][0].batch.query.descriptors
    assert query.dtype == torch.uint8 and query.shape[-1] == 16
