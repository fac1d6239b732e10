"""Shards: parts of an image list that several processes extract, each into a store of its own.

Shard i of n, from 1, holds the rows from N (i-1) // n up to N i // n, a run, so that a merged store
maps onto them; its file is `name.3-of-8.hdf5` beside `name.hdf5`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ames_lite.errors import BadInput, ConfigError, MissingFile, require

_FORM = re.compile(r"([1-9][0-9]*)/([1-9][0-9]*)")
_FILE = re.compile(r"\.([1-9][0-9]*)-of-([1-9][0-9]*)$")


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count`, from 1."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def parse_shard(text: str | None, environment: Mapping[str, str] | None = None) -> Shard | None:
    """The shard that `text` names; without it, torchrun's (RANK of WORLD_SIZE); or None: all.

    >>> parse_shard("3/8")
    Shard(index=3, count=8)
    >>> parse_shard(None, {"RANK": "0", "WORLD_SIZE": "2"})
    Shard(index=1, count=2)

    Raises ConfigError for anything else.
    """
    if text is None:
        rank, size = ((environment or {}).get(key) for key in ("RANK", "WORLD_SIZE"))
        if rank is None or size is None or size == "1":
            return None
        text = f"{int(rank) + 1}/{size}" if rank.isdigit() else f"{rank}/{size}"
    found = _FORM.fullmatch(text)
    if found is None or int(found[1]) > int(found[2]):
        raise ConfigError(f"shard={text}", expected="<part>/<parts>, from 1/8 to 8/8")
    return Shard(int(found[1]), int(found[2]))


def shard_rows(num: int, shard: Shard | None) -> range:
    """The rows, of a list of `num`, that a shard holds. Raises BadInput where there are none.

    >>> [shard_rows(10, Shard(i, 3)) for i in (1, 2, 3)]
    [range(0, 3), range(3, 6), range(6, 10)]
    """
    if shard is None:
        return range(num)
    rows = range(num * (shard.index - 1) // shard.count, num * shard.index // shard.count)
    if not rows:
        raise BadInput(f"shard {shard} of {num} images is empty", expected="fewer shards")
    return rows


def shard_path(path: str | Path, shard: Shard | None) -> Path:
    """The file of a shard of the store `path`; None: the store itself.

    >>> shard_path("sift_gallery_local.hdf5", Shard(3, 8)).name
    'sift_gallery_local.3-of-8.hdf5'
    """
    path = Path(path)
    if shard is None:
        return path
    return path.with_name(f"{path.stem}.{shard.index}-of-{shard.count}{path.suffix}")


def find_shards(path: str | Path, remedy: str | None = None) -> list[Path]:
    """The files of all shards of the store `path`, in their order. Raises MissingFile, BadInput."""
    path = Path(path)
    found: dict[int, set[int]] = {}
    for file in path.parent.glob(f"*{path.suffix}"):
        part = _FILE.search(file.stem)
        if part is not None and file.stem == path.stem + part[0]:
            found.setdefault(int(part[2]), set()).add(int(part[1]))
    if not found:
        where = path.with_name(f"{path.stem}.<part>-of-<parts>{path.suffix}").absolute()
        one = remedy and f"{remedy} shard=1/2"
        expected = "the parts of a list, such as shard=1/2 and shard=2/2"
        raise MissingFile("there are no shards", where=where, expected=expected, remedy=one)
    what = f"shards of {' and '.join(map(str, sorted(found)))} parts lie side by side"
    expected, useless = "the shards of one division", "remove those that are of no use"
    require(len(found) == 1, what, where=path.absolute(), expected=expected, remedy=useless)
    count, parts = next(iter(found.items()))
    shards = [Shard(i, count) for i in range(1, count + 1)]
    paths = [shard_path(path, shard) for shard in shards]
    absent = [str(shard) for shard in shards if shard.index not in parts]
    if absent:
        what, again = f"shards are missing: {', '.join(absent)}", f"{remedy} shard={absent[0]}"
        where, expected = paths[0].absolute(), f"all {count}"
        raise MissingFile(what, where=where, expected=expected, remedy=remedy and again)
    return paths
