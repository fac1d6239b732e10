"""An evaluation with images that have no descriptors: they are named, and rank by sims alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from ames_lite.cli import evaluate
from ames_lite.cli.compose import compose
from ames_lite.records import NO_EVIDENCE
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.pair_scores import read_pair_scores
from tests.conftest import TinyWorld
from tests.helpers import main_of
from tests.stores.files import read_digests, rewritten
from tests.stores.published.forms import of_store, write_published

EMPTY = {"query": [2], "gallery": [0, 7]}


@pytest.fixture
def root(tiny_world: TinyWorld, tmp_path: Path) -> Path:
    """The tiny world, where some images have no descriptors."""
    root = tmp_path / "data"
    shutil.copytree(tiny_world.folder(), root / "synthetic")
    for side, rows in EMPTY.items():
        with rewritten(root / "synthetic" / f"sift_{side}_local.hdf5") as file:
            file["count"][rows] = 0
    return root


@pytest.mark.parametrize("form", ["native", "flat float16"])
def test_they_are_named_and_ranked_by_the_global_similarity(
    form: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stores = {side: root / "synthetic" / f"sift_{side}_local.hdf5" for side in EMPTY}
    names = {
        side: [DescriptorStore.open(path).names[r] for r in EMPTY[side]]
        for side, path in stores.items()
    }
    if form != "native":
        for path in stores.values():
            write_published(path, of_store(DescriptorStore.open(path)), form)
    run = tmp_path / "run"
    given = ["dataset=synthetic", "desc_name=sift", f"data_root={root}"]
    assert main_of("check_store")(given) == 0
    printed = capsys.readouterr().out
    assert "1 of 6 images have no descriptors" in printed and names["query"][0] in printed
    more = ["model=chamfer", "lamb=0.0", "temp=1.0", "report_queries=1", f"output_dir={run}"]
    results = evaluate.run(compose("evaluate", [*given, *more, f"images={tmp_path}"]))
    assert results["without_descriptors"]["query"] == {"of": 6, "names": names["query"]}
    assert results["without_descriptors"]["gallery"]["names"] == names["gallery"]
    asked = results["per_query"][EMPTY["query"][0]]
    assert asked["ap"] == asked["global_ap"]  # at λ 0 too: all tie
    said = [
        f"1 of 6 queries has no descriptors: {names['query'][0]}",
        f"2 of 40 gallery images have no descriptors: {', '.join(names['gallery'])}",
    ]
    printed, page = capsys.readouterr().out, (run / "report.html").read_text(encoding="utf-8")
    assert all(one in printed and one in page for one in said)
    scores = read_pair_scores(run / "scores.hdf5", read_digests(run / "scores.hdf5"))
    empty = np.isin(scores.query, EMPTY["query"]) | np.isin(scores.gallery, EMPTY["gallery"])
    assert ((scores.logit == np.float32(NO_EVIDENCE)) == empty).all() and empty.any()
