"""Distractors behind a gallery: ids stay, rows are those of both, everything goes on as usual."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from ames_lite.cli import append_distractors, evaluate, prepare_topk_global
from ames_lite.cli.compose import compose
from ames_lite.datasets.ground_truth import read_ground_truth
from ames_lite.datasets.image_lists import read_image_list
from ames_lite.errors import BadInput, ConfigError, MissingFile
from ames_lite.evaluation.protocols import evaluate_ranking
from ames_lite.stores.descriptor_store import DescriptorStore
from tests.conftest import TinyWorld
from tests.helpers import main_of
from tests.pages import Page
from tests.stores.files import read_globals

CELL = ["model=mutual_nn", "num_rerank=10", "lamb=1.0", "temp=1.0", "report_queries=1"]


@pytest.fixture
def root(tiny_world: TinyWorld, tmp_path: Path) -> Path:
    """The tiny test world as ROxford, the gallery of the validation world as its distractors."""
    shutil.copytree(tiny_world.folder(), tmp_path / "roxford5k")
    (tmp_path / "roxford5k" / "gnd_synthetic.json").rename(
        tmp_path / "roxford5k" / "gnd_roxford5k.json"
    )
    more = tmp_path / "revisitop1m"
    more.mkdir()
    for name in ("gallery.txt", "sift_gallery_local.hdf5", "sift_gallery_vlad.hdf5"):
        shutil.copy(tiny_world.folder("synthetic-val") / name, more)
    return tmp_path


def given(root: Path, *more: str) -> list[str]:
    return ["dataset=roxford+1m", "desc_name=sift", f"data_root={root}", *more]


def join(root: Path, *more: str) -> None:
    append_distractors.run(compose("append_distractors", given(root, "globals=[vlad]", *more)))


def test_a_gallery_with_distractors_is_evaluated_like_any_other(root: Path) -> None:
    join(root)
    folder = root / "roxford5k+1m"
    base, more = root / "roxford5k", root / "revisitop1m"
    lists = [read_image_list(path / "gallery.txt").names for path in (base, more)]
    names = read_image_list(folder / "gallery.txt").names
    both = ("roxford5k", lists[0]), ("revisitop1m", lists[1])
    assert list(names) == [f"{below}/{name}" for below, own in both for name in own]
    queries = read_image_list(folder / "query.txt").names
    truth = read_ground_truth(folder / "gnd_roxford5k+1m.json", queries, names)
    own = read_image_list(base / "query.txt").names
    old = read_ground_truth(base / "gnd_roxford5k.json", own, lists[0])
    for grade in ("easy", "hard", "junk"):
        for ours, theirs in zip(getattr(truth, grade), getattr(old, grade), strict=True):
            assert sorted(ours) == sorted(theirs)

    parts = [DescriptorStore.open(path / "sift_gallery_local.hdf5") for path in (base, more)]
    joined = DescriptorStore.open(folder / "sift_gallery_local.hdf5")
    rows = np.concatenate([part.stored("descriptors", 0, len(part)) for part in parts])
    np.testing.assert_array_equal(joined.stored("descriptors", 0, len(joined)), rows)

    prepare_topk_global.run(compose("prepare_topk_global", given(root, "global=vlad")))
    assert main_of("check_store")(given(root, "neighbors=vlad")) == 0
    options = given(root, "neighbors=vlad", f"output_dir={root / 'run'}")
    results = evaluate.run(compose("evaluate", [*CELL, *options]))
    vlad = np.concatenate(
        [read_globals(path / "sift_gallery_vlad.hdf5")[1] for path in (base, more)]
    )
    sims = read_globals(base / "sift_query_vlad.hdf5")[1] @ vlad.T
    ranking = np.argsort(-sims, axis=1, kind="stable").astype(np.int32)
    expected = evaluate_ranking(ranking, truth, "revisitop").metrics
    assert results["global"] == pytest.approx(expected)
    page = Page((root / "run" / "report.html").read_text())
    for tile in page.tiles():  # images of the distractors are not there
        there = tile["name"].startswith("roxford5k/")
        assert bool(page.pictures[tile["picture"]][0]) == there
    assert all(page.pictures[view["picture"]][0] for view in page.views)


def test_a_distractor_that_moved_away_is_named(root: Path) -> None:
    join(root)
    (root / "revisitop1m" / "sift_gallery_local.hdf5").rename(root / "elsewhere.hdf5")
    with pytest.raises(BadInput, match="sift_gallery_local.hdf5"):
        DescriptorStore.open(root / "roxford5k+1m" / "sift_gallery_local.hdf5")


def test_what_does_not_fit_is_refused_before_anything_is_written(
    root: Path, tiny_world: TinyWorld
) -> None:
    with pytest.raises(ConfigError, match="no distractors"):
        append_distractors.run(
            compose("append_distractors", ["dataset=roxford", f"data_root={root}"])
        )
    more = root / "revisitop1m"
    path = more / "sift_gallery_local.hdf5"
    store = DescriptorStore.open(path.rename(more / "old.hdf5"))
    with pytest.raises(MissingFile, match="revisitop1m, gallery"):
        join(root)
    made = {**store.provenance, "image_size": 99}
    with DescriptorStore.create(path, store.names, 60, 128, "float16", made) as writer:
        for row, name in enumerate(store.names):
            writer.append(name, store.read(row))
    with pytest.raises(BadInput, match="image_size is 240.*99"):
        join(root)
    path.unlink()
    (more / "old.hdf5").rename(path)
    names = (more / "gallery.txt").read_text().splitlines()
    (more / "gallery.txt").write_text("\n".join([*names[1:], names[0]]) + "\n")
    with pytest.raises(BadInput, match="another order"):
        join(root)
    assert not (root / "roxford5k+1m").exists()
    (more / "gallery.txt").write_text("\n".join(names) + "\n")
    join(root)
    with pytest.raises(BadInput, match="exists"):
        join(root)
    join(root, "overwrite=true")
