"""One request and its answer between gunicorn and the socket: its parser and its writer, without what is done twice.

gunicorn asks for each header of a request whether the client is a trusted proxy, checks each header of an answer anew,
formats the date for each, and sends head and body apart. Here: no client is a proxy (web/guards.py decides that), what
was checked is remembered, a date holds for its second, and a small answer is one write.
"""

import time
from functools import lru_cache
from typing import Any

from gunicorn import util  # type: ignore[import-untyped] # gunicorn ships no types
from gunicorn.http import body, message, parser, wsgi  # type: ignore[import-untyped] # as above
from gunicorn.http.body import LengthReader  # type: ignore[import-untyped] # as above
from gunicorn.http.errors import InvalidResponseHeader, InvalidResponseHeaderName  # type: ignore[import-untyped] # as above

ONE_WRITE = 64 * 1024  # bytes of a body that are worth copying behind the head
_REMEMBERED = 100  # characters of a header's value that are worth keeping


class Body(body.Body):  # type: ignore[misc] # of gunicorn
    """A request's body, taken from the socket as it is asked for.

    gunicorn reads a MiB ahead and copies what is left of it at each read.
    """

    def read(self, size: int | None = None) -> bytes:
        """As a file's: all of ``size`` bytes, unless it ends before."""
        reader = self.reader
        if size is None or size <= 0 or self.buf.tell() or not isinstance(reader, LengthReader):
            return bytes(super().read(size))
        unreader = reader.unreader
        size = min(size, reader.length)
        pieces = [unreader.take_buffered()]
        if len(pieces[0]) > size:
            unreader.unread(pieces[0][size:])
            pieces[0] = pieces[0][:size]
        missing = size - len(pieces[0])
        while missing:
            piece = self._receive(unreader.sock, missing)
            if not piece:
                break
            pieces.append(piece)
            missing -= len(piece)
        reader.length -= size - missing
        return pieces[1] if len(pieces) == 2 and not pieces[0] else b"".join(pieces)

    def _receive(self, sock: Any, size: int) -> bytes:
        try:
            return bytes(sock.recv(size))
        except Exception:
            self.failed = True
            raise


class Request(message.Request):  # type: ignore[misc] # of gunicorn
    """A request's head, parsed by gunicorn."""

    body: Body

    def set_body_reader(self) -> None:
        """By the head's framing."""
        super().set_body_reader()
        self.body = Body(self.body.reader)

    def _peer_is_trusted_proxy(self) -> bool:
        return False

    def body_is_read(self) -> bool:
        """Whether nothing of the body is left on the connection."""
        reader = self.body.reader
        return isinstance(reader, LengthReader) and not reader.length and not self.body.failed


class Parser(parser.Parser):  # type: ignore[misc] # of gunicorn
    """The requests of one connection."""

    mesg_class = Request

    def finish_body(self, deadline: float | None = None, max_bytes: int | None = None) -> bool:
        """As gunicorn's, which reads and sets time-outs also where nothing can be left."""
        if self.mesg is not None and self.mesg.body_is_read():
            return True
        return bool(super().finish_body(deadline, max_bytes))


class Response(wsgi.Response):  # type: ignore[misc] # of gunicorn
    """gunicorn's answer. ``headers_sent`` means that they are decided; they leave with the first bytes of the body."""

    headers_sent: bool
    _head = b""

    def process_headers(self, headers: list[tuple[str, str]]) -> None:
        """Check what the application gave. Raises gunicorn's errors."""
        for name, value in headers:
            if len(value) > _REMEMBERED or name == "X-Request-Id":  # never the same again
                line, length, hop = _line.__wrapped__(name, value)
            else:
                line, length, hop = _line(name, value)
            if hop:
                continue  # the connection is the server's to speak of (PEP 3333)
            if length is not None:
                self.response_length = length
            self.headers.append((name, line))

    def send_headers(self) -> None:
        """Put the head together."""
        if self.headers_sent:
            return
        connection = "close" if self.should_close() else "keep-alive"
        major, minor = self.req.version
        lines = [
            f"HTTP/{major}.{minor} {self.status}\r\nServer: {self.version}\r\n",
            f"Date: {_date(int(time.time()))}\r\nConnection: {connection}\r\n",
        ]
        if self.chunked:
            lines.append("Transfer-Encoding: chunked\r\n")
        lines += [line for _, line in self.headers]
        lines.append("\r\n")
        self._head = "".join(lines).encode("latin-1")
        self.headers_sent = True

    def _emit_body(self, data: bytes) -> None:
        head, self._head = self._head, b""
        if self.chunked:
            data = b"%X\r\n%b\r\n" % (len(data), data)
        if head and len(data) <= ONE_WRITE:
            self.sock.sendall(head + data)
            return
        if head:
            self.sock.sendall(head)
        self.sock.sendall(data)

    def close(self) -> None:
        """The body is over. Where it is less than was promised, the next answer would be taken for the rest of it."""
        self.send_headers()
        if self.response_length is not None and self.sent < self.response_length and not self._omits_body:
            self.force_close()
        rest, self._head = self._head, b""
        if self.chunked:
            rest += b"0\r\n\r\n"
        if rest:
            self.sock.sendall(rest)


@lru_cache(maxsize=256)
def _line(name: str, value: str) -> tuple[str, int | None, bool]:
    """A header's line, its number where it is Content-Length, and whether it is a hop-by-hop one.

    By gunicorn's rules: the errors name the header only, since a value may be secret.
    """
    if not isinstance(name, str) or not isinstance(value, str):
        raise TypeError("a header's name and value are strings")
    if not message.TOKEN_RE.fullmatch(name):
        raise InvalidResponseHeaderName(f"{name!r}")
    if not wsgi.HEADER_VALUE_RE.fullmatch(value):
        raise InvalidResponseHeader(f"{name!r}")
    value = value.strip(" \t")
    length = int(value) if name.lower() == "content-length" else None
    return f"{name}: {value}\r\n", length, length is None and util.is_hoppish(name)


@lru_cache(maxsize=2)
def _date(second: int) -> str:
    return str(util.http_date(second))
