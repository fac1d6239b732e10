"""Mistakes that users make, each with its whole message: mistakes.txt keeps them.

AMES_WRITE=1 writes the file anew; read the difference before it is committed.
"""

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from ames_lite.cli import run
from tests.conftest import TinyWorld

ROOT = Path(__file__).resolve().parents[2]
KEPT = Path(__file__).with_name("mistakes.txt")
SET = "dataset=synthetic desc_name=sift data_root=<data>"
LINES = [
    # what the configuration refuses
    f"evaluate {SET} nun_rerank=50",
    f"evaluate {SET} +note=mine",
    f"evaluate {SET} --num_rerank=50",
    f"evaluate {SET} num_rerank",
    f"evaluate {SET} num_rerank=many",
    f"evaluate {SET} num_rerank=0",
    f"evaluate {SET} num_rerank=50,100",
    "evaluate dataset=rofxord",
    f"evaluate {SET} model=amse",
    f"evaluate {SET} precision=fp8",
    f"evaluate {SET} device=gpu",
    f"evaluate {SET} query_desc_num=0",
    f"evaluate {SET} model=chamfer lamb=2 temp=1",
    f"evaluate {SET} model=chamfer",
    f"evaluate {SET} weights=",
    "extract_descriptors desc_name=dinov4",
    "train experiment=amesfp",
    # what is missing
    f"evaluate {SET}",
    f"evaluate {SET} weights=<data>/nowhere",
    f"evaluate {SET} model=chamfer lamb=0.5 temp=1 neighbors=gem",
    f"evaluate {SET} model=chamfer lamb=0.5 temp=1 neighbors=<data>/none.hdf5",
    "evaluate dataset=roxford data_root=<data>",
    "train desc_name=dinov2 data_root=<data>",
    "tune dataset=gldv2-val desc_name=dinov2 weights=sift_ames data_root=<data>",
    "prepare_topk_global dataset=rparis desc_name=dinov2 data_root=<data> global=cls",
    "search images=<data>/none",
    "search images=<data>/empty",
    "prepare_dataset images=<data>/synthetic/jpg labels=<data>/none.csv name=mine",
    "compare results=[<data>/none/results.json]",
    # what does not fit
    f"evaluate {SET} weights=photo_elvis",
    f"evaluate {SET} model=lighterglue lamb=0.5 temp=1",
    f"evaluate {SET} model=chamfer lamb=0.5 temp=1 output_dir=<data>/synthetic",
    "evaluate dataset=folder name=unnamed data_root=<data>",
]


@pytest.fixture(scope="module")
def messages(tiny_world: TinyWorld, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    (tiny_world.root / "empty").mkdir(exist_ok=True)
    yield tiny_world.root
    (tiny_world.root / "empty").rmdir()


@pytest.mark.parametrize("line", LINES)
def test_a_mistake_keeps_its_message(
    line: str,
    messages: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    name, *words = shlex.split(line.replace("<data>", str(messages)))
    code = run(name, words)
    found = capsys.readouterr().err
    for path, said in ((messages, "<data>"), (tmp_path, "<cwd>"), (ROOT, "<project>")):
        found = found.replace(str(path), said)
    kept = _kept()
    if os.environ.get("AMES_WRITE") == "1":
        kept[line] = found
        text = "".join(f"$ {one}\n{kept[one]}\n" for one in LINES if one in kept)
        KEPT.write_text(text, encoding="utf-8")
    assert code == 1 and "Traceback" not in found
    assert found == kept[line]


def _kept() -> dict[str, str]:
    if not KEPT.is_file():
        return {}
    parts = re.split(r"^\$ (.*)\n", KEPT.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {line: text[:-1] for line, text in zip(parts[::2], parts[1::2], strict=True)}
