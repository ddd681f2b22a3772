"""A client that trusts nobody: every exchange has a time limit on the whole, and every body a largest size."""

import contextlib
import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any, Self
from urllib.parse import urlsplit

SECONDS = 10.0
MOST = 8 * 2**20  # bytes of a response's body


class NoResponse(Exception):
    """There was no whole response. The message says why, in a few words."""


@dataclass(frozen=True)
class Response:
    """A response, read to its end."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


@dataclass(frozen=True)
class Call:
    """A request that an option names: ``POST /path {"a": 1}``; method and body may be left out."""

    method: str
    path: str
    body: bytes = b""

    @classmethod
    def parse(cls, text: str, method: str) -> "Call":
        """``method`` where the text names none. ValueError where the path does not begin with a slash."""
        words = text.split(maxsplit=1 if text.startswith("/") else 2)
        if not text.startswith("/"):
            method = words.pop(0).upper()
        if not words or not words[0].startswith("/"):
            raise ValueError(f'{text!r} is not like \'POST /path {{"name": "Ada"}}\'')
        return cls(method, words[0], words[1].encode() if len(words) > 1 else b"")

    @property
    def headers(self) -> dict[str, str]:
        if not self.body:
            return {}
        is_json = self.body.lstrip()[:1] == b"{"
        return {"Content-Type": "application/json" if is_json else "application/x-www-form-urlencoded"}


class _Limited:
    """Mixed into a socket: whatever it waits for, it waits until ``deadline`` (monotonic) and no longer."""

    deadline = 0.0

    def _limit(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the response took too long on the whole")
        self.settimeout(left)  # type: ignore[attr-defined] # of the socket that this is mixed into

    def recv_into(self, *arguments: Any) -> int:
        self._limit()
        return int(super().recv_into(*arguments))  # type: ignore[misc] # as above

    def sendall(self, *arguments: Any) -> None:
        self._limit()
        super().sendall(*arguments)  # type: ignore[misc] # as above


class _Socket(_Limited, socket.socket):
    pass


class _TLSSocket(_Limited, ssl.SSLSocket):
    pass


class Client:
    """One visitor: cookies that go wherever it asks, and one connection that is kept while the server keeps it."""

    def __init__(self, base_url: str, *, seconds: float = SECONDS) -> None:
        self.base_url = base_url
        self.cookies: dict[str, str] = {}
        self._seconds = seconds
        self._connection: http.client.HTTPConnection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def at(self, base_url: str) -> Self:
        """From now on ask there, as the same visitor."""
        self.close()
        self.base_url = base_url
        return self

    def get(self, path: str, **headers: str) -> Response:
        return self.ask("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def call(self, call: Call) -> Response:
        return self.ask(call.method, call.path, call.body or None, call.headers)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """The whole response, or NoResponse. An iterable body needs a Content-Length header, or goes chunked."""
        sent = dict(headers or {})
        if self.cookies and "Cookie" not in sent:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if body is None and method not in ("GET", "HEAD"):
            sent.setdefault("Content-Length", "0")
        try:
            connection = self._connected(time.monotonic() + self._seconds)
            connection.request(method, urlsplit(self.base_url).path + path, body=body, headers=sent)
            response = connection.getresponse()
            content = response.read(MOST + 1)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise NoResponse(f"{method} {self.base_url}{path[:80]}: {describe(error)}") from None
        except BaseException:
            self.close()
            raise
        if len(content) > MOST:
            self.close()
            raise NoResponse(f"{method} {self.base_url}{path[:80]}: the response is larger than {MOST} bytes")
        if response.will_close:
            self.close()
        self._keep_cookies(response.headers)
        return Response(response.status, response.headers, content)

    def _connected(self, deadline: float) -> http.client.HTTPConnection:
        if self._connection is None:
            parts = urlsplit(self.base_url)
            is_tls = parts.scheme == "https"
            host, port = parts.hostname or "", parts.port or (443 if is_tls else 80)
            plain = socket.create_connection((host, port), timeout=self._seconds)
            connection = http.client.HTTPConnection(parts.netloc)
            if is_tls:
                context = ssl.create_default_context()
                context.sslsocket_class = _TLSSocket
                with contextlib.ExitStack() as on_error:
                    on_error.callback(plain.close)
                    connection.sock = context.wrap_socket(plain, server_hostname=host)
                    on_error.pop_all()
            else:
                connection.sock = _Socket(fileno=plain.detach())
            connection.auto_open = 0
            self._connection = connection
        if isinstance(self._connection.sock, _Limited):
            self._connection.sock.deadline = deadline
        return self._connection

    def _keep_cookies(self, headers: http.client.HTTPMessage) -> None:
        for name, morsel in set_cookies(headers).items():
            if morsel["max-age"] == "0" or not morsel.value:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = morsel.value


def set_cookies(headers: http.client.HTTPMessage) -> "SimpleCookie":
    """The cookies that a response sets."""
    found = SimpleCookie()
    for line in headers.get_all("Set-Cookie") or []:
        with contextlib.suppress(CookieError):
            found.load(line)
    return found


def raw(base_url: str, data: bytes, *, seconds: float = 5.0) -> None:
    """Send bytes as they are, and wait until the server closes or the time is over; what it says is of no interest."""
    parts = urlsplit(base_url)
    if parts.scheme != "http":
        return  # what is malformed inside TLS is malformed for its terminator, not for the service
    end = time.monotonic() + seconds
    with (
        contextlib.suppress(OSError),
        socket.create_connection((parts.hostname, parts.port or 80), timeout=2) as client,
    ):
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        while (left := end - time.monotonic()) > 0:
            client.settimeout(left)
            if not client.recv(65536):
                return


def describe(error: Exception) -> str:
    """An error of the network in a few words."""
    if isinstance(error, http.client.RemoteDisconnected):
        return "the connection was closed without a response"
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused"
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return "the connection was broken off"
    if isinstance(error, TimeoutError):
        return "it took too long"
    if isinstance(error, socket.gaierror):
        return "the name is not known"
    return f"{type(error).__name__}: {error}"[:200]


def number_in(response: Response, field: str) -> int | None:
    """The number under this name in a JSON response, else the first number in the text."""
    with contextlib.suppress(ValueError):
        document = json.loads(response.body)
        if isinstance(document, dict) and isinstance(document.get(field), int):
            return int(document[field])
    digits = "".join(c if c.isdigit() and c.isascii() else " " for c in response.text[:10000]).split()
    return int(digits[0][:15]) if digits else None
