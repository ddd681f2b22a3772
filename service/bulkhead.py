"""A bulkhead: how many request threads may wait for one dependency at once, whatever their routes.

One that hangs then holds some of the threads but never all, and requests that do not need it go on.
docs/decisions/0016-bulkheads.md
"""

import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from time import monotonic

PATIENCE = 0.5  # seconds, less than QUEUE_TIMEOUT; where no slot was taken or given back for so long, and none is free, the dependency hangs


class Bulkhead:
    """Of one dependency. ``refusal`` makes the exception for a thread that finds ``limit`` threads waiting already."""

    def __init__(self, limit: int, refusal: Callable[[], Exception]) -> None:
        self._limit, self._refusal = limit, refusal
        self._held: Counter[int] = Counter()  # by the thread's ident: how many of its slots are not given back yet
        self._moved = 0.0  # when a slot was last taken or given back
        self._changed = threading.Condition()

    def hold(self) -> ExitStack:
        """A slot for this thread, until the context is closed, in whichever thread.

        Where none is free, a peak is waited out; while the dependency hangs, the thread is refused at once.
        A thread that holds one already gets another, which counts no more: it can't wait twice.
        """
        me = threading.get_ident()
        with self._changed:
            patience = max(0.0, self._moved + PATIENCE - monotonic())
            if not self._changed.wait_for(lambda: me in self._held or len(self._held) < self._limit, patience):
                raise self._refusal()
            if me not in self._held:
                self._moved = monotonic()
            self._held[me] += 1
        slot = ExitStack()
        slot.callback(self._give_back, me)
        return slot

    def _give_back(self, thread: int) -> None:
        with self._changed:
            self._held[thread] -= 1
            if not self._held[thread]:
                del self._held[thread]
                self._moved = monotonic()
                self._changed.notify()
