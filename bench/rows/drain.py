"""Twenty restarts under load: how many requests fail. Clients retry nothing, and learn of the end late."""

import http.client
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from bench.context import Context
from bench.figures import Figure, Goal
from bench.servers import Server, gunicorn, service
from tests.support.http import Visitor
from tests.support.processes import wait_until

RESTARTS = 20
UNAWARE = 0.5  # seconds that a platform goes on sending after SIGTERM, until all of it knows
DELAY = "1s"


@dataclass
class Clients:
    """Two that keep their connection, two that make a new one each time."""

    server: Server
    stop: threading.Event = field(default_factory=threading.Event)
    done: int = 0
    failed: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def are_going(self) -> bool:
        """Whether the load is on."""
        return self.done > 20

    def run(self, *, keep: bool) -> None:
        """Ask until told to stop."""
        visitor = Visitor(self.server.url, timeout=10)
        while not self.stop.is_set():
            try:
                good = visitor.get("/api/instance").status == 200
            except (OSError, http.client.HTTPException):
                good = False
                time.sleep(0.005)  # a refused connection costs nothing: count it at the others' pace
            with self._lock:
                self.done += good
                self.failed += not good
            if not keep:
                visitor.close()
        visitor.close()


def measure(context: Context) -> Iterator[Figure]:
    """Counted, so there is no spread; how many requests there were is in the JSON."""
    ours = _restarts(context, "ours", lambda: service(context.folder, SHUTDOWN_DELAY=DELAY))
    rival = _restarts(context, "gunicorn", lambda: gunicorn("bench.rivals.hello:app"))
    more: dict[str, object] = {"requests ours": ours.done, "requests gunicorn": rival.done}
    yield Figure(
        "drain", f"requests failed in {RESTARTS} restarts", "gunicorn as it is", "requests",
        [float(ours.failed)], [float(rival.failed)], Goal(0.0, at_least=False), more=more,
    )  # fmt: skip


@dataclass
class Total:
    done: int = 0
    failed: int = 0


def _restarts(context: Context, name: str, begin: Callable[[], AbstractContextManager[Server]]) -> Total:
    total = Total()
    for _ in range(RESTARTS):
        with begin() as server:
            clients = Clients(server)
            threads = [threading.Thread(target=clients.run, kwargs={"keep": n % 2 == 0}) for n in range(4)]
            for thread in threads:
                thread.start()
            wait_until("the load", clients.are_going)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(UNAWARE)
            clients.stop.set()
            for thread in threads:
                thread.join(30)
            server.process.wait(60)
        total.done += clients.done
        total.failed += clients.failed
    context.say(f"{name}: {total.failed} of {total.done + total.failed} requests failed")
    return total
