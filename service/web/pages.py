"""The page, which instance answered, the API's description, and the platform's two questions on the app listener."""

from collections.abc import Callable
from typing import Any

from flask import Flask, Response, jsonify, render_template, request

from service.settings import Settings
from service.web.openapi import describe

HEALTH_TYPE = "application/health+json"


class Pages:
    """The routes that are about the service itself."""

    def __init__(
        self,
        settings: Settings,
        *,
        started: str,
        stores: dict[str, str],
        live: Callable[[], tuple[int, bytes]],
        ready: Callable[[], tuple[int, bytes]],
    ) -> None:
        self._instance = {
            "name": settings.instance,
            "version": settings.version,
            "revision": settings.revision,
            "started": started,
            "stores": stores,
        }
        self._live, self._ready = live, ready
        self._openapi = describe(settings)

    def register(self, app: Flask) -> None:
        """Put the routes on ``app``."""
        app.add_url_rule("/", "page", self.page)
        app.add_url_rule("/api/instance", "instance", self.instance)
        app.add_url_rule("/openapi.json", "openapi", self.openapi)
        app.add_url_rule("/health", "health", lambda: _health(self._live()))
        app.add_url_rule("/ready", "ready", lambda: _health(self._ready()))

    def page(self) -> str:
        """A plain page for people."""
        return render_template("index.html", instance=self._instance)

    def instance(self) -> dict[str, Any]:
        """Which instance answered."""
        return self._instance

    def openapi(self) -> Response:
        """OpenAPI 3.1 of all routes of the app listener."""
        return jsonify(self._openapi)


def _health(answer: tuple[int, bytes]) -> Response:
    status, document = answer
    headers = {"Cache-Control": "no-store"}
    if request.method == "HEAD":
        headers["Content-Length"] = str(len(document))
    return Response(document, status, headers, content_type=HEALTH_TYPE)
