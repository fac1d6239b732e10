"""The web app of a service: what is asked where, who may ask, how much, and what is counted. Beside
the answers of the service: 400 (Host, multipart), 401, 413, 415, 422 (what does not fit), 503 (too
many at a time, with Retry-After), 504 (too slow). Every error of these says why.
"""

import asyncio
import hmac
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from html import escape
from typing import Any, TypeVar

import prometheus_client as prometheus
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import ValidationError
from pydantic.json_schema import models_json_schema

from ames_lite.errors import BadInput, UserError
from ames_lite.search.server.forms import Found, Options, Rerank, Reranked, Search
from ames_lite.search.server.service import Limits, Service
from ames_lite.search.server.sources import Upload, plain
from ames_lite.search.web import ClientDisconnect, guarded, limit_body

F = TypeVar("F", Rerank, Search)
JSON, MULTIPART = "application/json", "multipart/form-data"
SHOWN = 3  # faults of a request that are named
UNREAD = (400, 401, 404, 405, 413, 415, 503, 504)  # the rest of such a request is not waited for
OPEN = "/healthz"  # asks for no token
SCHEMA = "#/components/schemas/{model}"
FILE = {"type": "string", "format": "binary"}
FILES: dict[str, Any] = {
    "type": "object",
    "required": ["query", "documents"],
    "properties": {"query": FILE, "documents": {"type": "array", "items": FILE}},
}
BATCHES = (1, 2, 4, 8, 16, 32, 64)  # requests of a call, bounds of the histogram
PAGE = """<!doctype html><meta charset="utf-8"><title>{title}</title><h1>{title}</h1>
<p>All forms: <a href="openapi.json">openapi.json</a></p><ul>{rows}</ul>"""


class Metrics:
    """What a server counts, for Prometheus."""

    kind = prometheus.CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = prometheus.CollectorRegistry()
        kept: Any = {"registry": self._registry}
        prometheus.ProcessCollector(**kept)  # CPU, memory, on Linux
        about = "Answers, by path and status"
        self._requests = prometheus.Counter("ames_requests", about, ["path", "status"], **kept)
        about = "From a request to its answer"
        self._seconds = prometheus.Histogram("ames_request_seconds", about, ["path"], **kept)
        self.open = prometheus.Gauge("ames_open_requests", "Requests that are worked on", **kept)
        kept["buckets"], about = BATCHES, "Requests of a call"
        self._together = prometheus.Histogram("ames_batch_requests", about, **kept)

    def count(self, path: str, status: int, seconds: float) -> None:
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def note_batch(self, requests: int) -> None:
        self._together.observe(requests)

    def text(self) -> bytes:
        return prometheus.generate_latest(self._registry)


def build_web(
    service: Service, metrics: Metrics, host: str = "127.0.0.1", token: str | None = None
) -> FastAPI:
    """token: what requests bring as "Authorization: Bearer <token>"; None: nothing."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    web = guarded(host, title=f"ames_lite: {service.name}", lifespan=lifespan)
    limit_body(web, service.limits.body)
    _add_answers(web, service, _Gate(service.limits, metrics))
    _add_pages(web, service, metrics)
    models = [(Rerank, "validation"), (Search, "validation")]
    made: Any = models_json_schema(models, ref_template=SCHEMA)[1]["$defs"]  # type: ignore[arg-type]
    web.openapi()["components"]["schemas"].update(made)
    paths = {getattr(route, "path", "") for route in web.routes}

    @web.middleware("http")
    async def watch(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
        began, path, status = time.perf_counter(), request.url.path, 500
        try:
            if token is None or path == OPEN or _brings(request, token):
                response = await call(request)
            else:
                said, asked = {"detail": "a token is needed"}, {"WWW-Authenticate": "Bearer"}
                response = JSONResponse(said, 401, asked)
            status = response.status_code
            if status in UNREAD:
                response.headers["Connection"] = "close"
            return response
        finally:
            seconds = time.perf_counter() - began
            metrics.count(path if path in paths else "other", status, seconds)

    @web.exception_handler(UserError)
    async def misfit(_: Request, error: UserError) -> Response:
        return JSONResponse({"detail": plain(error)}, 422)

    @web.exception_handler(ValidationError)
    async def malformed(_: Request, error: ValidationError) -> Response:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        said = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in faults[:SHOWN])
        return JSONResponse({"detail": "; ".join(said)}, 422)

    return web


class _Gate:
    """So many requests at a time, each within its time."""

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self._limits, self._shown, self._open = limits, metrics.open, 0

    @asynccontextmanager
    async def entered(self) -> AsyncIterator[None]:
        if self._open >= self._limits.requests:
            raise HTTPException(503, "too many requests at a time", {"Retry-After": "1"})
        self._open += 1
        try:
            with self._shown.track_inprogress():
                async with asyncio.timeout(self._limits.seconds):
                    yield
        except TimeoutError as error:
            late = f"there is no answer within {self._limits.seconds:g} s"
            raise HTTPException(504, late) from error
        except ClientDisconnect as error:
            raise HTTPException(400, "the request ended early") from error
        finally:
            self._open -= 1


def _add_answers(web: FastAPI, service: Service, gate: _Gate) -> None:
    async def rerank(request: Request) -> Reranked:
        """Documents in the order of their similarity with the query."""
        async with gate.entered():
            if _kind(request) == MULTIPART:
                return await service.rerank(*await _uploads(request, service.limits.documents))
            asked = await _body(request, Rerank)
            return await service.rerank(asked, asked.query, asked.documents, asked.sims)

    async def search(request: Request) -> Found:
        """Images of the folder that show what the query shows."""
        async with gate.entered():
            return await service.search(await _body(request, Search))

    how: Any = {"methods": ["POST"], "response_model_exclude_none": True}
    takes = _takes({JSON: {"$ref": SCHEMA.format(model="Rerank")}, MULTIPART: FILES})
    for path in ("/rerank", "/v1/rerank", "/v2/rerank"):
        shown = path == "/rerank"
        web.add_api_route(path, rerank, include_in_schema=shown, openapi_extra=takes, **how)
    if service.session is not None:
        takes = _takes({JSON: {"$ref": SCHEMA.format(model="Search")}})
        web.add_api_route("/search", search, openapi_extra=takes, **how)


def _takes(kinds: dict[str, Any]) -> dict[str, Any]:
    content = {kind: {"schema": schema} for kind, schema in kinds.items()}
    return {"requestBody": {"required": True, "content": content}}


def _add_pages(web: FastAPI, service: Service, metrics: Metrics) -> None:
    @web.get(OPEN)
    async def healthz() -> dict[str, Any]:
        images = None if service.session is None else len(service.session.names)
        return {"status": "ok", "model": service.name, "images": images}

    @web.get("/metrics", response_class=Response)
    async def counted() -> Response:
        return Response(metrics.text(), media_type=metrics.kind)

    @web.get("/docs", response_class=HTMLResponse, include_in_schema=False)
    async def docs() -> str:
        rows = [
            f"<li>{method.upper()} {escape(path)}: {escape(about.get('description', ''))}</li>"
            for path, methods in web.openapi()["paths"].items()
            for method, about in methods.items()
        ]
        return PAGE.format(title=escape(web.title), rows="".join(rows))


def _brings(request: Request, token: str) -> bool:
    given = request.headers.get("authorization", "").encode("latin-1")
    return hmac.compare_digest(given, f"Bearer {token}".encode())


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _body(request: Request, form: type[F]) -> F:
    """Raises ValidationError."""
    if _kind(request) != JSON:
        raise HTTPException(415, f"the content type is not known, expected: {JSON}")
    return await asyncio.to_thread(form.model_validate_json, await request.body())


async def _uploads(request: Request, most: int) -> tuple[Options, Upload, list[Upload]]:
    """Raises BadInput, ValidationError, HTTPException (400)."""
    async with request.form(max_files=most + 1, max_fields=len(Options.model_fields)) as form:
        fields: dict[str, Any] = {}
        files: dict[str, list[Upload]] = {"query": [], "documents": []}
        for key, value in form.multi_items():
            if isinstance(value, str):
                fields[key] = value
            elif key in files:
                files[key].append(Upload(value.filename or "", await value.read()))
            else:
                raise BadInput(f"there is a file '{key}'", expected="query and documents")
    if len(files["query"]) != 1:
        raise BadInput(f"there are {len(files['query'])} files 'query'", expected="one")
    return Options.model_validate_strings(fields), files["query"][0], files["documents"]
