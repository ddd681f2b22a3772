"""Errors as answers: a problem document (RFC 9457) for programs, a small page for browsers, on every route.

What went wrong inside is for the log; what the visitor can do about it is for the answer.
"""

import logging

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

# The ``type`` of a problem document points into the API's description, where these are found.
KIND_POINTER = "/openapi.json#/components/x-problems/"
KINDS = {
    "bad-digest": "Content-Digest is malformed.",
    "bad-host": "The Host header is missing or malformed.",
    "bad-json": "The body is no JSON object in UTF-8.",
    "bad-name": "A name is empty, too long, or has what a name must not have.",
    "busy": "Too much is going on just now. Retry-After says when to come again.",
    "changed-meanwhile": "Somebody else changed the file. Read it again, then decide.",
    "cross-site": "The request came from another site's page.",
    "cut-off": "The body ended early, or its framing is broken. Nothing was kept.",
    "damaged-in-store": "What the store holds is not what was sent. Nothing was kept.",
    "object-store-misconfigured": "The object store is not set up right. Trying again does not help.",
    "object-store-unavailable": "The object store is out of reach. Trying again may help.",
    "quota": "The visitor keeps as much as a visitor may.",
    "session-gone": "The session was ended, or got a new id, while the request was on its way.",
    "session-store-unavailable": "The session store is out of reach. Trying again may help.",
    "session-too-large": "The session would hold more than SESSION_MAX_BYTES. It is as it was.",
    "unknown-host": "The Host header names none of ALLOWED_HOSTS.",
    "wrong-digest": "The body does not fit its Content-Digest. Nothing was kept.",
}

_AGAIN = "Please try again."
_OUT_OF_REACH = "Files are out of reach just now. " + _AGAIN
_MISCONFIGURED = "Files can't be kept: the store is not set up right. The service's log says what to do."
_DAMAGED = "The file was damaged on its way to the store, and nothing of it was kept. Please send it again."

# What the parts raise: how loud it is in the log, and the answer's status, kind, detail and whether to try again.
# The first that fits counts. ``{}`` stands for the error's own words where they are meant for the visitor.
_ANSWERS: dict[type[Exception], tuple[int, int, str, str, bool]] = {
    StoreUnavailable: (logging.WARNING, 503, "session-store-unavailable", "Sessions are out of reach. " + _AGAIN, True),
    SessionTooLarge: (logging.INFO, 413, "session-too-large", "{} Nothing of this change was kept.", False),
    SessionGone: (logging.INFO, 409, "session-gone", "{}", False),
    ObjectNotFound: (logging.DEBUG, 404, "", "There is no such file (any more).", False),
    PreconditionFailed: (logging.DEBUG, 412, "changed-meanwhile", "The file is not as the request demands.", False),
    ChecksumMismatch: (logging.ERROR, 502, "damaged-in-store", _DAMAGED, True),
    StorageUnavailable: (logging.WARNING, 503, "object-store-unavailable", _OUT_OF_REACH, True),
    StorageError: (logging.ERROR, 503, "object-store-misconfigured", _MISCONFIGURED, False),
    TimeoutError: (logging.INFO, 408, "", "The request's body came too slowly.", False),
}


class Problem(Exception):
    """Raised by a view: becomes the answer. ``detail`` is a sentence for the visitor; ``kind`` a fragment for programs.

    ``kind`` is a name of KINDS where the status alone does not say enough; "" where it does.
    """

    def __init__(self, status: int, detail: str, *, kind: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.kind = kind
        self.headers = headers or {}


def install(app: Flask) -> None:
    """Every exception that leaves a view, or the router, becomes an answer."""
    app.register_error_handler(Exception, answer)


def answer(error: Exception) -> Response:
    """The answer for an exception. Unknown ones are logged with their stack and answered with a bare 500."""
    if isinstance(error, HTTPException):
        if error.code is None or error.code < 400:  # a redirect of the router
            return make_response(error.get_response())
        headers = {k: v for k, v in error.get_headers() if k.lower() not in ("content-type", "content-length")}
        return _respond(Problem(error.code, error.description or "", headers=headers))
    return _respond(translate(error))


def translate(error: Exception) -> Problem:
    """What a visitor is told of an exception that is no HTTPException. How loud it is in the log is decided here."""
    if isinstance(error, Problem):
        return error
    for known, (level, status, kind, detail, retry) in _ANSWERS.items():
        if isinstance(error, known):
            log.log(level, "%s: %s", known.__name__, error)
            headers = RETRY_AFTER if retry else {}
            return Problem(status, detail.format(error), kind=kind, headers=headers)
    log.error("unhandled exception", exc_info=error)
    return Problem(500, "Something went wrong here. The log has the details under this request's id.")


def _respond(error: Problem) -> Response:
    request_id = request.environ.get("seatrial.request_id", "")
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
