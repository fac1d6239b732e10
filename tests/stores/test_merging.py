"""The laws of shards: together they are the list, each image once; names say which is which."""

from pathlib import Path

import pytest

from ames_lite.errors import BadInput, ConfigError, MissingFile
from ames_lite.stores.merging import Shard, find_shards, parse_shard, shard_path, shard_rows


@pytest.mark.parametrize("num", [1, 7, 8, 100, 101])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_are_runs_that_cover_the_list(num: int, count: int) -> None:
    if count > num:
        with pytest.raises(BadInput, match="is empty"):
            [shard_rows(num, Shard(i, count)) for i in range(1, count + 1)]
        return
    parts = [shard_rows(num, Shard(i, count)) for i in range(1, count + 1)]
    assert [row for part in parts for row in part] == list(range(num))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert shard_rows(num, None) == range(num)


def test_torchrun_says_the_shard_where_nobody_else_does() -> None:
    environment = {"RANK": "2", "WORLD_SIZE": "4"}
    assert parse_shard(None, environment) == Shard(3, 4)
    assert parse_shard("1/2", environment) == Shard(1, 2)
    assert parse_shard(None, {}) is None
    assert parse_shard(None, {"RANK": "0", "WORLD_SIZE": "1"}) is None


@pytest.mark.parametrize("text", ["0/8", "9/8", "3", "3/", "a/b", "-1/8", "1/0", "", "3/8/9"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="shard="):
        parse_shard(text)


def test_shards_are_found_by_their_names(tmp_path: Path) -> None:
    store = tmp_path / "sift_gallery_local.hdf5"
    with pytest.raises(MissingFile, match="no shards"):
        find_shards(store)
    for i in (1, 2, 10):
        shard_path(store, Shard(i, 10)).touch()
    (tmp_path / "other_sift_gallery_local.1-of-2.hdf5").touch()
    store.touch()
    with pytest.raises(MissingFile, match="3/10, 4/10") as error:
        find_shards(store, "make")
    assert "make shard=3/10" in str(error.value)
    for i in range(1, 11):
        shard_path(store, Shard(i, 10)).touch()
    assert find_shards(store) == [shard_path(store, Shard(i, 10)) for i in range(1, 11)]
    shard_path(store, Shard(1, 3)).touch()
    with pytest.raises(BadInput, match="3 and 10 parts"):
        find_shards(store)
