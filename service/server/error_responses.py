"""Responses to requests that the application never sees, as problem documents."""

import socket

from gunicorn.http import errors  # type: ignore[import-untyped] # gunicorn ships no types

from service.http import problem_details

_CLOSE = "Connection: close"
_REASONS = {
    errors.LimitRequestLine: (414, "The request's first line is too long."),
    errors.ExpectationFailed: (417, "The only known expectation is 100-continue."),
    errors.LimitRequestHeaders: (431, "The request's headers are too large."),
    errors.UnsupportedTransferCoding: (501, "The only known transfer coding is chunked."),
    errors.InvalidHTTPVersion: (505, "The only known versions are HTTP/1.0 and HTTP/1.1."),
}


def reason(error: errors.ParseException) -> tuple[int, str]:
    """The status for an error of gunicorn's parser, and a sentence for the client."""
    return _REASONS.get(type(error), (400, "The request is not valid HTTP."))


def send_busy(client: socket.socket, *, is_kept: bool) -> bool:
    """Refuse a request because there are too many. ``is_kept``: the connection can take another one.

    False where the response was not written whole: the connection has to end.
    """
    body = problem_details.problem(
        503, "There are more requests than can be served. Please try again.", kind=f"{problem_details.KIND_POINTER}busy"
    )
    return _send(client, 503, body, "Retry-After: 1", *(() if is_kept else (_CLOSE,)))


def send(client: socket.socket, status: int, detail: str) -> None:
    """Write the last response to a socket. Nothing is raised where the client has gone."""
    _send(client, status, problem_details.problem(status, detail), _CLOSE)


def _send(client: socket.socket, status: int, body: bytes, *headers: str) -> bool:
    fields = (
        f"HTTP/1.1 {status} {problem_details.title(status)}",
        *headers,
        f"Content-Type: {problem_details.CONTENT_TYPE}",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'",
    )
    head = "".join(f"{field}\r\n" for field in fields) + "\r\n"
    try:
        client.sendall(head.encode("ascii") + body)
    except OSError:
        return False
    return True
