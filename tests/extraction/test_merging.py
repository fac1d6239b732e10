"""The laws of merging: shards joined are the unbroken run; what does not fit is refused."""

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.extraction.merging import merge_stores
from ames_lite.stores import merging
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.merging import Shard, find_shards, shard_path, shard_rows
from tests.stores.test_descriptor_store import FAILED, NAMES, PROVENANCE, D, K, image


def write(path: Path, names: Sequence[str], packed: bool = False, **more: object) -> Path:
    kind = "uint8" if packed else "float16"
    made = {**PROVENANCE, **more}
    with DescriptorStore.create(path, names, K, D, kind, made) as store:
        for name in names:
            row = NAMES.index(name) if name in NAMES else 0
            if row in FAILED:
                store.mark_failed(name, f"image {row} is cut short")
            else:
                store.append(name, image(row, packed))
    return path


def sharded(folder: Path, count: int, packed: bool = False) -> list[Path]:
    whole = folder / "sift_gallery_local.hdf5"
    for i in range(1, count + 1):
        rows = shard_rows(len(NAMES), Shard(i, count))
        write(shard_path(whole, Shard(i, count)), [NAMES[row] for row in rows], packed)
    return find_shards(whole)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("run_bytes", [1, 1 << 26])
def test_a_copy_of_all_shards_is_the_unbroken_run_byte_for_byte(
    tmp_path: Path, packed: bool, count: int, run_bytes: int, monkeypatch
) -> None:
    monkeypatch.setattr(merging, "RUN_BYTES", run_bytes)
    whole = write(tmp_path / "whole.hdf5", NAMES, packed)
    shards = sharded(tmp_path, count, packed)
    merged = merge_stores(shards[::-1], tmp_path / "merged.hdf5", NAMES)
    assert merged.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("packed", [False, True])
def test_a_virtual_store_reads_like_the_unbroken_run(tmp_path: Path, packed: bool) -> None:
    whole = DescriptorStore.open(write(tmp_path / "whole.hdf5", NAMES, packed))
    path = merge_stores(sharded(tmp_path, 4, packed), tmp_path / "v.hdf5", NAMES, how="virtual")
    merged = DescriptorStore.open(path)
    assert (merged.names, merged.provenance) == (whole.names, whole.provenance)
    for part in ("descriptors", "xy", "scale", "weight", "count", "size", "status", "reason"):
        np.testing.assert_array_equal(
            merged.stored(part, 0, len(merged)), whole.stored(part, 0, len(whole))
        )
    assert [(chunk.start, chunk.rows) for chunk in merged.chunks()] == [
        (0, 2), (2, 2), (4, 2), (6, 3),
    ]  # fmt: skip
    assert whole.chunks() == []


def test_a_virtual_store_moves_with_its_folder_and_refuses_to_lose_a_shard(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    shards = sharded(tmp_path / "a", 3)
    merge_stores(shards, tmp_path / "a" / "v.hdf5", NAMES, how="virtual")
    (tmp_path / "a").rename(tmp_path / "b")
    path = tmp_path / "b" / "v.hdf5"
    before = DescriptorStore.open(path).read_descriptors(range(9))[0]
    assert before[4:8].any()
    (tmp_path / "b" / shards[1].name).unlink()
    with pytest.raises(BadInput, match="rows 3 to 5 would be zeros") as error:
        DescriptorStore.open(path)
    assert shards[1].name in str(error.value)
    names = NAMES[3:6]  # an extraction that was begun anew, and killed
    DescriptorStore.create(tmp_path / "b" / shards[1].name, names, K, D, "float16", PROVENANCE)
    with pytest.raises(BadInput, match="is not complete|being written"):
        DescriptorStore.open(path)


def test_shards_that_are_not_of_one_store_are_refused(tmp_path: Path) -> None:
    first = write(tmp_path / "1.hdf5", NAMES[:5])
    second = write(tmp_path / "2.hdf5", NAMES[5:])
    unfinished = tmp_path / "4.hdf5"
    with DescriptorStore.create(unfinished, NAMES[5:], K, D, "float16", PROVENANCE) as store:
        store.append(NAMES[5], image(5))
    cases = [
        ([first], "no shard holds 'folder/ü5"),
        ([first, second, first], "stands where"),
        ([first, write(tmp_path / "3.hdf5", NAMES[4:])], "stands where row 5"),
        ([first, write(tmp_path / "5.hdf5", NAMES[5:], layer=4)], "layer is 3"),
        ([first, write(tmp_path / "6.hdf5", NAMES[5:], packed=True)], "packed|dtype"),
        ([first, write(tmp_path / "7.hdf5", [*NAMES[5:], "new"])], "'new' is not in"),
        ([first, write(tmp_path / "8.hdf5", NAMES[:4:-1])], "stands where"),
        ([first, unfinished], "1 of 4 rows are written"),
        ([], "no shards"),
    ]
    for sources, match in cases:
        for how in ("copy", "virtual"):
            with pytest.raises(BadInput, match=match):
                merge_stores(sources, tmp_path / "merged.hdf5", NAMES, how=how)
    assert not (tmp_path / "merged.hdf5").exists()


def test_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    shards = sharded(tmp_path, 2)
    out = merge_stores(shards, tmp_path / "merged.hdf5", NAMES)
    for how in ("copy", "virtual"):
        with pytest.raises(BadInput, match="exists already"):
            merge_stores(shards, out, NAMES, how=how)
        merge_stores(shards, out, NAMES, how=how, overwrite=True)
    with pytest.raises(BadInput, match="one of the shards"):
        merge_stores(shards, shards[0], NAMES, overwrite=True)
    with pytest.raises(BadInput, match="how is 'move'"):
        merge_stores(shards, tmp_path / "m2.hdf5", NAMES, how="move")


def test_a_merged_store_can_be_compressed(tmp_path: Path) -> None:
    out = merge_stores(sharded(tmp_path, 2), tmp_path / "m.hdf5", NAMES, compression="gzip")
    with h5py.File(out) as file:
        assert file["descriptors"].compression == "gzip"
    assert DescriptorStore.open(out).read(5).count == K
