"""`python scripts/serve.py`: rerank images and descriptors over HTTP; images=<folder>: search it,
as `ames search` does. Ctrl-C or SIGTERM ends it, once the requests that are open are answered.
"""

import math
import os
import signal
from contextlib import ExitStack, suppress
from typing import Any

from ames_lite.cli import searching
from ames_lite.cli.schema.jobs import Serve
from ames_lite.cli.schema.keys import some_of
from ames_lite.errors import ConfigError, check_config, require
from ames_lite.models import HEADS, SimilarityHead
from ames_lite.reranking.reranker import Reranker
from ames_lite.search.image_reranker import ImageReranker
from ames_lite.search.image_search import Ranker
from ames_lite.search.session import Session

PACKAGES = ("fastapi", "uvicorn", "python_multipart", "prometheus_client", "pybase64")


def run(config: Serve) -> None:
    searching.check_served(config.port, "serve", PACKAGES)
    token = os.environ.get("AMES_TOKEN") if config.token is None else config.token
    check_config(token != "", "the token is empty", "token=<text>, or AMES_TOKEN not set")
    check_config(config.timeout > 0, f"timeout={config.timeout}", "seconds, above 0")
    for root in config.roots:
        require(root.is_dir(), "a folder of roots= is missing", where=root, expected="a folder")
    if config.images is not None:
        searching.images_folder(config.images)
    from ames_lite.search.server.routes import Metrics, build_web
    from ames_lite.search.server.service import Limits, Service
    from ames_lite.search.web import address_of, listen, server_of

    with listen(config.host, config.port) as port, ExitStack() as stack:
        ranker, images, session = _opened(config, stack)
        metrics, name = Metrics(), f"{config.backbone.name}_{config.model.name}"
        counts = some_of(ranker.options, ("query_count", "gallery_count"))
        most = (config.max_mib << 20, config.max_documents, config.timeout, config.max_requests)
        limits = Limits(*most, **counts)
        service = Service(images, name, limits, config.roots, session, metrics.note_batch)
        web = build_web(service, metrics, config.host, token)
        server = server_of(web, "warning", math.ceil(config.timeout))
        asks = "requests bring the token" if token else "whoever reaches it may ask"
        print(f"{name} at {address_of(config.host, port)}: {asks}; Ctrl-C ends it", flush=True)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # uvicorn sends it on at its end
        with suppress(KeyboardInterrupt):
            server.run(sockets=[port])


def _opened(config: Serve, stack: ExitStack) -> tuple[Ranker, ImageReranker, Session | None]:
    """The head, its backbone, and of images= the searches; stack: closes their database."""
    folder = None if config.images is None else searching.open_folder(config)
    if folder is not None:
        stack.callback(folder.close)
        searching.check_bad_images(config, folder.failed)
    opened = searching.open_model(config) if folder is None else (folder.backbone, folder.model)
    backbone, model = opened
    assert model is not None
    ranker, head, options = model.ranker, model.ranker.scorer.model, model.ranker.options
    if not isinstance(head, SimilarityHead):
        expected = " or ".join(f"model={name}" for name in HEADS)
        raise ConfigError(f"model={config.model.name} is no head", expected=expected)
    print(model)
    how: Any = {"precision": options.precision, "batch_pairs": config.batch_pairs}
    reranker = Reranker(head.to(options.device), ranker.lamb, ranker.temp, **how)
    session = None if folder is None else searching.session_of(folder)
    return ranker, ImageReranker(backbone, reranker, model.answers.calibration), session
