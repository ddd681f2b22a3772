"""The visitor's session: ``/api/session``. The sample of what a service keeps about somebody between two requests."""

import unicodedata
from email.utils import formatdate
from typing import Any

from flask import Flask

from service.http import request_body
from service.http.errors import Problem
from service.sample.file_names import MAX_VISITOR
from service.sample.quota import session


class Visitor:
    """The routes under ``/api/session``. ``store`` is the store's name, for people to see."""

    def __init__(self, store: str) -> None:
        self._store = store

    def register(self, app: Flask) -> None:
        """Put the routes on ``app``."""
        app.add_url_rule("/api/session", "session.show", self.show, methods=["GET"])
        app.add_url_rule("/api/session", "session.sign_in", self.sign_in, methods=["PUT"])
        app.add_url_rule("/api/session", "session.sign_out", self.sign_out, methods=["DELETE"])
        app.add_url_rule("/api/session/visits", "session.visit", self.visit, methods=["POST"])

    def show(self) -> dict[str, Any]:
        """What the session holds. Never creates one."""
        state = session()
        if not state.exists:
            return {"exists": False, "name": None, "visits": 0, "created": None, "expires": None, "store": self._store}
        return {
            "exists": True,
            "name": state.get("name"),
            "visits": state.counters.get("visits", 0),
            "created": _date(state.created),
            "expires": _date(state.expires),
            "store": self._store,
        }

    def sign_in(self) -> dict[str, Any]:
        """Give the session a name, and a new id: who knew the old one is not signed in."""
        return {"name": self.name_it(request_body.json_object().get("name"))}

    def name_it(self, given: object) -> str:
        """The same, from wherever the name came."""
        name = check_name(given)
        session().renew()
        session()["name"] = name
        return name

    def sign_out(self) -> tuple[str, int]:
        """End the session. It is gone from the store when the answer leaves."""
        session().end()
        return "", 204

    def visit(self) -> dict[str, int]:
        """Count a visit, in one atomic step of the store."""
        return {"visits": session().increment("visits")}


def check_name(name: object) -> str:
    """A visitor's name in NFC: 1 to 100 characters, none of them control characters. Raises a 400 Problem."""
    if not isinstance(name, str):
        raise Problem(400, 'There must be a name, as in {"name": "Ada"}.', kind="bad-name")
    name = unicodedata.normalize("NFC", name).strip()
    if not 1 <= len(name) <= MAX_VISITOR or any(unicodedata.category(c) in ("Cc", "Cs") for c in name):
        raise Problem(
            400, f"A name has 1 to {MAX_VISITOR} characters, none of them a control character.", kind="bad-name"
        )
    return name


def _date(seconds: float | None) -> str | None:
    return None if seconds is None else formatdate(seconds, usegmt=True)
