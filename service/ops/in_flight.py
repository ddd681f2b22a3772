"""Which requests a worker process is serving now. Liveness and readiness are decided by them."""

from dataclasses import dataclass, field
from time import monotonic


@dataclass(eq=False)
class RequestInFlight:
    """One request in flight."""

    method: str
    path: str
    began: float = field(default_factory=monotonic)
    touched: float = field(default_factory=monotonic)

    def progress(self) -> None:
        """Bytes have moved: the request may be slow, but it is not stuck."""
        self.touched = monotonic()


class InFlight:
    """The requests that this process is serving, at most one for each request thread."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._requests: set[RequestInFlight] = set()
        self._saturated_since: float | None = None

    def begin(self, method: str, path: str) -> RequestInFlight:
        """A thread begins to serve a request."""
        request = RequestInFlight(method, path)
        self._requests.add(request)
        if len(self._requests) >= self.threads and self._saturated_since is None:
            self._saturated_since = request.began
        return request

    def end(self, request: RequestInFlight) -> None:
        """The request is over."""
        self._requests.discard(request)
        self._saturated_since = None

    def requests(self) -> list[RequestInFlight]:
        """The requests in flight now, oldest first."""
        return sorted(self._requests, key=lambda request: request.began)

    def saturated_for(self) -> float:
        """For how many seconds no thread has been free; 0 while one is free."""
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
