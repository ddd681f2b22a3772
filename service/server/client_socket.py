"""A visitor's socket. A client that sends or reads too slowly does not hold a thread for ever."""

import contextlib
import errno
import fcntl
import socket
import struct
import time
from typing import Any

SEND_BUFFER = 192 * 1024  # bytes for each connection; the system doubles them for its own overhead
SIOCOUTQNSD = 0x894B  # linux/sockios.h
SO_BUF_LOCK = 72  # asm-generic/socket.h


class ClientSocket(socket.socket):
    """A socket that has a time-out and a least rate after ``wait_in_thread``."""

    _timeout = 0.0  # seconds without a byte
    _least_rate = 0  # bytes a second
    _moved = 0  # bytes, since a thread waits for this socket
    _waited = 0.0  # seconds in calls that sent or received them

    def wait_in_thread(self, timeout: float, least_rate: int) -> None:
        """Let calls block: ``timeout`` seconds without a byte; beyond that long, at ``least_rate`` bytes a second."""
        self.settimeout(timeout)
        self._timeout, self._least_rate = timeout, least_rate
        self._moved, self._waited = 0, 0.0

    def make_room(self) -> None:
        """Make room for a small response, so that no thread waits for a client that reads nothing.

        The system would begin with less than 40 KB, or even less where the client asks for small segments.
        """
        if self.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) < 2 * SEND_BUFFER:
            self.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            with contextlib.suppress(OSError):  # before Linux 5.14 the size stays as it is now
                self.setsockopt(socket.SOL_SOCKET, SO_BUF_LOCK, 0)  # it may still grow, for large downloads

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """As socket's; TimeoutError also below the least rate."""
        started = time.monotonic()
        data = super().recv(size, flags)
        self._count(len(data), started)
        return data

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """As socket's, but the time-out is for each part. BrokenPipeError where the client reads too slowly."""
        rest = memoryview(data)
        try:
            while rest:
                started = time.monotonic()
                sent = super().send(rest, flags)
                self._count(sent, started)
                rest = rest[sent:]
        except TimeoutError:
            raise BrokenPipeError(errno.EPIPE, "the client reads nothing, or too slowly") from None

    def unsent(self) -> int:
        """Bytes that were written and that the system could not send yet, because the client reads no more.

        tcp(7) describes SIOCOUTQ, which also counts what is not acknowledged yet; SIOCOUTQNSD does not. Linux only.
        """
        try:
            return int(struct.unpack("i", fcntl.ioctl(self, SIOCOUTQNSD, b"\0" * 4))[0])
        except OSError:
            return 0

    def tell_when_sent(self, *, wanted: bool) -> None:
        """Whether a selector finds the socket writable only when everything is sent (tcp(7), TCP_NOTSENT_LOWAT)."""
        with contextlib.suppress(OSError):
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, int(wanted))

    def _count(self, moved: int, started: float) -> None:
        self._waited += time.monotonic() - started
        self._moved += moved
        if self._least_rate and self._waited > self._timeout + self._moved / self._least_rate:
            raise TimeoutError(errno.ETIMEDOUT, "the client is too slow")
