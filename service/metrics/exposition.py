"""The response to a scrape by Prometheus: the format by negotiation, of one process or of all workers together."""

import os
import platform
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from operator import itemgetter
from pathlib import Path

from prometheus_client import CollectorRegistry, GCCollector, Metric, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from service.metrics.multiprocess import STARTED, VARIABLE

ACTIVE_REQUESTS = "http_server_active_requests"

_HEADER_VALUE = re.compile(r"[ -~]*")
# What may be added up over processes. CPU time is not among them: it would go back when a worker goes.
_SUMS = ("process_resident_memory_bytes", "process_virtual_memory_bytes", "process_open_fds")


class Exposition:
    """Everything that a scrape shows: a registry's metrics, and the facts about the process."""

    def __init__(self, registry: CollectorRegistry, *, version: str, revision: str) -> None:
        self._registry = registry
        self._build = (version, revision, platform.python_version())
        self._folder = Path(os.environ[VARIABLE]) if VARIABLE in os.environ else None
        if self._folder is None:
            ProcessCollector(registry=registry)
            GCCollector(registry=registry)
        self._platform = PlatformCollector(registry=None)

    def render(self, accept: str) -> tuple[str, bytes]:
        """``Content-Type`` and body. A header that makes no sense asks for Prometheus' text."""
        # The library takes the first type that it knows, in lower case, whatever its quality (RFC 9110 §12.4.2).
        wanted = sorted(parse_accept_header(accept.lower(), MIMEAccept), key=itemgetter(1), reverse=True)
        accept = ",".join(media_range for media_range, quality in wanted if quality > 0)
        try:
            encode, content_type = choose_encoder(accept)
        except (TypeError, ValueError):  # of a version that is not a number
            encode, content_type = choose_encoder("")
        if not _HEADER_VALUE.fullmatch(content_type):  # the library repeats the version that was asked for
            encode, content_type = choose_encoder("")
        return content_type, encode(self)

    def collect(self) -> Iterator[Metric]:
        """The metrics; the encoder calls it."""
        build = GaugeMetricFamily("build_info", "What runs here.", labels=("version", "revision", "python_version"))
        build.add_metric(self._build, 1)
        yield build
        if self._folder is None:
            yield from _with_busy_threads(self._registry.collect())
            yield from self._platform.collect()
            return
        files = [str(path) for path in self._folder.glob("*.db") if _has_begun(path)]
        yield from _with_busy_threads(MultiProcessCollector.merge(files))  # type: ignore[no-untyped-call] # of prometheus_client
        yield from self._platform.collect()
        yield GaugeMetricFamily(
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            value=float((self._folder / STARTED).read_text(encoding="ascii")),
        )
        yield from _sums_of(sorted(path.stem.rpartition("_")[2] for path in self._folder.glob("gauge_livesum_*.db")))


def _has_begun(file: Path) -> bool:
    """Whether the library can read it. A worker makes it empty, then sizes it, and may be killed between the two."""
    try:
        return file.stat().st_size > 0
    except FileNotFoundError:  # a gauge of a worker that has ended just now
        return False


def _with_busy_threads(metrics: Iterable[Metric]) -> Iterator[Metric]:
    """A thread is busy exactly while a request is in flight, so this is the same number under the name of threads."""
    for metric in metrics:
        yield metric
        if metric.name == ACTIVE_REQUESTS:
            busy = sum(sample.value for sample in metric.samples)
            yield GaugeMetricFamily("server_threads_busy", "Request threads that have a request.", value=busy)


def _sums_of(pids: list[str]) -> Iterator[Metric]:
    """The processes' memory and open files, added up."""
    sums: Counter[tuple[str, str]] = Counter()
    for pid in pids:
        for metric in ProcessCollector(pid=lambda pid=pid: pid, registry=None).collect():  # type: ignore[misc] # a bound default
            if metric.name in _SUMS:
                sums[metric.name, metric.documentation] += int(metric.samples[0].value)
    for (name, documentation), value in sums.items():
        yield GaugeMetricFamily(name, documentation, value=value)
