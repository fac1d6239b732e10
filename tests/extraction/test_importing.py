"""Imports of features: rows, names, faults, and what an interruption leaves."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image as Pillow

from ames_lite.errors import BadInput
from ames_lite.extraction.importing import Options, import_features
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.global_store import GlobalStore
from ames_lite.stores.published.features.forms import open_features
from benchmarks.own_process import peak_of
from tests.stores.published.features import files

NAMES = ["db/1.jpg", "db/2.jpg", "q/1.jpg"]
MADE = {"backbone": "superpoint of hloc", "source": "feats.h5"}


def hloc(folder: Path, names: Sequence[str] = NAMES, **more: Any) -> Path:
    return files.write_hloc(folder / "feats.h5", files.images(names), **more)


def imported(
    path: Path, names: Sequence[str] | None = NAMES, output: str = "out.hdf5", **options: Any
) -> DescriptorStore:
    root = {"image_root": options.pop("image_root")} if "image_root" in options else {}
    with closing(open_features(path)) as source:
        given = import_features(
            source, path.parent / output, names, MADE, options=Options(**options), **root
        )
    return DescriptorStore.open(given)


def check(store: DescriptorStore, content: Mapping[str, files.Image]) -> None:
    """A slow referee: every row equals the arrays of its image, the strongest first."""
    for row, name in enumerate(store.names):
        one, given = content[name], store.read(row)
        order = np.argsort(-one.scores)[: given.count]
        np.testing.assert_array_equal(given.descriptors, one.descriptors[order].astype("f2"))
        wanted = (one.keypoints[order].astype(float) + 0.5) / one.size
        np.testing.assert_allclose(given.xy, wanted, atol=1e-6)
        np.testing.assert_array_equal(given.weight, one.scores[order])
        assert given.size == one.size[::-1] and not given.scale.any()


@pytest.mark.parametrize("rows", [False, True])
def test_rows_are_those_of_the_list_whatever_the_layout(
    tmp_path: Path, rows: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    listed = ["q/1.jpg", "db/1.jpg"]
    with imported(hloc(tmp_path, rows=rows), listed) as store:
        assert store.names == tuple(listed)
        check(store, files.images(NAMES))
        assert store.provenance["layout"] == ("[K, D]" if rows else "[D, K]")
        assert (
            store.provenance["imported"] == "hloc" and "xxh3" in store.provenance["source_digest"]
        )
        assert store.provenance["positions"] == "pixels, whole numbers at their centres"
    assert "1 features are of no image of the list: db/2.jpg" in caplog.text


def test_without_a_list_rows_are_sorted_and_top_k_bounds_them(tmp_path: Path) -> None:
    with imported(hloc(tmp_path), None, top_k=3) as store:
        assert store.names == tuple(sorted(NAMES)) and store.max_count == 3
        check(store, files.images(NAMES))


def test_names_are_matched_by_their_ends(tmp_path: Path) -> None:
    content = files.images(["a", "b"])
    for name, one in content.items():
        files.write_delg(tmp_path / "delg" / f"{name}.delg_local", one)
    for name in ("a", "b"):
        (tmp_path / "jpg").mkdir(exist_ok=True)
        Pillow.new("RGB", (64, 48)).save(tmp_path / "jpg" / f"{name}.jpg")
    with imported(tmp_path / "delg", ["jpg/b.jpg", "jpg/a.jpg"], image_root=tmp_path) as store:
        check(store, {f"jpg/{name}.jpg": one for name, one in content.items()})
    with pytest.raises(BadInput, match="'a' fits 'x/a.jpg' and 'y/a.jpg'"):
        imported(tmp_path / "delg", ["x/a.jpg", "y/a.jpg"])


def test_where_the_number_of_keypoints_is_the_width_other_images_tell_the_layout(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    square, other = files.images(NAMES, count=8), files.images(["z.jpg"])
    for rows, content in ((False, square), (True, square | other)):
        caplog.clear()
        path = files.write_hloc(tmp_path / f"{rows}.h5", content, rows=rows)
        with imported(path, None, output=f"{rows}.hdf5") as store:
            check(store, content)
        assert f"read as {'[K, D]' if rows else '[D, K]'}" in caplog.text


def test_the_header_of_an_image_gives_its_size_upright(tmp_path: Path) -> None:
    exif = Pillow.Exif()
    exif[274] = 6
    Pillow.new("RGB", (48, 64)).save(tmp_path / "a.jpg", exif=exif)
    one = files.image(0)
    arrays = {"keypoints": one.keypoints, "descriptors": one.descriptors.T, "scores": one.scores}
    path = files.write_pickle(tmp_path / "sp.pkl", {"a.jpg": arrays})
    with imported(path, None, image_root=tmp_path) as store:
        check(store, {"a.jpg": one})
    with pytest.raises(BadInput, match=r"'a\.jpg' cannot(.|\n)*missing(.|\n)*images=<folder"):
        imported(path, None, output="other.hdf5", image_root=tmp_path / "absent")


def broken(path: Path, name: str, part: str, value: Any) -> None:
    with h5py.File(path, "r+") as file:
        del file[name][part]
        file[name][part] = value


FAULTS: dict[str, tuple[str, Any, str]] = {
    "outside": ("keypoints", np.full((5, 2), 70.0), "5 of 5 keypoints lie outside"),
    "NaN": ("descriptors", np.full((8, 5), np.nan), "descriptors have NaN"),
    "width": ("descriptors", np.ones((6, 5)), "width 6, those of most images 8"),
    "shape": ("descriptors", np.ones((8, 4)), r"\[8, 4\] for 5 keypoints"),
    "scores": ("scores", np.ones(4), "4 scores"),
    "kind": ("descriptors", np.array([b"a"] * 5), r"\|S1"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_image_is_named_or_skipped(tmp_path: Path, fault: str) -> None:
    part, value, said = FAULTS[fault]
    path = hloc(tmp_path)
    broken(path, "db/2.jpg", part, value)
    with pytest.raises(BadInput, match=rf"db/2\.jpg(.|\n)*{said}"):
        imported(path)
    with imported(path, overwrite=True, on_bad_image="skip") as store:
        assert store.status.tolist() == [1, 2, 1] and re.search(said, store.reason(1))


def test_an_image_without_features_is_named_before_anything_is_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    listed = [*NAMES, "lost.jpg"]
    with pytest.raises(BadInput, match=r"1 of 4(.|\n)*lost\.jpg: it has no features"):
        imported(hloc(tmp_path), listed)
    assert not (tmp_path / "out.hdf5").exists()
    with imported(hloc(tmp_path), listed, on_bad_image="skip") as store:
        assert store.reason(3) == "it has no features"
    assert "1 of 4 images failed and were skipped" in caplog.text
    with pytest.raises(BadInput, match="no image has a descriptor"):
        imported(hloc(tmp_path), ["lost.jpg"], output="b.hdf5", on_bad_image="skip")


def test_images_without_keypoints_are_allowed_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = {**files.images(NAMES), "dark.jpg": files.image(9, count=0)}
    path = files.write_hloc(tmp_path / "f.h5", content)
    with imported(path, list(content)) as store:
        assert store.count.tolist() == [5, 5, 5, 0]
    assert "1 of 4 images has no descriptors: dark.jpg" in caplog.text


def test_bytes_are_bits_or_numbers_as_is_said(tmp_path: Path) -> None:
    content = {
        name: one._replace(descriptors=np.arange(20).reshape(5, 4).astype(np.uint8))
        for name, one in files.images(NAMES).items()
    }
    path = files.write_hloc(tmp_path / "f.h5", content)
    with pytest.raises(BadInput, match="uint8(.|\n)*packed=true(.|\n)*packed=false"):
        imported(path)
    with imported(path, packed=True) as store:
        assert store.packed and store.dim == 32
        order = np.argsort(-content[NAMES[0]].scores)
        wanted = content[NAMES[0]].descriptors[order]
        np.testing.assert_array_equal(store.read(0).descriptors, wanted)
    with imported(path, output="numbers.hdf5", packed=False) as store:
        check(store, content)
    with pytest.raises(BadInput, match="descriptors are float16"):
        imported(hloc(tmp_path), output="c.hdf5", packed=True)


def test_an_interrupted_import_ends_as_an_unbroken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, whole = hloc(tmp_path), tmp_path / "whole.hdf5"
    imported(path, output="whole.hdf5").close()
    source = open_features(path)
    opened, read = source.open, []

    def stopping(key: str) -> Any:
        read.append(key)
        if len(read) == 3 + 2:  # shapes of three, then the second image
            raise KeyboardInterrupt
        return opened(key)

    monkeypatch.setattr(source, "open", stopping)
    with pytest.raises(KeyboardInterrupt):
        import_features(source, tmp_path / "out.hdf5", NAMES, MADE)
    with pytest.raises(BadInput, match="1 of 3 rows are written"):
        DescriptorStore.open(tmp_path / "out.hdf5")
    imported(path).close()
    assert (tmp_path / "out.hdf5").read_bytes() == whole.read_bytes()
    source.close()
    with h5py.File(path, "r+") as file:
        file["db/1.jpg/scores"][:] = 0.5
    with pytest.raises(BadInput, match="source_digest(.|\n)*overwrite"):
        imported(path)


def test_global_descriptors_keep_their_numbers_and_failed_ones_their_rows(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    np.save(tmp_path / "database_descriptors.npy", rows)
    source = open_features(tmp_path / "database_descriptors.npy", vectors=True)
    path = import_features(source, tmp_path / "g.hdf5", NAMES, MADE, vectors=True)
    with GlobalStore(path) as store:
        assert store.names == tuple(NAMES)
        np.testing.assert_array_equal(store.read(0, 3), rows)
    for names in (NAMES[:2], None):
        with pytest.raises(BadInput, match="3 rows of features, and"):
            import_features(source, tmp_path / "h.hdf5", names, MADE, vectors=True)
    content = dict(zip(NAMES, rows, strict=True))
    content["db/2.jpg"] = np.zeros(6, np.float32)
    files.write_hloc_globals(tmp_path / "g.h5", content)
    source, output = open_features(tmp_path / "g.h5", vectors=True), tmp_path / "i.hdf5"
    with pytest.raises(BadInput, match=r"'db/2\.jpg'(.|\n)*all zero"):
        import_features(source, output, NAMES, MADE, vectors=True)
    skip = Options(on_bad_image="skip", overwrite=True, dtype="float16")
    import_features(source, output, NAMES, MADE, vectors=True, options=skip)
    with GlobalStore(output) as store:
        assert store.status.tolist() == [1, 2, 1]
        np.testing.assert_array_equal(store.read(0, 1)[0], rows[0].astype("f2"))


def large(path: str, images: int) -> Any:
    """An import of hloc features of 4 MiB an image."""
    with h5py.File(path, "w", libver="latest") as file:
        values = np.zeros((256, 4096), np.float32)
        for number in range(images):
            group = file.create_group(f"{number:04}.jpg")
            group["keypoints"], group["descriptors"] = np.full((4096, 2), 9.0), values
            group["image_size"] = np.array((64, 48))
    output = Path(path).with_suffix(".hdf5")
    return lambda: import_features(open_features(path), output, None, MADE)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    few, many = (
        peak_of("tests.extraction.test_importing:large", path=str(tmp_path / f"{n}.h5"), images=n)
        for n in (4, 60)
    )
    assert many - few < 40, (few, many)
