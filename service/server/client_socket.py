"""A visitor's socket, so that one who is slow, or takes nothing, holds no thread for ever."""

import contextlib
import errno
import fcntl
import select
import socket
import struct
import time
from typing import Any

SEND_BUFFER = 192 * 1024  # bytes for each connection; the system doubles it, and counts its own overhead
SIOCOUTQNSD = 0x894B  # linux/sockios.h
SO_BUF_LOCK = 72  # asm-generic/socket.h


class ClientSocket(socket.socket):
    """A visitor's socket, with a time-out and a least rate for what it sends and takes.

    The system's socket never blocks. Where there is time, it is waited for with poll(), and only when it is needed:
    Python's own time-outs cost a call of the system at each change, and one more before each byte.
    """

    _patience = 0.0  # seconds that a call may wait

    def limit(self, timeout: float, least_rate: int) -> None:
        """``timeout`` in seconds without a byte; ``least_rate`` in bytes a second, once ``timeout`` was waited."""
        self._timeout, self._least_rate = timeout, least_rate
        self._moved, self._waited = 0, 0.0

    def make_room(self) -> None:
        """Room for a small answer, so that a client that reads nothing holds no thread with it.

        The system would begin with less than 40 KB, the smaller the segments are that the client asks for.
        """
        if self.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) < 2 * SEND_BUFFER:
            self.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            with contextlib.suppress(OSError):  # before Linux 5.14 it stays as it is now
                self.setsockopt(socket.SOL_SOCKET, SO_BUF_LOCK, 0)  # it may grow on, for large downloads

    def setblocking(self, flag: bool, /) -> None:
        """Blocking is never for ever."""
        self._patience = self._timeout if flag else 0.0

    def settimeout(self, value: float | None, /) -> None:
        """As socket's; None is the socket's own time-out."""
        self._patience = self._timeout if value is None else value

    def gettimeout(self) -> float:
        """As socket's."""
        return self._patience

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """As socket's; TimeoutError also where a body comes too slowly on the whole."""
        started = time.monotonic()
        while True:
            try:
                data = super().recv(size, flags)
            except BlockingIOError:
                self._wait(select.POLLIN, started)
            else:
                self._count(len(data), started)
                return data

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """As socket's, with the time-out for each part. A client that takes nothing is a client that is gone."""
        started = time.monotonic()
        try:
            sent = super().send(data, flags)
        except BlockingIOError:
            sent = 0
        if sent == len(data):  # nearly always
            self._moved += sent
            return
        rest = memoryview(data).cast("B")[sent:]
        try:
            while rest:
                self._count(sent, started)
                started = time.monotonic()
                sent = 0
                self._wait(select.POLLOUT, started)
                with contextlib.suppress(BlockingIOError):
                    sent = super().send(rest, flags)
                rest = rest[sent:]
            self._count(sent, started)
        except TimeoutError:
            raise BrokenPipeError(errno.EPIPE, "the client takes nothing, or too slowly") from None

    def unsent(self) -> int:
        """Bytes that were written and that the system could not send yet, because the client takes no more.

        tcp(7) knows SIOCOUTQ, with what is sent and not acknowledged; without that it is SIOCOUTQNSD. Linux only.
        """
        try:
            return int(struct.unpack("i", fcntl.ioctl(self, SIOCOUTQNSD, b"\0" * 4))[0])
        except OSError:
            return 0

    def tell_when_sent(self, *, wanted: bool) -> None:
        """Whether the poller calls the socket writable only when everything was sent (tcp(7), TCP_NOTSENT_LOWAT)."""
        with contextlib.suppress(OSError):
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, int(wanted))

    def _wait(self, event: int, started: float) -> None:
        """Until it can be read or written. BlockingIOError without patience, TimeoutError at its end."""
        if not self._patience:
            raise BlockingIOError(errno.EAGAIN, "nothing there")
        left = started + self._patience - time.monotonic()
        poller = select.poll()
        poller.register(self, event)
        if left <= 0 or not poller.poll(left * 1000):
            raise TimeoutError("timed out")

    def _count(self, moved: int, started: float) -> None:
        self._waited += time.monotonic() - started
        self._moved += moved
        if self._least_rate and self._waited > self._timeout + self._moved / self._least_rate:
            raise TimeoutError(errno.ETIMEDOUT, "the client is too slow")
