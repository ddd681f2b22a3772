"""A client for tests that says exactly what it is told, byte by byte, and hears everything that is said to it."""

import contextlib
import http.client
import socket
from typing import Self
from urllib.parse import urlsplit

from tests.support.http import Answer


class RawClient:
    """One connection. ``receive_buffer`` in bytes makes it a client that can take little before it reads; ``segment``,
    the bytes of a TCP segment, one that is far away: on this machine alone they are so large that buffers are, too.
    """

    def __init__(self, url: str, *, timeout: float = 60, receive_buffer: int = 0, segment: int = 0) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if segment:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, segment)
        self.socket.settimeout(timeout)
        try:
            self.socket.connect((parts.hostname, parts.port))
        except BaseException:
            self.socket.close()
            raise
        self._reader = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._reader.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self, *, method: str = "GET") -> Answer:
        """The next answer, interim ones (1xx) too. ConnectionError where the server closed instead."""
        line = self._reader.readline()
        if not line:
            raise ConnectionResetError("closed without an answer")
        status = int(line.split(b" ", 2)[1])
        headers = http.client.parse_headers(self._reader)
        if status < 200 or status in (204, 304) or method == "HEAD":
            return Answer(status, headers, b"")
        if headers.get("Transfer-Encoding") == "chunked":
            return Answer(status, headers, self._chunked())
        length = headers.get("Content-Length")
        return Answer(status, headers, self._reader.read(-1 if length is None else int(length)))

    def wait_for_close(self) -> bytes:
        """What else comes until the server closes; a reset is a close too. TimeoutError where it stays open."""
        rest = b""
        with contextlib.suppress(ConnectionError):
            while data := self._reader.read1(65536):
                rest += data
        return rest

    def _chunked(self) -> bytes:
        body = b""
        while size := int(self._reader.readline(), 16):
            body += self._reader.read(size)
            self._reader.readline()
        self._reader.readline()
        return body


def head(method: str, path: str, *fields: str) -> bytes:
    """A request's head, with a Host."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: a", *fields, "", ""]).encode("latin-1")
