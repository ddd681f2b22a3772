"""Responses to requests that the application never sees, as problem documents."""

import contextlib
import socket

from gunicorn.http import errors  # type: ignore[import-untyped] # gunicorn ships no types

from service.http import problem_details

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


def send(client: socket.socket, status: int, detail: str) -> None:
    """Write the response to a socket. Nothing is raised where the client has gone."""
    body = problem_details.problem(status, detail)
    fields = (
        f"HTTP/1.1 {status} {problem_details.title(status)}",
        "Connection: close",
        f"Content-Type: {problem_details.CONTENT_TYPE}",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'",
    )
    head = "".join(f"{field}\r\n" for field in fields) + "\r\n"
    with contextlib.suppress(OSError):
        client.sendall(head.encode("ascii") + body)
