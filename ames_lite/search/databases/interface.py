"""What a client of a vector database does for `VectorDatabase`, which has checked what it is given.
Each is the sole owner of its library. Any error that it raises becomes one message.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol, TypeVar
from uuid import NAMESPACE_URL, uuid5

import numpy as np
import numpy.typing as npt

Vector = TypeVar("Vector")
Floats = npt.NDArray[np.float32]
Payload = Mapping[str, Any]
Hits = list[tuple[Any, float]]  # names and similarities, best first


class Client(Protocol):
    """A connection to one collection. Names are unique; rows [N, D] have unit length."""

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
