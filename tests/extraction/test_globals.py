"""The laws of global descriptors: from a store or straight from images, whole or continued."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ames_lite.errors import BadInput, ConfigError
from ames_lite.extraction import globals as globals_stage
from ames_lite.extraction.aggregators import (
    AGGREGATORS,
    Aggregator,
    Gem,
    Mean,
    Tokens,
    Vlad,
    build_aggregator,
)
from ames_lite.extraction.backbones.dinov2 import TinyRandom
from ames_lite.extraction.backbones.interface import Described
from ames_lite.extraction.backbones.sift import Sift
from ames_lite.extraction.descriptors import extract_descriptors
from ames_lite.extraction.globals import Block, Source, extract_globals, from_images, from_store
from ames_lite.extraction.neighbors import SAME
from ames_lite.io.images import load_image, save_jpeg
from ames_lite.io.provenance import compare_provenance
from ames_lite.records import LocalDescriptors
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.fitted import write_vocabulary
from ames_lite.stores.global_store import GlobalStore
from ames_lite.stores.merging import Shard
from ames_lite.stores.published.store import open_store
from tests.helpers import forked
from tests.retrieval.vlad_referee import vlad
from tests.stores.files import read_globals

NAMES = tuple(f"{i}.jpg" for i in range(20))
K, D, C = 7, 8, 3
MADE = {"backbone": "tiny", "variant": "a", "weights": "w", "facet": "value", "layer": 1}
MISSING = {4: "image 4 is cut short", 13: "image 13 is missing"}


def image(row: int) -> LocalDescriptors:
    rng = np.random.default_rng(row)
    count = 0 if row == 6 else int(rng.integers(2, K + 1))
    values = rng.standard_normal((count, D))
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    weight = -np.sort(-rng.random(count, dtype=np.float32))
    xy, scale = rng.random((count, 2), dtype=np.float32), np.zeros(count, np.uint8)
    return LocalDescriptors(values.astype(np.float16), xy, scale, weight, (10, 10))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> DescriptorStore:
    path = tmp_path_factory.mktemp("store") / "tiny_local.hdf5"
    with DescriptorStore.create(path, NAMES, K, D, "float16", MADE) as writer:
        for row, name in enumerate(NAMES):
            if row in MISSING:
                writer.mark_failed(name, MISSING[row])
            else:
                writer.append(name, image(row))
    return DescriptorStore.open(path)


def vocabulary(folder: Path, name: str = "v.npz", **made: Any) -> Path:
    centroids = np.random.default_rng(1).standard_normal((C, D)).astype(np.float32)
    return write_vocabulary(folder / name, centroids, {**MADE, **made}, overwrite=True)


def every_kind(folder: Path) -> list[Aggregator]:
    return [Vlad(vocabulary(folder)), Gem(), Mean()]


def referee(kind: str, local: LocalDescriptors, aggregator: Aggregator) -> np.ndarray:
    """Of one image, all at once."""
    values = local.descriptors.astype(np.float64)
    if isinstance(aggregator, Vlad):
        return vlad(values, aggregator.centroids)
    if len(values) == 0:
        return np.full(D, D**-0.5)
    if kind == "gem":
        vector = np.cbrt((values**3).mean(axis=0))
    else:
        vector = (values * local.weight[:, None]).sum(axis=0) / local.weight.sum()
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize("block_bytes", [1, 1 << 26])
def test_every_kind_equals_the_referee_row_by_row(
    store: DescriptorStore, tmp_path: Path, block_bytes: int, monkeypatch
) -> None:
    monkeypatch.setattr(globals_stage, "BLOCK_BYTES", block_bytes)
    for aggregator in every_kind(tmp_path):
        kind = aggregator.kind
        path = extract_globals(
            from_store(store, aggregator), tmp_path / f"{kind}.hdf5", on_bad_image="skip"
        )
        names, found, made = read_globals(path)
        assert names == NAMES and found.dtype == np.float32 and made["global"] == kind
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
        for row in set(range(20)) - MISSING.keys():
            expected = referee(kind, store.read(row), aggregator)
            np.testing.assert_allclose(found[row], expected, atol=2e-6)
        width = found.shape[1]
        for row in (4, 6, 13):  # two that failed, one without descriptors
            np.testing.assert_array_equal(found[row], np.full(width, width**-0.5, np.float32))
        with GlobalStore(path) as globals_:
            assert globals_.failed(0, 20) == MISSING


def test_the_dict_is_all_there_is_and_cls_is_sent_elsewhere() -> None:
    assert list(AGGREGATORS) == ["vlad", "gem", "mean"]
    assert build_aggregator("gem", power=2.0).provenance["power"] == 2.0
    with pytest.raises(ConfigError, match="extract global descriptors alone"):
        build_aggregator("cls")
    with pytest.raises(ConfigError, match="one of vlad, gem, mean"):
        build_aggregator("bow")
    with pytest.raises(BadInput, match="power"):
        build_aggregator("gem", power=0.0)


def test_float16_is_float32_rounded(store: DescriptorStore, tmp_path: Path) -> None:
    source = from_store(store, Gem())
    given: dict[str, Any] = {"on_bad_image": "skip"}
    full = read_globals(extract_globals(source, tmp_path / "a.hdf5", **given))[1]
    half = read_globals(extract_globals(source, tmp_path / "b.hdf5", dtype="float16", **given))[1]
    np.testing.assert_array_equal(half, full.astype(np.float16))
    with pytest.raises(BadInput, match="float16 or float32"):
        extract_globals(source, tmp_path / "c.hdf5", dtype="float64", **given)


class Stopping:
    """A source that is interrupted, or killed, after some blocks."""

    def __init__(self, source: Source, blocks: int, kill: bool = False) -> None:
        self.source, self.left, self.kill = source, blocks, kill
        self.names, self.step, self.kind = source.names, source.step, source.kind
        self.dim, self.made = source.dim, source.made

    def blocks(self, first: int) -> Iterator[Block]:
        for block in self.source.blocks(first):
            self.left -= 1
            if self.left < 0 and self.kill:
                os.kill(os.getpid(), signal.SIGKILL)
            if self.left < 0:
                raise KeyboardInterrupt
            yield block


def stopped(store_path: Path, vocabulary_path: Path, output: Path, blocks: int) -> None:
    """Does not end well."""
    source = from_store(DescriptorStore.open(store_path), Vlad(vocabulary_path))
    extract_globals(Stopping(source, blocks, kill=True), output)


@pytest.mark.parametrize("kill", [False, True])
def test_a_run_that_is_continued_equals_an_unbroken_one(
    store: DescriptorStore, tmp_path: Path, kill: bool, monkeypatch
) -> None:
    monkeypatch.setattr(globals_stage, "BLOCK_BYTES", 3 * 8 * C * D)
    path, output = vocabulary(tmp_path), tmp_path / "parts.hdf5"
    source = from_store(store, Vlad(path))
    assert source.step == 3
    whole = extract_globals(source, tmp_path / "whole.hdf5", on_bad_image="skip")
    if kill:
        assert forked(lambda: stopped(store.path, path, output, 4)) == -signal.SIGKILL
    else:
        with pytest.raises(KeyboardInterrupt):
            extract_globals(Stopping(source, 4), output)
    with h5py.File(output) as file:
        assert (file["status"][:] != 0).sum() == 12
    extract_globals(source, output, on_bad_image="skip")
    assert output.read_bytes() == whole.read_bytes()
    extract_globals(source, output, on_bad_image="skip")  # nothing is left to do
    assert output.read_bytes() == whole.read_bytes()


def test_images_that_failed_are_named_also_by_a_later_run(
    store: DescriptorStore, tmp_path: Path
) -> None:
    for _ in range(2):
        with pytest.raises(BadInput, match="2 of 20 images failed") as caught:
            extract_globals(from_store(store, Gem()), tmp_path / "g.hdf5")
        assert "image 4 is cut short" in str(caught.value) and "13.jpg" in str(caught.value)


def test_a_shard_holds_its_rows(store: DescriptorStore, tmp_path: Path) -> None:
    given: dict[str, Any] = {"on_bad_image": "skip"}
    whole = read_globals(extract_globals(from_store(store, Mean()), tmp_path / "w.hdf5", **given))
    part = from_store(store, Mean(), Shard(2, 3))
    found = read_globals(extract_globals(part, tmp_path / "p.hdf5", **given))
    assert found[0] == NAMES[6:13] and found[2] == whole[2]
    np.testing.assert_array_equal(found[1], whole[1][6:13])


def test_a_published_store_is_read_with_its_list_and_its_masks(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((5, K, 5 + D)).astype(np.float32)
    values[..., 3] = rng.random((5, K)) < 0.4  # padding anywhere
    values[:, 0, 3], values[..., 4] = 0, rng.random((5, K))
    with h5py.File(tmp_path / "f.hdf5", "w") as file:
        file["features"] = values
    store = open_store(tmp_path / "f.hdf5", NAMES[:5])
    aggregators: list[Aggregator] = [Gem(), Mean(), Vlad(vocabulary(tmp_path))]
    for aggregator in aggregators:
        path = extract_globals(from_store(store, aggregator), tmp_path / f"{aggregator.kind}.hdf5")
        found = read_globals(path)[1]
        for row in range(5):
            real = values[row, values[row, :, 3] == 0]
            zeros = np.zeros((len(real), 2), np.float32)
            order = np.argsort(-real[:, 4])
            one = LocalDescriptors(
                real[order, 5:], zeros, np.zeros(len(real), np.uint8), real[order, 4], (1, 1)
            )
            expected = referee(aggregator.kind, one, aggregator)
            np.testing.assert_allclose(found[row], expected, atol=2e-6)


@pytest.mark.parametrize("key", ["backbone", "variant", "weights", "facet", "layer"])
def test_a_vocabulary_of_other_descriptors_is_refused_with_both_sides_named(
    store: DescriptorStore, tmp_path: Path, key: str
) -> None:
    other = vocabulary(tmp_path, "other.npz", **{key: "another"})
    with pytest.raises(BadInput, match=f"{key} is {MADE[key]!r} in .*and 'another' in") as caught:
        from_store(store, Vlad(other))
    assert str(store.path) in str(caught.value) and str(other) in str(caught.value)


def test_of_a_vocabulary_of_published_form_what_it_says_is_compared(
    store: DescriptorStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    centroids = np.random.default_rng(1).standard_normal((C, D)).astype(np.float32)
    said = {"origin": "published", "facet": "value", "distance": "cosine", "unit": True}
    path = write_vocabulary(tmp_path / "p.npz", centroids, said)
    from_store(store, Vlad(path))
    assert "whether backbone, variant, weights, layer agree is not known" in caplog.text
    other = write_vocabulary(tmp_path / "k.npz", centroids, {**said, "facet": "key"})
    with pytest.raises(BadInput, match="facet is 'value' .* and 'key'"):
        from_store(store, Vlad(other))


def test_what_does_not_fit_a_store_is_refused(store: DescriptorStore, tmp_path: Path) -> None:
    wide = np.ones((C, D + 1), np.float32)
    path = write_vocabulary(tmp_path / "wide.npz", wide, MADE)
    with pytest.raises(BadInput, match="width 8, the vocabulary 9"):
        from_store(store, Vlad(path))
    packed = tmp_path / "packed.hdf5"
    with DescriptorStore.create(packed, ["a"], 1, 16, "uint8", MADE) as writer:
        writer.mark_failed("a", "")
    with pytest.raises(BadInput, match="a packed store"):
        from_store(DescriptorStore.open(packed), Gem())
    with pytest.raises(BadInput, match="soft"):
        Vlad(vocabulary(tmp_path), soft="hard")
    spaces = [
        {"descriptor_space": "detector", "detector_weights": "a"},
        {"descriptor_space": "detector", "detector_weights": "b"},
        {"descriptor_space": "backbone"},
    ]
    loaded = [Vlad(vocabulary(tmp_path, f"{i}.npz", **s)) for i, s in enumerate(spaces)]
    for i, made in enumerate(spaces):
        for j, aggregator in enumerate(loaded):
            if i == j:
                aggregator.check({**MADE, **made}, D, "here")
                continue
            with pytest.raises(BadInput, match="descriptor_space|detector_weights"):
                aggregator.check({**MADE, **made}, D, "here")


def test_the_forms_of_vlad_are_those_of_the_vocabulary_and_the_flags(
    store: DescriptorStore, tmp_path: Path
) -> None:
    path = vocabulary(tmp_path, distance="cosine", unit=True)
    local = store.read(0).descriptors.astype(np.float64)
    digests = set()
    for number, (soft, temperature) in enumerate([(None, 1.0), ("standard", 4.0), ("anyloc", 1.0)]):
        aggregator = Vlad(path, soft=soft, temperature=temperature)
        source = from_store(store, aggregator)
        output = extract_globals(source, tmp_path / f"{number}.hdf5", on_bad_image="skip")
        _, found, made = read_globals(output)
        form: dict[str, Any] = {"soft": soft, "temperature": temperature}
        expected = vlad(local, aggregator.centroids, distance="cosine", unit=True, **form)
        np.testing.assert_allclose(found[0], expected, atol=1e-6)
        assert made["unit_descriptors"] and "cosine" in made["assignment"]
        digests.add(made["assignment"])
        with pytest.raises(BadInput, match="assignment"):  # another file's rows are not continued
            other = Vlad(path, soft="standard", temperature=9.0)
            extract_globals(from_store(store, other), output, on_bad_image="skip")
    assert len(digests) == 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 images of two shapes; 7.jpg is no image."""
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for number in range(40):
        shape = (40, 60, 3) if rng.random() < 0.5 else (60, 40, 3)
        save_jpeg(root / f"{number}.jpg", rng.integers(0, 255, shape).astype(np.uint8), 90)
    (root / "7.jpg").write_text("no image")
    return root


LIST = [f"{number}.jpg" for number in range(40)]
BOXES = [(5.0, 5.0, 30.0, 38.0) if number % 3 else None for number in range(40)]


def tiny(kind: type[TinyRandom] = TinyRandom, **arguments: Any) -> TinyRandom:
    pytest.importorskip("transformers")
    return kind(image_size=70, device="cpu", batch_pixels=30_000, **arguments)


@pytest.fixture(scope="module")
def tiny_vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tiny().provenance
    centroids = np.random.default_rng(1).standard_normal((4, 32)).astype(np.float32) * 0.3
    return write_vocabulary(tmp_path_factory.mktemp("vocabulary") / "v.npz", centroids, made)


class Rounded(TinyRandom):
    """Its descriptors are what a store gives back."""

    def describe(self, batch: Any) -> list[Described]:
        found = []
        for local, vector in super().describe(batch):
            values = local.descriptors.astype(np.float16)
            parts = (local.xy, local.scale, local.weight, local.size)
            found.append(Described(LocalDescriptors(values, *parts), vector))
        return found


def test_straight_from_images_equals_the_way_through_a_store_up_to_its_float16(
    folder: Path, tiny_vocabulary: Path, tmp_path: Path
) -> None:
    local = extract_descriptors(
        tiny(top_k=25),  # all 25 patches: nothing is lost on the way
        folder,
        LIST,
        local=tmp_path / "l.hdf5",
        boxes=BOXES,
        on_bad_image="skip",
    )[0]
    store = DescriptorStore.open(local)
    aggregators: list[Aggregator] = [Vlad(tiny_vocabulary), Gem(), Mean()]
    for aggregator in aggregators:
        given: dict[str, Any] = {"on_bad_image": "skip"}
        sources: list[Source] = [from_store(store, aggregator)]
        for kind in (Rounded, TinyRandom):
            sources.append(from_images(tiny(kind, top_k=0), folder, LIST, aggregator, boxes=BOXES))
        paths = [
            extract_globals(source, tmp_path / f"{aggregator.kind}{i}.hdf5", **given)
            for i, source in enumerate(sources)
        ]
        (names, through, _), (same, rounded, _), (_, full, made) = map(read_globals, paths)
        assert names == same == tuple(LIST)
        assert np.abs(through - rounded).max() < 1e-6
        # rounding near 0 is much, once the cube root is taken
        power = 3 if aggregator.kind == "gem" else 1
        assert 0 < np.abs(through**power - full**power).max() < 1e-3
        assert made["top_k"] == 0 and made["crop"] is True and made["precision"] == "fp32"
        with GlobalStore(paths[2]) as globals_:
            assert list(globals_.failed(0, 40)) == [7]


def test_images_continue_with_the_batches_of_an_unbroken_run(
    folder: Path, tiny_vocabulary: Path, tmp_path: Path
) -> None:
    def source(shard: Shard | None = None) -> Source:
        vlad_ = Vlad(tiny_vocabulary)
        return from_images(tiny(top_k=0), folder, LIST, vlad_, boxes=BOXES, shard=shard)

    whole = extract_globals(source(), tmp_path / "whole.hdf5", on_bad_image="skip")
    with pytest.raises(KeyboardInterrupt):
        extract_globals(Stopping(source(), 1), tmp_path / "parts.hdf5")
    parts = extract_globals(source(), tmp_path / "parts.hdf5", on_bad_image="skip")
    assert parts.read_bytes() == whole.read_bytes()
    shard = extract_globals(source(Shard(3, 4)), tmp_path / "s.hdf5")
    names, found, _ = read_globals(shard)
    assert names == tuple(LIST[20:30])
    np.testing.assert_allclose(found, read_globals(whole)[1][20:30], atol=1e-5)


def test_a_vocabulary_of_another_network_is_refused_before_any_image(
    folder: Path, tiny_vocabulary: Path
) -> None:
    with pytest.raises(BadInput, match="weights is 'random, seed 5' in this run"):
        from_images(tiny(seed=5), folder, LIST, Vlad(tiny_vocabulary))
    with pytest.raises(BadInput, match="facet is 'key'"):
        from_images(tiny(facet="key"), folder, LIST, Vlad(tiny_vocabulary))


@pytest.mark.parametrize(
    "resize, kind", [("area", "cls"), ("bicubic_float", "cls"), ("area", "vlad")]
)
def test_a_flipped_vector_is_the_mean_of_both_by_hand(
    resize: str, kind: str, folder: Path, tiny_vocabulary: Path, tmp_path: Path
) -> None:
    aggregator = Vlad(tiny_vocabulary) if kind == "vlad" else None
    backbone = tiny(top_k=0, resize=resize)
    source = from_images(backbone, folder, LIST, aggregator, boxes=BOXES, flip=True)
    path = extract_globals(source, tmp_path / "flipped.hdf5", on_bad_image="skip")
    _, found, made = read_globals(path)
    assert made["flip"] == "mean of both unit vectors"
    for row in (0, 1, 39):
        given = backbone.prepare(load_image(folder / LIST[row]), BOXES[row])
        view = replace(given.views[0], pixels=given.views[0].pixels[:, ::-1])
        both = []
        for one in (given, replace(given, views=(view,))):
            described = backbone.describe([one])[0]
            vector, local = described.vector, described.local
            if aggregator is not None:
                tokens = local.descriptors.astype(np.float32)[None], local.weight[None]
                vector = aggregator(Tokens(*tokens, np.array([local.count])))[0]
            assert vector is not None
            both.append(vector / np.linalg.norm(vector))
        mean = sum(both) / 2
        np.testing.assert_allclose(found[row], mean / np.linalg.norm(mean), atol=2e-5)


def test_a_flipped_gallery_is_refused_for_plain_queries(folder: Path, tmp_path: Path) -> None:
    paths = [
        extract_globals(
            from_images(tiny(), folder, LIST[:5], None, flip=flip), tmp_path / f"{flip}.hdf5"
        )
        for flip in (False, True)
    ]
    stores = [GlobalStore(path) for path in paths]
    with pytest.raises(BadInput, match="flip is 'absent' in"):
        compare_provenance(*(one.provenance for one in stores), SAME, files=(*paths,))
    with pytest.raises(BadInput, match="flip is of networks alone"):
        from_images(Sift(), folder, LIST, Gem(), flip=True)
