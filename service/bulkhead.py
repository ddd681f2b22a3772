"""A bulkhead: how many request threads may wait for one dependency at once, whatever their routes.

One that hangs then holds some of the threads but never all, and requests that do not need it go on.
docs/decisions/0016-bulkheads.md
"""

import math
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from time import monotonic

PATIENCE = 1.0  # seconds that a call waits for a slot while others are given back: a peak, not a dependency that hangs


class Bulkhead:
    """Of one dependency. ``refusal`` makes the exception for a thread that finds ``limit`` threads waiting already."""

    def __init__(self, limit: int, refusal: Callable[[], Exception]) -> None:
        self._limit, self._refusal = limit, refusal
        self._held: Counter[int] = Counter()  # by the thread's ident: how many of its slots are not given back yet
        self._given_back = -math.inf  # when a slot became free
        self._changed = threading.Condition()

    def hold(self) -> ExitStack:
        """A slot for this thread, until the context is closed, in whichever thread. It is refused where none is free.

        A thread that holds one already gets another, which counts no more: it can't wait twice.
        """
        me = threading.get_ident()
        with self._changed:
            moves = monotonic() - self._given_back < PATIENCE
            if not self._changed.wait_for(lambda: self._may_enter(me), PATIENCE if moves else 0):
                raise self._refusal()
            self._held[me] += 1
        slot = ExitStack()
        slot.callback(self._give_back, me)
        return slot

    def _may_enter(self, thread: int) -> bool:
        return thread in self._held or len(self._held) < self._limit

    def _give_back(self, thread: int) -> None:
        with self._changed:
            self._held[thread] -= 1
            if not self._held[thread]:
                del self._held[thread]
                self._given_back = monotonic()
                self._changed.notify()
