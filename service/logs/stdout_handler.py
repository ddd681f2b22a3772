"""Log records on standard output, one line each. If nobody reads them they are dropped, counted, and reported later.

The handler writes to the file descriptor, past ``sys.stdout``: that one is replaced, see streams.py. Why records are
dropped and requests are not: docs/decisions/0010-json-logs-and-prometheus.md.
"""

import logging
import os
import time
from collections import Counter
from collections.abc import Callable

from service.logs.formatter import last_resort, severity
from service.logs.line_writer import LineWriter

STDOUT = 1
PATIENCE = 1.0  # seconds that a line waits for room, once; while nobody reads, the next lines don't wait

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
