"""The visitor's session, ``/api/session``: a sample of what a service keeps about a visitor between requests."""

import unicodedata
from email.utils import formatdate
from typing import Any

from flask import Flask

from service import Parts, sessions
from service.http import request_body
from service.http.errors import Problem
from service.http.openapi import COUNT, HTTP_DATE, OPTIONAL_TEXT, TEXT, Json, json_body, json_object, operation

MAX_VISITOR = 100  # characters of a visitor's own name


class Visitor:
    """The routes under ``/api/session``."""

    def __init__(self, parts: Parts) -> None:
        self._openapi = parts.openapi
        self._store = parts.sessions.name

    def register(self, app: Flask) -> None:
        """Put the routes on ``app``, and describe them."""
        app.add_url_rule("/api/session", "session.show", self.show, methods=["GET"])
        app.add_url_rule("/api/session", "session.sign_in", self.sign_in, methods=["PUT"])
        app.add_url_rule("/api/session", "session.sign_out", self.sign_out, methods=["DELETE"])
        app.add_url_rule("/api/session/visits", "session.visit", self.visit, methods=["POST"])
        self._openapi.add(paths=PATHS, schemas=SCHEMAS)

    def show(self) -> dict[str, Any]:
        """What the session holds. Never creates one."""
        session = sessions.current()
        return {
            "exists": session.exists,
            "name": session.get("name"),
            "visits": session.counters.get("visits", 0),
            "created": _date(session.created),
            "expires": _date(session.expires),
            "store": self._store,
        }

    def sign_in(self) -> dict[str, Any]:
        """Give the session a name, and a new id: the old id, which others may know, is not signed in."""
        return {"name": self.name_it(request_body.json_object().get("name"))}

    def name_it(self, given: object) -> str:
        """Sign in with a name from JSON or from a form. ``given`` is checked here."""
        name = check_name(given)
        session = sessions.current()
        session.renew()
        session["name"] = name
        return name

    def sign_out(self) -> tuple[str, int]:
        """End the session. It is gone from the store before the response is sent."""
        sessions.current().end()
        return "", 204

    def visit(self) -> dict[str, int]:
        """Count a visit, in one atomic step of the store."""
        return {"visits": sessions.current().increment("visits")}


def check_name(name: object) -> str:
    """A visitor's name in NFC: 1 to 100 characters, none of them control characters. Raises a 400 Problem."""
    if not isinstance(name, str):
        raise Problem(400, 'Send a name, as in {"name": "Ada"}.', kind="bad-name")
    name = unicodedata.normalize("NFC", name).strip()
    if not 1 <= len(name) <= MAX_VISITOR or any(unicodedata.category(c) in ("Cc", "Cs") for c in name):
        detail = f"A name must have 1 to {MAX_VISITOR} characters, and no control characters."
        raise Problem(400, detail, kind="bad-name")
    return name


def _date(seconds: float | None) -> str | None:
    return None if seconds is None else formatdate(seconds, usegmt=True)


PATHS: dict[str, Json] = {
    "/api/session": {
        "get": operation("showSession", "What the session holds.", {200: json_body("The session.", "Session")}, 503),
        "put": operation(
            "signIn",
            "Name the session, and give it a new id.",
            {200: json_body("Signed in.", "SignIn")},
            *(403, 408, 409, 411, 413, 415, 503),
            requestBody=json_body("The visitor's name.", "SignIn") | {"required": True},
        ),
        "delete": operation("signOut", "End the session.", {204: "The session is gone."}, 403, 409, 503),
    },
    "/api/session/visits": {
        "post": operation("visit", "Count a visit.", {200: json_body("Visits so far.", "Visits")}, 403, 409, 413, 503)
    },
}

SCHEMAS: dict[str, Json] = {
    "SignIn": json_object(name={"type": "string", "minLength": 1, "maxLength": MAX_VISITOR}),
    "Visits": json_object(visits=COUNT),
    "Session": json_object(
        exists={"type": "boolean"}, name=OPTIONAL_TEXT, visits=COUNT, created=HTTP_DATE, expires=HTTP_DATE, store=TEXT
    ),
}
