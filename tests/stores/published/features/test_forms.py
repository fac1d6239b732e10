"""Every form, written from its public description, gives back its arrays."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from ames_lite.errors import BadInput, MissingFile
from ames_lite.stores.published.features.forms import open_features
from tests.stores.published.features import files
from tests.stores.published.features.files import Image

NAMES = ["db/1.jpg", "db/2.jpg", "q/1.jpg"]
CONTENT = files.images(NAMES)


def tensors(one: Image) -> dict[str, object]:
    """As SuperPoint's network answers for a batch of one image."""
    arrays = {"keypoints": one.keypoints, "descriptors": one.descriptors.T, "scores": one.scores}
    made = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}
    return {"keypoints": [made["keypoints"]], "descriptors": [made["descriptors"]]} | {
        "scores": (made["scores"],)
    }


def arrays(one: Image, columns: bool = True) -> dict[str, Any]:
    descriptors = one.descriptors.T if columns else one.descriptors
    return {"keypoints": one.keypoints, "descriptors": descriptors, "scores": one.scores}


def hloc(folder: Path) -> Path:
    return files.write_hloc(folder / "feats.h5", CONTENT)


def one_pickle(protocol: int) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        content = {name: arrays(one) for name, one in CONTENT.items()}
        return files.write_pickle(folder / "sp.pkl", content, protocol)

    return write


def pickled_tensors(folder: Path) -> Path:
    return files.write_pickle(folder / "sp.p", {k: tensors(v) for k, v in CONTENT.items()}, 4)


def saved_tensors(folder: Path) -> Path:
    torch.save({k: tensors(v) for k, v in CONTENT.items()}, folder / "sp.pt")
    return folder / "sp.pt"


def folder_of(suffix: str, write: Callable[[Path, Image], object]) -> Callable[[Path], Path]:
    def all_of(folder: Path) -> Path:
        for name, one in CONTENT.items():
            path = folder / f"{name}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, one)
        return folder

    return all_of


FORMS = {
    "hloc": hloc,
    **{f"superpoint {protocol}": one_pickle(protocol) for protocol in range(6)},
    "superpoint tensors": pickled_tensors,
    "superpoint saved": saved_tensors,
    "superpoint folder": folder_of(".pkl", lambda p, one: files.write_pickle(p, arrays(one))),
    "superpoint of one": folder_of(".pt", lambda p, one: torch.save(tensors(one), p)),
    "npz": folder_of(".npz", lambda p, one: np.savez(p, **arrays(one, False), imsize=one.size)),
    "delg": folder_of(".delg_local", files.write_delg),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_form_gives_back_its_arrays(tmp_path: Path, form: str) -> None:
    source = open_features(FORMS[form](tmp_path))
    assert source.form == form.split()[0] and list(source.keys) == NAMES
    for name, one in CONTENT.items():
        found = source.open(name)
        loaded = found.load()
        assert found.count == 5 and found.shape in ((8, 5), (5, 8))
        assert loaded.keypoints is not None and loaded.scores is not None
        rows = loaded.descriptors.T if found.shape == (8, 5) else loaded.descriptors
        np.testing.assert_array_equal(rows, one.descriptors)
        np.testing.assert_array_equal(loaded.keypoints, one.keypoints)
        np.testing.assert_array_equal(loaded.scores, one.scores)
        sized = form in ("hloc", "npz")
        assert found.size == ((48, 64) if sized else None)


def test_patches_lie_where_the_published_code_puts_them(tmp_path: Path) -> None:
    """Middles of boxes [16 j - 90, 16 (j + p - 1) + 105] in pixels, as its matcher has them."""
    draw = np.random.default_rng(0)
    sizes = {p: draw.normal(size=(4, (6 - p + 1) * (8 - p + 1))) for p in (2, 5)}
    for name in ("0001", "a.b"):
        files.write_patches(tmp_path / "out", name, sizes)
    source = open_features(tmp_path / "out", resized=(96, 128))
    assert (source.form, source.keys) == ("patchnetvlad", ["0001", "a.b"])
    assert source.grid == "patches of [2, 5] in images of 96 × 128"
    found = source.open("0001")
    loaded = found.load()
    assert found.count == 35 + 8 and loaded.keypoints is not None and loaded.scale is not None
    wanted = np.concatenate([sizes[2], sizes[5]], axis=1).astype(np.float32)
    np.testing.assert_array_equal(loaded.descriptors, wanted)
    assert loaded.scale.tolist() == [0] * 35 + [1] * 8
    boxes = [
        ((16 * j - 90 + 16 * (j + p - 1) + 105) / 2, (16 * i - 90 + 16 * (i + p - 1) + 105) / 2)
        for p in sizes
        for i in range(6 - p + 1)
        for j in range(8 - p + 1)
    ]
    np.testing.assert_allclose(loaded.keypoints, (np.array(boxes) + 0.5) / (128, 96))
    with pytest.raises(BadInput, match=r"480 × 640(.|\n)*resized=\[imageresizeh,imageresizew\]"):
        open_features(tmp_path / "out").open("0001")
    (tmp_path / "out" / "patchfeats_psize5_0001.npy").unlink()
    with pytest.raises(BadInput, match=r"sizes \[2\](.|\n)*\[2, 5\]"):
        open_features(tmp_path / "out").open("0001")


def test_global_descriptors_come_from_every_form_that_has_them(tmp_path: Path) -> None:
    vectors = dict(zip(NAMES, np.eye(3, 4, dtype=np.float32), strict=True))
    rows = np.stack(list(vectors.values()))
    np.save(tmp_path / "database_descriptors.npy", rows)
    (tmp_path / "patches").mkdir()
    np.save(tmp_path / "patches" / "globalfeats.npy", rows)
    for name, vector in vectors.items():
        path = tmp_path / "delg" / f"{name}.delg_global"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files.datum(vector))
    files.write_hloc_globals(tmp_path / "global-feats-netvlad.h5", vectors)
    for path in ("global-feats-netvlad.h5", "delg", "database_descriptors.npy", "patches"):
        source = open_features(tmp_path / path, vectors=True)
        found = np.stack([source.open(key).load().descriptors for key in source.keys])
        np.testing.assert_array_equal(found, rows)
        assert source.listed == (path in ("database_descriptors.npy", "patches"))
        with pytest.raises(BadInput, match="no local features(.|\n)*global="):
            open_features(tmp_path / path)


def test_local_features_are_not_taken_for_global_ones(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no global features of the form hloc"):
        open_features(hloc(tmp_path), vectors=True)


def test_a_path_whose_form_is_open_asks_for_it(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="features are missing"):
        open_features(tmp_path / "absent.h5")
    with pytest.raises(BadInput, match="no known suffix(.|\n)*form="):
        open_features(tmp_path)
    (tmp_path / "a.npz").touch()
    (tmp_path / "a.pkl").touch()
    with pytest.raises(BadInput, match=r"npz, superpoint|superpoint, npz"):
        open_features(tmp_path)
    with pytest.raises(BadInput, match="no form of features 'x'"):
        open_features(tmp_path, form="x")


def test_two_files_of_one_image_are_an_error(tmp_path: Path) -> None:
    for suffix in (".pkl", ".pt"):
        (tmp_path / f"a{suffix}").touch()
    with pytest.raises(BadInput, match="1 files have the name of another"):
        open_features(tmp_path)


class Attack:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return os.mkdir, (str(self.marker),)


def test_a_pickle_runs_nothing(tmp_path: Path) -> None:
    path = files.write_pickle(tmp_path / "sp.pkl", {"a.jpg": Attack(tmp_path / "ran")})
    with pytest.raises(BadInput, match="mkdir, which is not allowed"):
        open_features(path)
    inner = io.BytesIO()
    torch.save({"a.jpg": Attack(tmp_path / "ran")}, inner)
    (tmp_path / "sp.pt").write_bytes(inner.getvalue())
    with pytest.raises(BadInput, match="weights alone"):
        open_features(tmp_path / "sp.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [[1], {1: {}}, 3])
def test_a_pickle_of_something_else_is_named(tmp_path: Path, content: object) -> None:
    with pytest.raises(BadInput, match="the file holds a"):
        open_features(files.write_pickle(tmp_path / "x.pkl", content))


@pytest.mark.parametrize("damage", ["external", "soft", "hard", "virtual", "group", "text"])
def test_what_hdf5_may_hide_is_refused(tmp_path: Path, damage: str) -> None:
    path = hloc(tmp_path)
    with h5py.File(path, "r+") as file:
        if damage == "external":
            file["z"] = h5py.ExternalLink("/etc/passwd", "/")
        elif damage == "soft":
            file["z"] = h5py.SoftLink("/db")
        elif damage == "hard":
            file["db/again"] = file["/"]
        elif damage == "text":
            del file["db/1.jpg/descriptors"]
            file["db/1.jpg/descriptors"] = np.array([b"a"] * 5)
        else:
            del file["db/1.jpg/descriptors"]
            if damage == "group":
                file.create_group("db/1.jpg/descriptors")
            else:
                layout = h5py.VirtualLayout((8, 5), np.float32)
                layout[:] = h5py.VirtualSource("/etc/passwd", "x", (8, 5))
                file.create_virtual_dataset("db/1.jpg/descriptors", layout)
    with pytest.raises(BadInput, match=r"link|twice|spread|group|\|S1"):
        open_features(path).open("db/1.jpg")


def test_a_declared_size_beyond_the_file_is_refused(tmp_path: Path) -> None:
    path = hloc(tmp_path)
    with h5py.File(path, "r+") as file:
        del file["db/1.jpg/descriptors"]
        file.create_dataset("db/1.jpg/descriptors", (1 << 30, 5), np.float32, chunks=(64, 5))
    with pytest.raises(BadInput, match="never written"):
        open_features(path).open("db/1.jpg")


def test_a_message_that_ends_early_is_refused_and_fields_of_later_versions_are_not(
    tmp_path: Path,
) -> None:
    path = files.write_delg(tmp_path / "a.delg_local", CONTENT["db/1.jpg"])
    whole = path.read_bytes()
    path.write_bytes(whole + files.varint(9 << 3) + files.varint(1 << 40))
    assert open_features(path).open("a").count == 5
    for cut in (1, 7, len(whole) - 3):
        path.write_bytes(whole[:cut])
        with pytest.raises(BadInput, match="not a whole file of DELG"):
            open_features(path).open("a")
    path.write_bytes(b"")
    assert open_features(path).open("a").count == 0


@pytest.mark.parametrize("form", ["hloc", "superpoint 2", "superpoint tensors", "npz", "delg"])
def test_damaged_files_never_raise_anything_but_bad_input(tmp_path: Path, form: str) -> None:
    path, draw = FORMS[form](tmp_path), np.random.default_rng(0)
    file = path if path.is_file() else next(p for p in sorted(path.rglob("*")) if p.is_file())
    whole, refused = file.read_bytes(), 0
    for turn in range(30):
        damaged = bytearray(whole[: draw.integers(len(whole))] if turn % 3 == 0 else whole)
        for place in draw.integers(0, max(1, len(damaged)), 2 if damaged else 0):
            damaged[place] = draw.integers(256)
        file.write_bytes(damaged)
        try:
            with closing(open_features(path)) as source:
                for key in source.keys:
                    source.open(key).load()
        except BadInput:
            refused += 1
    assert refused > 5
