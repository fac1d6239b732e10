"""Qdrant: a server by URL, or a folder or `:memory:`. A filter is the JSON of a Qdrant filter. Our
points have a UUID of the name as id, and the name with the payload. qdrant-client reads a folder
with pickle: open none that you do not trust.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from ames_lite.search.databases.database import Client, Floats, Hits, Payload, row_id, sole


class Qdrant(Client):
    port, batch_bytes = 6333, 1 << 21  # a server takes 32 MiB of JSON

    def connect(self, uri: str, token: str | None) -> tuple[int, str] | None:
        from qdrant_client import QdrantClient, models

        self._models, self._using, self._remote = models, None, "://" in uri
        place: Any = {"path": uri}
        if self._remote:
            place = {"url": uri, "api_key": token, "check_compatibility": False}
        elif uri == ":memory:":
            place = {"location": uri}
        self._client: Any = QdrantClient(**place, timeout=self.WAIT)
        there = self._client.collection_exists(self._collection)
        if self._remote:
            self._client.close()
            self._client = QdrantClient(**place, timeout=self.PATIENCE)
        if not there:
            return None
        config: Any = self._client.get_collection(self._collection).config.params.vectors
        if isinstance(config, dict):
            self._using, config = sole(list(config.items()))
        return int(config.size), config.distance.value

    def create(self, dim: int) -> None:
        config = self._models.VectorParams(size=dim, distance=self._models.Distance.COSINE)
        self._client.create_collection(self._collection, vectors_config=config)

    def write(self, names: Sequence[str], rows: Floats, payload: Sequence[Payload]) -> None:
        both = zip(names, payload, strict=True)
        batch = self._models.Batch(
            ids=[row_id(name) for name in names],
            vectors=rows.tolist(),
            payloads=[{**other, "name": name} for name, other in both],
        )
        self._client.upsert(self._collection, batch, wait=True)

    def remove(self, names: Sequence[str]) -> None:
        ids = [row_id(name) for name in names]
        self._client.delete(self._collection, points_selector=ids, wait=True)

    def search(self, rows: Floats, count: int, filter: str | None) -> list[Hits]:
        how: Any = {"using": self._using, "limit": count, "with_payload": [self._name]}
        if self._remote:  # in a folder it is exact
            how["params"] = self._models.SearchParams(exact=self.count() <= self.EXACT_ROWS)
        if filter:
            how["filter"] = self._models.Filter.model_validate_json(filter)
        asked = [self._models.QueryRequest(query=row.tolist(), **how) for row in rows]
        found = self._client.query_batch_points(self._collection, asked)
        return [[(hit.payload[self._name], hit.score) for hit in one.points] for one in found]

    def count(self) -> int:
        return int(self._client.count(self._collection, exact=True).count)

    def rows(self, columns: Sequence[str]) -> Iterator[Payload]:
        offset: Any = None
        fields = [self._name, *columns]
        while True:
            page, offset = self._client.scroll(
                self._collection, limit=1000, offset=offset, with_payload=fields
            )
            yield from (point.payload for point in page)
            if offset is None:
                break

    def mark(self) -> str:
        found = self._client.get_collection(self._collection).config.metadata
        return str((found or {}).get(self.MARK, ""))

    def set_mark(self, text: str) -> None:
        self._client.update_collection(self._collection, metadata={self.MARK: text})

    def close(self) -> None:
        self._client.close()
