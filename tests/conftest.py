"""One tiny world, rendered and extracted once, that the tests of several rooms share."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

try:
    import fcntl
except ImportError:  # Windows: one process there
    fcntl = None  # type: ignore[assignment]

import benchmarks.schema  # noqa: F401  # whose commands are then known
import tools.schema  # noqa: F401
from ames_lite.cli import (
    build_vocabulary,
    extract_descriptors,
    extract_globals,
    prepare_topk_global,
)
from ames_lite.cli.compose import compose
from ames_lite.synthetic import WorldSpec, render_world
from tests.browser import chromium, chromium_driver  # noqa: F401

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


def pytest_configure(config: pytest.Config) -> None:
    config.option.loadscopereorder = False
    gc.set_threshold(20_000)  # a thirtieth as often: 3 % of the time


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files as they stand, but for the long ones of training: no process is left with them."""
    items.sort(key=lambda item: "training" not in item.path.parts)


@contextmanager
def once(mark: Path) -> Iterator[bool]:
    """Whether the work of this mark is to be done: by one process, the others wait for it."""
    with mark.with_suffix(".lock").open("w") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        todo = not mark.exists()
        yield todo
        if todo:
            mark.touch()


def describe(root: Path, name: str) -> None:
    """Render a set and extract its local descriptors."""
    render_world(TINY[name], root / name, name)
    extract_descriptors.run(compose("extract_descriptors", [*given(root, name), *SIFT]))


def given(root: Path, name: str) -> list[str]:
    splits = "splits=[train]" if name == "synthetic-train" else "splits=[query,gallery]"
    return [f"dataset={name}", "desc_name=sift", f"data_root={root}", splits]


def search(root: Path, name: str) -> None:
    """Globals and neighbour lists."""
    words = given(root, name)
    train = name == "synthetic-train"
    if train:
        build_vocabulary.run(compose("build_vocabulary", [*words[:-1], "num_clusters=16"]))
    extract_globals.run(compose("extract_globals", words))
    self_search = f"self_search={str(train).lower()}"
    prepare_topk_global.run(compose("prepare_topk_global", [*words[:-1], self_search]))


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory: pytest.TempPathFactory) -> TinyWorld:
    """Rendered once a session, by the test processes together; tests only read it."""
    worker, base = os.environ.get("PYTEST_XDIST_WORKER", ""), tmp_path_factory.getbasetemp()
    marks = (base.parent if worker and fcntl else base) / "tiny_world"
    root = marks / "data"
    root.mkdir(parents=True, exist_ok=True)
    for name in list(TINY)[:: -1 if worker == "gw1" else 1]:
        with once(marks / name) as todo:
            if todo:
                describe(root, name)
    with once(marks / "whole") as todo:
        for name in TINY if todo else ():
            search(root, name)
    return TinyWorld(root)


@pytest.fixture
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages without plots, which are most of the work of a page; monkeypatch.undo() draws them."""
    monkeypatch.setattr("ames_lite.evaluation.report.plots_of", lambda *_: {})
