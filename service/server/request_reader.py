"""A visitor's connection: what has come of its next request, before that takes a thread."""

import contextlib
import re
import socket
import time
from typing import Any

from gunicorn.http import errors  # type: ignore[import-untyped] # gunicorn ships no types
from gunicorn.workers.gthread import TConn  # type: ignore[import-untyped] # as above

from service.server.client_socket import ClientSocket
from service.server.wire import Parser, Request

SMALL_BODY = 16 * 1024  # bytes of a body that are waited for before a thread is taken
MOST_HEAD = 64 * 1024  # bytes on the whole: gunicorn's limits of fields allow 800 KiB a connection
READ = 16 * 1024

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*0*([0-9]{1,9})[ \t]*\r\n", re.IGNORECASE)
_OLD = re.compile(rb"[^\r\n]* HTTP/1\.0\r\n")
_EXPECT = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*\r\n", re.IGNORECASE)


class Connection(TConn):  # type: ignore[misc] # of gunicorn
    """A visitor's connection, and what came of its next request."""

    parser: Parser | None

    def __init__(self, cfg: Any, client: ClientSocket, address: Any, server: Any) -> None:
        super().__init__(cfg, client, address, server)
        self.data_ready = True  # gunicorn needs not wait for it: it comes to a thread with its request
        self.began: float | None = None  # when the request's first byte came, monotonic
        self.deadline = 0.0  # monotonic
        self._came = bytearray()
        self._searched = 0  # bytes that hold no end of the head
        self._needed = 0  # bytes until the request is complete; 0 until that is known
        self._is_too_large = False

    def take_over(self) -> None:
        """Begin the next request, with what the last one's reader had read too much."""
        self.began, self._needed, self._searched = None, 0, 0
        self._came = bytearray(self.parser.unreader.take_buffered() if self.parser else b"")

    def is_complete(self) -> bool:
        """Read what has come. True: the request may go to a thread, also where it is broken or over."""
        if self._came and self._enough():
            return True
        while True:
            try:
                data = socket.socket.recv(self.sock, READ)
            except BlockingIOError:
                return False
            except OSError:
                data = b""
            if not data:
                return True
            if self.began is None:
                self.began = time.monotonic()
            self._came += data
            if self._enough():
                return True

    def hand_over(self) -> Request | None:
        """The request that has come; None where none did. Raises gunicorn's errors where it is no request."""
        self.sock.setblocking(True)
        if self._is_too_large:
            if b"\r\n" not in self._came:
                raise errors.LimitRequestLine(len(self._came), MOST_HEAD)
            raise errors.LimitRequestHeaders(f"the head is larger than {MOST_HEAD} bytes")
        if self.parser is None:
            self.parser = Parser(self.cfg, self.sock, self.client)
        self.parser.unreader.unread(bytes(self._came))
        self._came.clear()
        return next(self.parser, None)

    def _enough(self) -> bool:
        if not self._needed:
            end = self._came.find(b"\r\n\r\n", self._searched)
            if end < 0:
                self._searched = max(0, len(self._came) - 3)
                self._is_too_large = len(self._came) > MOST_HEAD
                return self._is_too_large
            if end > MOST_HEAD:
                self._is_too_large = True
                return True
            head = bytes(self._came[: end + 4])
            length = _LENGTH.search(head)
            size = int(length[1]) if length else 0
            self._needed = end + 4 + (size if size <= SMALL_BODY else 0)
            if len(self._came) < self._needed and _EXPECT.search(head) and not _OLD.match(head):
                with contextlib.suppress(OSError):
                    self.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        return len(self._came) >= self._needed
