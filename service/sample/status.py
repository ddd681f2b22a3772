"""``/api/status``: the state of this instance, for people at the page. Probes use ``/health`` and ``/ready``."""

from typing import Any

from flask import Flask, request

from service import Parts
from service.http.openapi import COUNT, TEXT, Json, json_body, json_object, operation, ref
from service.sample.settings import SampleSettings


class Status:
    """The route, and its data for the page."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._shows_figures = parts.settings.of(SampleSettings).page_numbers

    def register(self, app: Flask) -> None:
        """Put the route on ``app``, and describe it."""
        app.add_url_rule("/api/status", "status", self._view)
        self._parts.openapi.add(paths=PATHS, schemas={"Status": _schema()})

    def _view(self) -> dict[str, Any]:
        request.environ["service.is_probe"] = True  # the page sends this request every few seconds
        return self.show()

    def show(self) -> dict[str, Any]:
        """The instance, liveness, readiness and dependencies. Always a 200."""
        figures = {"figures": self._parts.metrics.figures()} if self._shows_figures else {}
        return {"instance": self._parts.instance, **self._parts.health.summary(), **figures}


_STATUS = {200: json_body("The state.", "Status")}
PATHS: dict[str, Json] = {"/api/status": {"get": operation("status", "The state of this instance.", _STATUS)}}


def _schema() -> Json:
    state: Json = {"enum": ["pass", "warn", "fail"], "description": "warn: not known yet."}
    verdict: Json = {"type": "object", "properties": {"status": state, "output": TEXT}, "required": ["status"]}
    schema = json_object(
        instance=ref("Instance"),
        live=verdict,
        ready=verdict,
        dependencies={"type": "object", "additionalProperties": json_object(status=state, since=TEXT)},
    )
    latency: Json = {"type": "array", "items": {"type": "array", "prefixItems": [{"type": ["number", "null"]}, COUNT]}}
    figures = json_object(requests=COUNT, errors=COUNT, threads=COUNT, threads_busy=COUNT, latency=latency)
    schema["properties"]["figures"] = figures | {"description": "Only with PAGE_NUMBERS."}
    return schema
