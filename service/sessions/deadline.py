"""One deadline for everything that a call to a store does: looking a name up, connecting, a handshake, a command.

A socket's own timeout is for one read or write: a server that sends a byte now and then would hold a thread for ever.
The deadline belongs to the thread, so that it reaches the sockets through the client libraries.
"""

import contextlib
import ipaddress
import logging
import math
import queue
import select
import socket
import threading
import time
from typing import Any

log = logging.getLogger(__name__)

# A connection whose other end vanished without a word is noticed after KEEPALIVE_IDLE + 3 * KEEPALIVE_INTERVAL s.
KEEPALIVE_IDLE = 10
KEEPALIVE_INTERVAL = 5

_Address = tuple[socket.AddressFamily, Any]

_known: dict[tuple[str, int], list[_Address]] = {}  # what names meant when they were last looked up


class _State(threading.local):
    until = math.inf  # of time.monotonic()


_state = _State()


class within:  # noqa: N801 -- it is used as a function
    """What is done inside has so long (seconds), or as long as an outer ``within`` leaves, whichever is less."""

    __slots__ = ("_outer", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        self._outer = outer = _state.until
        _state.until = min(outer, time.monotonic() + self._seconds)

    def __exit__(self, *_: object) -> None:
        _state.until = self._outer


def remaining() -> float:
    """The seconds that are left, inf without a deadline. TimeoutError when there are none."""
    left = _state.until - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


class TimedSocket:
    """A connected socket, plain or TLS, that keeps to the deadline of the thread that uses it.

    It has the methods that redis-py and pymemcache call; the rest is the socket's own.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._longest = math.inf

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def settimeout(self, seconds: float | None) -> None:
        """As socket.settimeout(), for each use; but the deadline may be sooner."""
        self._longest = math.inf if seconds is None else seconds

    def sendall(self, data: bytes) -> None:
        """As socket.sendall(), but with one deadline for all of it also over TLS."""
        view = memoryview(data)
        while view:
            self._wait_at_most()
            view = view[self._sock.send(view) :]

    def recv(self, size: int, flags: int = 0) -> bytes:
        """As socket.recv()."""
        self._wait_at_most()
        return self._sock.recv(size, flags)

    def recv_into(self, buffer: bytearray) -> int:
        """As socket.recv_into()."""
        self._wait_at_most()
        return self._sock.recv_into(buffer)

    def is_readable(self) -> bool:
        """Whether there is something to read, or the other end has closed."""
        poller = select.poll()
        poller.register(self._sock, select.POLLIN)
        return bool(poller.poll(0))

    def _wait_at_most(self) -> None:
        left = min(remaining(), self._longest)
        self._sock.settimeout(None if left == math.inf else left)


def connect(host: str, port: int) -> socket.socket:
    """A TCP connection, within the deadline. OSError says why there is none."""
    addresses = _look_up(host, port)
    error: OSError = OSError(f"{host} has no address")
    for index, (family, address) in enumerate(addresses):
        # An address that swallows what is sent must leave time for the next one.
        share = remaining() / (len(addresses) - index)
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _keep_alive(sock)
            return _connected(sock, address, share)
        except OSError as failure:
            error = failure
    raise error


def connect_unix(path: str) -> socket.socket:
    """A connection to a Unix socket, within the deadline. OSError says why there is none."""
    return _connected(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), path, remaining())


def _connected(sock: socket.socket, address: Any, seconds: float) -> socket.socket:
    try:
        sock.settimeout(None if seconds == math.inf else seconds)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def _keep_alive(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", KEEPALIVE_IDLE), ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _look_up(host: str, port: int) -> list[_Address]:
    """A host's addresses. getaddrinfo() knows no timeout, so a thread looks names up, and may be left behind.

    Where it fails, or half of the time that is left is over, it is what the name meant last (RFC 8767): without a DNS
    the store is where it was.
    """
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host)
        return _addresses(host, port)
    answer: queue.SimpleQueue[list[_Address] | OSError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = _addresses(host, port)
        except OSError as error:
            answer.put(error)
        else:
            _known[host, port] = found
            answer.put(found)

    known = _known.get((host, port))
    threading.Thread(target=ask, name="look-up", daemon=True).start()
    left = remaining() / (2 if known else 1)
    found: list[_Address] | OSError
    try:
        found = answer.get(timeout=None if left == math.inf else left)
    except queue.Empty:
        found = TimeoutError(f"looking up {host} timed out")
    if not isinstance(found, OSError):
        return found
    if known is None:
        raise found
    log.info("%s can't be looked up; it is taken to be where it was: %s", host, found)
    return known


def _addresses(host: str, port: int) -> list[_Address]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [(family, address) for family, _, _, _, address in found]
