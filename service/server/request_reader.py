"""A visitor's connection, with what has arrived of its next request; and a request's body, for the application."""

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

from gunicorn.http import errors  # type: ignore[import-untyped] # gunicorn ships no types
from gunicorn.http.parser import RequestParser  # type: ignore[import-untyped] # as above

from service.server.client_socket import ClientSocket

SMALL_BODY = 16 * 1024  # bytes of a body that are waited for before a thread is taken
MAX_HEAD = 64 * 1024  # bytes of all headers together: gunicorn's limits of single fields allow 800 KiB
READ = 16 * 1024

# Each pattern takes time that grows linearly with the request head, whatever it holds: two repeats that could share
# characters ("0*[0-9]*") would be tried at each border.
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)[ \t]*(?=\r\n)", re.IGNORECASE)
_EXPECT = re.compile(rb"\r\nexpect:([^\r\n]*)(?=\r\n)", re.IGNORECASE)
_CODING = re.compile(rb"\r\ntransfer-encoding:([^\r\n]*)(?=\r\n)", re.IGNORECASE)
_NO_RETURN = "a line feed without its carriage return"  # RFC 9112 §2.2
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
_USUAL = b" HTTP/1.1\r\n"
_MATTERS = re.compile(rb"\r\n(?:content-length|expect|transfer-encoding):", re.IGNORECASE)
# RFC 9112 §2.2: an empty line before the request is passed over, as gunicorn does.
_HTTP_1_0 = re.compile(rb"(?:\r\n)?[^\r\n]* HTTP/1\.0\r\n")
_LATER_MINOR_VERSION = re.compile(rb"\A((?:\r\n)?[^\r\n]* HTTP/1)\.[2-9](?=\r\n)")
# In a request head without these there is no body, and no wish to close, however it is read.
_MAY_BE_LAST = re.compile(rb"content-length|transfer-encoding|close|(?<!\r)\n|\r(?!\n)", re.IGNORECASE)


class VisitorConnection:
    """A connection, and what has arrived of its next request. gunicorn's parser reads from it with ``recv``."""

    def __init__(self, client: ClientSocket, address: Any, server: Any, *, max_body: int) -> None:
        """``address`` is the client's, ``server`` ours. A body over ``max_body`` bytes will be refused."""
        self.socket = client
        self.address, self.server = address, server
        self.deadline = 0.0  # monotonic: when it is closed
        self.began: float | None = None  # monotonic: when the request's first byte arrived
        self._max_body = max_body
        self._received = bytearray()
        self._searched = 0  # bytes that do not contain the end of the request head
        self._needed = 0  # bytes of the request head and a small body; 0 until the request head has arrived
        self._refusal: Exception | None = None
        self._parser: RequestParser | None = None

    @property
    def has_request(self) -> bool:
        """Whether a thread is needed: the request head has arrived, or it is too large."""
        return self._needed > 0 or self._refusal is not None

    def start_over(self) -> None:
        """Begin the next request, with the bytes that the parser has read beyond the end of the last one."""
        self._received[:0] = self._parser.unreader.take_buffered() if self._parser else b""
        self.began, self._parser, self._searched, self._needed = None, None, 0, 0

    def receive(self) -> bool:
        """Read what has arrived, without waiting. True: the request is complete, or nothing more will arrive."""
        while not self._is_complete():
            try:
                data = self.socket.recv(READ)
            except BlockingIOError:
                return False
            except OSError:
                return True
            if not data:
                return True
            if self.began is None:
                self.began = time.monotonic()
            self._received += data
        return True

    def next_request(self, cfg: Any) -> Any:
        """gunicorn's request, with parsed headers. Raises gunicorn's ParseException."""
        if self._refusal:
            raise self._refusal
        self._parser = RequestParser(cfg, self, self.address)
        return next(self._parser)

    def skip_request(self) -> bool:
        """Pass over the request. Whether it is certain where it ends, so that the connection can take another."""
        head = bytes(self._received[: self._needed])
        is_plain = head.startswith(b"GET ") and head.endswith(_USUAL, 0, head.find(b"\r\n") + 2)
        if self._refusal or not is_plain or _MAY_BE_LAST.search(head):
            return False
        del self._received[: self._needed]
        return True

    def recv(self, size: int) -> bytes:
        """What was received already, even if it is more than ``size``; after that as socket's."""
        if self._received:
            data = bytes(self._received)
            self._received.clear()
            return data
        return self.socket.recv(size)

    def _is_complete(self) -> bool:
        if not self._needed:
            end = self._received.find(b"\r\n\r\n", self._searched)
            if end > MAX_HEAD or (end < 0 and len(self._received) > MAX_HEAD):
                self._refusal = errors.LimitRequestHeaders(f"the request head is larger than {MAX_HEAD} bytes")
                if b"\r\n" not in self._received:
                    self._refusal = errors.LimitRequestLine(len(self._received), MAX_HEAD)
                return True
            if end < 0:
                if _BARE_LINE_FEED.search(self._received, self._searched):
                    # gunicorn refuses it too, but only once the head, and a small body, have arrived.
                    self._refusal = errors.InvalidHeader(_NO_RETURN)
                    return True
                self._searched = max(0, len(self._received) - 3)
                return False
            self._take_head(end + 4)
        return len(self._received) >= self._needed

    def _take_head(self, size: int) -> None:
        """Find out how much is waited for, and change the request head where gunicorn would be wrong."""
        head = bytes(self._received[:size])
        if head.endswith(_USUAL, 0, head.find(b"\r\n") + 2) and not _MATTERS.search(head):
            self._needed = size
            return
        match = _LENGTH.search(head)
        length = int(match[1].lstrip(b"0")[:18] or b"0") if match else None  # no limit has more digits
        body = length if length is not None and length <= SMALL_BODY else 0
        has_arrived = body == length and len(self._received) >= size + body
        is_wanted = length is None or (length <= self._max_body and not has_arrived)
        expected = _members(_EXPECT, head)
        if _BARE_LINE_FEED.search(head):
            self._refusal = errors.InvalidHeader(_NO_RETURN)
        elif set(expected) - {b"100-continue"}:  # RFC 9110 §10.1.1
            self._refusal = errors.ExpectationFailed("another than 100-continue")
        elif is_wanted and expected and not _HTTP_1_0.match(head):
            # Sent here, so that no client is asked for a body that will be refused for its length.
            with contextlib.suppress(OSError):
                self.socket.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        head = _EXPECT.sub(b"", head)
        if _members(_CODING, head) == [b"chunked"]:  # gunicorn refuses empty members
            first, *others = _CODING.split(head)[::2]
            head = b"\r\nTransfer-Encoding: chunked".join([first, b"".join(others)])
        # RFC 9110 §6.2: the response has the highest version that the server knows. gunicorn repeats the client's.
        head = _LATER_MINOR_VERSION.sub(rb"\1.1", head)
        self._received[:size] = head
        self._needed = len(head) + (0 if self._refusal else body)


def _members(field: re.Pattern[bytes], head: bytes) -> list[bytes]:
    """The members of a list header, in lower case. Empty ones count for nothing (RFC 9110 §5.6.1.2)."""
    members = b",".join(field.findall(head)).lower().split(b",")
    return [stripped for member in members if (stripped := member.strip(b" \t"))]


class RequestInput:
    """``wsgi.input``: gunicorn's, with a note of how much of it is unread."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self._source = environ["wsgi.input"]
        is_chunked = "HTTP_TRANSFER_ENCODING" in environ
        # In bytes; None: not known. gunicorn has refused a length that is not of ASCII digits only.
        self._left = None if is_chunked else int(environ.get("CONTENT_LENGTH") or 0)
        self._is_small = self._left is not None and self._left <= SMALL_BODY

    @property
    def may_be_on_its_way(self) -> bool:
        """Whether some of the body is unread, and perhaps has not arrived: a small body has."""
        return self._left != 0 and not self._is_small

    def finish(self) -> bool:
        """Read the rest of a small body. Whether the next request follows on the connection."""
        if self._left and self._is_small:
            with contextlib.suppress(OSError):
                self.read()
        return self._left == 0

    def read(self, size: int = -1, /) -> bytes:
        """As a file's: all of ``size`` bytes, unless the body ends before. OSError where it breaks off or is broken."""
        data = self._take(self._source.read, size)
        if self._left is None and (size < 0 or len(data) < size):
            self._left = 0
        return data

    def readline(self, size: int = -1, /) -> bytes:
        """As a file's. OSError as read()."""
        data = self._take(self._source.readline, size)
        if self._left is None and size != 0 and not data:
            self._left = 0
        return data

    def readlines(self, hint: int = -1, /) -> list[bytes]:  # noqa: ARG002 -- PEP 3333: it may be passed over
        """As a file's."""
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        while line := self.readline():
            yield line

    def _take(self, read: Callable[[int], bytes], size: int) -> bytes:
        try:
            data = read(size)
        except errors.ParseException as error:
            raise ConnectionError("the body's chunked framing is broken") from error
        if self._left is not None:
            self._left -= len(data)
        return data
