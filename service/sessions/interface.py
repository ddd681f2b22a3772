"""Flask's session interface: from a request's cookie to a Session, and from the Session to the response's cookie."""

import re
from collections.abc import Callable

from flask import Flask, Request, Response
from flask.sessions import SessionInterface as FlaskSessionInterface
from flask.sessions import SessionMixin

from service.sessions.cookie import Cookie
from service.sessions.session import Session, SessionGone, SessionTooLarge
from service.sessions.store import SessionStore, StoreUnavailable
from service.settings import Settings

__all__ = ["Session", "SessionGone", "SessionInterface", "SessionTooLarge"]

# Headers that say something of the body: wrong when another body takes its place. RFC 9110 §8, §10.2.2, §14; RFC 9530.
_ABOUT_THE_BODY = re.compile(
    "accept-ranges|cache-control|content-(digest|disposition|encoding|language|length|location|range|type)|etag|expires"
    "|last-modified|location|repr-digest",
    re.IGNORECASE,
)


class SessionInterface(FlaskSessionInterface):
    """Sessions in a store. ``on_error`` makes the response when the write after the view failed.

    It is given StoreUnavailable, SessionGone or SessionTooLarge, or TypeError or ValueError for a value that can't be
    written as JSON. Without ``on_error`` they leave the application.
    """

    def __init__(
        self, store: SessionStore, settings: Settings, on_error: Callable[[Exception], Response] | None = None
    ) -> None:
        self._store = store
        self._timeout = settings.session_timeout
        self._max_bytes = settings.session_max_bytes
        self._cookie = Cookie(secure=settings.cookie_secure, max_age=settings.session_absolute_lifetime)
        self._on_error = on_error

    def get_cookie_name(self, app: Flask) -> str:  # noqa: ARG002 -- Flask's signature
        """The cookie's name; Flask's own setting for it is not used."""
        return self._cookie.name

    def open_session(self, app: Flask, request: Request) -> Session:  # noqa: ARG002 -- Flask's signature
        """The request's session. The store is not asked yet."""
        session_id = self._cookie.read(request.environ.get("HTTP_COOKIE", ""))
        return Session(self._store, session_id, timeout=self._timeout, max_bytes=self._max_bytes)

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:  # noqa: ARG002 -- as above
        """Write what changed, and set the cookie where the id is new. An untouched session leaves no trace."""
        if not isinstance(session, Session) or not session.touched:
            return
        try:
            session.write()
        except (StoreUnavailable, SessionGone, SessionTooLarge, TypeError, ValueError) as error:
            if self._on_error is None:
                raise
            _replace(response, self._on_error(error))
        response.vary.add("Cookie")
        if session.gave_id is not None:
            # Only ids that the store knows are given out, also when a later write of this request failed.
            self._cookie.write(response, session.gave_id)
        elif session.ended:
            self._cookie.remove(response)
        else:
            return
        # A cache between us and the visitor must not give the cookie to another visitor.
        response.headers["Cache-Control"] = "no-store"


def _replace(response: Response, other: Response) -> None:
    """Turn a response into another one in place. Headers which say nothing of the body stay."""
    if hasattr(response.response, "close"):
        response.response.close()
    response.response = other.response
    response.direct_passthrough = False
    response.status_code = other.status_code
    for name in {name for name, _ in response.headers if name in other.headers or _ABOUT_THE_BODY.fullmatch(name)}:
        del response.headers[name]
    response.headers.extend(other.headers)
