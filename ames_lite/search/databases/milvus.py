"""Milvus: a file `*.db` of Milvus Lite, or a server or cluster by URL. A filter is its expression.

Our collections have the key `id` (a UUID of the name: pymilvus pastes keys into expressions as they
are), `name`, `vector`, and the payload as dynamic fields.
"""

import logging
from collections.abc import Iterator, Sequence

from ames_lite.search.databases.database import Client, Floats, Hits, Payload, row_id, sole


class Milvus(Client):
    port, batch_bytes = 19530, 1 << 24  # a server takes 64 MiB

    def connect(self, uri: str, token: str | None) -> tuple[int, str] | None:
        from pymilvus import DataType, MilvusClient

        for library in ("pymilvus", "milvus_lite"):  # what they log, they raise too
            logging.getLogger(library).setLevel(logging.CRITICAL + 1)
        self._vector, self._types, self._here = "vector", DataType, "://" not in uri
        self._client = MilvusClient(uri, token=token or "", timeout=self.WAIT)
        if not self._client.has_collection(self._collection, timeout=self.WAIT):
            return None
        about = self._client.describe_collection(self._collection, timeout=self.WAIT)
        field = sole([one for one in about["fields"] if one["type"] == DataType.FLOAT_VECTOR])
        self._vector = field["name"]
        index = self._client.describe_index(self._collection, self._vector, timeout=self.WAIT)
        self._client.load_collection(self._collection, timeout=self.PATIENCE)
        return int(field["params"]["dim"]), index["metric_type"]

    def create(self, dim: int) -> None:
        schema = self._client.create_schema(auto_id=False, enable_dynamic_field=True)
        schema.add_field("id", self._types.VARCHAR, is_primary=True, max_length=36)
        schema.add_field("name", self._types.VARCHAR, max_length=self.MOST_BYTES)
        schema.add_field("vector", self._types.FLOAT_VECTOR, dim=dim)
        index = self._client.prepare_index_params()
        index.add_index("vector", index_type="FLAT", metric_type="COSINE")
        how = {"schema": schema, "index_params": index, "consistency_level": "Strong"}
        self._client.create_collection(self._collection, **how)

    def write(self, names: Sequence[str], rows: Floats, payload: Sequence[Payload]) -> None:
        data = [
            {**other, "id": row_id(name), "name": name, "vector": row}
            for name, row, other in zip(names, rows, payload, strict=True)
        ]
        self._client.upsert(self._collection, data, timeout=self.PATIENCE)
        if self._here:  # Milvus Lite compares rows that are not in a segment one by one
            self._client.flush(self._collection, timeout=self.PATIENCE)

    def remove(self, names: Sequence[str]) -> None:
        ids = [row_id(name) for name in names]
        self._client.delete(self._collection, ids=ids, timeout=self.PATIENCE)

    def search(self, rows: Floats, count: int, filter: str | None) -> list[Hits]:
        how = {"filter": filter or "", "output_fields": [self._name], "anns_field": self._vector}
        found = self._client.search(
            self._collection, rows, limit=count, timeout=self.PATIENCE, **how
        )
        return [[(hit["entity"][self._name], hit["distance"]) for hit in one] for one in found]

    def count(self) -> int:
        found = self._client.query(self._collection, filter="", output_fields=["count(*)"])
        return int(found[0]["count(*)"])

    def rows(self, columns: Sequence[str]) -> Iterator[Payload]:
        fields = [self._name, *columns]
        pages = self._client.query_iterator(self._collection, 1000, output_fields=fields)
        while page := pages.next():
            yield from page
        pages.close()

    def mark(self) -> str:
        about = self._client.describe_collection(self._collection)
        return str(about.get("properties", {}).get(self.MARK, ""))

    def set_mark(self, text: str) -> None:
        self._client.alter_collection_properties(self._collection, {self.MARK: text})

    def close(self) -> None:
        self._client.close()
