"""One tiny world, rendered and extracted once, that the tests of several rooms share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from ames_lite.cli import (
    build_vocabulary,
    extract_descriptors,
    extract_globals,
    prepare_topk_global,
)
from ames_lite.cli.compose import compose
from ames_lite.synthetic import WorldSpec, render_world

TINY = {
    "synthetic-train": WorldSpec(
        "train",
        3,
        num_styles=4,
        landmarks_per_style=3,
        queries=0,
        easy=4,
        hard=3,
        junk=0,
        distractors=0,
    ),
    "synthetic-val": WorldSpec(
        "val",
        3,
        num_styles=2,
        landmarks_per_style=2,
        queries=1,
        easy=2,
        hard=2,
        junk=1,
        distractors=5,
    ),
    "synthetic": WorldSpec(
        "test",
        3,
        num_styles=2,
        landmarks_per_style=3,
        queries=1,
        easy=2,
        hard=2,
        junk=1,
        distractors=10,
    ),
}


SIFT = ["workers=1", "backbone.arguments.top_k=60", "backbone.arguments.image_size=240"]


@dataclass(frozen=True)
class TinyWorld:
    """A data root with three small rendered sets, with stores, globals and neighbour lists."""

    root: Path

    def folder(self, name: str = "synthetic") -> Path:
        return self.root / name


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory: pytest.TempPathFactory) -> TinyWorld:
    """Rendered once a session; tests only read it."""
    root = tmp_path_factory.mktemp("data")
    for name, spec in TINY.items():
        render_world(spec, root / name, name)
    for name in TINY:
        train = name == "synthetic-train"
        splits = "splits=[train]" if train else "splits=[query,gallery]"
        given = [f"dataset={name}", "desc_name=sift", f"data_root={root}"]
        extract_descriptors.run(compose("extract_descriptors", [*given, splits, *SIFT]))
        if train:
            build_vocabulary.run(compose("build_vocabulary", [*given, "num_clusters=16"]))
        extract_globals.run(compose("extract_globals", [*given, splits]))
        prepare_topk_global.run(
            compose("prepare_topk_global", [*given, f"self_search={str(train).lower()}"])
        )
    return TinyWorld(root)
