"""Fine-tuning: trained and frozen parts, batches, resuming, bad input."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from ames_lite.cli import finetune
from ames_lite.cli.compose import compose
from ames_lite.errors import BadInput, ConfigError
from ames_lite.evaluation.metrics import average_precision_at, find_hits
from ames_lite.extraction.backbones import build_backbone
from ames_lite.extraction.detector_training.data import LabelledImages, read_labelled, require_maps
from ames_lite.extraction.finetuning import loop
from ames_lite.extraction.finetuning.data import (
    RandomView,
    class_batches,
    readable,
    stratified,
)
from ames_lite.extraction.finetuning.model import Trained, Weights, build_loss, merged
from ames_lite.io.images import load_image
from ames_lite.training.recipe import FinetuneRecipe
from tests.cli.test_scoring_run import free_port, start
from tests.conftest import TinyWorld
from tests.extraction.backbones.test_efficientnet import random_state
from tests.extraction.backbones.test_efficientnet import save as save_state
from tests.extraction.test_detector_training import assert_same
from tests.helpers import main_of
from tests.test_readme import block_with

LABELS = np.repeat([5, 2, 9, 7], [7, 4, 3, 19])
SIZES = {"batch_size": 8, "images_per_label": 2, "image_size": 56, "last_blocks": 1}
WORDS = [f"{key}={value}" for key, value in SIZES.items()]


def backbone_of(name: str = "tiny_random", **given: Any) -> Any:
    side = 64 if name == "efficientnet_lite0" else 56
    given = {"image_size": [side, side], "top_k": 1, "device": "cpu", **given}
    return build_backbone(name, **given)


def images_of(world: TinyWorld) -> LabelledImages:
    folder = world.folder("synthetic-train")
    return read_labelled([folder / "train.txt"], folder)


def words_of(world: TinyWorld, folder: Path, *more: str) -> list[str]:
    given = ["dataset=synthetic-train", f"data_root={world.root}", "backbone=tiny_random"]
    return [*given, *WORDS, "device=cpu", "workers=1", f"output_dir={folder}", *more]


def finetuned(world: TinyWorld, folder: Path, *more: str) -> Path:
    return finetune.run(compose("finetune", words_of(world, folder, *more)))


@pytest.fixture(scope="module", autouse=True)
def _needs_the_losses() -> None:
    pytest.importorskip("pytorch_metric_learning")


@pytest.fixture(scope="module")
def whole(tiny_world: TinyWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an unbroken run of two epochs."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return finetuned(tiny_world, folder, "epochs=2", "lr=0.01").parent


def test_batches_have_images_of_classes_drawn_alike() -> None:
    drawn = np.zeros(4)
    for epoch in range(200):
        batches = class_batches(LABELS, 8, 4, 0, epoch)
        assert len(batches) == round(len(LABELS) / 8)
        for rows in batches:
            labels, counts = np.unique(LABELS[rows], return_counts=True)
            assert len(labels) == 2 and len(set(rows.tolist())) == len(rows)
            assert all(
                n == min(4, (LABELS == x).sum()) for x, n in zip(labels, counts, strict=True)
            )
            drawn += np.isin(np.unique(LABELS), labels)
    assert drawn.min() > 0.9 * drawn.mean()
    again = class_batches(LABELS, 8, 4, 0, 199)
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))
    others = class_batches(LABELS, 8, 4, 1, 199)
    assert not all(np.array_equal(a, b) for a, b in zip(batches, others, strict=True))


def test_a_share_of_every_class_is_held_out_and_has_partners(tmp_path: Path) -> None:
    names = tuple(f"{row}.jpg" for row in range(len(LABELS)))
    images = LabelledImages(tmp_path, names, LABELS, "a list")
    train, val = stratified(images, 0.2, 0)
    assert not set(train.names) & set(val.names) and len(train) + len(val) == len(images)
    counts = {int(x): int((val.labels == x).sum()) for x in np.unique(val.labels)}
    assert counts == {5: 2, 2: 2, 7: 4}  # a class of three is trained on alone
    assert set(stratified(images, 0.2, 1)[1].names) != set(val.names)
    few = images.take(LABELS == 9)
    with pytest.raises(BadInput, match="no class has four images"):
        stratified(few, 0.2, 0)


def test_random_views_depend_on_their_key_alone(tiny_world: TinyWorld) -> None:
    paths = images_of(tiny_world).paths[:3]
    view = RandomView(28, "area", 0)
    keys = [(4, at) for at in range(3)]
    (batch,) = view.batches([list(zip(paths, keys, strict=True))], workers=1)
    (last,) = view.batches([[(paths[2], keys[2])]], workers=1)
    assert np.array_equal(batch[2].views[0].pixels, last[0].views[0].pixels)
    image = load_image(paths[0])
    found = [view.cut(np.random.default_rng(step), image) for step in range(40)]
    assert {one.views[0].pixels.shape for one in found} == {(28, 28, 3)}
    height, width = image.shape[:2]
    for one in found:
        x1, y1, x2, y2 = one.views[0].region
        assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height
        assert 0.2 < (x2 - x1) * (y2 - y1) / (height * width) <= 1
    assert len({one.views[0].region for one in found}) == 40


def test_the_triplet_loss_is_the_one_by_hand() -> None:
    vectors = functional.normalize(torch.randn(9, 4, generator=torch.Generator().manual_seed(0)))
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])
    far = torch.cdist(vectors, vectors)
    hard, semihard = [], []
    for i in range(9):
        own = [j for j in range(9) if labels[j] == labels[i] and j != i]
        other = [j for j in range(9) if labels[j] != labels[i]]
        hard.append(float(0.3 + far[i, own].max() - far[i, other].min()))
        semihard += [
            float(0.3 + far[i, j] - far[i, k])
            for j in own
            for k in other
            if far[i, j] < far[i, k] <= far[i, j] + 0.3
        ]
    for mining, found in (("hard", hard), ("semihard", semihard)):
        wanted = np.mean([value for value in found if value > 0])
        loss = build_loss(FinetuneRecipe(mining=mining))  # type: ignore[arg-type]
        assert loss(vectors, labels).item() == pytest.approx(wanted, abs=1e-5)


def test_the_contrastive_loss_is_the_one_by_hand() -> None:
    vectors = functional.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(1)))
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    odds = torch.exp(vectors @ vectors.T / 0.1)
    found = [
        -torch.log(odds[i, j] / (odds[i, j] + odds[i, labels != labels[i]].sum()))
        for i in range(6)
        for j in range(6)
        if i != j and labels[i] == labels[j]
    ]
    loss = build_loss(FinetuneRecipe(loss="infonce", temperature=0.1))
    assert loss(vectors, labels).item() == pytest.approx(float(torch.stack(found).mean()), abs=1e-4)


def networks(tmp_path: Path) -> list[Any]:
    state = str(save_state(tmp_path, random_state()))
    return [backbone_of(), backbone_of("efficientnet_lite0", weights=state)]


def test_the_stages_together_are_the_network(tmp_path: Path) -> None:
    for backbone in networks(tmp_path):
        prepared = backbone.prepare(np.random.default_rng(0).integers(0, 255, (90, 70, 3), "u1"))
        (pixels,) = backbone.normalized([prepared])
        vector = torch.from_numpy(backbone.describe([prepared])[0].vector)
        for blocks, norms in ((1, "last"), (2, "last"), (1, "all")):
            recipe = FinetuneRecipe(last_blocks=blocks, norms=norms)  # type: ignore[arg-type]
            model = Trained(backbone.staged(), recipe).eval()
            with torch.no_grad():
                found = model(model.frozen(pixels))[0]
            assert torch.allclose(found, functional.normalize(vector, dim=0), atol=1e-5)


def test_only_the_last_blocks_and_what_follows_are_trained(tmp_path: Path) -> None:
    tiny, efficient = networks(tmp_path)
    names = Weights(Trained(tiny.staged(), FinetuneRecipe(last_blocks=1))).named
    assert {name.split("layer.")[-1][:2] for name in names if "layer." in name} == {"1."}
    assert "model.layernorm.weight" in names and not any("embeddings" in name for name in names)
    names = Weights(Trained(efficient.staged(), FinetuneRecipe(last_blocks=2))).named
    assert {name.split(".")[1] for name in names if name.startswith("_blocks")} == {"14", "15"}
    assert {"_conv_head.weight", "_bn1.weight", "_bn1.bias"} <= names.keys()
    tiny = backbone_of()
    names = Weights(Trained(tiny.staged(), FinetuneRecipe(last_blocks=1, norms="all"))).named
    of_first = {name.split("layer.0.")[-1] for name in names if "layer.0." in name}
    assert of_first == {f"norm{n}.{kind}" for n in (1, 2) for kind in ("weight", "bias")}
    with pytest.raises(BadInput, match=r"last_blocks is 3(.|\n)*at most 2"):
        Trained(tiny.staged(), FinetuneRecipe(last_blocks=3))


def test_adapters_add_nothing_at_first_and_become_weights(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    generator = torch.Generator().manual_seed(0)
    backbone, pixels = backbone_of(), torch.randn(2, 3, 56, 56, generator=generator)
    plain = Trained(backbone_of().staged(), FinetuneRecipe(last_blocks=1)).eval()
    model = Trained(backbone.staged(), FinetuneRecipe(last_blocks=1, lora_rank=2)).eval()
    named = Weights(model).named
    assert len(named) == 4 and all("lora_" in name for name in named)
    with torch.no_grad():
        before = plain(plain.frozen(pixels))
        assert torch.allclose(model(model.frozen(pixels)), before, atol=1e-6)
        for value in named.values():
            value.add_(0.1 * torch.randn(value.shape, generator=generator))
        moved = model(model.frozen(pixels))
        assert not torch.allclose(moved, before, atol=1e-3)
        file = backbone.save(merged(model.network), tmp_path / "saved")
        found = Trained(backbone_of(weights=str(file.parent)).staged(), FinetuneRecipe()).eval()
        assert torch.allclose(found(found.frozen(pixels)), moved, atol=1e-5)
    efficient = backbone_of("efficientnet_lite0", weights=str(save_state(tmp_path, random_state())))
    with pytest.raises(BadInput, match="lora_rank is of vision transformers"):
        Trained(efficient.staged(), FinetuneRecipe(lora_rank=2))


def test_a_saved_convolutional_network_is_read_again(tmp_path: Path) -> None:
    backbone = networks(tmp_path)[1]
    network = backbone.staged()
    with torch.no_grad():
        network.layers[15]._bn2.weight.mul_(0.5)
    file = backbone.save(network, tmp_path / "saved")
    again = backbone_of("efficientnet_lite0", weights=str(file.parent))
    assert again.provenance["weights"] != backbone.provenance["weights"]
    assert_same(dict(again.staged().state_dict()), dict(network.state_dict()))


def test_a_run_writes_a_backbone_that_commands_take(tiny_world: TinyWorld, whole: Path) -> None:
    meta = json.loads((whole / "best" / "meta.json").read_text())
    assert meta["backbone"]["backbone"] == "tiny_random" and meta["recipe"]["lr"] == 0.01
    best = max(meta["curve"], key=lambda line: line["map@10"])
    assert (meta["best_epoch"], meta["map@10"]) == (best["epoch"], best["map@10"])
    base, found = backbone_of(), backbone_of(weights=str(whole / "best"))
    assert base.provenance["weights"] != found.provenance["weights"]
    image = load_image(images_of(tiny_world).paths[0])
    a, b = (one.describe([one.prepare(image, None)])[0].vector for one in (base, found))
    assert not np.allclose(a, b, atol=1e-3)
    states = [one.staged().model.state_dict() for one in (base, found)]
    moved = {name for name in states[0] if not torch.equal(states[0][name], states[1][name])}
    assert moved and not any("layer.0." in name or "embeddings" in name for name in moved)


@pytest.mark.parametrize(
    "words, trained",
    [
        (("loss=multi_similarity", "lora_rank=2"), r"layer\.1\.attention\.[qv]_proj\.weight"),
        (("loss=infonce", "norms=all"), r"layer\.1\..*|layernorm.*|layer\.0\.norm.*"),
        (("mining=semihard", "precision=bf16", "warmup=0.5"), r"layer\.1\..*|layernorm.*"),
    ],
)
def test_every_way_of_training_moves_what_it_says(
    words: tuple[str, ...], trained: str, tiny_world: TinyWorld, tmp_path: Path
) -> None:
    if "lora_rank=2" in words:
        pytest.importorskip("peft")
    best = finetuned(tiny_world, tmp_path / "run", "epochs=1", "lr=0.01", *words)
    a, b = (backbone_of(weights=w).staged().model.state_dict() for w in (None, str(best)))
    moved = {name.removeprefix("encoder.") for name in a if not torch.equal(a[name], b[name])}
    assert moved and all(re.fullmatch(trained, name) for name in moved)


def test_the_metric_is_that_of_each_image_among_the_others(
    tiny_world: TinyWorld, whole: Path
) -> None:
    images, meta = images_of(tiny_world), json.loads((whole / "best" / "meta.json").read_text())
    _, val = stratified(images, 0.2, 0)
    for weights, wanted in ((None, "map@10 before"), (str(whole / "best"), "map@10")):
        backbone = backbone_of(weights=weights)
        prepared = [backbone.prepare(load_image(path), None) for path in val.paths]
        vectors = np.stack([backbone.describe([one])[0].vector for one in prepared])
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        found = []
        for query, vector in enumerate(vectors):
            others = np.delete(np.arange(len(vectors)), query)
            order = others[np.argsort(-(vectors[others] @ vector), kind="stable")]
            right = others[val.labels[others] == val.labels[query]]
            found.append(average_precision_at(find_hits(order[None], [right]), 10)[0])
        assert meta[wanted] == pytest.approx(np.mean(found), abs=1e-6)


def test_a_run_that_was_cut_off_ends_like_an_unbroken_one(
    tiny_world: TinyWorld, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = loop.Finetuning._step

    def failing(self: Any, *given: Any) -> Any:
        if self.step == self.per_epoch + 2:
            raise KeyboardInterrupt
        return step(self, *given)

    folder, words = tmp_path / "broken", ("epochs=2", "lr=0.01", "save_every=1")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop.Finetuning, "_step", failing)
        finetuned(tiny_world, folder, *words)
    finetuned(tiny_world, folder, *words)
    a, b = (torch.load(one / "last.pt", weights_only=True) for one in (folder, whole))
    assert_same({**a, "log_bytes": 0}, {**b, "log_bytes": 0})
    for name in ("model.safetensors", "meta.json"):
        assert (folder / "best" / name).read_bytes() == (whole / "best" / name).read_bytes()
    with pytest.raises(BadInput, match="lr: 0.01 there, 0.02 here"):
        finetuned(tiny_world, folder, "epochs=2", "lr=0.02")


def test_kept_features_give_the_weights_of_those_computed_anew(
    tiny_world: TinyWorld, tmp_path: Path
) -> None:
    for name, room in (("kept", 1.0), ("anew", 0.0)):
        words = "epochs=1", "augment=false", f"cache_gib={room}", "split=classes"
        finetuned(tiny_world, tmp_path / name, *words)
    a, b = (torch.load(tmp_path / n / "last.pt", weights_only=True) for n in ("kept", "anew"))
    assert_same(a["state"], b["state"])


def test_a_run_stops_when_nothing_is_gained(tiny_world: TinyWorld, tmp_path: Path) -> None:
    best = finetuned(tiny_world, tmp_path / "run", "epochs=9", "lr=1e-12", "patience=1")
    meta = json.loads((best / "meta.json").read_text())
    assert meta["best_epoch"] == 1 and meta["map@10"] == pytest.approx(meta["map@10 before"])
    lines = (tmp_path / "run" / "epochs.jsonl").read_text().splitlines()
    assert len(lines) == 2


def test_images_that_cannot_be_read_are_never_trained_on(
    tiny_world: TinyWorld, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "synthetic-train"
    shutil.copytree(tiny_world.folder("synthetic-train"), folder)
    images = read_labelled([folder / "train.txt"], folder)
    images.paths[4].write_bytes(b"no image")
    with pytest.raises(BadInput, match=images.names[4]):
        readable(images, 1, "error")
    kept = readable(images, 1, "skip")
    assert set(images.names) - set(kept.names) == {images.names[4]}
    assert images.names[4] in caplog.text
    assert "cannot be decoded" in str(RandomView(28, "area", 0)((images.paths[4], (0,))))


def test_a_loss_that_is_not_finite_stops_the_run(
    tiny_world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetune, "build_loss", lambda recipe: lambda v, labels: v.sum() * np.nan)
    with pytest.raises(BadInput, match=r"the loss is not finite at step 0(.|\n)*the batch of"):
        finetuned(tiny_world, tmp_path / "run")


def test_what_cannot_be_trained_is_refused(tiny_world: TinyWorld, tmp_path: Path) -> None:
    for wrong, said in (
        ("image_size=57", "image_size is 57"),
        ("batch_size=3", "batch_size is 3"),
        ("backbone.arguments.facet=key", "cannot be fine-tuned"),
        ("last_blocks=3", "last_blocks is 3"),
        ("val_share=0.7", "val_share is 0.7"),
    ):
        with pytest.raises((BadInput, ConfigError), match=said):
            finetuned(tiny_world, tmp_path / "no", wrong)
    assert not (tmp_path / "no").exists()


def test_class_folders_are_trained_on_by_one_command(
    tiny_world: TinyWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = images_of(tiny_world)
    for path, label in zip(images.paths, images.labels.tolist(), strict=True):
        if path != images.paths[-1] or label:
            (tmp_path / "photos" / f"c{label}").mkdir(parents=True, exist_ok=True)
            shutil.copy(path, tmp_path / "photos" / f"c{label}")
    (tmp_path / "photos" / "alone").mkdir()
    shutil.copy(images.paths[0], tmp_path / "photos" / "alone" / "other.jpg")
    words = [f"data_root={tmp_path / 'data'}", f"images={tmp_path / 'photos'}", "labels=folders"]
    words += [*WORDS, "name=mine", "backbone=tiny_random", "epochs=1", "device=cpu", "workers=1"]
    assert main_of("finetune")([*words, f"output_dir={tmp_path / 'run'}"]) == 0
    said = capsys.readouterr().out
    assert "1 images are the only one of their class: left out of training" in said
    assert "map@10 on" in said and "backbone.arguments.weights=" in said
    assert (tmp_path / "run" / "best" / "model.safetensors").is_file()


def test_the_documented_lines_describe_an_image(
    tiny_world: TinyWorld, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = block_with("tuned", "finetuning.md")
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    image = images_of(tiny_world).paths[0]
    exec(compile(code, "finetuning.md", "exec"), {"folder": str(whole / "best"), "image": image})
    assert capsys.readouterr().out == "(32,)\n"


def test_the_vectors_of_a_fine_tuned_backbone_are_found_by_the_next_command(
    tiny_world: TinyWorld, whole: Path, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    shutil.copytree(tiny_world.folder(), root / "synthetic")
    given = ["dataset=synthetic", f"data_root={root}", "desc_name=tuned"]
    words = [*given, "backbone=tiny_random", f"backbone.arguments.weights={whole / 'best'}"]
    words += ["global=cls", "flip=true", "device=cpu", "workers=1"]
    assert main_of("extract_globals")(words) == 0
    assert main_of("prepare_topk_global")([*given, "global=cls", "device=cpu"]) == 0
    assert main_of("extract_globals")([*words, "source=store"]) == 1
    assert main_of("extract_globals")([*words, "global=gem", "source=network"]) == 1


@pytest.mark.slow
def test_two_processes_learn_what_one_does(
    tiny_world: TinyWorld, whole: Path, tmp_path: Path
) -> None:
    words = ["finetune", *words_of(tiny_world, tmp_path / "two", "epochs=2", "lr=0.01")]
    commands = [[str(free_port()), *words]]
    both = [start(rank, 2, commands) for rank in range(2)]
    said = "".join(str(one) for process in both for one in process.communicate(timeout=300))
    assert [process.returncode for process in both] == [0, 0], said
    logs = [(folder / "log.jsonl").read_text().splitlines() for folder in (whole, tmp_path / "two")]
    losses = [[json.loads(line)["loss"] for line in lines] for lines in logs]
    np.testing.assert_allclose(losses[1][:4], losses[0][:4], rtol=1e-4)
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.1)


@pytest.mark.parametrize("name", ["sift", "cvnet", "dinov3_vits16"])
def test_a_backbone_that_cannot_be_trained_is_refused_before_its_weights_are_asked_for(
    name: str,
) -> None:
    with pytest.raises(BadInput, match="no feature maps|cannot be fine-tuned"):
        require_maps(build_backbone(name)).staged()
