"""Requests that hold their threads until they are let go: the object store takes what is asked and does not answer."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.support.gcs import create_bucket, strict_gcs
from tests.support.http import Visitor
from tests.support.processes import wait_until
from tests.support.proxy import Proxy, proxy
from tests.support.raw import RawClient, head
from tests.support.service import Service, running_service


class Hold:
    """A running service whose threads can be held."""

    def __init__(self, service: Service, between: Proxy, stack: contextlib.ExitStack) -> None:
        self.service = service
        self._between = between
        self._stack = stack
        self._clients: list[RawClient] = []

    def take(self, threads: int) -> None:
        """So many threads are held when this returns. What waits behind them would be served."""
        wait_until("no other request", lambda: active(self.service) == len(self._clients))
        self._between.swallow = True
        for _ in range(threads):
            client = self._stack.enter_context(RawClient(self.service.app_url))
            client.send(head("GET", "/bytes"))
            self._clients.append(client)
        wait_until("the threads held", lambda: active(self.service) == len(self._clients))

    def let_go(self) -> list[int]:
        """The threads are free again; the statuses of what held them."""
        self._between.close()
        return [client.answer().status for client in self._clients]


@contextlib.contextmanager
def holdable_service(folder: Path, **settings: str) -> Iterator[Hold]:
    """The service before an object store that can fall silent. Store time-outs are longer than any test."""
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(strict_gcs(folder)).url
        create_bucket(url, "files")
        between = stack.enter_context(proxy(int(url.rpartition(":")[2])))
        stores = {
            "STORAGE_URL": "gs://files",
            "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{between.port}",
            "STORAGE_TIMEOUT": "300s",
            "STORAGE_RETRY_BUDGET": "0s",
            "SHUTDOWN_GRACE": "0s",
        }
        service = stack.enter_context(running_service(folder, stores | settings))
        yield Hold(service, between, stack)


def active(service: Service) -> float:
    """How many requests hold a thread."""
    return metric(service, "http_server_active_requests")


def metric(service: Service, name: str) -> float:
    """The value of a metric without labels."""
    with Visitor(service.ops_url) as platform:
        text = platform.get("/metrics").body.decode()
    return float(next(line for line in text.splitlines() if line.startswith(f"{name} ")).split()[1])
