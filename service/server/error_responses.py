"""The answers to what never becomes a request of the application, as problem documents."""

import contextlib
from typing import Any

from gunicorn import util  # type: ignore[import-untyped] # gunicorn ships no types
from gunicorn.http import errors  # type: ignore[import-untyped] # as above

from service.http import problem_details

_STATUS = {
    errors.LimitRequestLine: 414,
    errors.LimitRequestHeaders: 431,
    errors.UnsupportedTransferCoding: 501,
    errors.ExpectationFailed: 417,
    errors.ForbiddenProxyRequest: 403,
    errors.InvalidHTTPVersion: 505,
}

_OUR_FAULT = errors.InvalidResponseHeader, errors.InvalidResponseHeaderName  # gunicorn has them among the client's

_DETAILS = {
    403: "Requests from a proxy are not taken here.",
    414: "The request's first line is too long.",
    417: "Of expectations only 100-continue is known.",
    431: "The request's head is too large.",
    501: "Of transfer codings only chunked is understood.",
    505: "Only HTTP/1.0 and HTTP/1.1 are spoken here.",
}


def reason(error: Exception) -> tuple[int, str]:
    """The status of an error of gunicorn's parser, 500 of any other, and a sentence for the client."""
    if not isinstance(error, errors.ParseException) or isinstance(error, _OUR_FAULT):
        return 500, "Something went wrong here."
    status = _STATUS.get(type(error), 400)
    return status, _DETAILS.get(status, "The request is not valid HTTP.")


def send(client: Any, status: int, detail: str) -> None:
    """Answer on a socket. Where the client has gone, nothing happens."""
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
        util.write(client, head.encode("ascii") + body)
