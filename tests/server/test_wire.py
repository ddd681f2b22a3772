"""An answer as it is written to the socket, and whether its connection may take another request."""

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.http.errors import InvalidResponseHeader, InvalidResponseHeaderName  # type: ignore[import-untyped] # gunicorn ships no types

from service.server.wire import Response
from service.server.worker import Worker


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def response(sock: socket.socket, *, method: str = "GET") -> Any:
    request = SimpleNamespace(method=method, version=(1, 1), should_close=lambda: False)
    return Response(request, sock, SimpleNamespace())


@pytest.mark.parametrize(
    ("method", "status", "body", "closes"),
    [
        ("GET", "200 OK", b"abc", True),
        ("GET", "200 OK", b"", True),
        ("GET", "200 OK", b"0123456789", False),
        ("GET", "200 OK", b"0123456789 and more", False),
        ("HEAD", "200 OK", b"", False),
        ("GET", "304 Not Modified", b"", False),
    ],
)
def test_a_body_that_is_less_than_was_promised_is_the_last_of_its_connection(
    pair: tuple[socket.socket, socket.socket], method: str, status: str, body: bytes, *, closes: bool
) -> None:
    answer = response(pair[0], method=method)
    answer.start_response(status, [("Content-Length", "10")])
    answer.write(body)
    answer.close()
    assert answer.should_close() is closes
    assert pair[1].recv(9999).partition(b"\r\n\r\n")[2] == body[:10]


@pytest.mark.parametrize("error", [InvalidResponseHeader("X-A"), InvalidResponseHeaderName("X A")])
def test_a_header_that_the_application_got_wrong_is_no_fault_of_the_client(
    pair: tuple[socket.socket, socket.socket], error: Exception
) -> None:
    worker: Any = object.__new__(Worker)
    worker.log = SimpleNamespace(error=lambda *_: None, info=lambda *_: None)
    worker.handle_error(None, pair[0], None, error)
    assert pair[1].recv(9999).startswith(b"HTTP/1.1 500 ")
