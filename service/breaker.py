"""A circuit breaker: while a server is down, requests fail at once, and one at a time finds out whether it is back.

Without it every request that needs the server holds its thread for the whole time-out, and requests that do not need it
wait for a thread.
"""

import threading
import time

FAILURES = 3  # so many in a row, with no success between, open the breaker
PAUSE = 0.5  # seconds from one attempt to the next while it is open


class Breaker:
    """Of one server. ``admit()`` before a call, then ``succeeded()`` or ``failed()``.

    ``longest``: seconds that one attempt may take. While the breaker is open no other attempt begins meanwhile.
    """

    def __init__(self, longest: float = PAUSE) -> None:
        self._longest = max(longest, PAUSE)
        self._lock = threading.Lock()
        self._failures = 0
        self._cause = ""
        self._next_attempt = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the server is taken to be down."""
        return self._failures >= FAILURES

    def admit(self) -> str | None:
        """None: go on, and report. Else the cause of the last failure: do not even try."""
        with self._lock:
            if not self.is_open:
                return None
            now = time.monotonic()
            if now < self._next_attempt:
                return self._cause
            self._next_attempt = now + self._longest
            return None

    def succeeded(self) -> None:
        """The server replied, if only with a refusal."""
        with self._lock:
            self._failures = 0

    def failed(self, cause: str) -> None:
        """The server did not respond in time, or its reply made no sense."""
        with self._lock:
            self._failures += 1
            self._cause = cause
            self._next_attempt = time.monotonic() + PAUSE
