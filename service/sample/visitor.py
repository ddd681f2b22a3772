"""The visitor's session, ``/api/session``: a sample of what a service keeps about a visitor between requests."""

import re
import unicodedata
from email.utils import formatdate
from typing import Any

from flask import Flask, request

from service import Parts, sessions
from service.http import request_body
from service.http.errors import Problem
from service.http.openapi import (
    COUNT,
    HTTP_DATE,
    OPTIONAL_TEXT,
    TEXT,
    Json,
    json_body,
    json_object,
    operation,
    parameter,
)

MAX_VISITOR = 100  # characters of a visitor's own name

# Text of 128 random bits in base64url or hex, or a UUID (122 bits), bare or as a string of RFC 9651 §3.3.3.
_KEY = re.compile(r'(")?([A-Za-z0-9_-]{22,64})(?(1)")', re.ASCII)


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
        self._openapi.add(paths=PATHS, schemas=SCHEMAS, problems=PROBLEMS)

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
        return {"name": self.name_it(request_body.json_object().get("name"), request.headers.get("Idempotency-Key"))}

    def name_it(self, given: object, key: str | None) -> str:
        """Sign in with a name from JSON or from a form. ``given`` and ``key`` are checked here.

        ``key``: with it the sign-in can be repeated if its response is lost.
        """
        name = check_name(given)
        secret = "" if key is None else check_key(key)
        session = sessions.current()
        session.renew(secret)
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
    # A person's text: any white space around it is a slip, also U+3000 or a no-break space.
    name = unicodedata.normalize("NFC", name).strip()
    if not 1 <= len(name) <= MAX_VISITOR or any(unicodedata.category(c) in ("Cc", "Cs") for c in name):
        detail = f"A name must have 1 to {MAX_VISITOR} characters, and no control characters."
        raise Problem(400, detail, kind="bad-name")
    return name


def check_key(key: str) -> str:
    """The key with which a request can be repeated, without quotes. Raises a 400 Problem if it could be guessed."""
    match = _KEY.fullmatch(key)
    if not match:
        detail = "Idempotency-Key must be random: a UUID, or 22 to 64 characters of base64url or hex."
        raise Problem(400, detail, kind="bad-idempotency-key")
    return match[2]


def _date(seconds: float | None) -> str | None:
    return None if seconds is None else formatdate(seconds, usegmt=True)


KEY_MEANING = (
    "A random secret. If the response is lost, the same request with the same key signs in for a minute longer."
)
NOT_BLANK_NOT_CONTROL = r"^(?=.*\S)[^\u0000-\u001f\u007f-\u009f]+$"
KEY_SCHEMA: Json = {"type": "string", "pattern": "^[A-Za-z0-9_-]{22,64}$"}
PROBLEMS = {"bad-idempotency-key": "The Idempotency-Key is not as random as it must be."}
PATHS: dict[str, Json] = {
    "/api/session": {
        "get": operation("showSession", "What the session holds.", {200: json_body("The session.", "Session")}, 503),
        "put": operation(
            "signIn",
            "Name the session, and give it a new id.",
            {200: json_body("Signed in.", "SignIn")},
            *(403, 408, 409, 411, 413, 415, 503),
            requestBody=json_body("The visitor's name.", "SignIn") | {"required": True},
            parameters=[parameter("Idempotency-Key", "header", KEY_MEANING, KEY_SCHEMA)],
        ),
        "delete": operation("signOut", "End the session.", {204: "The session is gone."}, 403, 409, 503),
    },
    "/api/session/visits": {
        "post": operation("visit", "Count a visit.", {200: json_body("Visits so far.", "Visits")}, 403, 409, 413, 503)
    },
}

SCHEMAS: dict[str, Json] = {
    "SignIn": json_object(
        name={"type": "string", "minLength": 1, "maxLength": MAX_VISITOR, "pattern": NOT_BLANK_NOT_CONTROL}
    ),
    "Visits": json_object(visits=COUNT),
    "Session": json_object(
        exists={"type": "boolean"}, name=OPTIONAL_TEXT, visits=COUNT, created=HTTP_DATE, expires=HTTP_DATE, store=TEXT
    ),
}
