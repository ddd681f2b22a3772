"""Where the service is in its life, and which requests are going on.

``Lifecycle`` is known to the parent process and all workers; ``InFlight`` belongs to one worker.
"""

import mmap
from time import monotonic


class Lifecycle:
    """What the parent decides and every worker sees at once: the service is about to end.

    Make it before the workers are forked: they share its memory.
    """

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, mmap.PAGESIZE)  # anonymous and shared, so it outlives a fork

    @property
    def draining(self) -> bool:
        """Whether the end has begun: no new traffic is wanted."""
        return self._shared[0] != 0

    def drain(self) -> None:
        """The end begins. There is no way back."""
        self._shared[0] = 1

    @property
    def ending(self) -> bool:
        """Whether the workers are to end."""
        return self._shared[1] != 0

    def end(self) -> None:
        """The delay is over: a worker that gets SIGTERM now ends."""
        self._shared[0] = self._shared[1] = 1


class Request:
    """One request in flight."""

    __slots__ = ("began", "method", "path", "touched")

    def __init__(self, method: str, path: str) -> None:
        self.method = method
        self.path = path
        self.began = self.touched = monotonic()

    def progress(self) -> None:
        """Bytes have moved: the request is slow perhaps, but not stuck."""
        self.touched = monotonic()


class InFlight:
    """The requests that this process works on, one for each busy thread at most."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._requests: set[Request] = set()
        self._saturated_since: float | None = None

    def begin(self, method: str, path: str) -> Request:
        """A thread takes up a request."""
        request = Request(method, path)
        self._requests.add(request)
        if len(self._requests) >= self.threads and self._saturated_since is None:
            self._saturated_since = request.began
        return request

    def end(self, request: Request) -> None:
        """The request is over."""
        self._requests.discard(request)
        self._saturated_since = None

    def requests(self) -> list[Request]:
        """Those going on now, oldest first."""
        return sorted(self._requests, key=lambda request: request.began)

    def saturated_for(self) -> float:
        """For how many seconds no thread has been free; 0 while one is."""
        since = self._saturated_since
        if since is None or len(self._requests) < self.threads:
            return 0.0
        return monotonic() - since

    def stuck_for(self) -> float:
        """For how many seconds no thread at all has made progress; 0 while one is free."""
        requests = self.requests()
        if len(requests) < self.threads:
            return 0.0
        return monotonic() - max(request.touched for request in requests)
