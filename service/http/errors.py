"""Errors as responses: a problem document (RFC 9457) for programs, a small page for browsers, on every route.

The log says what went wrong inside; the response says what the client can do about it.
"""

import logging

from flask import Flask, Response, make_response, render_template, request
from werkzeug.exceptions import HTTPException

from service.http import problem_details
from service.sessions.interface import SessionGone, SessionTooLarge
from service.sessions.store import StoreBusy, StoreUnavailable
from service.storage.store import (
    ChecksumMismatch,
    DamagedDownload,
    ObjectNotFound,
    OutcomeUnknown,
    PreconditionFailed,
    StorageBusy,
    StorageError,
    StorageUnavailable,
)

log = logging.getLogger(__name__)

RETRY_AFTER = {"Retry-After": "1"}

# A module that reports kinds of its own adds them to the API's description (OpenApi.add).
KINDS = {
    "bad-digest": "Content-Digest is malformed.",
    "bad-host": "The Host header is missing or malformed.",
    "bad-json": "The body is not a JSON object in UTF-8.",
    "busy": "The service is busy. Try again after Retry-After.",
    "changed-meanwhile": "Another request changed the resource, or the precondition does not hold.",
    "cross-site": "The request came from a page of another site.",
    "cut-off": "The body ended early, or its framing is broken. Nothing of it was kept.",
    "damaged-from-store": "What the store sent is not what was stored there.",
    "damaged-in-store": "The store holds something other than what was sent. Nothing was kept.",
    "may-have-been-stored": "The object store did not confirm the upload. Look before you send it again.",
    "object-store-misconfigured": "The object store is not set up correctly. Trying again does not help.",
    "object-store-unavailable": "The object store is out of reach. Trying again may help.",
    "session-gone": "The session was ended, or got a new id, while the request used it.",
    "session-store-unavailable": "The session store is out of reach. Trying again may help.",
    "session-too-large": "The session would be larger than SESSION_MAX_BYTES. It is unchanged.",
    "unknown-host": "The Host header names none of ALLOWED_HOSTS.",
    "wrong-digest": "The body does not match its Content-Digest. Nothing was kept.",
}

_NO_SESSIONS = "The session store is out of reach. Please try again."
_NO_OBJECTS = "The object store is out of reach. Please try again."
_SESSIONS_BUSY = "Too many requests wait for the session store. Please try again."
_OBJECTS_BUSY = "Too many requests wait for the object store. Please try again."
_DAMAGED = "The content was damaged on its way to the store, and nothing of it was kept. Please send it again."
_DAMAGED_OUT = "The content was damaged in the store, or on its way from it. Please try again."
_UNKNOWN = "The object store did not confirm the upload: it may have been stored. Look before you send it again."
_MISCONFIGURED = "The object store is not set up correctly. The service's log says what to do."
# The first that matches counts: the log's level, the response's status, kind and detail ({}: the exception's message).
_MEANINGS = {
    StoreBusy: (logging.INFO, 503, "busy", _SESSIONS_BUSY),
    StoreUnavailable: (logging.WARNING, 503, "session-store-unavailable", _NO_SESSIONS),
    SessionTooLarge: (logging.INFO, 413, "session-too-large", "{} Nothing of this change was kept."),
    SessionGone: (logging.INFO, 409, "session-gone", "{} Please try again."),
    ObjectNotFound: (logging.DEBUG, 404, "", "There is no such object, or it was deleted."),
    PreconditionFailed: (logging.DEBUG, 412, "changed-meanwhile", "The request's precondition does not hold."),
    DamagedDownload: (logging.WARNING, 502, "damaged-from-store", _DAMAGED_OUT),
    ChecksumMismatch: (logging.ERROR, 502, "damaged-in-store", _DAMAGED),
    OutcomeUnknown: (logging.WARNING, 503, "may-have-been-stored", _UNKNOWN),
    StorageBusy: (logging.INFO, 503, "busy", _OBJECTS_BUSY),
    StorageUnavailable: (logging.WARNING, 503, "object-store-unavailable", _NO_OBJECTS),
    StorageError: (logging.ERROR, 503, "object-store-misconfigured", _MISCONFIGURED),
    TimeoutError: (logging.INFO, 408, "", "The request's body came too slowly. Please try again."),
}
_RETRY = (StoreUnavailable, ChecksumMismatch, StorageUnavailable)


class Problem(Exception):
    """Raised by a view: becomes the response. ``detail`` is a sentence for people: what is wrong, and what to do.

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
    """The response to an exception, logged as ``as_problem`` does."""
    if isinstance(error, HTTPException) and (error.code is None or error.code < 400):  # a redirect of the router
        return make_response(error.get_response())
    problem = as_problem(error)
    request_id = request.environ.get("service.request_id", "")
    types = (problem_details.CONTENT_TYPE, "application/json", "text/html")
    # Not werkzeug's best_match, which takes "*/*" for a type that another range refuses with "q=0" (RFC 9110 §12.5.1).
    if max(types, key=request.accept_mimetypes.quality) == "text/html":
        title = problem_details.title(problem.status)
        body = render_template("error.html", title=title, error=problem, request_id=request_id)
        response = Response(body, problem.status, content_type="text/html; charset=utf-8")
    else:
        kind = f"{problem_details.KIND_POINTER}{problem.kind}" if problem.kind else "about:blank"
        document = problem_details.problem(
            problem.status, problem.detail, kind=kind, instance=request.path, request_id=request_id
        )
        response = Response(document, problem.status, content_type=problem_details.CONTENT_TYPE)
    response.headers.extend(problem.headers)
    response.headers["Cache-Control"] = "no-store"
    return response


def as_problem(error: Exception) -> Problem:
    """What the client may know of an exception. An unknown one is logged with its stack and becomes a bare 500."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, HTTPException):
        headers = {k: v for k, v in error.get_headers() if k.lower() not in ("content-type", "content-length")}
        return Problem(error.code or 500, error.description or "", headers=headers)
    for known, (level, status, kind, detail) in _MEANINGS.items():
        if isinstance(error, known):
            log.log(level, "%s: %s", known.__name__, error)
            headers = RETRY_AFTER if isinstance(error, _RETRY) else {}
            return Problem(status, detail.format(error), kind=kind, headers=headers)
    log.error("unhandled exception", exc_info=error)
    return Problem(500, "Something went wrong here. The log has the details under this request's id.")
