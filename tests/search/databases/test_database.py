"""Every database agrees with a brute-force search, and names what is wrong."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from ames_lite.errors import BadInput, ConfigError, MissingFile
from ames_lite.search.databases.database import KINDS, VectorDatabase, open_database

FILTERS = {
    "milvus": "size >= 40",
    "qdrant": '{"must": [{"key": "size", "range": {"gte": 40}}]}',
    "lancedb": "size >= 40",
}
ODD = ['it\'s "1" \\ 東京 é.jpg', "' or name != '", "') or 1=1 --", "a\\", "{x} %_ \n", "é" * 2048]


def address(kind: str, folder: Path, collection: str = "photos") -> str:
    return f"{kind}:{folder / 'a.db'}#{collection}"


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(KINDS[request.param][1])
    return str(request.param)


@pytest.fixture
def database(kind: str, tmp_path: Path) -> Iterator[VectorDatabase]:
    with open_database(address(kind, tmp_path), create=True) as opened:
        yield opened


def some(count: int, dim: int = 16, seed: int = 0) -> tuple[list[str], np.ndarray]:
    vectors = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return [f"images/{n:03} é.jpg" for n in range(count)], vectors


def referee(names: list[str], vectors: np.ndarray, query: np.ndarray, count: int) -> list[str]:
    sims = vectors @ query / np.linalg.norm(vectors, axis=1)
    return [names[n] for n in np.argsort(-sims)[:count]]


def test_search_equals_the_product_of_all_vectors_and_filters_pass_through(
    database: VectorDatabase, kind: str
) -> None:
    (names, vectors), (_, queries) = some(80), some(70, seed=1)
    database.upsert(names, vectors, [{"size": n} for n in range(80)])
    assert (database.count(), database.dim) == (80, 16)
    assert sorted(database.names()) == names
    assert sorted(database.rows(["size", "no"]))[3] == (names[3], {"size": 3, "no": None})
    found = database.search(queries, 10)
    assert found.names == [referee(names, vectors, query, 10) for query in queries]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    query = queries[0] / np.linalg.norm(queries[0])
    rows = [names.index(name) for name in found.names[0]]
    np.testing.assert_allclose(found.sims[0], unit[rows] @ query, atol=1e-6)
    some_of = database.search(queries[:1], 80, FILTERS[kind])
    assert some_of.names[0] == referee(names[40:], vectors[40:], queries[0], 80)
    with pytest.raises(BadInput, match="the database refuses"):
        database.search(queries[:1], 10, "no filter at all")


def test_upsert_replaces_delete_removes_and_a_mark_is_kept(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, vectors = some(30)
    with open_database(address(kind, tmp_path), create=True) as database:
        monkeypatch.setattr(type(database._client), "batch_bytes", 7 * 4 * 16)  # 7 rows
        database.upsert(names, vectors)
        database.upsert(names[:9], vectors[10:19], [{"size": n} for n in range(9)])
        database.delete([*names[25:], "not there"])
        assert database.mark() == ""
        database.set_mark("a'b\"c")
    with open_database(address(kind, tmp_path)) as database:
        assert (database.count(), database.mark(), database.dim) == (25, "a'b\"c", 16)
        now = np.concatenate([vectors[10:19], vectors[9:25]])
        for query in vectors[10:12]:
            best = database.search(query[None], 2)
            assert set(best.names[0]) == set(referee(names[:25], now, query, 2))


def test_names_are_taken_literally(database: VectorDatabase) -> None:
    vectors = np.eye(len(ODD), 16)
    database.upsert(ODD, vectors, [{"size": n} for n in range(len(ODD))])
    assert database.search(vectors, 1).names == [[name] for name in ODD]
    for left in range(len(ODD) - 1, -1, -1):
        database.delete([ODD[left], ODD[left]])
        assert sorted(database.names()) == sorted(ODD[:left])


def test_bad_rows_are_named(database: VectorDatabase) -> None:
    names, vectors = some(3)
    database.upsert(names, vectors)
    bad = vectors.copy()
    bad[1, 2] = np.nan
    for given, rows, said in (
        (names, bad, r"vector 1 \('images/001 é.jpg'\)"),
        (names, 0 * vectors, "vector 0 .* all zeros"),
        (names, vectors[:, :5], r"\[3, 5\]\n.*\[N, 16\]"),
        (names, vectors[0], r"\[16\]"),
        ([names[0], names[1], names[0]], vectors, "is in rows 0 and 2"),
        ([names[0], names[1], "é" * 2049], vectors, "row 2, .* has 4098 bytes"),
        ([names[0], names[1], ""], vectors, "row 2, .* has 0 bytes"),
        ([names[0], names[1], "\udcff"], vectors, "name 2"),
        (names[:2], vectors, "2 names, 3 vectors"),
    ):
        with pytest.raises(BadInput, match=said):
            database.upsert(given, rows)
    with pytest.raises(BadInput, match=r"\[1, 5\]"):
        database.search(vectors[:1, :5], 1)
    assert database.count() == 3


def test_what_is_missing_is_one_message(kind: str, tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="there is no database here"):
        open_database(address(kind, tmp_path))
    assert not any(tmp_path.iterdir())
    with open_database(address(kind, tmp_path), create=True) as database:
        assert (database.count(), database.mark(), list(database.names())) == (0, "", [])
        with pytest.raises(MissingFile, match="no such collection"):
            database.search(np.ones((1, 16)), 1)
        database.create(16)
    with pytest.raises(MissingFile, match="no such collection"):
        open_database(address(kind, tmp_path, "others"))
    for odd in (f"{kind}:{tmp_path}", f"{kind}:#photos", f"{kind}:{tmp_path}#", "redis:x#y"):
        with pytest.raises(BadInput, match="not the address of a collection"):
            open_database(odd)


def test_a_library_that_is_not_installed_is_named(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ames_lite.search.databases.database.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=rf"pip install 'ames_lite\[{kind}\]'"):
        open_database(f"{kind}:a.db#photos")


def theirs(kind: str, folder: Path, rows: list[dict[str, Any]], metric: str) -> None:
    """A collection as others make it: another column of names, a vector of another name."""
    dim, path = len(rows[0]["embedding"]), str(folder / "a.db")
    if kind == "milvus":
        from pymilvus import MilvusClient

        client = MilvusClient(path)
        keys = {"primary_field_name": "number", "vector_field_name": "embedding"}
        client.create_collection("photos", dim, metric_type=metric, **keys)
        client.insert("photos", rows)
    elif kind == "qdrant":
        from qdrant_client import QdrantClient, models

        client = QdrantClient(path=path)
        distance = models.Distance.DOT if metric == "IP" else models.Distance.EUCLID
        config = {"embedding": models.VectorParams(size=dim, distance=distance)}
        client.create_collection("photos", config)
        points = [
            models.PointStruct(
                id=row["number"],
                vector={"embedding": row["embedding"].tolist()},
                payload={"path": row["path"]},
            )
            for row in rows
        ]
        client.upsert("photos", points)
    else:
        import lancedb

        lancedb.connect(path).create_table("photos", rows)
        return
    client.close()


@pytest.mark.parametrize("metric", ["IP", "L2"])
def test_a_collection_of_others_is_searched_where_higher_is_better(
    kind: str, metric: str, tmp_path: Path
) -> None:
    names, vectors = some(40)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    both = enumerate(zip(names, vectors, strict=True))
    rows = [{"number": n, "path": name, "embedding": vector} for n, (name, vector) in both]
    theirs(kind, tmp_path, rows, metric)
    where = address(kind, tmp_path)
    if metric == "L2" and kind != "lancedb":  # whose tables have a metric only with an index
        with pytest.raises(BadInput, match="metric is (L2|Euclid)"):
            open_database(where)
        return
    with open_database(where, name_field="path") as database:
        query = some(1, seed=5)[1]
        assert database.search(query, 5).names == [referee(names, vectors, query[0], 5)]
        assert (sorted(database.names()), database.mark()) == (names, "")


@pytest.mark.parametrize("host", ["127.0.0.1:1", "no-such-host.invalid", "127.0.0.1:port"])
def test_a_server_that_is_down_is_said_at_once(kind: str, host: str) -> None:
    began = time.perf_counter()
    with pytest.raises(BadInput, match="cannot be reached"):
        open_database(f"{kind}:http://{host}#photos", create=True)
    assert time.perf_counter() - began < 5


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["milvus", "qdrant"])
def test_a_server_that_never_answers_is_given_up(kind: str) -> None:
    pytest.importorskip(KINDS[kind][1])
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.perf_counter()
        with pytest.raises(BadInput, match="does not open"):
            open_database(f"{kind}:{place}#photos", create=True)
    assert time.perf_counter() - began < 5


class Refusing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(401, "Unauthorized")

    def log_message(self, *_: Any) -> None: ...


@pytest.mark.filterwarnings("ignore:Api key is used")
def test_a_wrong_token_is_said() -> None:
    pytest.importorskip("qdrant_client")
    server = HTTPServer(("127.0.0.1", 0), Refusing)
    Thread(target=server.serve_forever, daemon=True).start()
    with pytest.raises(BadInput, match=r"(?s)does not open: .*401.*QDRANT_API_KEY"):
        open_database(f"qdrant:http://127.0.0.1:{server.server_port}#photos", token="no")
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_a_wrong_token_of_milvus_is_said() -> None:
    pytest.importorskip("pymilvus")
    grpc = pytest.importorskip("grpc")

    def refuse(_: object, context: Any) -> None:
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "auth check failure")

    class Refuses(grpc.GenericRpcHandler):
        def service(self, _: object) -> Any:
            return grpc.unary_unary_rpc_method_handler(refuse)

    server = grpc.server(ThreadPoolExecutor(2), handlers=[Refuses()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    began = time.perf_counter()
    with pytest.raises(BadInput, match=r"(?s)does not open: .*MILVUS_TOKEN"):
        open_database(f"milvus:http://127.0.0.1:{port}#photos", token="no")
    assert time.perf_counter() - began < 5
    server.stop(0)
