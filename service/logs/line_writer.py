"""Whole lines on a file descriptor that others write to as well, without waiting for a reader that does not read.

A pipe takes up to PIPE_BUF (4096) bytes as one piece (POSIX write()). A longer line could be torn by another process
where the pipe is nearly full, so it waits for room. Long lines also wait for one another, by a lock that the kernel
gives back when its process dies.
"""

import contextlib
import fcntl
import os
import select
import socket
import stat
import struct
import termios
import time
from collections.abc import Callable
from functools import partial

_LOOK_EVERY = 0.0005  # seconds


class LineWriter:
    """Make it before a fork: the processes share the lock between long lines. Not for two threads at once."""

    def __init__(self, descriptor: int) -> None:
        self._send = _without_waiting(descriptor)
        self._descriptor = descriptor
        self._rest = b""  # of a line that could not be written to its end; it comes before the next
        self._between_processes = os.memfd_create("log-lines") if _is(stat.S_ISFIFO, descriptor) else None

    def write(self, line: bytes, patience: float) -> bool:
        """Write the line, waiting at most so many seconds for room. False: nothing of it was written.

        OSError where nobody can read it any more.
        """
        end = time.monotonic() + patience
        if self._rest and not self._write_rest(end):
            return False
        if self._between_processes is not None and len(line) > select.PIPE_BUF:
            return self._write_long(self._between_processes, line, end)
        self._rest = line
        if self._write_rest(end):
            return True
        if len(self._rest) < len(line):
            return True  # its beginning is written, and the rest will be
        self._rest = b""
        return False

    def _write_long(self, lock: int, line: bytes, end: float) -> bool:
        locked = _wait(
            end, lambda: _try_lock(lock)
        )  # the process that has it may be frozen; then better torn than lost
        try:
            # Others may still write short lines between this and the write: three quarters are far more than they can.
            if not _wait(end, lambda: _is_nearly_empty(self._descriptor)):
                return False
            self._rest = line
            self._write_rest(end)
            return True
        finally:
            if locked:
                fcntl.lockf(lock, fcntl.LOCK_UN)

    def _write_rest(self, end: float) -> bool:
        """Usually one call. It takes more where a signal cuts a long write short, or there is little room."""
        while self._rest:
            try:
                self._rest = self._rest[self._send(self._rest) :]
            except BlockingIOError:
                left = end - time.monotonic()
                poller = select.poll()
                poller.register(self._descriptor, select.POLLOUT)
                if left <= 0 or not poller.poll(left * 1000):
                    return False
        return True


def _without_waiting(descriptor: int) -> Callable[[bytes], int]:
    """How to write as much as there is room for; BlockingIOError where there is none.

    O_NONBLOCK belongs to the open file, which other processes have too, so a pipe is opened once more.
    """
    if _is(stat.S_ISSOCK, descriptor):
        sock = socket.socket(fileno=os.dup(descriptor))
        return lambda data: sock.send(data, socket.MSG_DONTWAIT)
    if _is(stat.S_ISFIFO, descriptor) or _is(stat.S_ISCHR, descriptor):
        with contextlib.suppress(OSError):  # not permitted, where another user made the pipe
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
            flags |= fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT  # a pipe in packet mode stays one
            return partial(os.write, os.open(f"/proc/self/fd/{descriptor}", flags))
        return partial(_write_where_there_is_room, descriptor)
    return partial(os.write, descriptor)  # a file always takes it


def _write_where_there_is_room(descriptor: int, data: bytes) -> int:
    if not select.select([], [descriptor], [], 0)[1]:
        raise BlockingIOError
    return os.write(descriptor, data[: select.PIPE_BUF])  # for so much there is room in a pipe that can be written


def _is(kind: Callable[[int], bool], descriptor: int) -> bool:
    try:
        return kind(os.fstat(descriptor).st_mode)
    except OSError:
        return False


def _wait(end: float, test: Callable[[], bool]) -> bool:
    while not test():
        if time.monotonic() > end:
            return False
        time.sleep(_LOOK_EVERY)
    return True


def _try_lock(lock: int) -> bool:
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # EAGAIN or EACCES, by POSIX fcntl(): another process has it
        return False
    return True


def _is_nearly_empty(pipe: int) -> bool:
    waiting = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))[0]
    return bool(waiting <= fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ) // 4)
