"""One deadline for everything that a call to a store does: looking a name up, connecting, a handshake, a command.

A socket's own timeout is for one read or write: a server that sends a byte now and then would hold a thread for ever.
The deadline belongs to the thread, so that it reaches the sockets through the client libraries.
"""

import contextlib
import errno
import logging
import math
import select
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Any

log = logging.getLogger(__name__)

# A connection whose other end vanished without a word is noticed after 10 + 3 * 5 s.
_TCP_OPTIONS = {"TCP_NODELAY": 1, "TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}

LONGEST = 24 * 3600.0  # seconds, where there is no deadline: timeouts are finite

_Address = tuple[socket.AddressFamily, Any]

_known: dict[tuple[str, int], list[_Address]] = {}  # what the last look-up of each name found
_until = ContextVar("until", default=math.inf)  # of time.monotonic()


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """What is done inside has so long (seconds), or as long as an outer ``within`` leaves, whichever is less."""
    outer = _until.set(min(_until.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _until.reset(outer)


def remaining() -> float:
    """The seconds that are left, inf without a deadline. TimeoutError when there are none."""
    left = _until.get() - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


class TimedSocket:
    """A connected socket, plain or TLS, that keeps to the deadline of the thread that uses it.

    It has the methods that redis-py and pymemcache call; the rest is the socket's own.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._longest = LONGEST

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def settimeout(self, seconds: float | None) -> None:
        """As socket.settimeout(), for each use; but the deadline may be sooner."""
        self._longest = LONGEST if seconds is None else seconds

    def sendall(self, data: bytes) -> None:
        """As socket.sendall(), but with one deadline for all of it also over TLS."""
        view = memoryview(data)
        while view:
            view = view[self._timed().send(view) :]

    def recv(self, size: int, flags: int = 0) -> bytes:
        """As socket.recv()."""
        return self._timed().recv(size, flags)

    def recv_into(self, buffer: bytearray) -> int:
        """As socket.recv_into()."""
        return self._timed().recv_into(buffer)

    def is_readable(self) -> bool:
        """Whether there is something to read, or the other end has closed."""
        poller = select.poll()
        poller.register(self._sock, select.POLLIN)
        return bool(poller.poll(0))

    def _timed(self) -> socket.socket:
        """The socket, which waits no longer than it may now."""
        self._sock.settimeout(min(remaining(), self._longest))
        return self._sock


def connect(host: str, port: int) -> socket.socket:
    """A TCP connection, within the deadline. OSError says why there is none."""
    addresses = _look_up(host, port)
    error = OSError(f"{host} has no address")
    for index, (family, address) in enumerate(addresses):
        # An address that swallows what is sent must leave time for the next one.
        share = remaining() / (len(addresses) - index)
        try:
            sock = _connected(family, address, share)
        except OSError as failure:
            error = failure
            continue
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _TCP_OPTIONS.items():
            if hasattr(socket, option):  # macOS lacks some
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        return sock
    raise error


def connect_unix(path: str) -> socket.socket:
    """A connection to a Unix socket, within the deadline. OSError says why there is none."""
    return _connected(socket.AF_UNIX, path, remaining())


def _connected(family: socket.AddressFamily, address: Any, seconds: float) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(min(seconds, LONGEST))
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def _look_up(host: str, port: int) -> list[_Address]:
    """A host's addresses. getaddrinfo() has no timeout, so a thread looks names up, and may be left behind.

    Where that fails, or takes half of the time that is left, they are what the last look-up found (RFC 8767): without
    DNS the store is where it was.
    """
    looked_up: Future[list[_Address]] = Future()

    def look_up() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
            addresses: list[_Address] = [(family, address) for family, _, _, _, address in found]
            _known[host, port] = addresses
            looked_up.set_result(addresses)
        except OSError as error:
            looked_up.set_exception(error)

    known = _known.get((host, port))
    failure: OSError
    try:
        threading.Thread(target=look_up, name="look-up", daemon=True).start()
        return looked_up.result(min(remaining(), LONGEST) / (2 if known else 1))
    except TimeoutError:
        failure = TimeoutError(f"looking up {host} timed out")
    except RuntimeError as error:  # the system allows no more threads
        failure = OSError(errno.EAGAIN, f"{error}")
    except OSError as error:
        failure = error
    if known is None:
        raise failure
    log.info("%s can't be looked up; it is taken to be where it was: %s", host, failure)
    return known
