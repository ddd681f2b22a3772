"""Whether the service is about to end: known to the parent process and to all workers."""

import mmap


class Lifecycle:
    """What the parent process decides and every worker sees at once.

    Make it before the workers are forked: they share its memory.
    """

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, mmap.PAGESIZE)  # anonymous and shared, so it outlives a fork

    @property
    def draining(self) -> bool:
        """Whether the shutdown has begun: no new traffic is wanted."""
        return self._shared[0] != 0

    def drain(self) -> None:
        """The shutdown begins. It can't be taken back."""
        self._shared[0] = 1

    @property
    def ending(self) -> bool:
        """Whether the workers must end."""
        return self._shared[1] != 0

    def end(self) -> None:
        """SHUTDOWN_DELAY is over: a worker that gets SIGTERM now ends."""
        self._shared[0] = self._shared[1] = 1
