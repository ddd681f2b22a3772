"""Requests that have arrived and wait for a thread. More than can be served are refused, early.

A peak is waited out. A queue that does not get empty for QUEUE_TIMEOUT is not a peak: from then on, until it has been
empty once, a request waits for a quarter of that at most. Else each would be served when its client has given up, and
the service would work at full load for nobody. docs/decisions/0017-refuse-early.md
"""

import math
import threading
import time
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")  # what stands for a request

BRIEFLY = 1 / 4  # of QUEUE_TIMEOUT


class RequestQueue(Generic[T]):
    """First in, first out. ``take`` is for the request threads, all else for the main thread."""

    def __init__(self, timeout: float, most: int) -> None:
        """``timeout`` is QUEUE_TIMEOUT in seconds. ``most``: requests that may wait while no thread is free."""
        self._timeout, self._briefly = timeout, timeout * BRIEFLY
        self._most = most
        self._waiting: deque[tuple[float, T]] = deque()  # with the time when each came (monotonic)
        self._since = math.inf  # monotonic: the queue has not been empty
        self._free = 0  # threads that are in ``take``: they may not have run since a request came for them
        self._changed = threading.Condition(threading.Lock())

    def put(self, conn: T) -> None:
        """A request waits from now on."""
        now = time.monotonic()
        with self._changed:
            if not self._waiting:
                self._since = now
            self._waiting.append((now, conn))
            self._changed.notify()

    def take(self) -> T:
        """The request that has waited longest. Where there is none, it is waited for."""
        with self._changed:
            self._free += 1
            self._changed.wait_for(lambda: self._waiting)
            self._free -= 1
            return self._waiting.popleft()[1]

    def late(self) -> list[T]:
        """Take out the requests that have waited too long, or longest where there are too many."""
        found = []
        now = time.monotonic()
        with self._changed:
            while self._waiting and (len(self._waiting) > self._most + self._free or self._due() <= now):
                found.append(self._waiting.popleft()[1])
        return found

    def rest(self) -> list[T]:
        """Take out all requests."""
        with self._changed:
            found = [conn for _, conn in self._waiting]
            self._waiting.clear()
        return found

    def patience(self) -> float:
        """Seconds until a request has waited too long; inf where none waits."""
        with self._changed:
            return max(0.0, self._due() - time.monotonic()) if self._waiting else math.inf

    def _due(self) -> float:
        return max(self._since + self._timeout, self._waiting[0][0] + self._briefly)
