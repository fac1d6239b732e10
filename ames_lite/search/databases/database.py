"""A collection of named vectors in a database: what goes in is checked, requests are bounded.

    with open_database("lancedb:vectors#photos", create=True) as database:
        database.upsert(names, vectors)
        found = database.search(query, 100)

An address is `<kind>:<file, folder or URL>#<collection>`.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from socket import create_connection
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, uuid5

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, MissingFile, check_config, explained, require

Vector = TypeVar("Vector")
Floats = npt.NDArray[np.float32]
Payload = Mapping[str, Any]
Hits = list[tuple[Any, float]]  # names and similarities, best first
# of each kind: the class in the file of its name, the library, where a token is read from
KINDS = {
    "milvus": ("Milvus", "pymilvus", "MILVUS_TOKEN"),
    "qdrant": ("Qdrant", "qdrant_client", "QDRANT_API_KEY"),
    "lancedb": ("LanceDb", "lancedb", "LANCEDB_API_KEY"),
}
FORM = "milvus:<file.db or URL>#<collection>, qdrant:<folder or URL>#…, lancedb:<folder or URL>#…"
MAKE = "ames index images=<folder> index=<this address>, or open_database(…, create=True)"
METRICS = ("cosine", "dot", "ip")  # higher is better
QUERIES, NAMES = 64, 1024  # searched for, removed in a request


class Client(Protocol):
    """A connection to one collection, by the sole owner of its library; any error that it raises
    becomes one message. Names are unique; rows [N, D] have unit length.
    """

    WAIT: ClassVar[int] = 3  # seconds for a database to answer at first
    PATIENCE: ClassVar[int] = 120  # and later
    MOST_BYTES: ClassVar[int] = 4096  # of a name in UTF-8
    EXACT_ROWS: ClassVar[int] = 200_000  # larger collections are searched by their index
    MARK: ClassVar[str] = "ames"  # key of the mark among the metadata of a collection
    port: int  # of a server's URL that has none
    batch_bytes: int  # of vectors in a call of `write`
    _collection: str
    _name: str  # the column of the names

    def __init__(self, collection: str, name_field: str) -> None:
        self._collection, self._name = collection, name_field

    def connect(self, uri: str, token: str | None) -> tuple[int, str] | None:
        """Connect; width and metric of the collection, None where there is none."""

    def create(self, dim: int) -> None:
        """Make the collection, for exact search by cosine similarity."""

    def write(self, names: Sequence[str], rows: Floats, payload: Sequence[Payload]) -> None:
        """Add rows, in place of those of the same names."""

    def remove(self, names: Sequence[str]) -> None:
        """Some of the names may not be there."""

    def search(self, rows: Floats, count: int, filter: str | None) -> list[Hits]:
        """The `count` most similar of all for each row, or of those that pass the filter."""

    def count(self) -> int: ...

    def rows(self, columns: Sequence[str]) -> Iterator[Payload]:
        """The name, and those columns of the payload that are there, of each row in any order."""

    def mark(self) -> str:
        """A text kept with the collection; empty at first."""

    def set_mark(self, text: str) -> None: ...

    def close(self) -> None: ...


def row_id(name: str) -> str:
    """A UUID, the key where names cannot be one; it has no meaning in any query language."""
    return str(uuid5(NAMESPACE_URL, name))


def sole(vectors: Sequence[Vector]) -> Vector:
    """The only kind of vector that rows have."""
    if len(vectors) != 1:
        raise ValueError(f"its rows have {len(vectors)} vectors, one is expected")
    return vectors[0]


class Matches(NamedTuple):
    """The results of Q queries, best first; a filter may leave a list shorter than K."""

    names: list[list[str]]  # [Q], at most K each
    sims: Floats  # [Q, K] cosine similarity or inner product; -inf beyond the end of a list


def is_address(text: str) -> bool:
    """Whether a text is the address of a database rather than a folder.

    >>> is_address("milvus:photos.db#all"), is_address("photos.index")
    (True, False)
    """
    return text.partition(":")[0] in KINDS


def open_database(
    address: str, *, create: bool = False, name_field: str = "name", token: str | None = None
) -> "VectorDatabase":
    """Open a collection. create: it may be missing, the first upsert makes it. name_field: the
    column of the names, of a collection made elsewhere. token: API key; None: that of the
    environment. Raises BadInput, MissingFile, ConfigError; no answer is an error within 5 seconds.
    """
    kind, _, rest = address.partition(":")
    uri, _, collection = rest.rpartition("#")
    fine = kind in KINDS and uri != "" != collection
    require(fine, f"'{address}' is not the address of a collection", expected=FORM)
    name, library, variable = KINDS[kind]
    what, remedy = f"{kind}: needs the package {library}", f"pip install 'ames_lite[{kind}]'"
    check_config(find_spec(library), what, f"the extra ames_lite[{kind}]", remedy=remedy)
    of_kind: type[Client] = getattr(import_module(f"ames_lite.search.databases.{kind}"), name)
    client = of_kind(collection, name_field)
    if uri.startswith(("http://", "https://")):
        _reach(uri, client.port, address)
    elif "://" not in uri and uri != ":memory:":
        uri = str(Path(uri).expanduser().absolute())
        what, fine = "there is no database here", create or Path(uri).exists()
        require(fine, what, kind=MissingFile, where=uri, remedy=MAKE)
    what, remedy = "the database does not open: {}", "check the address and, of a server, "
    with explained(what, Exception, where=address, remedy=f"{remedy}{variable}"):
        found = client.connect(uri, token or os.environ.get(variable))
    dim, metric = found or (None, METRICS[0])
    with ExitStack() as stack:  # closes what cannot be used
        database = stack.enter_context(VectorDatabase(address, client, dim, name_field))
        told: Any = {"where": address, "expected": f"one of {', '.join(METRICS)}"}
        require(metric.lower() in METRICS, f"the collection's metric is {metric}", **told)
        if found is None and not create:
            raise MissingFile("there is no such collection", where=address, remedy=MAKE)
        stack.pop_all()
    return database


def _reach(uri: str, port: int, where: str) -> None:
    """A host that is down is noticed soon, whatever its client would wait."""
    what, remedy = "the database cannot be reached: {}", "start it, or correct its address"
    with explained(what, (OSError, ValueError), where=where, remedy=remedy):
        url = urlsplit(uri)
        create_connection((url.hostname or "", url.port or port), Client.WAIT).close()


class VectorDatabase(AbstractContextManager["VectorDatabase"]):
    """An open collection. Methods raise BadInput, MissingFile where there is no collection."""

    def __init__(self, where: str, client: Client, dim: int | None, name_field: str) -> None:
        """where: for messages; dim: width of the vectors, None: there is no collection yet."""
        self.where, self.dim, self._client, self._name = where, dim, client, name_field

    def create(self, dim: int) -> None:
        with self._asking():
            self._client.create(dim)
        self.dim = dim

    def upsert(
        self, names: Sequence[str], vectors: npt.ArrayLike, payload: Sequence[Payload] | None = None
    ) -> None:
        """Write vectors [N, D] at unit length, payload [N] for filters, in place of these names."""
        check_names(names)
        rows, payload = unit_rows(vectors, self.dim, names), payload or [{}] * len(names)
        what = f"{len(names)} names, {len(rows)} vectors, {len(payload)} rows of payload"
        require(len(names) == len(rows) == len(payload), what, expected="as many of each")
        if self.dim is None:
            self.create(rows.shape[1])
        step = max(1, self._client.batch_bytes // (4 * rows.shape[1]))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            with self._asking():
                self._client.write(names[part], rows[part], payload[part])

    def delete(self, names: Sequence[str]) -> None:
        """Remove rows; names that are not there are ignored."""
        for start in range(0, len(names), NAMES):
            with self._asking():
                self._client.remove(names[start : start + NAMES])

    def search(self, vectors: npt.ArrayLike, count: int, filter: str | None = None) -> Matches:
        """The `count` most similar rows for vectors [Q, D]; filter: in the database's language."""
        if self.dim is None:
            raise MissingFile("there is no such collection", where=self.where, remedy=MAKE)
        require(count >= 1, f"count is {count}", expected="at least 1")
        rows, found = unit_rows(vectors, self.dim), list[Hits]()
        for start in range(0, len(rows), QUERIES):
            with self._asking():
                found += self._client.search(rows[start : start + QUERIES], count, filter)
        sims = np.full((len(found), max(map(len, found), default=0)), -np.inf, np.float32)
        for row, hits in zip(sims, found, strict=True):
            row[: len(hits)] = [sim for _, sim in hits]
        return Matches([[str(name) for name, _ in hits] for hits in found], sims)

    def count(self) -> int:
        with self._asking():
            return 0 if self.dim is None else self._client.count()

    def names(self) -> Iterator[str]:
        """In any order."""
        return (name for name, _ in self.rows())

    def rows(self, columns: Sequence[str] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
        """Names and columns of the payload (None where missing), in any order."""
        if self.dim is not None:
            with self._asking():
                for row in self._client.rows(columns):
                    yield row[self._name], {key: row.get(key) for key in columns}

    def mark(self) -> str:
        """A text kept with the collection; empty at first."""
        with self._asking():
            return "" if self.dim is None else self._client.mark()

    def set_mark(self, text: str) -> None:
        with self._asking():
            self._client.set_mark(text)

    def close(self) -> None:
        self._client.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _asking(self) -> AbstractContextManager[None]:
        return explained("the database refuses: {}", Exception, where=self.where)


def check_names(names: Sequence[str]) -> None:
    """Raise BadInput for names that are not unique, not UTF-8, empty or too long."""
    seen: dict[str, int] = {}
    for row, name in enumerate(names):
        first = seen.setdefault(name, row)
        require(first == row, f"'{name}' is in rows {first} and {row}", expected="unique names")
        with explained(f"name {row}, {name!r:.80}: {{}}", UnicodeEncodeError, expected="UTF-8"):
            size = len(name.encode())
        what = f"the name in row {row}, '{name[:40]}…', has {size} bytes"
        require(0 < size <= Client.MOST_BYTES, what, expected=f"1 to {Client.MOST_BYTES}")


def unit_rows(vectors: npt.ArrayLike, dim: int | None, names: Sequence[str] = ()) -> Floats:
    """Vectors [N, D] as float32 of unit length. Raises BadInput, which names the row."""
    rows = np.asarray(vectors)
    fine = rows.ndim == 2 and rows.dtype.kind in "fiu" and dim in (None, rows.shape[1])
    expected = f"numbers [N, {'D' if dim is None else dim}]"
    require(fine, f"the vectors are {rows.dtype} {list(rows.shape)}", expected=expected)
    rows = np.ascontiguousarray(rows, np.float32)
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
    bad = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if len(bad):
        name = f" ('{names[bad[0]]}')" if len(names) > bad[0] else ""
        what = f"vector {bad[0]}{name} is all zeros, or has NaN or infinity"
        raise BadInput(what, expected="finite numbers that are not all zero")
    return (rows / lengths[:, None]).astype(np.float32)
