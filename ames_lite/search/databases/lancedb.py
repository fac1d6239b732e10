"""LanceDB: a folder, or a bucket or LanceDB Cloud by URL. A filter is SQL. Our tables have the
columns `name`, `vector` and those of the payload; the mark is metadata of the column `name`.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ames_lite.search.databases.database import Client, Floats, Hits, Payload, sole


class LanceDb(Client):
    port, batch_bytes = 443, 1 << 26  # each is a version of the table: small ones make it slow

    def connect(self, uri: str, token: str | None) -> tuple[int, str] | None:
        import lancedb

        self._vector, self._metric = "vector", "cosine"
        self._database: Any = lancedb.connect(uri, api_key=token)
        try:
            self._table: Any = self._database.open_table(self._collection)
        except ValueError as error:
            if "not found" not in str(error):
                raise
            return None
        field = sole([one for one in self._table.schema if hasattr(one.type, "list_size")])
        self._vector = field.name
        for index in self._table.list_indices():
            if self._vector in index.columns:
                stats = self._table.index_stats(index.name)
                self._metric = str(getattr(stats, "distance_type", None)).lower()
        return int(field.type.list_size), self._metric

    def create(self, dim: int) -> None:
        import pyarrow as pa

        columns = [("name", pa.string()), ("vector", pa.list_(pa.float32(), dim))]
        self._table = self._database.create_table(self._collection, schema=pa.schema(columns))

    def write(self, names: Sequence[str], rows: Floats, payload: Sequence[Payload]) -> None:
        import pyarrow as pa

        both = zip(names, payload, strict=True)
        data = pa.Table.from_pylist([{**other, "name": name} for name, other in both])
        new = [field for field in data.schema if field.name not in self._table.schema.names]
        if new:
            self._table.add_columns(pa.schema(new))
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
        merged = self._table.merge_insert("name").when_matched_update_all()
        merged.when_not_matched_insert_all().execute(data.append_column("vector", vectors))

    def remove(self, names: Sequence[str]) -> None:
        listed = ", ".join("'" + name.replace("'", "''") + "'" for name in names)
        self._table.delete(f"name IN ({listed})")

    def search(self, rows: Floats, count: int, filter: str | None) -> list[Hits]:
        asked = self._table.search(rows, vector_column_name=self._vector).limit(count)
        asked = asked.distance_type(self._metric).select([self._name, "_distance"])
        if self.count() <= self.EXACT_ROWS:
            asked = asked.bypass_vector_index()
        table = (asked.where(filter, prefilter=True) if filter else asked).to_arrow()
        sims, several = 1 - table["_distance"].to_numpy(), len(rows) > 1
        query = table["query_index"].to_numpy() if several else np.zeros(len(sims), np.int64)
        names, found = table[self._name].to_pylist(), [Hits() for _ in rows]
        for place in np.lexsort((-sims, query)).tolist():
            found[query[place]].append((names[place], float(sims[place])))
        return found

    def count(self) -> int:
        return int(self._table.count_rows())

    def rows(self, columns: Sequence[str]) -> Iterator[Payload]:
        there = [name for name in columns if name in self._table.schema.names]
        for page in self._table.search().select([self._name, *there]).to_batches():
            yield from page.to_pylist()

    def mark(self) -> str:
        fields = [field for field in self._table.schema if field.name == "name"]
        return "".join((one.metadata or {}).get(self.MARK.encode(), b"").decode() for one in fields)

    def set_mark(self, text: str) -> None:
        self._table.update_field_metadata({"path": "name", "metadata": {self.MARK: text}})

    def close(self) -> None: ...
