"""Laws of the triplet sampler, with a slow referee for who is a valid anchor."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.io.digest import array_digest
from ames_lite.records import Neighbors
from ames_lite.stores.neighbor_lists import open_neighbor_rows, write_neighbors
from ames_lite.stores.neighbor_rows import NeighborRows
from ames_lite.training.sampler import Triplets, TripletSampler, count_neighbors


def epoch_of(sampler: TripletSampler, number: int) -> list[Triplets]:
    """All batches of an epoch."""
    return [sampler.batch(number, batch) for batch in range(len(sampler))]


def a_set(num: int = 60, classes: int = 5, seed: int = 0) -> tuple[Neighbors, np.ndarray]:
    """Random similarities, some below zero; labels with classes of unequal size."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, num) ** 2
    sims = rng.normal(0.15, 0.4, (num, num)).astype(np.float32)
    np.fill_diagonal(sims, -np.inf)
    ids = np.argsort(-sims, axis=1, kind="stable")[:, : num - 1].astype(np.int32)
    return Neighbors(ids, np.take_along_axis(sims, ids, axis=1), num), labels


def valid_anchors(
    neighbors: Neighbors,
    labels: np.ndarray,
    depth: int,
    least: int,
    families: np.ndarray | None = None,
) -> list[int]:
    families = labels if families is None else families
    found = []
    for i in range(len(labels)):
        same = other = 0
        for j, sim in zip(neighbors.ids[i, :depth], neighbors.sims[i, :depth], strict=True):
            if sim > 0:
                same += labels[j] == labels[i]
                other += families[j] != families[i]
        if same >= least and other >= least:
            found.append(i)
    return found


@pytest.mark.parametrize("depth", [10, 25, 300])
def test_anchors_are_those_of_the_referee(depth: int) -> None:
    neighbors, labels = a_set()
    sampler = TripletSampler(neighbors, labels, batch_size=4, depth=depth, min_each=3)
    expected = valid_anchors(neighbors, labels, depth, 3)
    assert 0 < len(expected) < len(labels)
    assert sampler.anchors.tolist() == expected


def test_unusable_images_are_drawn_no_more_than_if_they_were_not_there() -> None:
    neighbors, labels = a_set()
    usable = np.random.default_rng(1).random(len(labels)) > 0.4
    sampler = TripletSampler(neighbors, labels, batch_size=7, min_each=2, usable=usable)
    kept = np.flatnonzero(usable)
    ids = [[np.flatnonzero(kept == j)[0] for j in neighbors.ids[i] if usable[j]] for i in kept]
    sims = [neighbors.sims[i][usable[neighbors.ids[i]]] for i in kept]
    without = Neighbors(np.array(ids, np.int32), np.array(sims), len(kept))
    referee = TripletSampler(without, labels[kept], batch_size=7, min_each=2)
    assert sampler.anchors.tolist() == kept[referee.anchors].tolist()
    assert sampler.excluded[:3] == referee.excluded[:3]
    assert sampler.excluded.unusable == (~usable).sum()
    drawn = np.concatenate(
        [np.concatenate(batch) for e in range(3) for batch in epoch_of(sampler, e)]
    )
    assert usable[drawn].all() and (~usable).any()


def test_a_state_of_other_usable_images_is_refused() -> None:
    neighbors, labels = a_set()
    usable = np.ones(len(labels), bool)
    sampler = TripletSampler(neighbors, labels, min_each=1)
    same = TripletSampler(neighbors, labels, min_each=1, usable=usable)
    same.load_state_dict(sampler.state_dict())
    usable[0] = False
    other = TripletSampler(neighbors, labels, min_each=1, usable=usable)
    with pytest.raises(BadInput, match="of the sampler"):
        other.load_state_dict(sampler.state_dict())


def test_every_valid_anchor_comes_once_an_epoch() -> None:
    sampler = TripletSampler(*a_set(), batch_size=7, min_each=3)
    for epoch in range(3):
        batches = list(epoch_of(sampler, epoch))
        assert len(batches) == len(sampler)
        anchors = np.concatenate([batch.anchor for batch in batches])
        assert sorted(anchors.tolist()) == sampler.anchors.tolist()


def test_triplets_are_positive_and_negative_near_neighbours() -> None:
    neighbors, labels = a_set()
    sampler = TripletSampler(neighbors, labels, batch_size=7, depth=20, min_each=3)
    for batch in epoch_of(sampler, 0):
        assert (labels[batch.positive] == labels[batch.anchor]).all()
        assert (labels[batch.negative] != labels[batch.anchor]).all()
        for side in (batch.positive, batch.negative):
            for anchor, row in zip(batch.anchor, side, strict=True):
                place = neighbors.ids[anchor].tolist().index(row)
                assert place < 20 and neighbors.sims[anchor, place] > 0 and row != anchor


def with_families() -> tuple[Neighbors, np.ndarray, np.ndarray]:
    """A set of 12 labels; labels of one parity and third are of one family."""
    neighbors, _ = a_set()
    labels = np.random.default_rng(3).integers(0, 12, 60)
    return neighbors, labels, 10 * (labels % 2) + labels % 3


def test_anchors_with_families_are_those_of_the_referee() -> None:
    neighbors, labels, families = with_families()
    for depth, least in ((300, 2), (12, 1), (300, 3)):
        given = {"batch_size": 4, "depth": depth, "min_each": least}
        sampler = TripletSampler(neighbors, labels, families=families, **given)  # type: ignore[arg-type]
        expected = valid_anchors(neighbors, labels, depth, least, families)
        assert sampler.anchors.tolist() == expected and 0 < len(expected) < len(labels)
        assert sum(sampler.excluded) + len(expected) == len(labels)


def test_an_image_without_neighbours_outside_of_its_family_is_counted_as_such() -> None:
    neighbors, labels, families = with_families()
    families = families % 10  # three
    near = np.isin(families[neighbors.ids[0]], families[0])
    sims = neighbors.sims.copy()
    sims[0] = np.where(near, 0.5, -0.5)  # image 0 sees its family alone
    order = np.argsort(-sims[0], kind="stable")
    ids = neighbors.ids.copy()
    ids[0], sims[0] = ids[0][order], sims[0][order]
    lists = Neighbors(ids, sims, 60)
    plain = TripletSampler(lists, labels, batch_size=4, min_each=1)
    sampler = TripletSampler(lists, labels, batch_size=4, min_each=1, families=families)
    assert 0 in plain.anchors and 0 not in sampler.anchors
    assert sampler.excluded.few_negatives == plain.excluded.few_negatives + 1


def test_no_negative_is_of_the_family_and_positives_are_of_the_label() -> None:
    neighbors, labels, families = with_families()
    sampler = TripletSampler(neighbors, labels, batch_size=7, min_each=1, families=families)
    drawn = [batch for epoch in range(5) for batch in epoch_of(sampler, epoch)]
    anchor, positive, negative = (np.concatenate(side) for side in zip(*drawn, strict=True))
    assert (labels[positive] == labels[anchor]).all()
    assert (families[negative] != families[anchor]).all()
    plain = TripletSampler(neighbors, labels, batch_size=7, min_each=1)
    other = [batch for epoch in range(5) for batch in epoch_of(plain, epoch)]
    anchor, _, negative = (np.concatenate(side) for side in zip(*other, strict=True))
    assert (families[negative] == families[anchor]).any()  # without families some would be


def test_without_families_draws_and_identity_are_pinned() -> None:
    sampler = TripletSampler(*a_set(), batch_size=7, min_each=3)
    drawn = np.concatenate([np.stack(batch, 1) for e in range(2) for batch in epoch_of(sampler, e)])
    assert array_digest(drawn)[:16] == "60d9f0768759786d"
    state = sampler.state_dict()
    assert set(state) == {"seed", "batch_size", "power", "anchors", "labels", "usable"}
    starts = [state[key][:16] for key in ("anchors", "labels", "usable")]
    assert starts == ["64d78de5c9167cde", "e713c139804ffacb", "c54667d2fe5af32e"]


def test_a_family_for_each_label_draws_as_no_families() -> None:
    neighbors, labels = a_set()
    plain = TripletSampler(neighbors, labels, batch_size=7, min_each=3)
    alone = TripletSampler(neighbors, labels, batch_size=7, min_each=3, families=-labels)
    for one, two in zip(epoch_of(plain, 1), epoch_of(alone, 1), strict=True):
        assert all((x == y).all() for x, y in zip(one, two, strict=True))


def test_a_state_of_other_families_is_refused() -> None:
    neighbors, labels, families = with_families()
    given = {"batch_size": 7, "min_each": 1}
    samplers = [
        TripletSampler(neighbors, labels, families=other, **given)  # type: ignore[arg-type]
        for other in (None, labels, families)
    ]
    for one in samplers:
        one.load_state_dict(json.loads(json.dumps(one.state_dict())))
        for other in samplers:
            if other is not one:
                with pytest.raises(BadInput, match=r"(families|anchors) of the sampler"):
                    other.load_state_dict(one.state_dict())
    with pytest.raises(BadInput, match="families of the sampler is .* in the state, None here"):
        samplers[0].load_state_dict(samplers[1].state_dict())


def test_families_of_another_set_or_within_a_label_are_refused() -> None:
    neighbors, labels, families = with_families()
    with pytest.raises(BadInput, match="59 families, 60 labels"):
        TripletSampler(neighbors, labels, families=families[1:])
    families[7] = 99
    with pytest.raises(BadInput, match="is of another family"):
        TripletSampler(neighbors, labels, families=families)


def test_odds_follow_the_cube_of_the_similarity() -> None:
    """Two positives at 0.8 and 0.4: drawn 8 : 1."""
    ids = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]], np.int32)
    sims = np.array([[0.8, 0.4, 0.2]] * 4, np.float32)
    sampler = TripletSampler(
        Neighbors(ids, sims, 4), np.array([0, 0, 0, 1]), batch_size=1, min_each=1, seed=4
    )
    drawn = [b.positive[0] for e in range(900) for b in epoch_of(sampler, e) if b.anchor[0] == 0]
    share = np.mean(np.array(drawn) == 1)
    assert abs(share - 8 / 9) < 4 * np.sqrt(8 / 81 / len(drawn))


def test_a_batch_depends_on_seed_epoch_and_number_alone() -> None:
    a, b = (TripletSampler(*a_set(), batch_size=7, min_each=3, seed=0) for _ in range(2))
    list(epoch_of(b, 0))
    for one, two in zip(epoch_of(a, 1), epoch_of(b, 1), strict=True):
        assert all((x == y).all() for x, y in zip(one, two, strict=True))
    other = TripletSampler(*a_set(), batch_size=7, min_each=3, seed=1)
    firsts = [next(iter(epoch_of(s, 1))).anchor.tolist() for s in (a, other)]
    assert firsts[0] != firsts[1]


def test_a_set_without_anchors_and_lists_of_another_set_are_refused() -> None:
    neighbors, labels = a_set()
    with pytest.raises(BadInput, match="several images a landmark"):
        TripletSampler(neighbors, np.arange(len(labels)))
    with pytest.raises(BadInput, match="one label and one list an image"):
        TripletSampler(neighbors, labels[:-1])
    with pytest.raises(BadInput, match="batch_size"):
        TripletSampler(neighbors, labels, batch_size=0)


def test_lists_in_a_file_give_the_same_triplets(tmp_path: Path) -> None:
    neighbors, labels = a_set()
    names = tuple(map(str, range(len(labels))))
    path = write_neighbors(tmp_path / "nn.hdf5", neighbors, names, names, {})
    given = {"batch_size": 7, "min_each": 3, "depth": 20}
    plain = TripletSampler(neighbors, labels, **given)  # type: ignore[arg-type]
    mapped = TripletSampler(open_neighbor_rows(path, names), labels, **given)  # type: ignore[arg-type]
    for one, two in zip(epoch_of(plain, 1), epoch_of(mapped, 1), strict=True):
        assert all((x == y).all() for x, y in zip(one, two, strict=True))


def test_a_state_goes_on_in_the_middle_of_an_epoch() -> None:
    sampler = TripletSampler(*a_set(), batch_size=4, min_each=3)
    whole = [sampler.batch(*divmod(step, len(sampler))) for step in range(2 * len(sampler))]
    state, step = json.loads(json.dumps(sampler.state_dict())), len(sampler) + 3
    again = TripletSampler(*a_set(), batch_size=4, min_each=3)
    again.load_state_dict(state)
    rest = [again.batch(1, number) for number in range(step - len(again), len(again))]
    for one, two in zip(whole[step:], rest, strict=True):
        assert all((x == y).all() for x, y in zip(one, two, strict=True))


@pytest.mark.parametrize("other", [{"seed": 1}, {"batch_size": 5}, {"min_each": 4}, {"power": 0.0}])
def test_a_state_of_another_sampler_is_refused(other: dict[str, int]) -> None:
    given = {"batch_size": 4, "min_each": 3}
    state = TripletSampler(*a_set(), **given).state_dict()  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="of the sampler is"):
        changed = TripletSampler(*a_set(), **{**given, **other})  # type: ignore[arg-type]
        changed.load_state_dict(state)
    _, labels = a_set()
    with pytest.raises(BadInput, match="labels of the sampler"):
        labels = -np.where(labels == labels[0], 77, labels)
        TripletSampler(a_set()[0], labels, **given).load_state_dict(state)  # type: ignore[arg-type]


def test_images_that_are_no_anchors_are_counted_once() -> None:
    neighbors, labels = a_set()
    labels = labels.copy()
    labels[:4] = [100, 101, 102, 103]
    sampler = TripletSampler(neighbors, labels, batch_size=4, depth=25, min_each=3)
    counted = sampler.excluded
    assert counted.alone == 4 and counted.few_positives > 0
    assert sum(counted) + len(sampler.anchors) == len(labels)
    assert "4 are the only image of their label" in str(counted)
    with pytest.raises(BadInput, match="60 are the only image"):
        TripletSampler(neighbors, np.arange(60))


def test_lists_with_foreign_ids_or_sims_that_are_no_numbers_are_refused() -> None:
    neighbors, labels = a_set()
    ids, sims = neighbors.ids.copy(), neighbors.sims.copy()
    for place, value, array in ((3, 60, ids), (5, np.inf, sims), (5, np.nan, sims)):
        kept = array[20, place].copy()
        array[20, place] = value
        with pytest.raises(BadInput, match="query 20 has the"):
            TripletSampler(NeighborRows(ids, sims, 60), labels, min_each=3)
        array[20, place] = kept


def test_lists_that_do_not_fall_are_taken_as_they_stand(caplog: pytest.LogCaptureFixture) -> None:
    neighbors, labels = a_set()
    order = np.random.default_rng(1).permutation(neighbors.ids.shape[1])
    mixed = Neighbors(neighbors.ids[:, order], neighbors.sims[:, order], 60)
    sampler = TripletSampler(mixed, labels, batch_size=4, depth=25, min_each=3)
    assert sampler.anchors.tolist() == valid_anchors(mixed, labels, 25, 3)
    assert sampler.anchors.tolist() != valid_anchors(neighbors, labels, 25, 3)
    first = {anchor: set(mixed.ids[anchor, :25]) for anchor in sampler.anchors}
    for batch in epoch_of(sampler, 0):
        for anchor, *drawn in zip(*batch, strict=True):
            assert set(drawn) <= first[anchor]
    assert len(caplog.records) == 1 and "of 60 of 60 lists do not fall" in caplog.text


@pytest.mark.slow
def test_750_thousand_lists_are_counted_in_a_minute() -> None:
    num, depth = 750_000, 300
    rng = np.random.default_rng(0)
    ids = rng.integers(0, num, (8192, depth), dtype=np.int32)
    sims = np.sort(rng.random((8192, depth), dtype=np.float32), axis=1)[:, ::-1]
    tiled = [
        np.lib.stride_tricks.as_strided(a, (num, depth), (0, a.strides[1])) for a in (ids, sims)
    ]
    every = np.ones(num, np.bool_)
    began = time.perf_counter()
    count_neighbors(NeighborRows(*tiled, num), rng.integers(0, 80_000, num), depth, every)
    assert time.perf_counter() - began < 60
