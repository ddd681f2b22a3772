"""The connections to the store, and one deadline for each request as a whole.

The time-out of requests is for each read: a response that comes a byte at a time would never meet it.
"""

import contextlib
import math
import socket
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from requests import PreparedRequest, ReadTimeout, Response
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import ConnectionPool


class Connections(HTTPAdapter):
    """``timeout``: seconds for a response without a body, or with a short one; and for a request beside its body.

    A body is sent at ``least_rate`` bytes a second or more. ``ends``: the time (monotonic) when all has to be over.
    """

    def __init__(self, kept: int, timeout: float, least_rate: int, ends: Callable[[], float]) -> None:
        self._timeout, self._least_rate, self._ends = timeout, least_rate, ends
        super().__init__(pool_maxsize=kept)

    def get_connection_with_tls_context(
        self,
        request: PreparedRequest,
        verify: bool | str | None,
        proxies: Mapping[str, str] | None = None,
        cert: tuple[str, str] | str | None = None,
    ) -> ConnectionPool:
        """As requests', with connections that a deadline can end."""
        pool = super().get_connection_with_tls_context(request, verify, proxies, cert)
        if isinstance(pool, HTTPConnectionPool):  # they all are
            pool.ConnectionCls = _TlsConnection if isinstance(pool, HTTPSConnectionPool) else _PlainConnection
        return pool

    def send(self, request: PreparedRequest, stream: bool = False, *args: Any, **kwargs: Any) -> Response:
        """As requests', but the whole response is here when this returns; with ``stream``, its headers."""
        size = int(request.headers.get("Content-Length", 0))
        for_body = 0 if not size else size / self._least_rate if self._least_rate else math.inf
        with _Deadline(self._timeout + for_body, self._timeout, self._ends()):
            response = super().send(request, stream, *args, **kwargs)
            if not stream:
                response.content  # noqa: B018 -- read now, and kept
        return response


class _Deadline:
    """When a thread's request has to be over: its connection is then shut down, and what waits for it fails.

    ``sending`` and ``responding``: seconds. ``end``: the time when both are over at the latest.
    """

    def __init__(self, sending: float, responding: float, end: float) -> None:
        self._sending, self._responding, self._end = sending, responding, end
        self._socket: socket.socket | None = None
        self._timer: threading.Timer | None = None
        self._passed = False
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        _of_thread.deadline = self
        self._start(self._sending)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _of_thread.deadline = None
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            self._socket = None
        if self._passed and (error is None or isinstance(error, Exception)):
            # Whatever was read: a response whose headers were cut off looks whole.
            raise ReadTimeout("timed out: the request took too long as a whole") from None

    def use(self, connection: HTTPConnection) -> None:
        """The request uses this connection."""
        with self._lock:
            self._socket = connection.sock
            if self._passed:
                self._shut_down()

    def sent(self) -> None:
        """The request is sent: the rest of the time is for the response."""
        if self._timer is not None:
            self._timer.cancel()
        self._start(self._responding)

    def _start(self, seconds: float) -> None:
        seconds = min(seconds, self._end - time.monotonic())
        if seconds < math.inf:
            self._timer = threading.Timer(max(0.0, seconds), self._pass)
            self._timer.daemon = True
            self._timer.start()

    def _pass(self) -> None:
        with self._lock:
            self._passed = True
            self._shut_down()

    def _shut_down(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it may be closed already
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # not TLS's own: another thread is in it


class _OfThread(threading.local):
    """A thread's own."""

    deadline: _Deadline | None = None  # of the request that it makes


_of_thread = _OfThread()


class _PlainConnection(HTTPConnection):
    """Tells the deadline which socket it uses, and when the request is sent."""

    def connect(self) -> None:
        super().connect()
        if _of_thread.deadline:
            _of_thread.deadline.use(self)

    def request(self, *args: Any, **kwargs: Any) -> None:
        if _of_thread.deadline:
            _of_thread.deadline.use(self)
        super().request(*args, **kwargs)

    def getresponse(self) -> Any:
        if _of_thread.deadline:
            _of_thread.deadline.sent()
        return super().getresponse()


class _TlsConnection(_PlainConnection, HTTPSConnection):
    """The same with TLS."""
