"""Log records on standard output, one line each. If nobody reads them they are dropped, counted, and reported later.

The handler writes to the file descriptor, past ``sys.stdout``: that one is replaced, see streams.py. Why records are
dropped and requests are not: docs/decisions/0010-json-logs-and-prometheus.md.
"""

import contextlib
import fcntl
import logging
import os
import select
import socket
import stat
import struct
import termios
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

from service.logs.formatter import last_resort, severity

STDOUT = 1
PATIENCE = 1.0  # seconds that a line waits for room, once; while nobody reads, the next lines don't wait
_LOOK_EVERY = 0.0005  # seconds

Count = Callable[[str, int], None]


class LineHandler(logging.Handler):
    """Writes each record as one line to a file descriptor. Never raises, not even where the descriptor is closed.

    A pipe that nobody reads takes 64 KiB. The first line for which there is no room waits for PATIENCE; after that
    lines are dropped at once, until there is room again. Then a WARNING says how many were dropped.
    """

    def __init__(self, descriptor: int = STDOUT) -> None:
        super().__init__()
        self._writer = LineWriter(descriptor)
        self._dropped: Counter[str] = Counter()  # by severity, since nobody reads
        self._stalled_at = 0.0  # monotonic; where records are dropped
        self._written_before: Counter[str] = Counter()  # before somebody counts
        self._count: Count = lambda name, number: self._written_before.update({name: number})
        self._count_dropped: Count = lambda _name, _number: None
        os.register_at_fork(after_in_child=self._written_before.clear)  # the parent's lines are the parent's to count

    def count(self, written: Count, dropped: Count) -> None:
        """From now on call these with a severity and a number, ``written`` at once for the lines that came before."""
        self._count, self._count_dropped = written, dropped
        while self._written_before:
            written(*self._written_before.popitem())

    def handle(self, record: logging.LogRecord) -> bool:
        """Format outside of the lock: a slow ``__str__`` holds up its own thread only."""
        kept = self.filter(record)
        if kept:
            self.emit(kept if isinstance(kept, logging.LogRecord) else record)
        return bool(kept)

    def emit(self, record: logging.LogRecord) -> None:
        """Format the record and write it, or drop it."""
        line = self._line(record)
        name = severity(record.levelno)
        self.acquire()
        try:
            is_written = self._report_dropped() and self._write(line)
            if not is_written:
                self._drop(name)
        finally:
            self.release()
        (self._count if is_written else self._count_dropped)(name, 1)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 -- logging's name
        """Nothing: there is no other place to report it."""

    def _line(self, record: logging.LogRecord) -> bytes:
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 -- a formatter of somebody else's
            line = last_resort(record, error)
        return (line + "\n").encode("utf-8", "backslashreplace")

    def _write(self, line: bytes) -> bool:
        try:
            return self._writer.write(line, 0.0 if self._dropped else PATIENCE)
        except OSError:
            return False  # EPIPE, or the disk is full: a request must not fail for that

    def _drop(self, name: str) -> None:
        if not self._dropped:
            self._stalled_at = time.monotonic()
        self._dropped[name] += 1

    def _report_dropped(self) -> bool:
        """If records were dropped, try to say so first. Whether the next line can be written."""
        if not self._dropped:
            return True
        seconds = time.monotonic() - self._stalled_at
        record = logging.LogRecord(
            __name__, logging.WARNING, __file__, 0, "%d log records were dropped: nobody has read stdout for %.1f s",
            (self._dropped.total(), seconds), None, "_report_dropped",
        )  # fmt: skip
        record.dropped = dict(self._dropped)
        if not self._write(self._line(record)):
            return False
        self._dropped.clear()
        self._count("WARNING", 1)
        return True


class LineWriter:
    """Whole lines on a file descriptor that other processes write to as well. Not for two threads at once.

    A pipe takes up to PIPE_BUF (4096) bytes as one piece (POSIX write()). A longer line could be torn by another
    process where the pipe is nearly full, so it waits for room. Long lines also wait for one another, by a lock that
    the kernel gives back when its process dies. Make the writer before a fork: the processes share that lock.
    """

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
