"""Features of other tools, from their files to a row of results."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from ames_lite.cli.compose import compose
from ames_lite.cli.import_features import run
from ames_lite.errors import ConfigError
from ames_lite.io.checkpoint import HeadMeta, save_head
from ames_lite.models import build_head
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.global_store import GlobalStore
from tests.conftest import TinyWorld
from tests.helpers import ROOT, main_of
from tests.stores.published.features import files

H5 = "feats-superpoint-n4096-r1024.h5"


@pytest.fixture
def place(tiny_world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny world without its stores, and the features of its stores as hloc saves them."""
    source, folder = tiny_world.folder(), tmp_path / "data" / "synthetic"
    folder.mkdir(parents=True)
    for name in ("query.txt", "gallery.txt", "gnd_synthetic.json"):
        shutil.copy(source / name, folder)
    content, vectors = {}, {}
    for split in ("query", "gallery"):
        store = DescriptorStore.open(source / f"sift_{split}_local.hdf5")
        with GlobalStore(source / f"sift_{split}_vlad.hdf5") as globals_:
            vectors |= dict(zip(globals_.names, globals_.read(0, len(globals_)), strict=True))
        for row, name in enumerate(store.names):
            given = store.read(row)
            pixels = given.xy.astype(float) * given.size[::-1] - 0.5
            parts = (pixels, given.descriptors, given.weight, given.size[::-1])
            content[name] = files.Image(*parts)
    files.write_hloc(tmp_path / H5, content)
    files.write_hloc_globals(tmp_path / "global-feats-netvlad.h5", vectors)
    monkeypatch.chdir(tmp_path)
    return folder.parent


def documented() -> list[list[str]]:
    text = (ROOT / "docs" / "importing.md").read_text(encoding="utf-8")
    block = re.findall(r"```bash\n(.*?)```", text, re.S)[0]
    return [shlex.split(line)[1:] for line in block.splitlines()]


@pytest.mark.slow
def test_the_documented_commands_lead_from_files_of_hloc_to_the_row_of_the_native_stores(
    tiny_world: TinyWorld, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = []
    for script, *words in documented():
        words = [word.replace("roxford", "synthetic") for word in words]
        assert main_of(Path(script).stem)([*words, f"data_root={place}"]) == 0, script
        printed.append(capsys.readouterr().out)
    words = ["dataset=synthetic", "desc_name=sift", f"data_root={tiny_world.root}"]
    assert main_of("evaluate")([*words, *documented()[-1][3:]]) == 0
    native = capsys.readouterr().out
    rows = [re.findall(r"^ *\d+ .*$|^global.*$", text, re.M) for text in (printed[-1], native)]
    assert rows[0] and rows[0] == rows[1]
    for split in ("query", "gallery"):
        made, wanted = (
            DescriptorStore.open(root / "synthetic" / f"{name}_{split}_local.hdf5")
            for root, name in ((place, "superpoint"), (tiny_world.root, "sift"))
        )
        np.testing.assert_array_equal(made.read(0).descriptors, wanted.read(0).descriptors)
        np.testing.assert_allclose(made.read(0).xy, wanted.read(0).xy, atol=1e-6)


def test_a_head_of_other_descriptors_is_refused(
    place: Path, tiny_world: TinyWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["dataset=synthetic", "desc_name=superpoint", f"data_root={place}"]
    for split in ("query", "gallery"):
        assert main_of("import_features")([*given, f"features={H5}", f"split={split}"]) == 0
    store = DescriptorStore.open(place / "synthetic" / "superpoint_query_local.hdf5")
    torch.manual_seed(0)
    head = build_head("ames", dim_in=store.dim, dim=16, num_layers=1, dim_feedforward=16)
    lists = tiny_world.folder() / "nn_sift_vlad.hdf5"
    shown = [*given, f"neighbors={lists}", "num_rerank=5", "lamb=0.5", "temp=0.1", "model=ames"]
    others = ({"backbone": "superpoint of npz"}, {"backbone": "sift"}, store.provenance)
    for number, made in enumerate(others):
        meta = HeadMeta("superpoint", provenance={"descriptors": made})
        save_head(place / f"head{number}", head, meta)
        code = main_of("evaluate")([*shown, f"weights={place / f'head{number}'}"])
        said = capsys.readouterr().err
        assert code == (0 if number == 2 else 1), said
        refused = f"backbone is '{made['backbone']}' in the head"
        assert number == 2 or re.search(f"{refused}.*'superpoint of hloc' in", said), said


def test_without_a_list_the_rows_are_those_of_the_features(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["dataset=folder", "name=mine", f"data_root={place}", f"features={H5}", "top_k=7"]
    assert main_of("import")(given) == 0
    assert "no gallery list in" in capsys.readouterr().out
    store = DescriptorStore.open(place / "mine" / "imported_gallery_local.hdf5")
    assert list(store.names) == sorted(store.names) and store.max_count == 7
    (place / "few.txt").write_text(f"{store.names[3]}\n{store.names[0]}\n")
    path = run(compose("import_features", [*given, f"names={place / 'few.txt'}", "split=query"]))
    assert DescriptorStore.open(path).names == (store.names[3], store.names[0])


def test_keys_that_make_no_sense_are_named() -> None:
    with pytest.raises(ConfigError, match="features= is not given"):
        run(compose("import_features"))
    with pytest.raises(ConfigError, match=r"resized=\[480\]"):
        run(compose("import_features", ["features=x.h5", "resized=[480]"]))
