"""The detector's training: what it computes, that it goes on where it stopped, what it refuses."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from ames_lite.cli import train_detector as train_detector_command
from ames_lite.cli.compose import compose
from ames_lite.errors import BadInput, ConfigError, MissingFile
from ames_lite.evaluation.metrics import average_precision, find_hits
from ames_lite.extraction.backbones import build_backbone
from ames_lite.extraction.backbones.detector import check_detector, load_detector, save_detector
from ames_lite.extraction.detector_training.data import (
    FrozenFeatures,
    LabelledImages,
    drop_single,
    epoch_batches,
    hold_out,
    num_batches,
    read_labelled,
    refuse_shared,
)
from ames_lite.extraction.detector_training.loop import DetectorRecipe, train_detector
from ames_lite.extraction.detector_training.model import (
    CosineSoftmax,
    HardTriplet,
    leave_one_out_map,
    new_detector,
    pool,
)
from ames_lite.io.images import load_image
from ames_lite.synthetic import WorldSpec
from ames_lite.synthetic.views import project
from ames_lite.synthetic.world import world_facade
from tests.conftest import TINY, TinyWorld
from tests.extraction.detector_measure import landmark_masks, measure
from tests.helpers import in_process, main_of
from tests.processes import Child

BACKBONE = {"image_size": 140, "top_k": 0, "device": "cpu"}
RECIPE = DetectorRecipe(epochs=2, batch_size=16, images_per_label=4, lr=1e-2, dim=24)
LABELS = np.repeat([5, 2, 9, 7], [7, 4, 3, 9])
LONG = {"epochs": 3, "batch_size": 8, "images_per_label": 2, "lr": 1e-2, "dim": 24}
TRAINING = f"""
import sys, time
from pathlib import Path
from ames_lite.extraction.backbones import build_backbone
from ames_lite.extraction.detector_training import loop
from ames_lite.extraction.detector_training.data import read_labelled
from ames_lite.extraction.detector_training.loop import train_detector

root, output = Path(sys.argv[1]), Path(sys.argv[2])
step = loop.DetectorTrainer._step
def slowly(self, *given):
    time.sleep(0.15)
    return step(self, *given)
loop.DetectorTrainer._step = slowly
backbone = build_backbone("tiny_random", **{BACKBONE})
images = read_labelled([root / "train.txt"], root)
try:
    train_detector(backbone, images, output, loop.DetectorRecipe(**{LONG}), save_every=2)
except KeyboardInterrupt:
    sys.exit(130)
"""


def backbone_of(**given: Any) -> Any:
    return build_backbone("tiny_random", **{**BACKBONE, **given})


def images_of(world: TinyWorld) -> LabelledImages:
    folder = world.folder("synthetic-train")
    return read_labelled([folder / "train.txt"], folder)


@pytest.fixture(scope="module")
def trained(tiny_world: TinyWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("runs") / "detector"
    return train_detector(backbone_of(), images_of(tiny_world), folder, RECIPE).parent


def state_of(folder: Path, name: str = "last.pt") -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(folder / name, weights_only=True)["state"]
    return state


def assert_same(a: Any, b: Any) -> None:
    """Of nested dicts and lists: every tensor and number is the same to the bit."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def test_pooling_is_the_weighted_sum_of_each_image() -> None:
    generator = torch.Generator().manual_seed(0)
    values, weights = torch.randn(9, 5, generator=generator), torch.rand(9, generator=generator)
    found = pool(values, weights, [4, 1, 4])
    for row, (start, end) in enumerate(((0, 4), (4, 5), (5, 9))):
        total = sum(weights[i] * values[i] for i in range(start, end))
        assert torch.allclose(found[row], total / torch.linalg.norm(total), atol=1e-6)


def test_the_cosine_softmax_is_the_cross_entropy_by_hand() -> None:
    generator = torch.Generator().manual_seed(1)
    criterion = CosineSoftmax(3, 4, generator, DetectorRecipe(scale=10.0, margin=0.2))
    vectors = functional.normalize(torch.randn(5, 4, generator=generator), dim=1)
    labels = torch.tensor([0, 2, 1, 1, 0])
    loss, accuracy = criterion(vectors, labels)
    losses, right = [], []
    for vector, label in zip(vectors, labels.tolist(), strict=True):
        cosines = [float(vector @ w / w.norm()) for w in criterion.weight.detach()]
        right.append(int(np.argmax(cosines)) == label)
        logits = [10 * (c - 0.2 * (j == label)) for j, c in enumerate(cosines)]
        losses.append(np.log(np.exp(logits).sum()) - logits[label])
    assert loss.item() == pytest.approx(np.mean(losses), abs=1e-5)
    assert accuracy.item() == pytest.approx(np.mean(right))
    assert not criterion.log_scale.requires_grad
    learned = CosineSoftmax(3, 4, generator, DetectorRecipe(learn_scale=True))
    learned(vectors, labels)[0].backward()
    assert learned.log_scale.grad is not None and learned.log_scale.exp().item() == pytest.approx(
        20
    )


def test_the_triplet_loss_takes_the_hardest_of_the_batch() -> None:
    generator = torch.Generator().manual_seed(2)
    vectors = functional.normalize(torch.randn(7, 3, generator=generator), dim=1)
    labels = torch.tensor([0, 0, 1, 1, 1, 2, 0])
    losses, right = [], []
    for i in range(7):
        own = [
            float(vectors[i] @ vectors[j]) for j in range(7) if labels[i] == labels[j] and i != j
        ]
        other = [float(vectors[i] @ vectors[j]) for j in range(7) if labels[i] != labels[j]]
        if own:
            losses.append(max(0.0, 0.3 + max(other) - min(own)))
            right.append(max(other) < min(own))
    loss, accuracy = HardTriplet(0.3)(vectors, labels)
    assert loss.item() == pytest.approx(np.mean(losses), abs=1e-6)
    assert accuracy.item() == pytest.approx(np.mean(right))
    alone, _ = HardTriplet(0.3)(vectors.requires_grad_(), torch.zeros(7, dtype=torch.int64))
    alone.backward()
    assert alone.item() == 0 and not vectors.grad.any()  # type: ignore[union-attr]


def test_leave_one_out_map_is_that_of_each_query_against_the_others() -> None:
    labels = np.array([3, 3, 1, 1, 1, 8, 3])
    vectors = functional.normalize(torch.randn(7, 4, generator=torch.Generator().manual_seed(3)))
    found = []
    for query in range(7):
        others = np.array([i for i in range(7) if i != query])
        order = others[np.argsort(-(vectors[others] @ vectors[query]).numpy(), kind="stable")]
        positives = [i for i in others if labels[i] == labels[query]]
        if positives:  # label 8 only distracts
            hits = find_hits(order[None], [np.array(positives)])
            found.append(average_precision(hits)[0])
    assert len(found) == 6
    assert leave_one_out_map(vectors, labels) == pytest.approx(np.mean(found), abs=1e-9)
    with pytest.raises(BadInput, match="no label has two images"):
        leave_one_out_map(vectors, np.arange(7))


@pytest.mark.parametrize("per_label", [1, 2, 4])
def test_an_epoch_has_every_image_once_in_groups_of_a_label(per_label: int) -> None:
    seen = []
    for epoch in range(3):
        batches = epoch_batches(LABELS, 8, per_label, 0, epoch)
        assert len(batches) == num_batches(LABELS, 8, per_label)
        rows = np.concatenate(batches)
        assert sorted(rows) == list(range(len(LABELS)))
        for batch in batches:
            counts = np.unique(LABELS[batch], return_counts=True)[1]
            assert len(batch) <= 8 * 2 and counts.min() >= min(per_label, 3)
        seen.append(rows.tolist())
    assert seen[0] != seen[1] != seen[2]
    assert np.concatenate(epoch_batches(LABELS, 8, per_label, 0, 2)).tolist() == seen[2]
    assert np.concatenate(epoch_batches(LABELS, 8, per_label, 1, 2)).tolist() != seen[2]


def test_a_new_detector_keeps_angles_and_weighs_alike() -> None:
    detector = new_detector(16, 16, torch.Generator().manual_seed(0)).eval()
    maps = torch.randn(1, 16, 3, 5, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        found, weight = detector(maps)
    a, b = (functional.normalize(m, dim=1).flatten(2)[0] for m in (maps, found))
    assert torch.allclose(a.T @ a, b.T @ b, atol=1e-5)
    assert weight.min() > 0.8 and weight.max() < 1.2
    again = new_detector(16, 16, torch.Generator().manual_seed(0))
    assert_same(detector.state_dict(), again.state_dict())


def test_what_is_held_out_are_labels(tiny_world: TinyWorld) -> None:
    images = images_of(tiny_world)
    train, val = hold_out(images, 0.25, 0)
    assert not set(train.labels) & set(val.labels) and len(train) + len(val) == len(images)
    assert len(set(val.labels.tolist())) == 3
    assert set(hold_out(images, 0.25, 1)[1].names) != set(val.names)


def test_a_run_writes_a_detector_that_backbones_load(tiny_world: TinyWorld, trained: Path) -> None:
    meta = json.loads((trained / "meta.json").read_text())
    assert meta["kind"] == "SpatialAttention2d" and meta["backbone"]["backbone"] == "tiny_random"
    assert meta["recipe"]["dim"] == 24 and meta["data"]["train_images"] == 70
    assert [line["epoch"] for line in meta["curve"]] == [1, 2]
    best = max(meta["curve"], key=lambda line: line["map"])
    assert (meta["best_epoch"], meta["map"]) == (best["epoch"], best["map"])
    assert meta["beats_feature_norm"] == (meta["map"] > meta["map_feature_norm"])
    log = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log if "step" in line] == list(range(len(log) - 3))
    assert log[0]["map_feature_norm"] == meta["map_feature_norm"]
    assert sorted(path.name for path in trained.iterdir()) == [
        *(".lock", "detector.pt", "last.pt", "log.jsonl", "meta.json")
    ]
    backbone = build_backbone(
        "tiny_random", **{**BACKBONE, "top_k": 5}, detector=str(trained / "detector.pt")
    )
    folder = tiny_world.folder("synthetic-train")
    local = backbone.extract(load_image(folder / images_of(tiny_world).names[0]))
    assert local.descriptors.shape == (5, 24) and backbone.dim == 24


def test_training_changes_weights_and_not_the_backbone(
    tiny_world: TinyWorld, trained: Path
) -> None:
    start = new_detector(32, 24, torch.Generator().manual_seed(RECIPE.seed)).state_dict()
    end = state_of(trained)
    moved = [name for name, value in start.items() if not torch.equal(value, end[name])]
    assert {"conv1.weight", "bn.running_mean", "conv2.weight", "conv2.bias"} <= set(moved)


def test_a_run_over_its_end_changes_nothing(tiny_world: TinyWorld, trained: Path) -> None:
    before = {path.name: path.read_bytes() for path in trained.iterdir()}
    train_detector(backbone_of(), images_of(tiny_world), trained, RECIPE)
    assert {path.name: path.read_bytes() for path in trained.iterdir()} == before


@pytest.mark.parametrize("loss, room", [("classification", 0.0), ("triplet", 384_000 / 2**30)])
def test_features_that_are_not_kept_give_the_same_weights(
    loss: str, room: float, tiny_world: TinyWorld, tmp_path: Path
) -> None:
    """room: GiB for features, of none of the images and of some."""
    recipe, given = DetectorRecipe(epochs=1, batch_size=24, loss=loss), images_of(tiny_world)
    for name, cache_gib in (("few", room), ("all", 1.0)):
        train_detector(backbone_of(), given, tmp_path / name, recipe, cache_gib=cache_gib)
    assert_same(state_of(tmp_path / "few"), state_of(tmp_path / "all"))


def test_memory_for_features_is_bounded(tiny_world: TinyWorld) -> None:
    images = images_of(tiny_world)
    some = FrozenFeatures(backbone_of(), images.paths, cache_gib=200_000 / 2**30)
    kept = some.fill()
    assert 0 < kept < len(images) and sum(t.nbytes for t in some._cache.values()) <= 200_000
    rows = [[0, len(images) - 1], [kept, 1]]
    whole = FrozenFeatures(backbone_of(), images.paths)
    for a, b in zip(some.batches(rows), whole.batches(rows), strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    maps = backbone_of().feature_maps([backbone_of().prepare(load_image(images.paths[1]), None)])
    assert torch.equal(next(whole.batches([[1]]))[0], maps[0][0].flatten(1).T)


@pytest.fixture(scope="module")
def whole(tiny_world: TinyWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an unbroken run."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    recipe = DetectorRecipe(**LONG)
    return train_detector(backbone_of(), images_of(tiny_world), folder, recipe, save_every=2).parent


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_cut_off_ends_with_the_weights_of_an_unbroken_one(
    how: signal.Signals, tiny_world: TinyWorld, whole: Path, tmp_path: Path
) -> None:
    root, broken = tiny_world.folder("synthetic-train"), tmp_path / "broken"
    run = Child(TRAINING, str(root), str(broken))
    enough, until = 9, time.monotonic() + 120  # steps: within the second epoch
    while time.monotonic() < until and run.poll() is None:
        state = broken / "last.pt"
        if state.exists() and torch.load(state, weights_only=True)["step"] >= enough:
            break
        time.sleep(0.02)
    time.sleep(0.2)
    run.send_signal(how)
    run.communicate()
    assert run.returncode == (130 if how == signal.SIGINT else -how)
    stopped = torch.load(broken / "last.pt", weights_only=True)
    assert enough <= stopped["step"] < torch.load(whole / "last.pt", weights_only=True)["step"]
    recipe = DetectorRecipe(**LONG)
    train_detector(backbone_of(), images_of(tiny_world), broken, recipe, save_every=2)
    for name in ("detector.pt", "meta.json", "log.jsonl"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes(), name
    a, b = (torch.load(folder / "last.pt", weights_only=True) for folder in (broken, whole))
    assert_same(a, b)


def test_a_state_of_another_run_is_refused(
    tiny_world: TinyWorld, trained: Path, tmp_path: Path
) -> None:
    images, folder = images_of(tiny_world), tmp_path / "run"
    shutil.copytree(trained, folder)
    with pytest.raises(BadInput, match="lr: 0.01 there, 0.5 here"):
        train_detector(backbone_of(), images, folder, DetectorRecipe(**{**vars(RECIPE), "lr": 0.5}))
    with pytest.raises(BadInput, match="of facet: 'patch' there, 'token' here"):
        train_detector(backbone_of(facet="token"), images, folder, RECIPE)
    fewer = images.take(np.arange(len(images)) > 0)
    with pytest.raises(BadInput, match="train_digest: "):
        train_detector(backbone_of(), fewer, folder, RECIPE)
    (folder / "last.pt").write_bytes((folder / "last.pt").read_bytes()[:500])
    with pytest.raises(BadInput, match="cannot be read as weights alone"):
        train_detector(backbone_of(), images, folder, RECIPE)
    torch.save({"state": state_of(trained)}, folder / "last.pt")
    with pytest.raises(BadInput, match="something else"):
        train_detector(backbone_of(), images, folder, RECIPE)


def test_a_detector_is_refused_for_other_features(trained: Path, tmp_path: Path) -> None:
    path = trained / "detector.pt"
    check_detector(path, backbone_of().provenance)
    load_detector(path, 32, backbone_of().provenance)
    others = {"facet": "key", "layer": 0, "variant": "vitb14", "weights": "x", "backbone": "dinov2"}
    for key, value in others.items():
        for name in ("detector.pt", "last.pt"):
            with pytest.raises(BadInput, match=f"{key} is .*meta.json and {value!r} in"):
                check_detector(trained / name, {**backbone_of().provenance, key: value})
        with pytest.raises(BadInput, match=key):
            load_detector(path, 32, {key: value})
    own = backbone_of(detector=str(path)).provenance  # loads, and the digests agree
    assert own["detector"] == "SpatialAttention2d"
    for wrong in ({"facet": "key"}, {"facet": "token", "layer": 0}, {"registers": 0}):
        with pytest.raises(BadInput, match="meta.json and .* in the backbone"):
            backbone_of(detector=str(path), **wrong)
    with pytest.raises(BadInput, match="weights is 'random, seed 0' .* 'random, seed 1'"):
        assert backbone_of(detector=str(path), seed=1).provenance  # known once they are loaded
    renamed = tmp_path / "mine.pt"
    shutil.copy(path, renamed)
    check_detector(renamed, others)  # a published file has no meta
    shutil.copy(trained / "meta.json", tmp_path)
    with pytest.raises(BadInput, match="backbone is"):
        check_detector(renamed, others)
    other = new_detector(32, 24, torch.Generator().manual_seed(9))
    save_detector(tmp_path / "other" / "x.pt", other, {"backbone": {}})
    (tmp_path / "other" / "meta.json").rename(tmp_path / "meta.json")
    check_detector(renamed, others)  # the meta is of another file
    shutil.copy(renamed, tmp_path / "detector.pt")
    with pytest.raises(BadInput, match="not the file that meta.json was written with"):
        check_detector(tmp_path / "detector.pt", {})
    (tmp_path / "meta.json").write_text('{"schema": 1, "model": "ames"}')
    check_detector(tmp_path / "detector.pt", others)  # a head's meta
    (tmp_path / "meta.json").write_text("{")
    with pytest.raises(BadInput, match="not JSON"):
        check_detector(tmp_path / "detector.pt", others)


def test_images_without_labels_are_refused_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_text("a.jpg,1\nb.jpg\n")
    with pytest.raises(BadInput, match="train.txt, line 2"):
        read_labelled([path], tmp_path)
    path.write_text("a.jpg,1\nb.jpg,\n")
    with pytest.raises(BadInput, match=r"label '' is no integer(.|\n)*line 2"):
        read_labelled([path], tmp_path)
    path.write_text("a.jpg\nb.jpg\n")
    with pytest.raises(BadInput, match=r"'a.jpg' has no label(.|\n)*line 1"):
        read_labelled([path], tmp_path)
    with pytest.raises(MissingFile):
        read_labelled([tmp_path / "no.txt"], tmp_path)


def test_labels_that_cannot_teach_are_refused(tiny_world: TinyWorld, tmp_path: Path) -> None:
    images = images_of(tiny_world)
    one = images.take(images.labels == 0)
    with pytest.raises(BadInput, match="1 labels have two images or more"):
        drop_single(one)
    alone = images.take(np.isin(np.arange(len(images)), np.r_[0:9, 14]))
    kept, single = drop_single(alone)
    assert (len(kept), single) == (9, 1)
    with pytest.raises(BadInput, match="2 labels with two images or more, val_share is 0.2"):
        train_detector(backbone_of(), alone, tmp_path / "no", RECIPE)
    with pytest.raises(BadInput, match="both trained on and evaluated by"):
        refuse_shared(images, one)
    with pytest.raises(BadInput, match="both trained on"):
        train_detector(backbone_of(), images, tmp_path / "no", RECIPE, val=images)
    moved = LabelledImages(tmp_path, images.names, images.labels, "a list")
    with pytest.raises(BadInput, match="listed images are absent"):
        train_detector(backbone_of(), moved, tmp_path / "no", RECIPE)
    assert not (tmp_path / "no").exists()


def test_an_image_that_cannot_be_decoded_is_named(tiny_world: TinyWorld, tmp_path: Path) -> None:
    folder = tmp_path / "train"
    shutil.copytree(tiny_world.folder("synthetic-train"), folder)
    images = read_labelled([folder / "train.txt"], folder)
    images.paths[40].write_bytes(b"no image")
    with pytest.raises(BadInput, match=images.paths[40].name):
        train_detector(backbone_of(), images, tmp_path / "run", RECIPE)


@pytest.mark.parametrize(
    "wrong, named",
    [
        ({"batch_size": 7}, "batch_size is 7"),
        ({"loss": "triplet", "images_per_label": 1}, "images_per_label is 1"),
        ({"loss": "hinge"}, "loss is 'hinge'"),
        ({"epochs": 0}, "epochs"),
        ({"seed": -1}, "seed"),
        ({"scale": 0.0}, "scale"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(BadInput, match=named):
        DetectorRecipe(**wrong)


def test_backbones_without_maps_or_with_a_detector_are_refused(
    tiny_world: TinyWorld, trained: Path, tmp_path: Path
) -> None:
    images = images_of(tiny_world)
    with pytest.raises(BadInput, match="Sift has no feature maps"):
        train_detector(build_backbone("sift"), images, tmp_path, RECIPE)
    second = backbone_of(detector=str(trained / "detector.pt"))
    with pytest.raises(BadInput, match="has a detector already"):
        train_detector(second, images, tmp_path, RECIPE)


def command(world: TinyWorld, output: Path, *more: str) -> list[str]:
    return [
        *("dataset=synthetic-train", "backbone=tiny_random", f"data_root={world.root}"),
        *(f"output_dir={output}", "batch_size=16", "epochs=1", "workers=1", "device=cpu", *more),
    ]


def test_the_command_trains_and_goes_on(
    tiny_world: TinyWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    words = command(tiny_world, output, "val_dataset=synthetic-val")
    assert main_of("train_detector")(words) == 0
    said = capsys.readouterr().out
    assert f"detector={output / 'detector.pt'}" in said and "feature norm" in said
    meta = json.loads((output / "meta.json").read_text())
    assert meta["data"]["val_dataset"] == "synthetic-val"
    assert meta["data"]["train_images"] == 84 and meta["data"]["val_images"] == 29
    before = (output / "last.pt").read_bytes()
    assert main_of("train_detector")(words) == 0
    assert (output / "last.pt").read_bytes() == before
    assert main_of("train_detector")([*words, "lr=0.5"]) == 1
    assert "lr: 0.001 there" in capsys.readouterr().err
    assert main_of("train_detector")([*words, "resume=never"]) == 1
    assert "in use" in capsys.readouterr().err
    (output / "other.txt").touch()
    assert main_of("train_detector")(words) == 1
    assert "holds other.txt" in capsys.readouterr().err


def test_the_command_refuses_before_it_writes(tiny_world: TinyWorld, tmp_path: Path) -> None:
    output = tmp_path / "run"
    for more, error, named in (
        ("resume=always", ConfigError, "auto or never"),
        ("val_dataset=nowhere", ConfigError, "synthetic-val"),
        ("val_dataset=3", ConfigError, "str"),
        ("backbone=sift", BadInput, "no feature maps"),
        ("batch_size=2", BadInput, "batch_size"),
        ("dataset=gldv2", MissingFile, "train.txt"),
        ("backbone.arguments.facet=values", BadInput, "facet 'values'"),
    ):
        with pytest.raises(error, match=named):
            train_detector_command.run(compose("train_detector", command(tiny_world, output, more)))
    assert not output.exists()


def test_a_missing_list_is_one_message(tmp_path: Path) -> None:
    done = in_process(tmp_path, "extract/train_detector.py", f"data_root={tmp_path}")
    assert done.returncode == 1 and done.stderr.startswith("error: missing: the train image list")
    assert "Traceback" not in done.stderr and not list(tmp_path.iterdir())


def test_the_defaults_of_the_command_are_those_of_the_recipe() -> None:
    config = compose("train_detector")
    fields = DetectorRecipe.__dataclass_fields__
    assert DetectorRecipe(**{key: getattr(config, key) for key in fields}) == DetectorRecipe()


def test_masks_agree_with_what_the_world_says_is_visible(tiny_world: TinyWorld) -> None:
    spec, folder = TINY["synthetic"], tiny_world.folder()
    geometry = np.load(folder / "geometry.npz")
    row_of = {name: row for row, name in enumerate(geometry["name"])}
    for name, mask in landmark_masks(spec, 1):
        row, facade = row_of[name], world_facade(spec, 1)
        grid = [(np.arange(24) + 0.5) / 24 * side for side in facade.size]
        points = np.stack(np.meshgrid(grid[1], grid[0]), axis=-1).reshape(-1, 2)
        seen = project(geometry["homography"][row], points)[geometry["visible"][row].ravel()]
        x, y = seen.astype(int).T
        assert mask[y, x].mean() > 0.95 and 0.02 < mask.mean() <= 1


@pytest.mark.slow
def test_a_trained_detector_weighs_landmarks_it_has_not_seen(tmp_path: Path) -> None:
    few = {"queries": 0, "easy": 4, "hard": 3, "junk": 0, "distractors": 0}
    train = WorldSpec("train", 5, num_styles=8, landmarks_per_style=5, **few)
    few = {"queries": 1, "easy": 3, "hard": 2, "junk": 0, "distractors": 20}
    test = WorldSpec("test", 5, num_styles=4, landmarks_per_style=4, **few)
    backbone = build_backbone(
        "tiny_random", image_size=448, facet="token", layer=0, top_k=0, device="cpu"
    )
    recipe = DetectorRecipe(epochs=40, batch_size=64, lr=0.01, dim=128)
    found = measure(backbone, (train, test), tmp_path, recipe)
    assert found.detector.landmark > 1.05 and found.detector.background < 0.9
    assert found.detector.auc > 0.6 > found.norm.auc
    assert found.maps["map"] > found.maps["map_feature_norm"]
