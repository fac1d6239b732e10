"""`scripts/view.py` on the tiny world: what it draws, skips and refuses."""

from __future__ import annotations

import logging
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ames_lite.cli.compose import compose
from ames_lite.cli.shell import dataset_files
from ames_lite.errors import BadInput, ConfigError, MissingFile
from ames_lite.io.images import save_jpeg
from ames_lite.records import GroundTruth, LocalDescriptors
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.fitted import read_vocabulary, write_vocabulary
from tests.conftest import TinyWorld
from tests.helpers import in_process
from tests.stores.published.forms import images, write_published
from tools.view import command as view
from tools.view.global_map import ground_truth_groups, load_map, sample_rows


def given(root: Path, dataset: str = "synthetic") -> list[str]:
    return [f"dataset={dataset}", "desc_name=sift", f"data_root={root}"]


def is_png(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A data root with two images, of one of which the extraction failed, and their list."""
    folder = tmp_path / "own"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        save_jpeg(folder / name, rng.integers(0, 255, (60, 80, 3)).astype(np.uint8), 90)
    (folder / "gallery.txt").write_text("a.jpg\nb.jpg\nc.jpg\n")
    return tmp_path


def fill(root: Path, dtype: str = "float16", failed: str = "b.jpg") -> None:
    rng = np.random.default_rng(0)
    path = root / "own" / "sift_gallery_local.hdf5"
    made = {"backbone": "sift", "detector": "DoG response"}
    names = ["a.jpg", "b.jpg", "c.jpg"]
    with DescriptorStore.create(path, names, 20, 16, dtype, made) as store:
        for name in names:
            if name == failed:
                store.mark_failed(name, "no keypoints at all")
                continue
            values = rng.integers(0, 256, (20, 2)).astype(np.uint8)
            if dtype == "float16":
                values = rng.normal(0, 1, (20, 16)).astype(np.float16)
            weight = np.sort(rng.random(20).astype(np.float32))[::-1].copy()
            xy = rng.random((20, 2)).astype(np.float32)
            local = LocalDescriptors(values, xy, np.zeros(20, np.uint8), weight, (60, 80))
            store.append(name, local)
    centroids = rng.normal(0, 1, (4, 16)).astype(np.float32)
    write_vocabulary(root / "vlad_sift_own.npz", centroids, made)


def of_own(root: Path, *more: str) -> list[str]:
    where = ["dataset=folder", "name=own", "desc_name=sift", f"data_root={root}"]
    return [*where, f"output_dir={root / 'run'}", *more]


@pytest.mark.slow
def test_one_picture_of_each_kind(tiny_world: TinyWorld, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = [*given(tiny_world.root), f"output_dir={run}", "num_images=3", "thumbnails=5"]
    done = in_process(tmp_path, "scripts/view.py", *words)
    assert done.returncode == 0, done.stderr
    names = ["clusters.png", "globals_vlad.png", "weights.png"]
    assert sorted(path.name for path in run.glob("*.png")) == names
    assert all(is_png(run / name) and str(run / name) in done.stdout for name in names)
    again = view.run(compose("view", [*words, f"output_dir={tmp_path / 'again'}"]))
    for path in again.values():
        assert path.read_bytes() == (run / path.name).read_bytes()


def test_queries_are_shown_with_their_boxes(tiny_world: TinyWorld, tmp_path: Path) -> None:
    words = [*given(tiny_world.root), "split=query", "what=[clusters]", "num_images=2"]
    config = compose("view", words)
    source = view._open(config, dataset_files(config), clusters=True)
    shown = view._load(config, dataset_files(config), source)
    assert [one.name for one in shown] == [source.store.names[row] for row in source.rows]
    for one in shown:
        assert one.box is not None and 0 <= one.box[0] < one.box[2] <= 1.01
    assert is_png(view.run(replace(config, output_dir=tmp_path / "run"))["clusters"])


def test_a_training_set_is_coloured_by_the_labels_of_its_list(tiny_world: TinyWorld) -> None:
    words = given(tiny_world.root, "synthetic-train")
    config = compose("view", [*words, "splits=[train]", "what=[globals]"])
    found = load_map(config, dataset_files(config), ["train"])
    assert len(found.names) == found.total == 84 and not found.is_query.any()
    assert np.bincount(found.labels).tolist() == [7] * 12


def test_a_test_set_is_coloured_by_the_groups_of_its_ground_truth(tiny_world: TinyWorld) -> None:
    config = compose("view", [*given(tiny_world.root), "what=[globals]"])
    found = load_map(config, dataset_files(config), ["query", "gallery"])
    assert found.is_query.sum() == 6 and len(found.names) == 46
    for name, label in zip(found.names, found.labels, strict=True):
        landmark = Path(name).name.split("_")[0]
        graded = "junk" not in name and "distractor" not in name
        assert (label >= 0) == graded
        assert not graded or found.label_names[label].startswith(landmark)
    few = load_map(replace(config, max_points=20), dataset_files(config), ["query", "gallery"])
    assert few.total == 46 and len(few.names) == 20
    assert few.is_query.sum() == 6 and (few.labels >= 0).all()


def test_groups_join_where_queries_share_an_image() -> None:
    rows = [np.array(found, np.int64) for found in ([0, 1], [1, 2], [4], [])]
    none = (np.zeros(0, np.int64),) * 4
    junk = (np.array([5]), *none[1:])
    names = ("q/a.jpg", "q/b.jpg", "g3", "d")
    gallery = tuple(f"g{i}" for i in range(6))
    truth = GroundTruth(names, gallery, tuple(rows), none, junk, (None,) * 4)
    groups, called = ground_truth_groups(truth)
    assert groups["query"] == {"q/a.jpg": 0, "q/b.jpg": 0, "g3": 2, "d": 3}
    assert groups["gallery"] == {"g0": 0, "g1": 0, "g2": 0, "g4": 2, "g3": 2}
    assert called == {0: "a", 2: "g3", 3: "d"}


def test_a_sample_keeps_queries_first_and_then_what_has_a_label() -> None:
    labels = np.array([-1, 1, -1, 2, -1, -1])
    is_query = np.array([False, False, True, False, False, False])
    assert sample_rows(labels, is_query, 3, seed=0) == [1, 2, 3]
    assert sample_rows(labels, is_query, 9, seed=0) == list(range(6))
    drawn = {tuple(sample_rows(labels, is_query, 4, seed=seed)) for seed in range(20)}
    assert len(drawn) == 3 and all({1, 2, 3} < set(rows) for rows in drawn)


@pytest.mark.parametrize("distance, unit", [("euclidean", False), ("cosine", True)])
def test_clusters_are_those_of_the_nearest_centroid(
    own: Path, monkeypatch: pytest.MonkeyPatch, distance: str, unit: bool
) -> None:
    fill(own)
    vocabulary = own / "vlad_sift_own.npz"
    centroids, made = read_vocabulary(vocabulary)
    made = {**made, "distance": distance, "unit": unit}
    write_vocabulary(vocabulary, centroids, made, overwrite=True)
    sheets: list[list[np.ndarray]] = []
    monkeypatch.setattr(view, "cluster_sheet", lambda _, found, *__, **___: sheets.append(found))
    monkeypatch.setattr(view, "save_figure", lambda figure, path: path)
    view.run(compose("view", of_own(own, "what=[clusters]", "show=[c.jpg]", "max_count=12")))
    values = DescriptorStore.open(own / "own" / "sift_gallery_local.hdf5").read(2).descriptors
    for descriptor, cluster in zip(values[:12], sheets[0][0], strict=True):
        x = descriptor.astype(np.float64)
        if distance == "cosine":
            near = [x @ c / np.linalg.norm(c) for c in centroids.astype(np.float64)]
        else:
            near = [-np.linalg.norm(x - c) for c in centroids.astype(np.float64)]
        assert cluster == int(np.argmax(near))


def test_what_failed_or_cannot_be_decoded_is_skipped_with_a_message(
    own: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(own)
    (own / "own" / "c.jpg").write_text("no image")
    with caplog.at_level(logging.WARNING):
        paths = view.run(compose("view", of_own(own, "what=[weights,clusters]")))
    assert "b.jpg is skipped" in caplog.text and "no keypoints at all" in caplog.text
    assert "c.jpg is skipped" in caplog.text and all(is_png(path) for path in paths.values())
    with pytest.raises(BadInput, match="none of the 1 images"):
        view.run(compose("view", of_own(own, "what=[weights]", "show=[b]")))


def test_packed_bits_have_weights_and_no_clusters(own: Path) -> None:
    fill(own, "uint8")
    with pytest.raises(BadInput, match="packed bits"):
        view.run(compose("view", of_own(own, "what=[clusters,weights]")))
    assert not (own / "run").exists()
    assert is_png(view.run(compose("view", of_own(own, "what=[weights]")))["weights"])


def test_published_stores_are_shown_by_the_image_list(own: Path) -> None:
    made = images(num=3)
    write_published(own / "own" / "sift_gallery_local.hdf5", made, "flat float32")
    config = compose("view", of_own(own, "what=[weights]"))
    files = dataset_files(config)
    shown = view._load(config, files, view._open(config, files, clusters=False))
    assert [one.name for one in shown] == ["a.jpg", "b.jpg", "c.jpg"]
    for row, one in enumerate(shown):
        np.testing.assert_array_equal(one.local.xy, made.xy[row, : made.count[row]])
    assert is_png(view.run(compose("view", of_own(own, "what=[weights]")))["weights"])


def test_a_vocabulary_of_another_backbone_or_width_is_refused(own: Path) -> None:
    fill(own)
    path = own / "vlad_sift_own.npz"
    for shape, backbone, message in ((16, "dinov2", "backbone is"), (8, "sift", "width")):
        write_vocabulary(path, np.ones((2, shape)), {"backbone": backbone}, overwrite=True)
        with pytest.raises(BadInput, match=message):
            view.run(compose("view", of_own(own, "what=[clusters]")))
    shutil.copy(path, own / "vlad_sift_other.npz")
    with pytest.raises(BadInput, match="several vocabularies"):
        view.run(compose("view", of_own(own, "what=[clusters]")))


def test_all_that_is_missing_comes_in_one_message(tmp_path: Path) -> None:
    done = in_process(tmp_path, "scripts/view.py", f"data_root={tmp_path}")
    assert done.returncode == 1 and done.stdout == "" and "Traceback" not in done.stderr
    for words in (
        *("dinov2_gallery_local.hdf5", "extract/extract_descriptors.py"),
        *("dinov2_query_vlad.hdf5", "extract/extract_globals.py"),
        *("vlad_dinov2_<domain>.npz", "extract/build_vocabulary.py", "query.txt"),
    ):
        assert words in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_missing_image_is_named_before_anything_is_drawn(own: Path) -> None:
    fill(own)
    (own / "own" / "a.jpg").unlink()
    with pytest.raises(MissingFile, match=r"a\.jpg(.|\n)*images="):
        view.run(compose("view", of_own(own, "what=[weights]")))
    with pytest.raises(MissingFile, match="vocabulary"):
        view.run(compose("view", of_own(own, "what=[clusters]", f"vocabulary={own / 'no.npz'}")))
    assert not (own / "run").exists()


@pytest.mark.parametrize(
    "word, message",
    [
        ("what=[cluster]", "clusters, weights, globals"),
        ("what=[]", "clusters, weights, globals"),
        ("what=clusters", "list"),
        ("method=umap", "pca or tsne"),
        ("marks=dots", "auto, cells, circles"),
        ("split=test", "query, gallery, train"),
        ("splits=[test]", "query, gallery, train"),
        ("num_images=0", "at least 1"),
        ("num_images=101", "at most 100"),
        ("max_points=0", "at least 1"),
        ("thumbnails=-1", "at least 0"),
        ("perplexity=high", "a number"),
    ],
)
def test_wrong_settings_are_refused(word: str, message: str, own: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        view.run(compose("view", [*of_own(own), word]))


def test_names_that_are_not_in_the_store_are_refused(own: Path) -> None:
    fill(own)
    with pytest.raises(BadInput, match=r"nowhere\.jpg(.|\n)*show="):
        view.run(compose("view", of_own(own, "what=[weights]", "show=[a.jpg,nowhere.jpg]")))


def test_tsne_without_scikit_learn_is_refused_before_a_run_begins(
    tiny_world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*given(tiny_world.root), "what=[globals]", f"output_dir={tmp_path / 'run'}"]
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(BadInput, match="method=pca"):
        view.run(compose("view", [*words, "method=tsne"]))
    assert not (tmp_path / "run").exists()
    assert is_png(view.run(compose("view", [*words, "method=pca"]))["globals"])
