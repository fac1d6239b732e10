"""The README is executable: its ten lines and its torch.hub example run as they stand."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from ames_lite.io.descriptor_store import DescriptorStore
from tests.conftest import TinyWorld

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block_with(word: str) -> str:
    blocks = [b for b in re.findall(r"```python\n(.*?)```", README, re.S) if word in b]
    assert len(blocks) == 1
    return blocks[0]


def test_the_ten_lines_rerank_a_folder_of_images(
    tiny_world: TinyWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in sorted((tiny_world.folder() / "jpg").iterdir())[:5]:
        shutil.copy(path, tmp_path)
    code = block_with("Reranker")
    assert len([line for line in code.splitlines() if line.strip()]) <= 12
    weights = ROOT / "weights" / "photo_elvis"
    scope: dict[str, object] = {"images": str(tmp_path), "weights": str(weights)}
    exec(compile(code, "README.md", "exec"), scope)
    printed = capsys.readouterr().out
    present = sorted(path.name for path in tmp_path.iterdir())
    assert sorted(re.findall(r"'([^']+)'", printed)) == present[1:]


def test_the_hub_example_gives_one_logit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    scope: dict[str, object] = {}
    exec(compile(block_with("torch.hub.load"), "README.md", "exec"), scope)
    logit = scope["logit"]
    assert isinstance(logit, torch.Tensor) and logit.shape == (1,)


def test_descriptors_made_elsewhere_become_a_store(tmp_path: Path) -> None:
    def describe(name: str) -> tuple[object, ...]:
        values = np.full((2, 768), len(name), np.float32)
        zero = np.zeros((2, 2), np.float32)
        return values, zero, np.zeros(2, np.uint8), np.ones(2, np.float32), (30, 40)

    path, names = tmp_path / "mine.hdf5", ["a.jpg", "bb.jpg"]
    scope: dict[str, object] = {"path": path, "names": names, "describe": describe}
    exec(compile(block_with("DescriptorStore.create"), "README.md", "exec"), scope)
    store = DescriptorStore.open(path)
    assert store.names == ("a.jpg", "bb.jpg") and store.read(1).descriptors[0, 0] == 6


def test_the_readme_has_a_line_for_every_room_and_none_for_a_file() -> None:
    tree = README.split("## The rooms", 1)[1].split("```")[1]
    lines = [line for line in tree.splitlines() if re.match(r" *[\w/]+/ ", line)]
    listed = [name for line in lines for name in re.findall(r"(?:^| {2})([\w/]+)/(?= )", line)]
    package = [path.parent.name for path in (ROOT / "ames_lite").rglob("__init__.py")]
    beside = ["extract", "scripts", "conf", "weights", "benchmarks", "tools/release", "data"]
    assert sorted(listed) == sorted([*package, *beside, "docs", "tests"])
    assert not re.findall(r"\w\.(?:py|yaml|md)\b", "".join(lines))


def test_every_script_that_the_readme_names_exists() -> None:
    for name in set(re.findall(r"python ((?:scripts|extract)/\w+\.py)", README)):
        assert (ROOT / name).is_file(), name
