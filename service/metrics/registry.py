"""What the process counts, under OpenTelemetry's names for HTTP.

https://opentelemetry.io/docs/specs/semconv/http/http-metrics/. Labels are few and their values known: the route's
template and not the path, a known method or ``_OTHER``. So the number of series does not grow with what visitors send.
"""

from math import inf
from typing import Any

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.metrics.exposition import ACTIVE_REQUESTS, Exposition
from service.settings import Settings

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call] # saves a third of the lines

# RFC 9110 §9 and RFC 5789: what OpenTelemetry takes as known.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
_OTHER = "_OTHER"
_OPERATION_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The metrics of this process; ``render`` gives those of all workers where there are several.

    Public attributes are metrics without labels, which the part that they are about changes. A part of the service may
    add one of its own: ``Counter("name", "What it counts.", registry=metrics.registry)``; a Gauge needs its
    ``multiprocess_mode``, most often "livesum".
    """

    def __init__(self, settings: Settings) -> None:
        self.registry = registry = CollectorRegistry()
        # By method, route, status, and whether it was a transfer.
        self._series: dict[tuple[str, str, int, bool], tuple[Histogram, Counter, Counter]] = {}
        self._counts = settings.threads, settings.transfer_slots
        self._duration = Histogram(
            "http_server_request_duration_seconds",
            "Duration of HTTP requests; that of a transfer depends on its size and its client.",
            ("http_request_method", "http_route", "http_response_status_code", "transfer"),
            registry=registry,
        )
        self._received = Counter(
            "http_server_request_body_bytes",
            "Bytes of request bodies that were read.",
            ("http_route",),
            registry=registry,
        )
        self._sent = Counter(
            "http_server_response_body_bytes", "Bytes of response bodies.", ("http_route",), registry=registry
        )
        self.active = Gauge(ACTIVE_REQUESTS, "Requests in flight.", multiprocess_mode="livesum", registry=registry)
        self._threads = Gauge("server_threads", "Request threads.", multiprocess_mode="livesum", registry=registry)
        self._transfers = Gauge(
            "server_transfers", "Slots for transfers of large bodies.", multiprocess_mode="livesum", registry=registry
        )
        self.transfers_busy = Gauge(
            "server_transfers_busy", "Those that are taken.", multiprocess_mode="livesum", registry=registry
        )
        self.requests_refused = Counter(
            "server_requests_refused",
            "Requests refused with 503, because no thread was free in time.",
            registry=registry,
        )
        self._operations = Histogram(
            "dependency_operation_duration_seconds",
            "Duration of operations on stores.",
            ("dependency", "store", "operation", "outcome"),
            buckets=_OPERATION_BUCKETS,
            registry=registry,
        )
        self._up = Gauge(
            "dependency_up",
            "1 where the background check finds that the dependency can serve; the worst of what the workers find.",
            ("dependency",),
            multiprocess_mode="livemin",
            registry=registry,
        )
        stored = Counter(
            "storage_transferred_bytes",
            "Bytes of files to (in) and from (out) the store.",
            ("direction",),
            registry=registry,
        )
        self.stored_in, self.stored_out = stored.labels("in"), stored.labels("out")
        reads = Counter("session_reads", "Sessions that were asked for.", ("result",), registry=registry)
        self.session_hits, self.session_misses = reads.labels("hit"), reads.labels("miss")
        self.sessions_created = Counter("sessions_created", "Sessions that were begun.", registry=registry)
        self._log_records = Counter("log_records", "Log records written.", ("severity",), registry=registry)
        self._log_records_dropped = Counter(
            "log_records_dropped", "Log records dropped, because nobody read stdout.", ("severity",), registry=registry
        )
        self._exposition = Exposition(registry, version=settings.version, revision=settings.revision)

    def serving(self) -> None:
        """This process has request threads, unlike the parent process, which may show metrics too."""
        threads, transfers = self._counts
        self._threads.set(threads)
        self._transfers.set(transfers)

    def request(
        self,
        method: str,
        route: str,
        status: int,
        *,
        is_transfer: bool,
        seconds: float,
        received: int,
        sent: int,
        trace_id: str | None,
    ) -> None:
        """A request is over. ``route`` is the rule's template, "" where there is none.

        ``trace_id`` (32 hex digits) becomes the exemplar; None where the trace is kept nowhere.
        """
        known = method if method in _METHODS else _OTHER
        series = self._series.get((known, route, status, is_transfer))
        if series is None:  # to look labels up costs more than to count
            duration = self._duration.labels(known, route, str(status), "true" if is_transfer else "false")
            series = duration, self._received.labels(route), self._sent.labels(route)
            self._series[known, route, status, is_transfer] = series
        series[0].observe(seconds, None if trace_id is None else {"trace_id": trace_id})
        series[1].inc(received)
        series[2].inc(sent)

    def operation(self, dependency: str, store: str, operation: str, outcome: str, seconds: float) -> None:
        """An operation on a store is over; ``outcome`` is "ok" or the name of an error."""
        self._operations.labels(dependency, store, operation, outcome).observe(seconds)

    def set_dependency(self, name: str, *, up: bool) -> None:
        """The state that the background check has found."""
        self._up.labels(name).set(1 if up else 0)

    def log_records(self, severity: str, count: int) -> None:
        """So many records of this severity were written."""
        self._log_records.labels(severity).inc(count)

    def log_records_dropped(self, severity: str, count: int) -> None:
        """So many records of this severity were dropped."""
        self._log_records_dropped.labels(severity).inc(count)

    def render(self, accept: str = "") -> tuple[str, bytes]:
        """``Content-Type`` and body for a scrape: OpenMetrics where ``accept`` asks for it, else Prometheus' text."""
        return self._exposition.render(accept)

    def figures(self) -> dict[str, Any]:
        """A few metrics for people: all requests together, since the start, of all workers.

        ``requests`` and ``errors`` (5xx), ``threads`` and ``threads_busy``, and ``latency``: for each upper bound in
        seconds (None: no bound) how many requests took at most so long.
        """
        counts = {"requests": 0, "errors": 0, "threads": 0, "threads_busy": 0}
        latency: dict[str, int] = {}
        for metric in self._exposition.collect():
            for name, labels, value, *_ in metric.samples:
                if name == "http_server_request_duration_seconds_count":
                    counts["requests"] += int(value)
                    counts["errors"] += int(value) if labels["http_response_status_code"] >= "500" else 0
                elif name == "http_server_request_duration_seconds_bucket":
                    latency[labels["le"]] = latency.get(labels["le"], 0) + int(value)
                elif name in ("server_threads", "server_threads_busy"):
                    counts[name.removeprefix("server_")] += int(value)
        bounds = sorted((float(bound), count) for bound, count in latency.items())
        return counts | {"latency": [[None if bound == inf else bound, count] for bound, count in bounds]}
