"""``print``, and what libraries write to ``sys.stdout`` and ``sys.stderr``, as log records.

What C code writes to the descriptors 1 and 2 by itself (faulthandler at a crash, the C library, a child process that
inherits them) does not pass through here.
"""

import io
import logging
import threading

MAX_PENDING = 8 * 1024  # characters without a line's end that are kept for later


class LogStream(io.TextIOBase):
    """In place of a standard stream: what is written becomes a record when a write ends a line.

    A text of several lines that is printed at once is one record, and the lines of two threads are not mixed. ``flush``
    does nothing: an unfinished line waits for its end.
    """

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, name: str, level: int, descriptor: int) -> None:
        super().__init__()
        self.name = f"<{name}>"
        self._log = logging.getLogger(name)
        self._level = level
        self._descriptor = descriptor
        self._pending: dict[int, str] = {}  # by thread; each thread touches its own only
        self._busy = threading.local()
        self.buffer = _Bytes(self)

    def write(self, text: str, /) -> int:
        """Log the text, and what came before it, if it ends a line; else keep it for the next write."""
        thread = threading.get_ident()
        so_far = self._pending.pop(thread, "") + str(text)
        if so_far.endswith("\n") or len(so_far) > MAX_PENDING:
            self._emit(so_far)
        elif so_far:
            self._pending[thread] = so_far
        return len(text)

    def close(self) -> None:
        """Log every thread's unfinished line. The stream stays open: other code writes to it until the very end."""
        while self._pending:
            self._emit(self._pending.popitem()[1])

    def writable(self) -> bool:
        """Yes, always."""
        return True

    def fileno(self) -> int:
        """The descriptor of the stream that this one replaces; faulthandler and subprocess need it."""
        return self._descriptor

    def _emit(self, text: str) -> None:
        text = text.rstrip()  # whatever Unicode calls white space: a line of it says nothing
        # A handler that writes its own errors to stderr would come back here for ever.
        if not text or getattr(self._busy, "now", False):
            return
        self._busy.now = True
        try:
            self._log.log(self._level, "%s", text)
        finally:
            self._busy.now = False


class _Bytes(io.RawIOBase):
    """The ``buffer`` of a LogStream."""

    def __init__(self, text: LogStream) -> None:
        super().__init__()
        self._text = text

    def write(self, data: bytes | bytearray | memoryview, /) -> int:  # type: ignore[override] # any buffer of bytes
        raw = bytes(data)
        self._text.write(raw.decode("utf-8", "backslashreplace"))
        return len(raw)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._text.fileno()
