"""The stage: one interface for sift and networks, bad images, shards, bits, and continuing."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ames_lite.cli import extract_descriptors as extract_descriptors_command
from ames_lite.cli.compose import compose
from ames_lite.errors import BadInput, ConfigError, MissingFile
from ames_lite.extraction.backbones.interface import Backbone, Described
from ames_lite.extraction.backbones.sift import Sift
from ames_lite.extraction.batches import WINDOW
from ames_lite.extraction.descriptors import extract_descriptors
from ames_lite.io.images import save_jpeg
from ames_lite.io.resizing import Preparation, Prepared
from ames_lite.records import LocalDescriptors
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.merging import Shard
from tests.helpers import forked
from tests.stores.files import read_globals


class Mean:
    """A network of a kind, without weights: the mean colour of every patch, by batches."""

    dim, global_kind, global_dim = 3, "cls", 5

    def __init__(
        self, batch_pixels: int = 0, stop_at: int | None = None, kill: bool = False
    ) -> None:
        self.batch_pixels, self.left, self.kill = batch_pixels, stop_at, kill
        self.prepare = Preparation(image_size=56)

    @property
    def provenance(self) -> dict[str, Any]:
        return {"backbone": "mean", "variant": "", "detector": "", "top_k": 9, "precision": "fp32"}

    def describe(self, batch: Sequence[Prepared]) -> list[Described]:
        if self.left is not None:
            self.left -= len(batch)
            if self.left < 0 and self.kill:
                os.kill(os.getpid(), signal.SIGKILL)
            if self.left < 0:
                raise KeyboardInterrupt
        local = [self._one(prepared, len(batch)) for prepared in batch]
        return [Described(one, np.full(5, one.descriptors.sum())) for one in local]

    def extract(self, image: np.ndarray, box: Any = None) -> LocalDescriptors:
        return self.describe([self.prepare(image, box)])[0].local

    def _one(self, prepared: Prepared, together: int) -> LocalDescriptors:
        pixels = prepared.views[0].pixels
        rows, columns = pixels.shape[0] // 14, pixels.shape[1] // 14
        means = pixels.reshape(rows, 14, columns, 14, 3).mean(axis=(1, 3)).reshape(-1, 3)[:9]
        means = (means + together).astype(np.float32)  # what a batch does to the last bits
        count = len(means)
        return LocalDescriptors(
            means,
            np.zeros((count, 2), np.float32),
            np.zeros(count, np.uint8),
            np.ones(count, np.float32),
            prepared.size,
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 images of two shapes; 7.jpg is no image, 11.jpg is missing."""
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for number in range(40):
        shape = (40, 60, 3) if rng.random() < 0.5 else (60, 40, 3)
        save_jpeg(root / f"{number}.jpg", rng.integers(0, 255, shape).astype(np.uint8), 90)
    (root / "7.jpg").write_text("no image")
    (root / "11.jpg").unlink()
    return root


NAMES = [f"{number}.jpg" for number in range(40)]


def run(backbone: Backbone, folder: Path, output: Path, **more: Any) -> Path:
    given = {"on_bad_image": "skip", **more}
    return extract_descriptors(backbone, folder, NAMES, local=output, **given)[0]


@pytest.mark.parametrize("batch_pixels", [0, 9000])
@pytest.mark.parametrize("stop_at", [3, 20, 33])
def test_a_run_that_is_continued_equals_an_unbroken_one(
    batch_pixels: int, stop_at: int, folder: Path, tmp_path: Path
) -> None:
    whole = run(Mean(batch_pixels), folder, tmp_path / "whole.hdf5")
    with pytest.raises(KeyboardInterrupt):
        run(Mean(batch_pixels, stop_at), folder, tmp_path / "parts.hdf5")
    parts = run(Mean(batch_pixels), folder, tmp_path / "parts.hdf5")
    assert parts.read_bytes() == whole.read_bytes()
    assert len(NAMES) > WINDOW


@pytest.mark.parametrize("batch_pixels, stop_at", [(0, 1), (0, 17), (9000, 5), (9000, 36)])
def test_a_killed_run_that_is_continued_equals_an_unbroken_one(
    batch_pixels: int, stop_at: int, folder: Path, tmp_path: Path
) -> None:
    killed = tmp_path / "killed"
    ended = forked(lambda: both(Mean(batch_pixels, stop_at, kill=True), folder, killed))
    assert ended == -signal.SIGKILL
    ours = both(Mean(batch_pixels), folder, killed)
    whole = both(Mean(batch_pixels), folder, tmp_path / "whole")
    assert [path.read_bytes() for path in ours] == [path.read_bytes() for path in whole]


def test_bad_images_keep_their_rows_and_are_named_also_by_a_later_run(
    folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "a.hdf5"
    for _ in range(2):  # the second run finds all rows finished
        with pytest.raises(BadInput, match="2 of 40 images failed") as caught:
            run(Mean(), folder, output, on_bad_image="error")
        assert "7.jpg" in str(caught.value) and "11.jpg" in str(caught.value)
    store = DescriptorStore.open(output)
    assert store.names == tuple(NAMES)
    assert np.flatnonzero(store.status == 2).tolist() == [7, 11]
    assert store.provenance["precision"] == "fp32, float16 store"
    store.close()
    assert run(Mean(), folder, output) == output


def test_workers_and_batches_change_no_row_of_sift(folder: Path, tmp_path: Path) -> None:
    one = run(Sift(top_k=20), folder, tmp_path / "one.hdf5")
    two = run(Sift(top_k=20), folder, tmp_path / "two.hdf5", workers=2)
    assert one.read_bytes() == two.read_bytes()


def test_a_shard_holds_its_rows(folder: Path, tmp_path: Path) -> None:
    whole = DescriptorStore.open(run(Mean(), folder, tmp_path / "a.hdf5"))
    part = DescriptorStore.open(run(Mean(), folder, tmp_path / "a.hdf5", shard=Shard(2, 3)))
    assert part.path != whole.path and part.names == whole.names[13:26]
    for row in range(13):
        assert np.array_equal(part.read(row).descriptors, whole.read(13 + row).descriptors)


def test_a_crop_is_described_in_place_of_the_whole(folder: Path, tmp_path: Path) -> None:
    boxes = [(0.0, 0.0, 20.0, 20.0)] * 40
    store = DescriptorStore.open(run(Mean(), folder, tmp_path / "a.hdf5", boxes=boxes))
    assert store.provenance["crop"] is True and store.read(0).size in ((40, 60), (60, 40))
    assert store.read(0).count < Mean().extract(np.zeros((40, 60, 3), np.uint8)).count
    run(Mean(), folder, tmp_path / "a.hdf5", boxes=boxes)
    with pytest.raises(BadInput, match="boxes is"):  # of another ground truth
        run(Mean(), folder, tmp_path / "a.hdf5", boxes=[*boxes[1:], (0.0, 0.0, 20.0, 21.0)])


def both(backbone: Backbone, folder: Path, root: Path, **more: Any) -> tuple[Path, Path]:
    """Local descriptors and vectors from one pass."""
    given = {"on_bad_image": "skip", "vectors": root / "cls.hdf5", **more}
    local, vectors = extract_descriptors(
        backbone, folder, NAMES, local=root / "local.hdf5", **given
    )
    return local, vectors


@pytest.mark.parametrize("stop_at", [3, 33])
def test_vectors_come_from_the_same_pass_and_continue_with_it(
    stop_at: int, folder: Path, tmp_path: Path
) -> None:
    whole = both(Mean(9000), folder, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        both(Mean(9000, stop_at), folder, tmp_path / "parts")
    with pytest.raises(BadInput, match="not complete"):
        read_globals(tmp_path / "parts" / "cls.hdf5")
    parts = both(Mean(9000), folder, tmp_path / "parts")
    assert [path.read_bytes() for path in parts] == [path.read_bytes() for path in whole]
    names, vectors, provenance = read_globals(whole[1])
    assert names == tuple(NAMES) and np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert provenance["global"] == "cls" and "top_k" not in provenance


def test_a_file_that_was_left_behind_catches_up(folder: Path, tmp_path: Path) -> None:
    """Vectors are asked for when the local descriptors stand already, complete or half-way."""
    whole = both(Mean(), folder, tmp_path / "whole")
    run(Mean(), folder, tmp_path / "late" / "local.hdf5")
    late = both(Mean(), folder, tmp_path / "late")
    with pytest.raises(KeyboardInterrupt):
        run(Mean(stop_at=9), folder, tmp_path / "half" / "local.hdf5")
    half = both(Mean(), folder, tmp_path / "half")
    for parts in (late, half):
        assert [path.read_bytes() for path in parts] == [path.read_bytes() for path in whole]


def test_an_image_that_failed_keeps_its_row_in_both_files(folder: Path, tmp_path: Path) -> None:
    local, vectors = both(Mean(), folder, tmp_path)
    with h5py.File(vectors) as file:
        assert np.flatnonzero(file["status"][:] == 2).tolist() == [7, 11]
        assert np.allclose(file["descriptors"][7], 5**-0.5)
        assert b"missing" in file["reason"][11]
    assert np.flatnonzero(DescriptorStore.open(local).status == 2).tolist() == [7, 11]


def test_vectors_alone_equal_those_beside_local_descriptors(folder: Path, tmp_path: Path) -> None:
    _, beside = both(Mean(), folder, tmp_path / "a")
    given = {"vectors": tmp_path / "b.hdf5", "on_bad_image": "skip"}
    alone = extract_descriptors(Mean(), folder, NAMES, **given)
    assert alone == [tmp_path / "b.hdf5"] and alone[0].read_bytes() == beside.read_bytes()


def test_a_backbone_without_a_vector_is_told_before_any_work(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no global descriptor"):
        both(Sift(), folder, tmp_path)
    assert not list(tmp_path.iterdir())


def own_set(tmp_path: Path, count: int = 3) -> list[str]:
    root = tmp_path / "own"
    root.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        picture = rng.integers(0, 255, (60, 80, 3)).astype(np.uint8)
        save_jpeg(root / f"{number}.jpg", picture, 90)
    (root / "train.txt").write_text("".join(f"{number}.jpg,0\n" for number in range(count)))
    return ["dataset=folder", "name=own", f"data_root={tmp_path}", "splits=[train]"]


def test_tiny_random_runs_through_the_command(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    given = [*own_set(tmp_path), "desc_name=tiny_random", "device=cpu", "precision=bf16"]
    extract_descriptors_command.run(compose("extract_descriptors", given))
    store = DescriptorStore.open(tmp_path / "own" / "tiny_random_local.hdf5")
    assert store.provenance["backbone"] == "tiny_random" and store.dim == 32
    assert store.provenance["weights"] == "random, seed 0"
    assert store.provenance["precision"] == "bf16, float16 store"
    found = store.read(0)
    assert found.count == 50 and 0 < found.xy.min() and found.xy.max() < 1
    names, vectors, made = read_globals(tmp_path / "own" / "tiny_random_cls.hdf5")
    assert names == store.names and vectors.shape == (3, 32) and made["global"] == "cls"
    extract_descriptors_command.run(
        compose("extract_descriptors", [*given, "outputs=[local]", "overwrite=true"])
    )
    for wrong in ("outputs=[]", "outputs=[vlad]"):
        with pytest.raises(ConfigError, match="local(,| or) global"):
            extract_descriptors_command.run(compose("extract_descriptors", [*given, wrong]))


def test_an_empty_data_root_is_one_message_before_any_weights(tmp_path: Path) -> None:
    for name in ("dinov2", "sift"):
        with pytest.raises(MissingFile) as caught:
            extract_descriptors_command.run(
                compose("extract_descriptors", [f"desc_name={name}", f"data_root={tmp_path}"])
            )
        for words in ("test_query.txt", "test_gallery.txt", "gnd_roxford5k.pkl"):
            assert words in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_missing_weights_are_told_before_a_store_is_begun(tmp_path: Path) -> None:
    given = [*own_set(tmp_path), "desc_name=dinov2", "device=cpu"]
    given.append(f"backbone.arguments.weights={tmp_path / 'absent.pth'}")
    with pytest.raises(MissingFile, match="absent.pth"):
        extract_descriptors_command.run(compose("extract_descriptors", given))
    assert not list((tmp_path / "own").glob("*.hdf5"))


def test_all_tokens_are_no_store_of_local_descriptors(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    given = [
        *own_set(tmp_path),
        "desc_name=tiny_random",
        "device=cpu",
        "backbone.arguments.top_k=0",
    ]
    with pytest.raises(BadInput, match="images as the source"):
        extract_descriptors_command.run(compose("extract_descriptors", given))
    assert not list((tmp_path / "own").glob("*.hdf5"))
    extract_descriptors_command.run(compose("extract_descriptors", [*given, "outputs=[global]"]))
    assert (tmp_path / "own" / "tiny_random_cls.hdf5").is_file()


def test_images_without_descriptors_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(0)
    save_jpeg(tmp_path / "a.jpg", rng.integers(0, 255, (60, 80, 3)).astype(np.uint8), 90)
    save_jpeg(tmp_path / "b.jpg", np.zeros((60, 80, 3), np.uint8), 90)
    for _ in range(2):  # also where nothing is left to do
        caplog.clear()
        extract_descriptors(Sift(top_k=9), tmp_path, ["a.jpg", "b.jpg"], local=tmp_path / "s.hdf5")
        assert "1 of 2 images has no descriptors: b.jpg" in caplog.text
