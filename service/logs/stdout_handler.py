"""Lines on standard output: whole ones, each in one write, whoever else writes there.

The handler writes to the file descriptor, past ``sys.stdout``: that one is replaced, see streams.py.
"""

import contextlib
import fcntl
import logging
import os
import select
import stat
import struct
import termios
import time
from collections.abc import Callable

from service.logs.formatter import last_resort, severity

STDOUT = 1
_PATIENCE = 2.0  # seconds that a long line waits; then it is better torn than lost


class LineHandler(logging.Handler):
    """Writes each record as one line to a file descriptor. Never raises, not even where the descriptor is closed.

    A pipe takes up to PIPE_BUF (4096) bytes as one piece (POSIX write()). A longer one could be torn by another process
    where the pipe is nearly full, so it waits for room. Long lines wait for one another too, by a lock that the kernel
    gives back when its process dies.
    """

    def __init__(self, descriptor: int = STDOUT) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._count: Callable[[str, int], None] | None = None
        self._uncounted: dict[str, int] = {}
        self._between_processes = os.memfd_create("log-lines") if _is_pipe(descriptor) else None
        os.register_at_fork(after_in_child=self._uncounted.clear)  # the parent's lines are the parent's to count

    def count(self, record: Callable[[str, int], None]) -> None:
        """From now on call ``record(severity, how_many)``, at once for the lines that came before."""
        self._count = record
        while self._uncounted:
            record(*self._uncounted.popitem())

    def handle(self, record: logging.LogRecord) -> bool:
        """Format outside of the lock: a slow ``__str__`` holds up its own thread only."""
        kept = self.filter(record)
        if kept:
            self.emit(kept if isinstance(kept, logging.LogRecord) else record)
        return bool(kept)

    def emit(self, record: logging.LogRecord) -> None:
        """Format the record and write it."""
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 -- a formatter of somebody else's
            line = last_resort(record, error)
        name = severity(record.levelno)
        if self._count is not None:
            self._count(name, 1)
        else:
            self._uncounted[name] = self._uncounted.get(name, 0) + 1
        self.write(line)

    def write(self, line: str) -> None:
        """Write one line, its end added."""
        raw = (line + "\n").encode("utf-8", "backslashreplace")
        self.acquire()
        try:
            if len(raw) <= select.PIPE_BUF or self._between_processes is None:
                _write_all(self._descriptor, raw)
            else:
                self._write_long(self._between_processes, raw)
        except OSError:
            pass  # nobody reads any more (EPIPE), or there is no room: a request is not to fail for that
        finally:
            self.release()

    def _write_long(self, lock: int, raw: bytes) -> None:
        end = time.monotonic() + _PATIENCE
        locked = _wait(end, lambda: _try_lock(lock))
        try:
            # Others may still write short lines between this and the write: three quarters are far more than they can.
            _wait(end, lambda: _is_nearly_empty(self._descriptor))
            _write_all(self._descriptor, raw)
        finally:
            if locked:
                fcntl.lockf(lock, fcntl.LOCK_UN)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 -- logging's name
        """Nothing: it can be told nowhere."""


def _is_pipe(descriptor: int) -> bool:
    """Files and sockets take a line of any length as one piece."""
    try:
        return stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    except OSError:
        return False


def _wait(end: float, test: Callable[[], bool]) -> bool:
    while not test():
        if time.monotonic() > end:
            return False
        time.sleep(0.0005)
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


def _write_all(descriptor: int, raw: bytes) -> None:
    """Usually one call. It takes more where a signal cuts a long write short, or the descriptor does not block."""
    rest = memoryview(raw)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            with contextlib.suppress(OSError):
                select.select([], [descriptor], [], 1.0)
