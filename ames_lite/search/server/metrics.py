"""What a server counts, for Prometheus."""

from typing import Any

import prometheus_client as prometheus

BATCHES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
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
