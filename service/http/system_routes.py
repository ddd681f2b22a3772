"""Which instance answers and how it is, the API's description, the platform's two questions on the app listener."""

from collections.abc import Callable
from typing import Any

from flask import Flask, Response, jsonify, request

from service.http.openapi import describe
from service.ops.health import CONTENT_TYPE, Health
from service.settings import Settings


class Instance:
    """The routes that are about the service itself.

    ``started`` is ISO 8601. ``figures``: the service's own numbers, for PAGE_NUMBERS.
    """

    def __init__(
        self,
        settings: Settings,
        health: Health,
        *,
        started: str,
        stores: dict[str, str],
        figures: Callable[[], dict[str, Any]],
    ) -> None:
        self.facts: dict[str, Any] = {
            "name": settings.instance,
            "version": settings.version,
            "revision": settings.revision,
            "started": started,
            "stores": stores,
        }
        self._health = health
        self._figures = figures if settings.page_numbers else None
        self._openapi = describe(settings)

    def register(self, app: Flask) -> None:
        """Put the routes on ``app``."""
        app.add_url_rule("/api/instance", "instance", self.instance)
        app.add_url_rule("/api/status", "status", self.status)
        app.add_url_rule("/openapi.json", "openapi", self.openapi)
        app.add_url_rule("/health", "health", lambda: _health(self._health.live()))
        app.add_url_rule("/ready", "ready", lambda: _health(self._health.ready(full=False)))

    def instance(self) -> dict[str, Any]:
        """Which instance answered."""
        return self.facts

    def status(self) -> dict[str, Any]:
        """How it is: for people who look, so it is a 200 whatever it says. Probes ask elsewhere."""
        figures = {"figures": self._figures()} if self._figures else {}
        return {"instance": self.facts, **self._health.summary(), **figures}

    def openapi(self) -> Response:
        """OpenAPI 3.1 of all routes of the app listener."""
        return jsonify(self._openapi)


def _health(answer: tuple[int, bytes]) -> Response:
    status, document = answer
    headers = {"Cache-Control": "no-store"}
    if request.method == "HEAD":
        headers["Content-Length"] = str(len(document))
    return Response(document, status, headers, content_type=CONTENT_TYPE)
