"""Requests that hold their threads until they are let go: their view waits for a port of the test's."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

from tests.support.http import Visitor
from tests.support.processes import wait_until
from tests.support.raw import RawClient, head
from tests.support.service import Service, running_service


class Hold:
    """A running service whose threads can be held."""

    def __init__(self, service: Service, listener: socket.socket, stack: contextlib.ExitStack) -> None:
        self.service = service
        self._listener = listener
        self._stack = stack
        self._clients: list[RawClient] = []

    def take(self, threads: int) -> None:
        """So many threads are held when this returns. What waits behind them would be served."""
        wait_until("no other request", lambda: active(self.service) == len(self._clients))
        for _ in range(threads):
            client = self._stack.enter_context(RawClient(self.service.app_url))
            client.send(head("GET", f"/hold/{self._listener.getsockname()[1]}"))
            self._clients.append(client)
        wait_until("the threads held", lambda: active(self.service) == len(self._clients))

    def let_go(self) -> list[int]:
        """The threads are free again; the statuses of what held them."""
        self._listener.close()  # its connections, which nobody accepted, are reset
        return [client.answer().status for client in self._clients]


@contextlib.contextmanager
def holdable_service(folder: Path, **settings: str) -> Iterator[Hold]:
    """The service with the probe's routes."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        service = stack.enter_context(running_service(folder, {"SHUTDOWN_GRACE": "0s"} | settings))
        yield Hold(service, listener, stack)


def active(service: Service) -> float:
    """How many requests hold a thread."""
    return metric(service, "http_server_active_requests")


def metric(service: Service, name: str) -> float:
    """The value of a metric without labels."""
    with Visitor(service.ops_url) as platform:
        text = platform.get("/metrics").body.decode()
    return float(next(line for line in text.splitlines() if line.startswith(f"{name} ")).split()[1])
