"""Remedies are commands that work: pasted one after the other, they lead to what was asked for."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ames_lite.cli.compose import compose
from ames_lite.cli.extraction import configured_backbone
from ames_lite.cli.remedies import OF_NETWORK
from ames_lite.datasets.image_lists import read_image_list
from ames_lite.extraction import batches
from ames_lite.extraction.backbones.interface import Backbone
from ames_lite.io.images import save_jpeg
from ames_lite.stores.neighbor_lists import read_neighbors, write_neighbors
from benchmarks.frontier import command as frontier
from tests.conftest import TinyWorld
from tests.helpers import main_of
from tests.stores.files import rewritten
from tools.view import command as view

MAINS: dict[str, Callable[[list[str]], int]] = {
    "extract/extract_descriptors.py": main_of("extract_descriptors"),
    "extract/extract_globals.py": main_of("extract_globals"),
    "extract/build_vocabulary.py": main_of("build_vocabulary"),
    "extract/fit_whitening.py": main_of("fit_whitening"),
    "extract/fit_binarization.py": main_of("fit_binarization"),
    "extract/prepare_topk_global.py": main_of("prepare_topk_global"),
    "extract/merge_hdf5.py": main_of("merge_hdf5"),
    "extract/append_distractors.py": main_of("append_distractors"),
    "scripts/prepare_dataset.py": main_of("prepare_dataset"),
    "scripts/prepare_set.py": main_of("prepare_set"),
    "scripts/check_store.py": main_of("check_store"),
    "scripts/evaluate.py": main_of("evaluate"),
    "scripts/frontier.py": frontier.main,
    "scripts/tune.py": main_of("tune"),
    "scripts/view.py": view.main,
}
NAMES = ["my set (1)", "it's", "k"]
COMMANDS = {  # a command on a folder whose lists are there, and nothing else
    "scripts/evaluate.py": ["model=mutual_nn", "lamb=0.5", "temp=1.0", "report_queries=0"],
    "scripts/check_store.py": [],
    "scripts/view.py": ["what=[weights,clusters]"],
    "extract/extract_globals.py": [],
    "extract/prepare_topk_global.py": [],
    "extract/fit_whitening.py": ["split=gallery", "dim=4"],
    "extract/fit_binarization.py": ["split=gallery", "bits=16"],
    "extract/build_vocabulary.py": ["split=gallery", "num_clusters=8"],
    "extract/merge_hdf5.py": [],
    "scripts/tune.py": ["model=mutual_nn", "num_rerank=3", "lamb=[0.5]", "temp=[1.0]"],
}


class Shell:
    """Runs commands and pastes what their errors propose."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.pasted: list[str] = []

    def __call__(self, script: str, words: list[str]) -> tuple[int, list[str]]:
        """Exit code, and the commands that the message proposes."""
        code = MAINS[script](words)
        said = self.capsys.readouterr()
        return code, re.findall(r"remedy: +(python .*)", said.err + said.out)

    def lead(self, script: str, words: list[str], depth: int = 0) -> None:
        """Run a command until it is through, doing whatever it proposes in between."""
        assert depth < 6, self.pasted
        for _ in range(8):
            code, remedies = self(script, words)
            if code == 0:
                return
            assert remedies, f"{script} {words} proposes nothing"
            for line in remedies:
                python, inner, *given = shlex.split(line)
                self.pasted.append(line)
                assert python == "python" and "<" not in line
                self.lead(inner, given, depth + 1)
        raise AssertionError(f"{script} {words} was never through: {self.pasted}")


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes of three pictures, with corners for SIFT."""
    root = tmp_path_factory.mktemp("my pictures")
    for scene in range(2):
        rng = np.random.default_rng(scene)
        whole = np.kron(rng.integers(0, 256, (14, 14, 3)), np.ones((12, 12, 1))).astype(np.uint8)
        for view_ in range(3):
            path = root / f"s{scene}" / f"{view_}.jpg"
            path.parent.mkdir(exist_ok=True)
            save_jpeg(path, whole[4 * view_ :, : 160 - 3 * view_], quality=90)
    return root


def folder_words(root: Path, name: str) -> list[str]:
    quoted = name.replace("'", r"\'")
    return ["dataset=folder", f"name='{quoted}'", "desc_name=sift", f"data_root='{root}'"]


def prepared(root: Path, name: str, pictures: Path) -> list[str]:
    """A folder with lists and nothing else, and what names it."""
    words = folder_words(root, name)
    made = [f"images='{pictures}'", "labels=folders", "role=val", *words[1:2], *words[3:]]
    assert main_of("prepare_dataset")(made) == 0
    return words


@pytest.mark.parametrize(
    "script, name",
    [(script, NAMES[0]) for script in COMMANDS] + [("scripts/evaluate.py", n) for n in NAMES[1:]],
)
def test_remedies_lead_from_the_lists_of_a_folder_to_the_end(
    script: str,
    name: str,
    pictures: Path,
    tmp_path: Path,
    shell: Shell,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    words = prepared(tmp_path / "my data", name, pictures)
    shell.lead(script, [*words, *COMMANDS[script]])
    assert shell.pasted
    for line in shell.pasted:
        given = dict(word.split("=", 1) for word in shlex.split(line)[2:])
        assert given["name"] in (name, words[1].removeprefix("name="))
        assert ("images" in given) == ("extract_descriptors" in line)


def test_remedies_mend_files_of_other_images(
    pictures: Path, tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = prepared(tmp_path / "data", NAMES[0], pictures)
    evaluation = [*words, *COMMANDS["scripts/evaluate.py"]]
    shell.lead("scripts/evaluate.py", evaluation)
    folder = tmp_path / "data" / NAMES[0]
    names = [read_image_list(folder / f"{side}.txt").names for side in ("query", "gallery")]
    lists = folder / "nn_sift_vlad.hdf5"
    found, others = read_neighbors(lists, *names), [side[::-1] for side in names]
    write_neighbors(lists, found, *others, {}, overwrite=True)
    with rewritten(folder / "sift_gallery_local.hdf5") as file:
        file["name"][:2] = file["name"][:2][::-1]
    shell.pasted.clear()
    shell.lead("scripts/evaluate.py", evaluation)
    assert [line.split()[1] for line in shell.pasted] == [
        "extract/extract_descriptors.py",  # stores are checked as they are opened
        "extract/prepare_topk_global.py",
    ]
    (folder / "sift_query_local.hdf5").write_bytes(b"damaged")
    shell.pasted.clear()
    _, remedies = shell("scripts/evaluate.py", evaluation)
    (line,) = remedies
    assert shlex.split(line)[:2] == ["python", "extract/extract_descriptors.py"]
    assert f"name='{NAMES[0]}'" in shlex.split(line)


def test_the_lists_of_a_folder_are_made_by_its_name(tmp_path: Path, shell: Shell) -> None:
    words = folder_words(tmp_path / "my data", "my set (1)")
    for script, more in COMMANDS.items():
        assert MAINS[script]([*words, *more]) == 1
        said = shell.capsys.readouterr().err
        if "image list" in said:
            assert "scripts/prepare_dataset.py" in said
            assert "\"name='my set (1)'\" \"data_root='" in said
    assert main_of("train")([*words]) == 1
    said = shell.capsys.readouterr().err
    assert "train.py experiment=own \"name='my set (1)'\"" in said and "images=<folder>" in said
    assert "splits=[train]" in said and "self_search=true" in said


@pytest.mark.slow
def test_remedies_of_a_public_set_name_its_root(
    tiny_world: TinyWorld, tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(batches, "FEW", 99)  # no processes to prepare images
    root = tmp_path / "my data"
    shutil.copytree(tiny_world.folder(), root / "synthetic")
    shutil.copy(next(tiny_world.root.glob("vlad_*.npz")), root)
    for path in (root / "synthetic").glob("*.hdf5"):
        path.unlink()
    words = ["dataset=synthetic", "desc_name=sift", f"data_root='{root}'"]
    shell.lead("scripts/evaluate.py", [*words, *COMMANDS["scripts/evaluate.py"]])
    assert len(shell.pasted) >= 3


def test_longer_lists_are_made_as_long_as_needed(
    pictures: Path, tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = prepared(tmp_path / "data", "k", pictures)
    shell.lead("extract/prepare_topk_global.py", [*words, "num_neighbors=2"])
    shell.pasted.clear()
    shell.lead("scripts/evaluate.py", [*words, *COMMANDS["scripts/evaluate.py"]])
    assert any("overwrite=true num_neighbors=5" in line for line in shell.pasted)


def test_check_store_names_the_set_in_what_it_tells_of_a_damaged_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for side in ("query", "gallery"):
        (folder / f"{side}.txt").write_text("a.jpg\n")
        (folder / f"sift_{side}_local.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    given = ["dataset=folder", "name=mine", "desc_name=sift", f"data_root={tmp_path}"]
    assert main_of("check_store")(given) == 3
    said = capsys.readouterr().out
    assert "dataset=folder name=mine desc_name=sift" in said and "<name>" not in said


@pytest.mark.parametrize("name", ["cvnet", "efficientnet_lite0", "photo", "dinov2", "xfeat"])
def test_the_global_descriptor_of_a_network_comes_from_it(name: str) -> None:
    """Aggregated from local descriptors it would be another one under the same name."""
    kind = str(compose_backbone(name).global_kind)
    assert kind in ("cls", "None") or name in OF_NETWORK[kind]


def compose_backbone(name: str) -> Backbone:
    config = compose("extract_descriptors", [f"backbone={name}", "device=cpu"])
    return configured_backbone(config.backbone, config)
