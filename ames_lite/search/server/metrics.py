"""What a server counts, for Prometheus."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

BATCHES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    kind = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)  # CPU, memory, on Linux
        self._requests = Counter(
            "ames_requests", "Answers, by path and status", ["path", "status"], registry=registry
        )
        self._seconds = Histogram(
            "ames_request_seconds", "From a request to its answer", ["path"], registry=registry
        )
        self.open = Gauge("ames_open_requests", "Requests that are worked on", registry=registry)
        self._together = Histogram(
            "ames_batch_requests", "Requests of a call", buckets=BATCHES, registry=registry
        )

    def count(self, path: str, status: int, seconds: float) -> None:
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def note_batch(self, requests: int) -> None:
        self._together.observe(requests)

    def text(self) -> bytes:
        return generate_latest(self._registry)
