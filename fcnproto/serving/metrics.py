"""What a server counts, in the form that Prometheus reads."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """The counters of one app; `waiting` says how many images are in line."""

    def __init__(self, waiting: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "fcnproto_requests_total", "Requests of /segment.", ["status"], registry=self._registry
        )
        self.request_seconds = Histogram(
            "fcnproto_request_seconds", "From request to answer.", registry=self._registry
        )
        self.batch_seconds = Histogram(
            "fcnproto_batch_seconds", "The model's time for a batch.", registry=self._registry
        )
        self.batch_images = Histogram(
            "fcnproto_batch_images",
            "Images that are run together.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self._registry,
        )
        gauge = Gauge("fcnproto_waiting_images", "Images in line.", registry=self._registry)
        gauge.set_function(waiting)

    def batch(self, images: int, seconds: float) -> None:
        """Count a batch."""
        self.batch_images.observe(images)
        self.batch_seconds.observe(seconds)

    def text(self) -> bytes:
        """All of it."""
        return generate_latest(self._registry)
