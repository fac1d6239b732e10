"""Vocabularies from stores: the same tokens, whatever they are read from; every image recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.extraction import vocabulary as vocabulary_stage
from ames_lite.extraction.vocabulary import Source, build_vocabulary
from ames_lite.io.digest import names_digest
from ames_lite.records import LocalDescriptors
from ames_lite.retrieval.clustering import kmeans_blocks
from ames_lite.retrieval.faiss_calls import lloyd
from ames_lite.retrieval.rows import sampled_points
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.fitted import read_vocabulary, read_vocabulary_images
from tests.stores.files import open_vocabulary, rewritten
from tests.stores.published.forms import of_store, write_published

D = 6
MADE = {"backbone": "dinov2", "variant": "vitb14", "weights": "w", "facet": "value", "layer": 11}


def images(seed: int, num: int) -> dict[str, np.ndarray | None]:
    """Descriptors [k, D] of images by name; the third one failed."""
    rng = np.random.default_rng(seed)
    found: dict[str, np.ndarray | None] = {}
    for i in range(num):
        tokens = rng.standard_normal((rng.integers(1, 9), D)) * rng.uniform(0.5, 3)
        found[f"{seed}/{i}.jpg"] = None if i == 2 else tokens.astype(np.float16)
    return found


def store_of(
    path: Path,
    given: dict[str, np.ndarray | None],
    made: dict[str, Any] | None = None,
    dim: int = D,
) -> Path:
    with DescriptorStore.create(path, list(given), 9, dim, "float16", made or MADE) as store:
        for name, tokens in given.items():
            if tokens is None:
                store.mark_failed(name, "no image")
                continue
            k = len(tokens)
            weight = np.linspace(1, 0.5, k).astype(np.float32)
            xy, scale = np.zeros((k, 2), np.float32), np.zeros(k, np.uint8)
            store.append(name, LocalDescriptors(tokens, xy, scale, weight, size=(9, 9)))
    return path


def tokens_of(given: dict[str, np.ndarray | None], step: int = 1) -> np.ndarray:
    real = [tokens for tokens in list(given.values())[::step] if tokens is not None]
    return np.concatenate(real).astype(np.float32)


def unit(tokens: np.ndarray) -> np.ndarray:
    return tokens / np.linalg.norm(tokens, axis=1, keepdims=True)


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    return store_of(tmp_path / "a.hdf5", images(0, 40)), store_of(
        tmp_path / "b.hdf5", images(1, 31)
    )


def test_the_tokens_of_one_store_are_clustered_as_one_array(tmp_path: Path, two: Any) -> None:
    tokens = tokens_of(images(0, 40))
    path = build_vocabulary([Source(two[0])], tmp_path / "v.npz", num_clusters=5, seed=2)
    expected = kmeans_blocks(lambda: [tokens], 5, 2, iterations=20).centroids
    assert read_vocabulary(path)[0].tobytes() == expected.tobytes()


@pytest.mark.parametrize("max_images", [0, 17])
@pytest.mark.parametrize("each", [3, 1000])
def test_a_sample_is_that_of_kmeans_in_memory(
    tmp_path: Path, two: Any, each: int, max_images: int
) -> None:
    given = images(0, 40)
    rows = np.arange(40)
    if max_images:
        rows = np.unique(np.linspace(0, 39, max_images).round().astype(int))
    tokens = tokens_of({name: given[name] for name in np.array(list(given))[rows]})
    options = {"num_clusters": 6, "seed": 1, "max_images": max_images}
    source = [Source(two[0])]
    path = build_vocabulary(source, tmp_path / "v.npz", sample_per_cluster=each, **options)
    sample = tokens[sampled_points(len(tokens), 6 * each, 1)]
    expected = lloyd(sample, 6, 1, 20, each)
    assert read_vocabulary(path)[0].tobytes() == expected.tobytes()


@pytest.mark.parametrize("read_bytes", [1, 500, 1 << 20])
def test_several_stores_are_one_with_every_step_th_image(
    tmp_path: Path, two: Any, read_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vocabulary_stage, "READ_BYTES", read_bytes)
    sources = [Source(two[0], 1, dataset="one"), Source(two[1], 4, dataset="two")]
    options = {"num_clusters": 4, "distance": "cosine", "unit": True, "iterations": 50}
    found = open_vocabulary(build_vocabulary(sources, tmp_path / "v.npz", **options))
    tokens = unit(np.concatenate([tokens_of(images(0, 40)), tokens_of(images(1, 31), 4)]))
    expected = kmeans_blocks(lambda: [tokens], 4, 0, iterations=50, distance="cosine")
    np.testing.assert_allclose(found.centroids, expected.centroids, atol=1e-6)
    assert (found.distance, found.unit) == ("cosine", True)
    assert found.provenance["tokens"] == len(tokens) and found.provenance["settled"]


def test_the_images_are_recorded_without_those_that_failed(tmp_path: Path, two: Any) -> None:
    sources = [Source(two[0], 2, dataset="one"), Source(two[1], 4, dataset="two")]
    path = build_vocabulary(sources, tmp_path / "v.npz", num_clusters=3)
    one, other = read_vocabulary_images(path)
    assert (one.dataset, one.step) == ("one", 2) and (other.dataset, other.step) == ("two", 4)
    assert one.names == tuple(f"0/{i}.jpg" for i in range(0, 40, 2) if i != 2)
    assert other.names == tuple(f"1/{i}.jpg" for i in range(0, 31, 4))
    made = read_vocabulary(path)[1]
    assert made["image_names"] == names_digest([*one.names, *other.names])
    assert made["images"] == 27 and made["images_of_each"] == [19, 8]
    assert (made["datasets"], made["steps"]) == (["one", "two"], [2, 4])
    assert made["facet"] == "value" and made["layer"] == 11


def test_a_published_store_needs_its_list_and_gives_the_same(tmp_path: Path) -> None:
    given = {name: tokens for name, tokens in images(0, 20).items() if tokens is not None}
    native = store_of(tmp_path / "a.hdf5", given)
    held = of_store(DescriptorStore.open(native))
    published = write_published(tmp_path / "p.hdf5", held, "flat float16")
    a = build_vocabulary([Source(native)], tmp_path / "a.npz", num_clusters=4)
    with_names = Source(published, 1, list(given))
    b = build_vocabulary([with_names], tmp_path / "b.npz", num_clusters=4)
    assert read_vocabulary(a)[0].tobytes() == read_vocabulary(b)[0].tobytes()
    assert read_vocabulary_images(a) == read_vocabulary_images(b)
    with pytest.raises(BadInput):
        build_vocabulary([Source(published)], tmp_path / "c.npz", num_clusters=4)
    with pytest.raises(BadInput, match="backbone is 'dinov2'"):
        build_vocabulary([Source(native), with_names], tmp_path / "c.npz", num_clusters=4)


@pytest.mark.parametrize(
    "other", [{"layer": 9}, {"facet": "key"}, {"variant": "vitg14"}, {"backbone": "sift"}]
)
def test_stores_of_different_making_are_refused(
    tmp_path: Path, two: Any, other: dict[str, Any]
) -> None:
    path = store_of(tmp_path / "c.hdf5", images(2, 9), {**MADE, **other})
    with pytest.raises(BadInput, match=next(iter(other))) as error:
        build_vocabulary([Source(two[0]), Source(path)], tmp_path / "v.npz", num_clusters=2)
    assert str(two[0]) in str(error.value) and str(path) in str(error.value)
    with pytest.raises(BadInput, match=next(iter(other))):
        build_vocabulary([Source(path)], tmp_path / "v.npz", num_clusters=2, expected=MADE)
    sizes = {**MADE, "image_size": 320}
    both = [Source(two[0]), Source(store_of(tmp_path / "d.hdf5", images(3, 9), sizes))]
    made = read_vocabulary(build_vocabulary(both, tmp_path / "v.npz", num_clusters=2))[1]
    assert "image_size" not in made


def test_what_cannot_be_built_is_refused(tmp_path: Path, two: Any) -> None:
    wide = {"x.jpg": np.ones((3, D + 2), np.float16)}
    other = store_of(tmp_path / "w.hdf5", wide, dim=D + 2)
    few = store_of(tmp_path / "few.hdf5", {"x.jpg": np.ones((3, D), np.float16)})
    same = store_of(tmp_path / "same.hdf5", {"x.jpg": np.ones((5, D), np.float16)})
    broken = images(4, 9)
    with rewritten(store_of(tmp_path / "nan.hdf5", broken)) as file:
        file["descriptors"][5, 0, 0] = np.nan
    packed = tmp_path / "packed.hdf5"
    with DescriptorStore.create(packed, ["x.jpg"], 9, 8, "uint8", MADE) as writer:
        writer.mark_failed("x.jpg", "no image")
    output = tmp_path / "v.npz"
    for stores, options, part in [
        ([], {}, "no store"),
        ([Source(two[0]), Source(other)], {}, "dim is 6 in .*a.hdf5 and 8 in .*w.hdf5"),
        ([Source(few)], {"num_clusters": 4}, "3 descriptors of 1 images for 4 clusters"),
        ([Source(same)], {}, "fewer distinct tokens than the"),
        ([Source(tmp_path / "nan.hdf5")], {}, "'4/5.jpg' .*NaN"),
        ([Source(tmp_path / "nan.hdf5")], {"sample_per_cluster": 1}, "'4/5.jpg' .*NaN"),
        ([Source(packed)], {}, "packed"),
        ([Source(two[0], 0)], {}, "steps are"),
        ([Source(two[0])], {"num_clusters": 0}, "num_clusters 0"),
        ([Source(two[0])], {"max_images": -1}, "max_images is -1"),
        ([Source(two[0])], {"distance": "l1"}, "euclidean or cosine"),
    ]:
        with pytest.raises(BadInput, match=part):
            build_vocabulary(stores, output, **{"num_clusters": 2, **options})
        assert not output.exists()
    build_vocabulary([Source(two[0])], output, num_clusters=2)
    with pytest.raises(BadInput, match="exists already"):
        build_vocabulary([Source(two[0])], output, num_clusters=2)
    build_vocabulary([Source(two[0])], output, num_clusters=3, overwrite=True)
