"""The images of an index as rows of a database: kept equal to it, and searched there.

A row has the image's vector and its file's size, mtime_ns and digest, and `made`, the digest of
what the vector was made with. The local descriptors stay in the index folder, and so does a copy of
the vectors, from which a database that was lost or changed is filled again. The collection's mark
says which folder and which state it holds; it is written last.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ames_lite.errors import BadInput, require
from ames_lite.io.digest import names_digest
from ames_lite.records import Neighbors
from ames_lite.search.databases.database import Floats, VectorDatabase
from ames_lite.search.index import OpenIndex

OF_FILE = ("size", "mtime_ns", "digest")
COLUMNS = (*OF_FILE, "made")


class Synced(NamedTuple):
    """What an update of a database did."""

    written: int
    removed: int
    total: int


class _Wanted:
    """What the rows and the mark of an index's database should be."""

    def __init__(self, index: OpenIndex) -> None:
        record = index.record
        how = json.dumps(record.backbone, sort_keys=True)
        made = {"made": names_digest([how, record.vocabulary])[:16]}
        described = [entry for entry in record.entries if not entry.failed]
        self.rows = {e.name: {c: getattr(e, c) for c in OF_FILE} | made for e in described}
        state = [repr((name, *row.values())) for name, row in self.rows.items()]
        mark = {"images": record.images, "count": len(state), "digest": names_digest(state)}
        self.mark = json.dumps(mark)
        self.unfinished = json.dumps({"images": record.images})


def update_database(index: OpenIndex, database: VectorDatabase) -> Synced:
    """Write new and changed images of an index, remove those that have gone. An interrupted update
    is finished by the next. Raises BadInput for a collection of another folder or of others.
    """
    wanted, mark = _Wanted(index), database.mark()
    total = len(wanted.rows)
    if mark == wanted.mark and database.count() == total:
        return Synced(0, 0, total)
    _check_owner(index, database, mark)
    dim = next(index.vectors())[0].shape[1]
    if database.dim is None:
        database.create(dim)
    what = f"the collection has vectors of width {database.dim}, the index of width {dim}"
    remedy = "index=…#<another collection>"
    require(database.dim == dim, what, where=database.where, expected="one width", remedy=remedy)
    database.set_mark(wanted.unfinished)
    there, gone = set(), []
    for name, row in database.rows(COLUMNS):
        if name not in wanted.rows:
            gone.append(name)
        elif row == wanted.rows[name]:
            there.add(name)
    database.delete(gone)
    for vectors, ids in index.vectors():
        todo = [n for n, number in enumerate(ids.tolist()) if index.names[number] not in there]
        names = [index.names[ids[n]] for n in todo]
        if names:
            database.upsert(names, vectors[todo], [wanted.rows[name] for name in names])
    count, what = database.count(), "the database does not hold what was written: {} of {} rows"
    require(count == total, what.format(count, total), where=database.where)
    database.set_mark(wanted.mark)
    return Synced(total - len(there), len(gone), total)


def _check_owner(index: OpenIndex, database: VectorDatabase, mark: str) -> None:
    """BadInput unless the collection is empty or of the same folder: rows would be removed."""
    try:
        owner = json.loads(mark).get("images") if mark else None
    except (ValueError, AttributeError):
        owner = None
    images, remedy = index.record.images, "index=…#<another collection>"
    whose = f"of the folder {owner}" if owner else "that were not written by an index"
    fine = owner == images or (not mark and database.count() == 0)
    expected = f"an empty or a new collection, or the one of {images}"
    what = f"the collection has vectors {whose}"
    require(fine, what, where=database.where, expected=expected, remedy=remedy)


def check_database(index: OpenIndex, database: VectorDatabase) -> None:
    """Raise BadInput where a database does not hold the state of the index."""
    wanted, count = _Wanted(index), database.count()
    fine = database.mark() == wanted.mark and count == len(wanted.rows)
    what = f"the database ({count} rows) does not hold the index ({len(wanted.rows)} images)"
    remedy = "the same command with update=true, which writes what is missing"
    expected = f"the state of {index.folder.absolute()}"
    require(fine, what, where=database.where, expected=expected, remedy=remedy)


def database_candidates(
    index: OpenIndex,
    database: VectorDatabase,
    vectors: Floats,
    count: int,
    own_names: Sequence[str | None],
    filter: str | None = None,
) -> Neighbors:
    """The candidates of vectors [Q, V], as `find_candidates` has them, searched by the database;
    the similarity to a vector of zeros is 0. own_names [Q]: left out, each query's own.
    """
    check_database(index, database)
    empty = np.logical_not(vectors.any(axis=1))
    asked = np.where(empty[:, None], np.float32(1), vectors)
    found = database.search(asked, min(count + 1, len(index)), filter)
    odd = next((n for names in found.names for n in names if n not in index.id_of), None)
    require(odd is None, f"'{odd}' is in the database, not in the index", where=database.where)
    lists = []
    for names, sims, own, zero in zip(found.names, found.sims, own_names, empty, strict=True):
        signed = np.where(zero, np.float32(0), -sims)  # ascends
        both = zip(signed.tolist(), names, strict=False)
        lists.append(sorted((sim, index.id_of[name]) for sim, name in both if name != own))
    width = min(count, *map(len, lists))
    if width == 0:
        what, expected = "the database finds no image", "another image than the query that passes"
        raise BadInput(what, where=database.where, expected=f"{expected} filter={filter}")
    ids = np.array([[number for _, number in one[:width]] for one in lists], np.int32)
    sims = np.array([[-sim for sim, _ in one[:width]] for one in lists], np.float32)
    return Neighbors(ids, sims, len(index))
