"""scripts/train.py as a user gives it: recipes, teachers, own folders, going on, bad input."""

from __future__ import annotations

import errno
import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from ames_lite.cli import prepare_topk_global, train
from ames_lite.cli.compose import compose
from ames_lite.datasets.image_lists import read_image_list
from ames_lite.errors import BadInput, ConfigError, MissingFile
from ames_lite.io.checkpoint import HeadMeta, load_head, save_head
from ames_lite.models import AMES, ELViS
from ames_lite.records import Neighbors
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.fitted import write_binarization
from ames_lite.stores.neighbor_lists import read_neighbors, write_neighbors
from ames_lite.stores.row_layout import FAILED
from ames_lite.training.dataset import sample_descriptors
from ames_lite.training.recipe import Recipe
from ames_lite.training.state import Watch
from ames_lite.training.trainer import Trainer
from tests.conftest import TinyWorld
from tests.helpers import copy_small, main_of
from tests.stores.files import rewritten

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["dataset=synthetic-train", "desc_name=sift", "device=cpu", "max_count=12", "epochs=1"]
SMALL += ["min_count=4", "batch_size=24", "batch_unit=triplets", "min_each=2"]
AMES_SMALL = ["model.arguments.dim=16", "model.arguments.dim_feedforward=16"]
AMES_SMALL += ["model.arguments.num_layers=2"]
RECIPES = {
    "ames_fp": AMES_SMALL,
    "ames_binary": AMES_SMALL,
    "ames_binary_distilled": AMES_SMALL,
    "elvis": ["model.arguments.dim=16", "min_count=8"],
}


def words(world: TinyWorld, folder: Path, *more: str) -> list[str]:
    return [*SMALL, f"data_root={world.root}", f"output_dir={folder}", *more]


def trained(world: TinyWorld, folder: Path, *more: str) -> Path:
    return train.run(compose("train", words(world, folder, *more)))


@pytest.fixture(scope="module")
def teacher(tiny_world: TinyWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher") / "run"
    return trained(tiny_world, folder, "experiment=ames_fp", *AMES_SMALL)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains_a_head_that_loads(
    name: str, teacher: Path, tiny_world: TinyWorld, tmp_path: Path
) -> None:
    given = [f"experiment={name}", *RECIPES[name]]
    if name == "ames_binary_distilled":
        given.append(f"teacher={teacher}")
    folder = trained(tiny_world, tmp_path / "run", *given)
    head, meta = load_head(folder)
    assert head.arguments.get("binary", False) == ("binary" in name)
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert ("distance" in lines[0]) == ("distilled" in name)
    assert all(np.isfinite(line["loss"]) for line in lines)
    assert meta.provenance["recipe"]["warmup"] == (0.1 if name == "elvis" else 0.0)


def test_the_published_recipes_are_those_of_the_papers() -> None:
    expected = {
        "ames_fp": {"binary": False},
        "ames_binary": {"binary": True},
        "elvis": {"min_count": 100, "warmup": 0.1, "count_padding": True},
    }
    for name, wanted in expected.items():
        config = compose("train", [f"experiment={name}"])
        recipe = train.recipe_of(config)
        common = (recipe.epochs, recipe.batch_size, recipe.lr, recipe.weight_decay, recipe.depth)
        assert common == (10, 200, 5e-4, 5e-4, 300) and recipe.max_count == 400
        assert (recipe.beta, recipe.min_each, config.val_dataset) == (10.0, 5, "gldv2-val")
        assert (recipe.warmup_form, recipe.draw_max_count) == ("published", False)
        assert (config.start, recipe.distill_padding) == ("published", True)
        found = {**config.model.arguments, **vars(recipe)}
        assert {key: found[key] for key in wanted} == wanted
        assert name == "elvis" or (recipe.min_count, recipe.warmup) == (10, 0.0)
    assert recipe == Recipe(min_count=100, warmup=0.1)  # the defaults are those of AMES


def test_the_recipes_of_the_shipped_heads_keep_their_settings() -> None:
    for name in ("ames", "elvis"):
        config = compose("train", [f"experiment=sift_release_{name}"])
        meta = json.loads((ROOT / "weights" / f"sift_{name}" / "meta.json").read_text())
        recipe, made = asdict(train.recipe_of(config)), meta["provenance"]["recipe"]
        assert {key: recipe[key] for key in made} == made
        assert (config.start, recipe["warmup_form"]) == ("matches", "from_zero")
        arguments = config.model.arguments
        assert {key: meta["arguments"][key] for key in arguments} == arguments
        assert recipe["draw_max_count"] or recipe["min_count"] == recipe["max_count"]


@pytest.mark.parametrize(("size", "triplets"), [(600, 200), (300, 100), (3, 1)])
def test_a_batch_size_can_count_images(size: int, triplets: int) -> None:
    given = compose("train", [f"batch_size={size}", "batch_unit=images"])
    same = compose("train", [f"batch_size={triplets}", "batch_unit=triplets"])
    assert train.recipe_of(given) == train.recipe_of(same)


@pytest.mark.parametrize("size", [200, 2])
def test_images_that_make_no_whole_triplets_are_refused(size: int) -> None:
    with pytest.raises(ConfigError, match="(?s)batch_unit=images.*a multiple of 3") as error:
        train.recipe_of(compose("train", [f"batch_size={size}", "batch_unit=images"]))
    remedy = re.search(r"batch_size=\d+ batch_unit=images", str(error.value).split("remedy")[-1])
    assert remedy is not None
    assert train.recipe_of(compose("train", remedy[0].split())).batch_size >= 1


@pytest.mark.parametrize("size", [0, -3])
def test_numbers_that_no_recipe_has_are_refused(size: int) -> None:
    with pytest.raises(BadInput, match=f"(?s)batch_size is {size}.*at least 1"):
        compose("train", [f"batch_size={size}"])


def test_a_distilled_recipe_asks_for_its_teacher(tiny_world: TinyWorld, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="teacher= is not given"):
        trained(tiny_world, tmp_path / "run", "experiment=ames_binary_distilled")
    assert not (tmp_path / "run").exists()


def test_a_teacher_that_does_not_fit_is_refused(tiny_world: TinyWorld, tmp_path: Path) -> None:
    given = ["experiment=ames_binary_distilled", *AMES_SMALL]
    for dim_in, dim, message in ((64, 16, "descriptors of width 64"), (128, 32, "width 32")):
        other = AMES(dim_in=dim_in, dim=dim, num_layers=1, dim_feedforward=8)
        save_head(tmp_path / f"{dim}", other, HeadMeta())
        with pytest.raises(BadInput, match=message):
            trained(tiny_world, tmp_path / "run", *given, f"teacher={tmp_path / str(dim)}")
    with pytest.raises(MissingFile):
        trained(tiny_world, tmp_path / "run", *given, f"teacher={tmp_path / 'nowhere'}")


def test_a_head_of_another_kind_teaches_probabilities(
    tiny_world: TinyWorld, tmp_path: Path
) -> None:
    save_head(tmp_path / "elvis", ELViS(dim_in=128, dim=16), HeadMeta())
    given = [*AMES_SMALL, f"teacher={tmp_path / 'elvis'}", "rotate=0.5"]
    with pytest.raises(BadInput, match=r"(?s)ELViS cannot teach AMES its tokens.*soft_targets=1.0"):
        trained(tiny_world, tmp_path / "run", *given)
    with pytest.raises(BadInput, match="would learn nothing"):
        trained(tiny_world, tmp_path / "run", *given, "beta=0.0")
    folder = trained(tiny_world, tmp_path / "run", *given, "beta=0.0", "soft_targets=1.0")
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert all(np.isfinite(line["loss"]) and "distance" not in line for line in lines)
    assert load_head(folder)[1].provenance["recipe"]["soft_targets"] == 1.0


def test_a_binary_head_starts_from_a_projection(tiny_world: TinyWorld, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    projection = np.linalg.qr(rng.standard_normal((128, 16)))[0].astype(np.float32)
    path = write_binarization(tmp_path / "itq.npz", projection, {})
    given = ["experiment=ames_binary", *AMES_SMALL, f"binarization={path}", "lr=1e-12"]
    folder = trained(tiny_world, tmp_path / "given", *given)
    start = load_head(folder)[0].state_dict()["remap_local.0.W"]
    assert torch.allclose(start, torch.from_numpy(projection), atol=1e-6)
    wrong = write_binarization(tmp_path / "wrong.npz", projection[:64], {})
    with pytest.raises(ConfigError, match=r"the projection is \[64, 16\]"):
        trained(tiny_world, tmp_path / "no", *given, f"binarization={wrong}")
    folder = trained(tiny_world, tmp_path / "fitted", *given[:-2], "lr=1e-12")
    fitted = load_head(folder)[0].state_dict()["remap_local.0.W"]
    assert torch.allclose(fitted.T @ fitted, torch.eye(16), atol=1e-4)  # ITQ: orthonormal


def test_without_output_dir_the_newest_unfinished_run_goes_on(
    tiny_world: TinyWorld,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [w for w in words(tiny_world, tmp_path, *AMES_SMALL) if not w.startswith("output_dir")]
    given.append("save_every=1")
    finish = Trainer.finish_epoch

    def killed(self: Trainer, watch: Watch) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "finish_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        train.run(compose("train", given))
    monkeypatch.setattr(Trainer, "finish_epoch", finish)
    (first,) = Path("runs").iterdir()
    other = train.run(compose("train", [*given, "lr=0.001", "output_dir=other"]))
    assert other == Path("other")
    old = first.with_name(f"{first.name}-old")
    shutil.copytree(first, old)
    (old / "config.yaml").rename(old / "config.json")
    again = train.run(compose("train", given))
    assert again == first and (first / "weights.safetensors").is_file()
    assert f"not resumed: {old}, which an older version began" in capsys.readouterr().out
    (first / "last.pt").touch()
    third = train.run(compose("train", given))  # the first is finished
    assert third != first


def test_resume_never_and_foreign_folders_are_refused(
    teacher: Path, tiny_world: TinyWorld, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(teacher, folder)
    given = ["experiment=ames_fp", *AMES_SMALL]
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert trained(tiny_world, folder, *given) == folder  # nothing left to do
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before
    with pytest.raises(BadInput, match=r"lr: 0.0005 there, 0.1 here"):
        trained(tiny_world, folder, *given, "lr=0.1")
    with pytest.raises(BadInput, match="the run has ended"):
        trained(tiny_world, folder, *given, "resume=never")
    with pytest.raises(ConfigError, match="auto or never"):
        trained(tiny_world, folder, *given, "resume=always")
    (folder / "mine.txt").touch()
    with pytest.raises(BadInput, match="holds mine.txt"):
        trained(tiny_world, folder, *given)


def test_published_lists_train_as_native_ones_do(tiny_world: TinyWorld, tmp_path: Path) -> None:
    root = tiny_world.folder("synthetic-train")
    names = read_image_list(root / "train.txt").names
    lists = read_neighbors(root / "nn_sift_vlad.hdf5", names, names)
    path = write_neighbors(tmp_path / "nn_sift.pkl", lists, names, names, {})
    a = trained(tiny_world, tmp_path / "native", *AMES_SMALL)
    b = trained(tiny_world, tmp_path / "published", *AMES_SMALL, f"neighbors={path}")
    files = [(folder / "weights.safetensors").read_bytes() for folder in (a, b)]
    assert files[0] == files[1]


def test_the_published_pickle_is_rewritten_by_the_command(
    tiny_world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "synthetic-train"
    folder.mkdir()
    root = tiny_world.folder("synthetic-train")
    shutil.copy(root / "train.txt", folder)
    names = read_image_list(root / "train.txt").names
    lists = read_neighbors(root / "nn_sift_vlad.hdf5", names, names)
    path = write_neighbors(tmp_path / "nn.pkl", lists, names, names, {})
    given = ["dataset=synthetic-train", "desc_name=sift", f"data_root={tmp_path}"]
    given += ["self_search=true", f"lists={path}"]
    prepare_topk_global.run(compose("prepare_topk_global", [*given, "keep=20"]))
    found = read_neighbors(folder / "nn_sift_vlad.hdf5", names, names)
    np.testing.assert_array_equal(found.ids, lists.ids[:, :20])
    with pytest.raises(BadInput, match="keep is 0"):
        prepare_topk_global.run(
            compose("prepare_topk_global", [*given, "keep=0", "overwrite=true"])
        )


def class_folders(world: TinyWorld, folder: Path) -> Path:
    """Some of the training world as class folders, and two pictures that show nothing of it.

    So few that no processes are started to prepare them.
    """
    source = world.folder("synthetic-train")
    images = read_image_list(source / "train.txt")
    assert images.labels is not None
    for name, label in zip(images.names[:28], images.labels[:28], strict=True):
        copy_small(source / name, folder / f"landmark, {label}" / Path(name).name)
    for name in images.names[:2]:
        copy_small(source / name, folder / "distractor" / f"x{Path(name).name}")
    return folder


def test_class_folders_are_trained_on_by_one_command(
    tiny_world: TinyWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = class_folders(tiny_world, tmp_path / "my pictures")
    given = ["experiment=own", "name=mine", "labels=folders", f"data_root={tmp_path / 'data'}"]
    given += ["epochs=1", "max_count=12", "device=cpu", f"output_dir={tmp_path / 'run'}"]
    given += ["model.arguments.dim=32", f"images='{images}'"]
    assert main_of("train")(given) == 0
    said = capsys.readouterr().out
    for name in ("extract_descriptors", "build_vocabulary", "extract_globals", "prepare_topk"):
        assert f"prepare: ames {name}" in said
    assert "2 are the only image of their label" in said
    assert load_head(tmp_path / "run")
    listed = read_image_list(tmp_path / "data" / "mine" / "train.txt")
    assert listed.labels is not None and len(listed) == 30
    alone = [i for i, name in enumerate(listed.names) if name.startswith("distractor")]
    assert all((listed.labels == listed.labels[i]).sum() == 1 for i in alone)
    again = [w for w in given if not w.startswith("output_dir")]
    assert main_of("train")([*again, f"output_dir={tmp_path / 'again'}"]) == 0
    assert "prepare: ames " not in capsys.readouterr().out  # all of it is there
    files = [(tmp_path / run / "weights.safetensors").read_bytes() for run in ("run", "again")]
    assert files[0] == files[1]
    (images / "landmark, 0" / "one more.jpg").write_bytes(b"")
    assert main_of("train")([*again, f"output_dir={tmp_path / 'no'}"]) == 1
    assert "images changed since the lists were made" in capsys.readouterr().err


def test_an_unreadable_image_is_left_out_every_time(
    tiny_world: TinyWorld, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = class_folders(tiny_world, tmp_path / "pictures")
    folder = next(path for path in sorted(images.iterdir()) if "landmark" in path.name)
    (folder / "broken.jpg").write_bytes(b"no picture")
    given = ["experiment=own", "name=mine", "labels=folders", f"data_root={tmp_path / 'data'}"]
    given += ["epochs=1", "max_count=12", "device=cpu", f"images='{images}'"]
    given += ["model.arguments.dim=32", "model.arguments.num_layers=2"]
    weights = []
    for run in ("first", "second"):
        caplog.clear()
        folder = train.run(compose("train", [*given, f"output_dir={tmp_path / run}"]))
        assert "1 of 31 images are left out of training: 1 failed" in caplog.text
        assert "/broken.jpg)" in caplog.text
        weights.append((folder / "weights.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_failed_images_are_in_no_triplet_and_no_sample(
    tiny_world: TinyWorld, tmp_path: Path
) -> None:
    root = copied(tiny_world, tmp_path)
    found = {"list": root / "train.txt", "store": root / "sift_local.hdf5"}
    found["neighbors"] = root / "nn_sift_vlad.hdf5"
    with rewritten(found["store"]) as file:
        file["status"][::4], file["count"][::4] = FAILED, 0
        file["count"][1] = 0  # a plain wall
    store, sampler = train.open_training_set(found, Recipe(min_each=1, batch_size=8))
    drawn = np.concatenate([np.concatenate(sampler.batch(0, n)) for n in range(len(sampler))])
    assert len(drawn) and (drawn % 4 != 0).all() and (drawn != 1).all()
    assert len(sample_descriptors(store, 0, 10)) == 10 * 60
    store.close()
    with rewritten(found["store"]) as file:
        file["count"][:] = 0
    with pytest.raises(BadInput, match="none of its 84 images has a descriptor"):
        sample_descriptors(DescriptorStore.open(found["store"]), 0)


def copied(world: TinyWorld, root: Path) -> Path:
    folder = root / "synthetic-train"
    folder.mkdir(parents=True)
    for name in ("train.txt", "sift_local.hdf5", "nn_sift_vlad.hdf5"):
        shutil.copy(world.folder("synthetic-train") / name, folder)
    return folder


def with_lines(path: Path, change: object) -> None:
    path.write_text("".join(f"{line}\n" for line in change(path.read_text().splitlines())))  # type: ignore[operator]


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda lines: lines[:-1], "83 names and the store 84"),
        (lambda lines: [lines[1], lines[0], *lines[2:]], "another order"),
        (lambda lines: [line.split(",")[0] for line in lines], "no labels"),
        (lambda lines: [f"{line.split(',')[0]},{i}" for i, line in enumerate(lines)], "84 are the"),
    ],
)
def test_lists_that_do_not_fit_are_refused_before_a_run_begins(
    change: object, message: str, tiny_world: TinyWorld, tmp_path: Path
) -> None:
    folder = copied(tiny_world, tmp_path / "data")
    with_lines(folder / "train.txt", change)
    given = [*SMALL, *AMES_SMALL, f"data_root={tmp_path / 'data'}", f"output_dir={tmp_path / 'r'}"]
    with pytest.raises(BadInput, match=message):
        train.run(compose("train", given))
    assert not (tmp_path / "r").exists()


def test_neighbours_of_other_images_are_refused_before_a_run_begins(
    tiny_world: TinyWorld, tmp_path: Path
) -> None:
    root = tiny_world.folder("synthetic-train")
    names = read_image_list(root / "train.txt").names
    lists = read_neighbors(root / "nn_sift_vlad.hdf5", names, names)
    fewer = tuple(names[:60])
    ids = np.stack([np.random.default_rng(row).permutation(60)[:40] for row in range(60)])
    short = Neighbors(ids.astype(np.int32), lists.sims[:60, :40], 60)
    for form in ("hdf5", "pkl"):
        path = write_neighbors(tmp_path / f"nn.{form}", short, fewer, fewer, {})
        with pytest.raises(BadInput, match="60"):
            trained(tiny_world, tmp_path / "run", *AMES_SMALL, f"neighbors={path}")
    assert not (tmp_path / "run").exists()


def test_a_full_disk_leaves_the_last_state_and_the_run_goes_on_from_it(
    tiny_world: TinyWorld,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The disk is full from the third state on, in the middle of writing it."""
    given = words(tiny_world, tmp_path / "run", *AMES_SMALL, "save_every=1", "batch_size=16")
    whole = [w for w in given if not w.startswith("output_dir")]
    assert main_of("train")([*whole, f"output_dir={tmp_path / 'whole'}"]) == 0
    write, states = Path.write_bytes, []

    def full(self: Path, content: bytes) -> int:
        if self.name.startswith(".last.pt"):
            states.append(self)
            if len(states) >= 3:
                write(self, bytes(content)[: len(content) // 2])
                raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    capsys.readouterr()
    assert main_of("train")(given) == 1
    said = capsys.readouterr().err
    assert "No space left on device" in said and "last.pt" in said and "free space" in said
    assert "Traceback" not in said
    left = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    assert left["step"] == 2 and not list((tmp_path / "run").glob(".*.partial"))
    monkeypatch.setattr(Path, "write_bytes", write)
    assert main_of("train")(given) == 0
    files = [(tmp_path / run / "weights.safetensors").read_bytes() for run in ("run", "whole")]
    assert files[0] == files[1]


def _relabelled(row: int, line: str) -> str:
    """The first five images get labels of their own."""
    name, label, *size = line.split(",")
    return ",".join([name, str(900 + row) if row < 5 else label, *size])


def test_labels_without_partners_are_counted_and_left_out(
    tiny_world: TinyWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(tiny_world, tmp_path / "data")
    path = folder / "train.txt"
    with_lines(path, lambda lines: [_relabelled(i, line) for i, line in enumerate(lines)])
    given = [*SMALL, *AMES_SMALL, f"data_root={tmp_path / 'data'}", f"output_dir={tmp_path / 'r'}"]
    train.run(compose("train", given))
    said = capsys.readouterr().out
    found = re.search(r"(\d+) of 84 images are anchors \((\d+) are the only image", said)
    assert found is not None and int(found[2]) == 5 and int(found[1]) <= 79


def test_validation_is_on_a_set_that_is_not_reported(tiny_world: TinyWorld, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="role 'test'"):
        trained(tiny_world, tmp_path / "run", *AMES_SMALL, "val_dataset=synthetic")
    with pytest.raises(ConfigError, match="there is no dataset"):
        trained(tiny_world, tmp_path / "run", *AMES_SMALL, "val_dataset=nowhere")
    folder = trained(
        *(tiny_world, tmp_path / "run", *AMES_SMALL, "val_dataset=synthetic-val"),
        "val_num_rerank=5",
    )
    _, meta = load_head(folder / "best")
    assert meta.provenance["tuned_on"] == "synthetic-val" and meta.lamb is not None


@pytest.mark.parametrize(
    "wrong, message",
    [
        ("start=itq", "(?s)start=itq.*one of published, random, correspondences, matches"),
        ("binarization=x.npz", r"(?s)binarization= is given.*model\.arguments\.binary=true"),
        ("batch_unit=pairs", "(?s)batch_unit=pairs.*images or triplets"),
        ("images=somewhere", "brings its own"),
        ("accumulate=0", "accumulate is 0"),
        ("accumulate=999", "accumulate is 999"),
        ("batch_size=0", "batch_size is 0"),
        ("save_every=0", "save_every is 0"),
        ("prefetch=-1", "prefetch is -1"),
        ("precision=fp16", "fp16"),
        ("beta=-1.0", "beta"),
        ("soft_targets=1.5", r"(?s)soft_targets is 1.5.*in \[0, 1\]"),
        ("soft_targets=0.5", "there is no teacher"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    wrong: str, message: str, tiny_world: TinyWorld, tmp_path: Path
) -> None:
    with pytest.raises((BadInput, ConfigError), match=message):
        trained(tiny_world, tmp_path / "run", *AMES_SMALL, wrong)


def test_a_missing_validation_set_is_in_the_one_message(tmp_path: Path) -> None:
    with pytest.raises(MissingFile) as error:
        train.run(compose("train", [f"data_root={tmp_path}"]))
    said = str(error.value)
    for name in ("gldv2/train.txt", "dinov2_local.hdf5", "gldv2-val", "gnd_gldv2-test.pkl"):
        assert name in said
    assert "val_dataset=null trains without" in said
    assert not list(tmp_path.iterdir())
