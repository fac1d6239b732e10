"""`compress_store`: a gallery of an eighth of the bytes, evaluated like any other."""

import shutil
from pathlib import Path

import pytest

from ames_lite.cli import compress_store, evaluate
from ames_lite.cli.compose import compose
from ames_lite.errors import BadInput, MissingFile
from tests.conftest import TinyWorld
from tests.helpers import main_of


def given(root: Path, *more: str) -> list[str]:
    return ["dataset=synthetic", "desc_name=sift", f"data_root={root}", *more]


def compress(root: Path, *more: str) -> None:
    compress_store.run(compose("compress_store", given(root, *more)))


def test_a_compressed_gallery_is_evaluated_like_any_other(
    tiny_world: TinyWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_world.folder(), tmp_path / "synthetic")
    path = tmp_path / "synthetic" / "sift_gallery_local.hdf5"

    size = path.stat().st_size
    compress(tmp_path)
    assert " -> " in capsys.readouterr().out and path.stat().st_size < size / 2
    cell = ["model=mutual_nn", "num_rerank=10", "lamb=0", "temp=1", "report_queries=0"]
    words = given(tmp_path, *cell, f"output_dir={tmp_path / 'run'}")
    results = evaluate.run(compose("evaluate", words))
    assert results["cost"]["pairs"] > 0
    assert '"code_bytes": 32' in results["digests"]["gallery_store"]
    assert main_of("check_store")(given(tmp_path)) == 0
    compress(tmp_path)
    assert "has product codes already, 32 bytes each" in capsys.readouterr().out
    with pytest.raises(BadInput, match="product codes already"):
        compress(tmp_path, "code_bytes=16")


def test_a_store_that_is_missing_is_named_with_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="extract_descriptors"):
        compress(tmp_path)
