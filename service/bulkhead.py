"""Bulkheads: how many request threads may wait for a dependency at once, whatever their routes.

One that hangs then holds some of the threads but never all, and requests that do not need it go on.
docs/decisions/0016-bulkheads.md
"""

import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from time import monotonic

# Seconds, less than QUEUE_TIMEOUT. Where no slot was taken or given back for so long, and none is free, it hangs.
PATIENCE = 0.5


class WaitingThreads:
    """Which threads wait for dependencies, of ``threads`` request threads.

    One dependency may have all but two: one is left for the other dependency. Both together may have all but one.
    """

    def __init__(self, threads: int) -> None:
        self.most_for_one = max(1, threads - 2)
        self.most = max(2, threads - 1)
        self.slots: Counter[int] = Counter()  # by the thread's ident: how many are not given back yet
        self.changed = threading.Condition()


class Bulkhead:
    """Of one dependency. ``refusal`` makes the exception for a thread that finds too many ``waiting`` already.

    ``patience``: seconds, see hold().
    """

    def __init__(
        self, waiting: WaitingThreads, refusal: Callable[[], Exception], *, patience: float = PATIENCE
    ) -> None:
        self._waiting, self._refusal, self._patience = waiting, refusal, patience
        self._slots: Counter[int] = Counter()  # this dependency's part
        self._moved = 0.0  # when a slot was last taken or given back

    def hold(self) -> ExitStack:
        """A slot for this thread, until the context is closed, in whichever thread.

        Where none is free, a peak is waited out; while the dependency hangs, the thread is refused at once.
        A thread that holds one already gets another, which counts no more: it can't wait twice.
        """
        me = threading.get_ident()
        changed = self._waiting.changed
        with changed:
            patience = max(0.0, self._moved + self._patience - monotonic())
            if not changed.wait_for(lambda: self._has_room_for(me), patience):
                raise self._refusal()
            if me not in self._slots:
                self._moved = monotonic()
            self._slots[me] += 1
            self._waiting.slots[me] += 1
        slot = ExitStack()
        slot.callback(self._give_back, me)
        return slot

    def _has_room_for(self, thread: int) -> bool:
        waiting = self._waiting
        if thread in self._slots:
            return True
        return len(self._slots) < waiting.most_for_one and (
            thread in waiting.slots or len(waiting.slots) < waiting.most
        )

    def _give_back(self, thread: int) -> None:
        with self._waiting.changed:
            for slots in (self._slots, self._waiting.slots):
                slots[thread] -= 1
                if not slots[thread]:
                    del slots[thread]
            if thread not in self._slots:
                self._moved = monotonic()
                self._waiting.changed.notify_all()
