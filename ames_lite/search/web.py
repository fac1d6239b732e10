"""What the app and the HTTP service share: a port, a guarded FastAPI, its uvicorn server."""

from collections.abc import Iterator
from contextlib import contextmanager
from socket import create_server, socket
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.requests import ClientDisconnect as ClientDisconnect
from uvicorn import Config, Server

from ames_lite.errors import explained

LOOPBACK = ["127.0.0.1", "localhost"]


@contextmanager
def listen(host: str, port: int) -> Iterator[socket]:
    """Holds the port. BadInput where that cannot be."""
    what, expected = f"port {port} of {host} cannot be listened on: {{}}", "a free port"
    remedy = "port=<another>, or port=0 for one that is free"
    with explained(what, OSError, expected=expected, remedy=remedy):
        opened = create_server((host, port))
    with opened:
        yield opened


def address_of(host: str, port: socket) -> str:
    """Where a browser of this machine finds it."""
    return f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port.getsockname()[1]}"


def guarded(host: str, **described: Any) -> FastAPI:
    """No script of another machine; on the loopback no page of another address may ask."""
    web = FastAPI(docs_url=None, redoc_url=None, **described)
    if host in LOOPBACK:
        web.add_middleware(TrustedHostMiddleware, allowed_hosts=LOOPBACK)
    return web


def limit_body(web: FastAPI, most: int) -> None:
    """Requests of more bytes, announced or not, are answered with 413, and not read further."""
    web.add_middleware(RequestBodyLimitMiddleware, max_body_size=most)


def server_of(web: FastAPI, log_level: str, grace: int) -> Server:
    """grace: seconds that open requests have at the end."""
    how: Any = {"access_log": False, "timeout_graceful_shutdown": grace}
    return Server(Config(web, log_level=log_level, **how))
