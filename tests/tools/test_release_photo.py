"""tools/release/photo.py: the folder that photographs and rendered landmarks are joined in."""

from __future__ import annotations

import argparse
import csv
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from ames_lite.reranking.calibration import Bin

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "release" / "photo.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release_photo", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"picture")
    return path


def test_photographs_and_rendered_landmarks_become_class_folders_of_links(
    tool: ModuleType, tmp_path: Path
) -> None:
    pool, rendered, images = tmp_path / "pool", tmp_path / "rendered", tmp_path / "images"
    for number in range(40):
        touch(pool / "carton" / f"{number:02}.jpg")
    for number in range(3):
        touch(pool / "place" / f"{number}.jpg")
        touch(tmp_path / "more" / "sub" / f"{number}.jpg")
        touch(rendered / "jpg" / f"{number}.jpg")
    table = "instance,family,kind\ncarton,cartons,product\nplace,place,indoor\n"
    (pool / "pool_meta.csv").write_text(table)
    (rendered / "train.txt").write_text("jpg/0.jpg,0\njpg/1.jpg,0\njpg/2.jpg,7\n")
    args = argparse.Namespace(pool=pool, distractors=tmp_path / "more")
    for _ in range(2):  # the second time changes nothing
        tool.join(args, images, rendered)
        found = {
            folder.name: sorted(path.name for path in folder.iterdir())
            for folder in (images / "classes").iterdir()
        }
        assert found.keys() == {"carton", "place", "rendered_0000", "rendered_0007"}
        assert len(found["carton"]) == tool.MOST and found["carton"][0] == "00.jpg"
        assert found["rendered_0000"] == ["0.jpg", "1.jpg"] and len(found["place"]) == 3
        assert len(list((images / "distractors").iterdir())) == 3
    assert all(path.resolve().is_file() for path in (images / "classes").rglob("*.jpg"))
    rows = list(csv.reader((images / "families.csv").open()))
    assert rows[0] == ["instance", "family", "kind"]
    assert ["carton", "cartons", "product"] in rows
    assert ["rendered_0007", "rendered_0007", "rendered"] in rows


def test_a_row_of_reliability(tool: ModuleType) -> None:
    row = tool.bin_row(Bin(0.1, 0.2, 12, 0.15, 0.25))
    assert row == "| 0.1 to 0.2 | 12 | 0.150 | 0.250 |"
