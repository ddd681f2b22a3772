"""Errors as responses: a problem document (RFC 9457) for programs, a small page for browsers, on every route.

The log says what went wrong inside; the response says what the visitor can do about it.
"""

import logging
from typing import NamedTuple

from flask import Flask, Response, make_response, render_template, request
from werkzeug.exceptions import HTTPException

from service.http import problem_details
from service.sessions.interface import SessionGone, SessionTooLarge
from service.sessions.store import StoreUnavailable
from service.storage.store import (
    ChecksumMismatch,
    ObjectNotFound,
    PreconditionFailed,
    StorageError,
    StorageUnavailable,
)

log = logging.getLogger(__name__)

RETRY_AFTER = {"Retry-After": "1"}

# The ``type`` of a problem document points into the API's description, where these are found. A module that reports
# kinds of its own adds them there (OpenApi.add).
KIND_POINTER = "/openapi.json#/components/x-problems/"
KINDS = {
    "bad-digest": "Content-Digest is malformed.",
    "bad-host": "The Host header is missing or malformed.",
    "bad-json": "The body is not a JSON object in UTF-8.",
    "busy": "The service has no room for the request now. Retry-After says when to try again.",
    "changed-meanwhile": "The resource was changed by another request, or does not meet the precondition.",
    "cross-site": "The request came from another site's page.",
    "cut-off": "The body ended early, or its framing is broken. Nothing was kept.",
    "damaged-in-store": "The store holds something other than what was sent. Nothing was kept.",
    "object-store-misconfigured": "The object store is not set up correctly. Trying again does not help.",
    "object-store-unavailable": "The object store is out of reach. Trying again may help.",
    "session-gone": "The session was ended, or got a new id, while the request was being served.",
    "session-store-unavailable": "The session store is out of reach. Trying again may help.",
    "session-too-large": "The session would be larger than SESSION_MAX_BYTES. It is unchanged.",
    "unknown-host": "The Host header names none of ALLOWED_HOSTS.",
    "wrong-digest": "The body does not match its Content-Digest. Nothing was kept.",
}

_AGAIN = "Please try again."
_DAMAGED = "The content was damaged on its way to the store, and nothing of it was kept. Please send it again."
_MISCONFIGURED = "The object store is not set up correctly. The service's log says what to do."


class _Meaning(NamedTuple):
    """What a visitor is told of an exception, and how it is logged."""

    level: int
    status: int
    kind: str
    detail: str  # {} stands for the exception's own message, where that is meant for the visitor
    retry: bool


# The first that matches counts.
_MEANINGS: dict[type[Exception], _Meaning] = {
    StoreUnavailable: _Meaning(
        logging.WARNING, 503, "session-store-unavailable", f"The session store is out of reach. {_AGAIN}", retry=True
    ),
    SessionTooLarge: _Meaning(
        logging.INFO, 413, "session-too-large", "{} Nothing of this change was kept.", retry=False
    ),
    SessionGone: _Meaning(logging.INFO, 409, "session-gone", "{}", retry=False),
    ObjectNotFound: _Meaning(logging.DEBUG, 404, "", "There is no such object, or it was deleted.", retry=False),
    PreconditionFailed: _Meaning(
        logging.DEBUG, 412, "changed-meanwhile", "The request's precondition does not hold.", retry=False
    ),
    ChecksumMismatch: _Meaning(logging.ERROR, 502, "damaged-in-store", _DAMAGED, retry=True),
    StorageUnavailable: _Meaning(
        logging.WARNING, 503, "object-store-unavailable", f"The object store is out of reach. {_AGAIN}", retry=True
    ),
    StorageError: _Meaning(logging.ERROR, 503, "object-store-misconfigured", _MISCONFIGURED, retry=False),
    TimeoutError: _Meaning(logging.INFO, 408, "", "The request's body came too slowly.", retry=False),
}


class Problem(Exception):
    """Raised by a view: becomes the response. ``detail`` is a sentence for the visitor.

    ``kind`` is for programs: a name among the API description's x-problems, or "" if the status says enough.
    """

    def __init__(self, status: int, detail: str, *, kind: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.kind = kind
        self.headers = headers or {}


def register(app: Flask) -> None:
    """Every exception that leaves a view, or the router, becomes a response."""
    app.register_error_handler(Exception, error_response)


def error_response(error: Exception) -> Response:
    """The response for an exception. An unknown one is logged with its stack and becomes a bare 500."""
    if isinstance(error, HTTPException):
        if error.code is None or error.code < 400:  # a redirect of the router
            return make_response(error.get_response())
        headers = {k: v for k, v in error.get_headers() if k.lower() not in ("content-type", "content-length")}
        return _render(Problem(error.code, error.description or "", headers=headers))
    return _render(as_problem(error))


def as_problem(error: Exception) -> Problem:
    """What a visitor is told of an exception that is not an HTTPException. It is logged here."""
    if isinstance(error, Problem):
        return error
    for known, meaning in _MEANINGS.items():
        if isinstance(error, known):
            log.log(meaning.level, "%s: %s", known.__name__, error)
            headers = RETRY_AFTER if meaning.retry else {}
            return Problem(meaning.status, meaning.detail.format(error), kind=meaning.kind, headers=headers)
    log.error("unhandled exception", exc_info=error)
    return Problem(500, "Something went wrong here. The log has the details under this request's id.")


def _render(error: Problem) -> Response:
    request_id = request.environ.get("service.request_id", "")
    if (
        request.accept_mimetypes.best_match([problem_details.CONTENT_TYPE, "application/json", "text/html"])
        == "text/html"
    ):
        title = problem_details.title(error.status)
        body = render_template("error.html", status=error.status, title=title, error=error, request_id=request_id)
        response = Response(body, error.status, content_type="text/html; charset=utf-8")
    else:
        kind = f"{KIND_POINTER}{error.kind}" if error.kind else "about:blank"
        document = problem_details.problem(
            error.status, error.detail, kind=kind, instance=request.path, request_id=request_id
        )
        response = Response(document, error.status, content_type=problem_details.CONTENT_TYPE)
    response.headers.extend(error.headers)
    response.headers["Cache-Control"] = "no-store"
    return response
