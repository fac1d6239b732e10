"""The training loop on the tiny world: it learns, it is repeatable, it refuses what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR

from ames_lite.datasets.image_lists import read_image_list
from ames_lite.errors import BadInput
from ames_lite.io.checkpoint import HeadMeta, load_head
from ames_lite.models import AMES
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.neighbor_lists import read_neighbors
from ames_lite.training.dataset import load_batch
from ames_lite.training.initialization import start_from_correspondences
from ames_lite.training.model import pair_loss, score_pairs
from ames_lite.training.recipe import Recipe, learning_rate
from ames_lite.training.sampler import Triplets, TripletSampler
from ames_lite.training.trainer import Trainer
from tests.conftest import TinyWorld

RECIPE = Recipe(epochs=2, batch_size=16, lr=1e-3, max_count=24, min_count=8, clip_norm=1.0)


def trainer_of(world: TinyWorld, output: Path, recipe: Recipe = RECIPE) -> Trainer:
    folder = world.folder("synthetic-train")
    images = read_image_list(folder / "train.txt")
    neighbors = read_neighbors(folder / "nn_sift_vlad.hdf5", images.names, images.names)
    assert images.labels is not None
    sampler = TripletSampler(neighbors, images.labels, batch_size=recipe.batch_size)
    torch.manual_seed(0)
    head = AMES(dim_in=128, dim=32, num_layers=2, dim_feedforward=32)
    store = DescriptorStore.open(folder / "sift_local.hdf5")
    start_from_correspondences(
        head,
        torch.from_numpy(store.read(0).descriptors.astype(np.float32)),
        torch.Generator().manual_seed(0),
    )
    return Trainer(head, store, sampler, recipe, output, HeadMeta(desc_name="sift"))


def test_a_run_writes_a_log_and_a_head_per_epoch(tiny_world: TinyWorld, tmp_path: Path) -> None:
    trainer = trainer_of(tiny_world, tmp_path / "run")
    folder = trainer.fit()
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(trainer.steps))
    assert all(np.isfinite(line["loss"]) and line["gradient_norm"] > 0 for line in lines)
    last, meta = load_head(folder)
    assert meta.desc_name == "sift" and meta.provenance["recipe"]["batch_size"] == 16
    epochs = [load_head(folder / f"epoch_{n:03d}")[0].state_dict() for n in (1, 2)]
    for name, values in last.state_dict().items():
        assert torch.equal(values, epochs[1][name])
    assert not torch.equal(epochs[0]["mtc_token"], epochs[1]["mtc_token"])


def test_the_same_seed_gives_the_same_weights(tiny_world: TinyWorld, tmp_path: Path) -> None:
    recipe = Recipe(epochs=1, batch_size=16, max_count=16, min_count=0)
    states = [
        load_head(trainer_of(tiny_world, tmp_path / str(n), recipe).fit())[0].state_dict()
        for n in range(2)
    ]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_head_can_learn_one_batch_by_heart(tiny_world: TinyWorld) -> None:
    store = DescriptorStore.open(tiny_world.folder("synthetic-train") / "sift_local.hdf5")
    rng = np.random.default_rng(0)
    batch = load_batch(store, Triplets(*rng.permutation(24).reshape(3, 8)), 16, 16)
    torch.manual_seed(0)
    head = AMES(dim_in=128, dim=32, num_layers=2, dim_feedforward=64).train()
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3)
    losses = []
    for _ in range(100):
        loss = pair_loss(*score_pairs(head, batch))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 0.6 and losses[-1] < losses[0] / 10


def test_a_batch_holds_the_rows_of_its_triplets(tiny_world: TinyWorld) -> None:
    store = DescriptorStore.open(tiny_world.folder("synthetic-train") / "sift_local.hdf5")
    triplets = Triplets(np.array([3, 1]), np.array([5, 3]), np.array([0, 5]))
    batch = load_batch(store, triplets, query_count=7, gallery_count=9)
    for rows, side, count in zip(triplets, batch, (7, 9, 9), strict=True):
        assert side.descriptors.shape == (2, count, 128)
        for i, row in enumerate(rows):
            stored = store.read(int(row), count).descriptors.astype(np.float32)
            assert np.array_equal(side.descriptors[i, : len(stored)].numpy(), stored)


def test_the_gradient_is_that_of_scoring_each_pair_alone(tiny_world: TinyWorld) -> None:
    """The query, encoded once for positive and negative, gets the gradient of both."""
    store = DescriptorStore.open(tiny_world.folder("synthetic-train") / "sift_local.hdf5")
    triplets = Triplets(np.array([3, 1]), np.array([5, 3]), np.array([0, 5]))
    batch = load_batch(store, triplets, 7, 9)
    gradients = []
    for once in (True, False):
        torch.manual_seed(0)
        head = AMES(dim_in=128, dim=16, num_layers=2, dim_feedforward=16).train()
        if once:
            loss = pair_loss(*score_pairs(head, batch))
        else:
            query = batch.query.descriptors
            pairs = [head(query, None, s.descriptors) for s in (batch.positive, batch.negative)]
            loss = pair_loss(*pairs)
        loss.backward()
        gradients.append({name: p.grad for name, p in head.named_parameters()})
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], atol=1e-5), name


def test_the_loss_is_the_mean_cross_entropy() -> None:
    positive, negative = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -3.0])
    p = torch.sigmoid(torch.cat([positive, negative])).tolist()
    by_hand = -np.mean([np.log(p[0]), np.log(p[1]), np.log(1 - p[2]), np.log(1 - p[3])])
    assert abs(pair_loss(positive, negative).item() - by_hand) < 1e-6


def test_warm_up_from_zero_rises_and_the_cosine_ends_at_zero() -> None:
    recipe = Recipe(lr=1.0, warmup=0.1, warmup_form="from_zero")
    rates = [learning_rate(step, 100, recipe) for step in range(101)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == pytest.approx(1.0)
    assert all(a >= b for a, b in zip(rates[10:], rates[11:], strict=False))
    assert rates[100] == pytest.approx(0.0)


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.37])
@pytest.mark.parametrize("steps", [1, 9, 10, 47, 300])
def test_the_published_schedule_is_that_of_torch(steps: int, warmup: float) -> None:
    """SequentialLR: LinearLR from a third over int(warmup * steps), then cosine to 0."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=5e-4)
    rising = int(warmup * steps)
    cosine = CosineAnnealingLR(optimizer, steps - rising)
    schedule: LRScheduler = cosine
    if rising:
        linear = LinearLR(optimizer, 1 / 3, 1.0, total_iters=rising)
        schedule = SequentialLR(optimizer, [linear, cosine], milestones=[rising])
    recipe = Recipe(lr=5e-4, warmup=warmup)
    for step in range(steps):
        expected = optimizer.param_groups[0]["lr"]
        assert learning_rate(step, steps, recipe) == pytest.approx(expected, rel=1e-9, abs=1e-15)
        optimizer.step()
        schedule.step()


def test_a_loss_that_is_not_finite_stops_and_saves_the_batch(
    tiny_world: TinyWorld, tmp_path: Path
) -> None:
    trainer = trainer_of(tiny_world, tmp_path / "run")
    with torch.no_grad():
        trainer.head.classifier.bias.fill_(float("nan"))  # type: ignore[union-attr, operator]
    with pytest.raises(BadInput, match="not finite at step 0"):
        trainer.fit()
    saved = json.loads((tmp_path / "run" / "bad_batch.json").read_text())
    assert saved["step"] == 0 and len(saved["anchor"]) == 16


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"epochs": 0}, "epochs is 0.*at least 1"),
        ({"lr": 0.0}, "lr is 0.0.*above 0"),
        ({"warmup": 1.0}, r"warmup is 1.0.*in \[0, 1\)"),
        ({"warmup_form": "slow"}, "warmup_form is 'slow'.*published or from_zero"),
        ({"seed": -1}, "seed is -1.*at least 0"),
        ({"min_count": 50, "max_count": 16}, "min_count is 50.*from 0 to max_count, 16"),
        ({"accumulate": 9, "batch_size": 8}, "accumulate is 9.*from 1 to batch_size, 8"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(BadInput, match=f"(?s){said}"):
        Recipe(**wrong)  # type: ignore[arg-type]
