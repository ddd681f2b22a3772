"""Whether the service is about to end: known to the parent process and to all workers."""

import ctypes
import mmap
from typing import Self


class Lifecycle(ctypes.Structure):
    """What the parent process decides and every worker sees at once, because they share its memory.

    Make it before the workers are forked.
    """

    draining: bool  # the shutdown has begun: no new traffic is wanted
    ending: bool  # the workers must end
    _fields_ = (("draining", ctypes.c_bool), ("ending", ctypes.c_bool))

    def __new__(cls) -> Self:
        return cls.from_buffer(mmap.mmap(-1, mmap.PAGESIZE))  # anonymous memory, which is still shared after a fork

    def drain(self) -> None:
        """The shutdown begins. It can't be taken back."""
        self.draining = True

    def end(self) -> None:
        """SHUTDOWN_DELAY is over: a worker that gets SIGTERM now ends."""
        self.draining = self.ending = True
