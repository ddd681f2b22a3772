"""The routes that every service has: its instance, its API's description, liveness and readiness."""

from typing import TYPE_CHECKING

from flask import Flask, Response, request

from service.http.openapi import TEXT, Json, json_body, json_object, operation, ref

if TYPE_CHECKING:
    from service import Parts


def register(app: Flask, parts: "Parts") -> None:
    """Put the routes on ``app``, and describe them."""

    def health(result: tuple[int, bytes]) -> Response:
        status, document = result
        request.environ["service.is_probe"] = True
        headers = {"Cache-Control": "no-store"}
        if request.method == "HEAD":
            headers["Content-Length"] = str(len(document))
        return Response(document, status, headers, content_type=parts.health.content_type)

    app.add_url_rule("/api/instance", "instance", lambda: dict(parts.instance))
    app.add_url_rule("/openapi.json", "openapi", lambda: parts.openapi.document)
    app.add_url_rule("/health", "health", lambda: health(parts.health.live()))
    app.add_url_rule("/ready", "ready", lambda: health(parts.health.ready(full=False)))
    parts.openapi.add(paths=PATHS, schemas=SCHEMAS)


def _probe(name: str, summary: str) -> Json:
    content = {"application/health+json": {"schema": ref("Health")}}
    descriptions = {200: "The check passes.", 503: "The check fails."}
    responses = {status: {"description": text, "content": content} for status, text in descriptions.items()}
    return {"get": operation(name, summary, responses)}


_INSTANCE = {200: json_body("The instance.", "Instance")}
_DOCUMENT: Json = {"description": "This document.", "content": {"application/json": {"schema": {"type": "object"}}}}
PATHS: dict[str, Json] = {
    "/api/instance": {"get": operation("instance", "The instance that sent this response.", _INSTANCE)},
    "/openapi.json": {"get": operation("openapi", "This document.", {200: _DOCUMENT})},
    "/health": _probe("health", "Liveness: any status but 200 means that the container should be restarted."),
    "/ready": _probe("ready", "Readiness: send requests to this instance only while the status is 200."),
}
_STORES: Json = {"type": "object", "additionalProperties": TEXT, "description": "The store in use, by dependency."}
SCHEMAS: dict[str, Json] = {
    "Health": json_object(status={"enum": ["pass", "warn", "fail"]}),
    "Instance": json_object(name=TEXT, version=TEXT, revision=TEXT, started=TEXT, stores=_STORES),
}
