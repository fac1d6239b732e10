"""The documents are executable: examples run as they stand, and what they name is there."""

from __future__ import annotations

import re
import shutil
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from ames_lite.cli import COMMANDS
from ames_lite.cli.compose import GROUPS, as_dict, compose, options_of, sweep_values
from ames_lite.io.descriptor_store import DescriptorStore
from tests.conftest import TinyWorld
from tools import command_docs

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {
    page.name: page.read_text(encoding="utf-8") for page in PAGES if page.name != "commands.md"
}


def block_with(word: str, page: str = "README.md") -> str:
    blocks = [b for b in re.findall(r"```python\n(.*?)```", TEXTS[page], re.S) if word in b]
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
    exec(compile(block_with("DescriptorStore.create", "dinov2.md"), "README.md", "exec"), scope)
    store = DescriptorStore.open(path)
    assert store.names == ("a.jpg", "bb.jpg") and store.read(1).descriptors[0, 0] == 6


def test_the_readme_is_short_and_its_links_lead_to_files() -> None:
    text = TEXTS["README.md"]
    assert len(text.splitlines()) <= 180
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert "://" in target or (ROOT / target).is_file(), target


def test_the_readme_has_the_published_rows_of_roxford() -> None:
    rows = re.findall(r"^\| `dinov2_ames.*$", TEXTS["README.md"], re.M)
    assert len(rows) == 2 and all(row in TEXTS["roxford.md"] for row in rows)


def test_the_architecture_has_a_line_for_every_room_and_none_for_a_file() -> None:
    tree = TEXTS["architecture.md"].split("## Rooms", 1)[1].split("```")[1]
    lines = [line for line in tree.splitlines() if re.match(r" *[\w/]+/ ", line)]
    listed = [name for line in lines for name in re.findall(r"(?:^| {2})([\w/]+)/(?= )", line)]
    package = [path.parent.name for path in (ROOT / "ames_lite").rglob("__init__.py")]
    tools = [f"tools/{path.parent.name}" for path in (ROOT / "tools").glob("*/__init__.py")]
    beside = ["extract", "scripts", "conf", "weights", "benchmarks", *tools]
    assert sorted(listed) == sorted([*package, *beside, "data", "docs", "tests"])
    assert not re.findall(r"\w\.(?:py|yaml|md)\b", "".join(lines))


@pytest.mark.parametrize("page", TEXTS)
def test_every_script_that_a_page_names_exists(page: str) -> None:
    for name in set(re.findall(r"(?:scripts|extract|tools)/\w+(?:/\w+)?\.py", TEXTS[page])):
        assert (ROOT / name).is_file(), name


def test_every_command_that_a_page_shows_composes() -> None:
    """The keys of every shell example are keys of its command; <…> stands for a value."""
    for page, text in TEXTS.items():
        shell = "\n".join(re.findall(r"```bash\n(.*?)```", text, re.S)).replace("\\\n", " ")
        for name, words in re.findall(r"python (?:scripts|extract)/(\w+)\.py(.*)", shell):
            given = re.findall(r"(?<!\S)([\w.]+=)(<[^>]*>|\S+)", words.split("#")[0])
            own = {"experiment=mine"}  # of a user's --config-dir
            given = [key + value.strip("<>") for key, value in given if key + value not in own]
            plain = [word for word in given if not word.startswith("hydra")]
            if name in COMMANDS:
                for job in product(*map(sweep_values if " -m " in words else lambda w: [w], plain)):
                    compose(name, job)
            assert name in COMMANDS or (ROOT / "conf" / f"{name}.yaml").is_file(), f"{page}: {name}"


def test_the_ten_tasks_touch_at_most_four_files_and_all_of_them_exist() -> None:
    table = TEXTS["CONTRIBUTING.md"].split("## Ten tasks", 1)[1]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| a")]
    rows += [line.strip("| ").split(" | ") for line in table.splitlines() if "| odds" in line]
    assert len(rows) == 10
    for task, files, test in rows:
        assert (ROOT / "tests" / test.strip("`")).is_file(), test
        assert max(map(int, re.findall(r": (\d)\b", files))) <= 4, task
        for name in re.findall(r"`([\w/]+\.(?:py|yaml|md|j2|html\.j2))`", files):
            inside = name.startswith(("conf/", "data/", "scripts/"))
            assert (ROOT / name if inside else ROOT / "ames_lite" / name).is_file(), name


def test_the_page_of_commands_has_every_command_key_and_value_of_a_group() -> None:
    page = command_docs.page()
    sections = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", page, re.M | re.S))
    names = {path.stem for path in (ROOT / "conf").glob("*.yaml")}
    assert set(sections) == names | {f"{group}=" for group in GROUPS}
    for name in names:
        for key in as_dict(compose(name)):
            if key not in ("option", "defaults"):
                assert re.search(rf"^\| `{re.escape(key)}[`.]", sections[name], re.M), (name, key)
    for group in GROUPS:
        for option in options_of(group):
            assert f"| `{option}` |" in sections[f"{group}="]
