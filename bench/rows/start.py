"""From the start of the process to the first 200, and the memory of a process that waits."""

import http.client
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from time import perf_counter
from urllib.parse import urlsplit

from bench.context import Context
from bench.figures import Figure, Goal, alternate
from bench.servers import Server, gunicorn, service

MIB = 2**20
STORES = {"SESSION_URL": "redis://127.0.0.1:1/0", "STORAGE_URL": "gs://files", "STORAGE_EMULATOR_HOST": "127.0.0.1:1"}


def measure(context: Context) -> Iterator[Figure]:
    """Neither store is there: a start does not wait for them."""
    memory: dict[str, list[float]] = {"ours": [], "rival": []}

    def start(name: str, begin: Callable[[], AbstractContextManager[Server]]) -> float:
        started = perf_counter()
        with begin() as server:
            _first_response(server)
            seconds = perf_counter() - started
            time.sleep(1)  # what a start leaves behind is given back
            memory[name].append(server.memory() / MIB)
        context.say(f"{name}: {seconds:.2f} s, {memory[name][-1]:.0f} MiB")
        return seconds

    found = alternate(
        context.rounds,
        {
            "ours": lambda: start("ours", lambda: service(context.folder, STORES)),
            "rival": lambda: start("rival", lambda: gunicorn("bench.rivals.imports:app")),
        },
    )
    rival = "bare Flask, same libraries"
    yield Figure("start", "start to the first 200", rival, "s", found["ours"], found["rival"],
                 Goal(1.2, at_least=False))  # fmt: skip
    yield Figure("start", "memory at rest", rival, "MiB", memory["ours"], memory["rival"],
                 Goal(1.15, at_least=False))  # fmt: skip


def _first_response(server: Server) -> None:
    with closing(http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=20)) as connection:
        connection.request("GET", "/api/instance")
        response = connection.getresponse()
        response.read()
        if response.status != 200:
            raise RuntimeError(f"the first response was {response.status}")
