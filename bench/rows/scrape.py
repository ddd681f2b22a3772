"""What a scrape costs after 10, 10 000 and 1 000 000 requests, many of them made up to grow it.

In this process: a million requests over the wire would take the whole ten minutes. The first ten thousand pass the
whole application; what is left is counted where the application counts.
"""

import random
from collections.abc import Iterator
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

from flask import Flask
from werkzeug.test import EnvironBuilder, run_wsgi_app

from bench.context import Context
from bench.figures import Figure, Goal, alternate
from service import create_app, feature_settings
from service.metrics.registry import Metrics
from service.settings import load

COUNTS = (10, 10_000, 1_000_000)
THROUGH = 10_000  # of them, so many pass the application
SCRAPES = 20
METHODS = ("GET", "PUT", "DELETE", "POST", "BREW", "PATCH", "HEAD")


def measure(context: Context) -> Iterator[Figure]:
    """Milliseconds and bytes of a scrape, by how much was counted before."""
    apps = {count: _after(count, context) for count in COUNTS}
    sizes = {count: float(len(metrics.render()[1])) for count, metrics in apps.items()}
    found = alternate(context.rounds, {str(count): partial(_milliseconds, metrics) for count, metrics in apps.items()})
    few = COUNTS[0]
    for many in COUNTS[1:]:
        name = f"scrape after {many:,} requests".replace(",", " ")
        yield Figure("scrape", name, f"after {few}", "ms", found[str(many)], found[str(few)], Goal(2.0, at_least=False))
        yield Figure("scrape", f"{name}, size", f"after {few}", "bytes", [sizes[many]], [sizes[few]])


def _after(count: int, context: Context) -> Metrics:
    settings = load(
        {"SESSION_URL": "memory://", "STORAGE_URL": f"file://{context.folder}", "COOKIE_SECURE": "false"},
        *feature_settings(),
    )
    app = create_app(settings)
    metrics: Metrics = app.extensions["service"].metrics
    source = random.Random(count)  # noqa: S311 -- the same requests each time
    seen = _Seen(metrics)
    for _ in range(min(count, THROUGH)):
        _ask(app, source)
    kinds = seen.end()
    for _ in range(count - THROUGH):
        method, route, status = source.choice(kinds)
        metrics.request(
            method, route, status, is_transfer=False, seconds=source.random(), received=1, sent=1, trace_id=None
        )
    context.say(f"{count} requests counted")
    return metrics


class _Seen:
    """Notes which kinds of request are counted, until it is told to end."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics, self._kinds, self._count = metrics, set[tuple[str, str, int]](), metrics.request
        metrics.request = self._note  # type: ignore[method-assign] # this object only

    def end(self) -> list[tuple[str, str, int]]:
        """What was noted."""
        self._metrics.request = self._count  # type: ignore[method-assign] # as it was
        return sorted(self._kinds)

    def _note(self, method: str, route: str, status: int, **more: Any) -> None:
        self._kinds.add((method, route, status))
        self._count(method, route, status, **more)


def _ask(app: Flask, source: random.Random) -> None:
    """Somebody who asks for what there is, and for what there is not, each time under another name."""
    path = source.choice(["/api/instance", "/api/session", f"/api/files/{source.random()}", f"/{source.random()}"])
    environ: dict[str, Any] = EnvironBuilder(path, method=source.choice(METHODS)).get_environ()
    run_wsgi_app(app, environ, buffered=True)


def _milliseconds(metrics: Metrics) -> float:
    seconds = []
    for _ in range(SCRAPES):
        started = perf_counter()
        metrics.render()
        seconds.append(perf_counter() - started)
    return 1000 * median(seconds)
