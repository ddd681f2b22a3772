"""The routes of the probe."""

import contextlib
import socket
from typing import TYPE_CHECKING, Any, NoReturn

from flask import Flask, Response, request

from service import Parts, sessions
from service.http import forms, request_body
from service.http.errors import Problem
from service.http.openapi import TEXT, Json, json_object, operation, parameter
from service.http.transfer_slots import SMALL, LargeResponse

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = "probe/"
SESSION: Json = {"content": {"application/json": {"schema": json_object(name=TEXT)}}, "required": True}
BYTES: Json = {"content": {"application/octet-stream": {}}}


def described(name: str, summary: str, status: int = 200, **more: Any) -> Json:
    """An operation of the API's description, with the status of its success."""
    return operation(name, summary, {status: {"description": "Done."}}, 403, 404, 408, 411, 413, 415, 503, **more)


def register(app: Flask, parts: Parts) -> None:
    """Put the routes on ``app``, and describe them."""
    storage, limit = parts.storage, parts.settings.max_upload_bytes

    def page() -> str:
        return "<!doctype html><title>Probe</title>"

    def visit() -> dict[str, int]:
        return {"visits": sessions.current().increment("visits")}

    def show() -> dict[str, Any]:
        session = sessions.current()
        return {"exists": session.exists, "name": session.get("name"), "visits": session.counters.get("visits", 0)}

    def sign_in() -> dict[str, Any]:
        session = sessions.current()
        session.renew()
        session["name"] = request_body.json_object().get("name")
        return {"name": session["name"]}

    def sign_out() -> tuple[str, int]:
        sessions.current().end()
        return "", 204

    def write(name: str) -> tuple[dict[str, int], int]:
        length = request_body.declared_length(limit)
        with parts.transfers.take():
            info = storage.put(
                FOLDER + name,
                request_body.stream(length=length, limit=limit),
                content_type="application/octet-stream",
                generation=None,
            )
        return {"size": info.size}, 201

    def read(name: str) -> Response:
        info = storage.stat(FOLDER + name)
        if info is None:
            raise Problem(404, "There is no such object.")
        headers = {"Content-Type": info.content_type, "Content-Length": str(info.size)}
        if info.size <= SMALL:
            return Response(b"".join(storage.get(info, 0, info.size)) if info.size else b"", headers=headers)
        slot = parts.transfers.take()
        try:
            body = LargeResponse(storage.get(info, 0, info.size), slot, request.environ.get("service.in_flight"))
        except BaseException:
            slot.give_back()
            raise
        return Response(body, headers=headers, direct_passthrough=True)

    def delete(name: str) -> tuple[str, int]:
        if not storage.delete(FOLDER + name, generation=None):
            raise Problem(404, "There is no such object.")
        return "", 204

    def names() -> dict[str, list[str]]:
        page = storage.list(FOLDER, page_token=None, limit=1000)
        return {"names": [info.key.removeprefix(FOLDER) for info in page.objects]}

    def form() -> dict[str, Any]:
        if request.mimetype == "application/x-www-form-urlencoded":
            return forms.fields()
        found: dict[str, Any] = {}
        with parts.transfers.take():
            for part in forms.parts(limit):
                if isinstance(part, tuple):
                    found[part[0]] = part[1]
                else:
                    chunks = forms.at_most(part.chunks, limit)
                    info = storage.put(FOLDER + part.name, chunks, content_type="text/plain", generation=None)
                    found[part.name] = info.size
        return found

    def hold(port: int) -> tuple[str, int]:
        try:
            holder = socket.create_connection(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise Problem(404, "Nobody listens there.") from error
        with holder, contextlib.suppress(ConnectionResetError):
            holder.recv(1)
        return "", 204

    def fail() -> NoReturn:
        raise RuntimeError("the probe fails, as it was asked to")

    views: list[tuple[str, str, Callable[..., Any]]] = [
        ("GET", "/", page),
        ("POST", "/visits", visit),
        ("GET", "/session", show),
        ("PUT", "/session", sign_in),
        ("DELETE", "/session", sign_out),
        ("PUT", "/bytes/<name>", write),
        ("GET", "/bytes/<name>", read),
        ("DELETE", "/bytes/<name>", delete),
        ("GET", "/bytes", names),
        ("POST", "/forms/any", form),
        ("GET", "/hold/<int:port>", hold),
        ("GET", "/fail", fail),
    ]
    for method, path, view in views:
        app.add_url_rule(path, f"probe.{view.__name__}", view, methods=[method])
    parts.openapi.add(
        paths={
            "/": {"get": described("page", "A page.")},
            "/visits": {"post": described("visit", "Count a visit.")},
            "/session": {
                "get": described("show", "Read the session."),
                "put": described("signIn", "Sign in.", requestBody=SESSION),
                "delete": described("signOut", "Sign out.", 204),
            },
            "/bytes": {"get": described("names", "List the objects.")},
            "/bytes/{name}": {
                "parameters": [parameter("name", "path", "Any name.")],
                "get": described("read", "Read an object."),
                "put": described("write", "Write an object.", 201, requestBody=BYTES),
                "delete": described("delete", "Delete an object.", 204),
            },
            "/hold/{port}": {
                "parameters": [parameter("port", "path", "A port of this machine.")],
                "get": described("hold", "Hold a thread until that port closes the connection.", 204),
            },
            "/fail": {"get": described("fail", "Raise an exception.")},
        }
    )
