"""suite=search: the made index is one that indexing finds whole, and every part is timed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ames_lite.cli.compose import compose
from ames_lite.errors import ConfigError
from ames_lite.extraction.backbones.sift import Sift
from ames_lite.search.index import OpenIndex
from ames_lite.search.indexing import index_images
from benchmarks import command as benchmark
from benchmarks.extraction import searching
from benchmarks.extraction.searching import SearchSpeed, make_files, make_index

SMALL = SearchSpeed(images=30, descriptors=8, num_rerank=5, clusters=4, repeats=1)


def test_nothing_of_the_made_index_is_to_be_done(tmp_path: Path) -> None:
    images, index, backbone = tmp_path / "images", tmp_path / "index", Sift(top_k=8)
    make_files(images, SMALL.images)
    make_index(images, index, backbone, SMALL)
    done = index_images(images, index, backbone)
    changes = done.changes
    assert len(changes.kept) == 30 and (changes.new, changes.changed, changes.gone) == (0, 0, 0)
    with OpenIndex(index) as opened:
        assert sum(len(ids) for _, ids in opened.vectors()) == 30
        assert opened.store(1).max_count == 8


def test_every_part_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "_command", lambda *_: lambda: None)  # a process costs seconds
    given = ["suite=search", "repeats=1", f"output_dir={tmp_path / 'run'}"]
    given += [f"search.{key}={getattr(SMALL, key)}" for key in ("images", "num_rerank", "clusters")]
    results = benchmark.run(compose("benchmark", [*given, "search.descriptors=8"]))
    assert [cell["work"] for cell in results["cells"]] == [
        "unchanged",
        "unchanged, whole command",
        "query",
        "  opening, its vector",
        "  candidates",
        "  both, opened",
    ]
    assert all(cell["seconds"] >= cell["fastest"] >= 0 for cell in results["cells"])
    with pytest.raises(ConfigError, match="search.images=0"):
        benchmark.run(compose("benchmark", ["suite=search", "search.images=0"]))


def test_the_whole_command_is_the_one_of_the_checkout(tmp_path: Path) -> None:
    assert searching.SCRIPT.is_file()
    assert callable(searching._command(tmp_path / "images", tmp_path / "index", SMALL))
