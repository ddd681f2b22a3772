"""A store that hangs, which requests go on asking for: what do those requests cost that need none of it?"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from bench.context import Context
from bench.figures import Figure, Goal
from bench.load import Load, load
from bench.machine import cores, on_core
from bench.open_load import open_load
from bench.servers import Server, service
from tests.support.gcs import create_bucket, strict_gcs
from tests.support.processes import freeze, wait_until
from tests.support.product import Visitor
from tests.support.redis import redis_server

SECONDS = 3
ASKED = 20  # requests a second for what the store has, hanging or not
HANGS_BEFORE = 1.5  # seconds

INSTANCE, SESSION, FILES = "/api/instance", "/api/session", "/api/files"


@dataclass(frozen=True)
class Hang:
    """A store's process, and a path that needs the store."""

    store: str
    pid: int
    needs: str


def measure(context: Context) -> Iterator[Figure]:
    """Requests a second of the server's core, and their 99th percentile, against the same with a store that works."""
    with ExitStack() as stack:
        with on_core(cores()[1]):
            gcs = stack.enter_context(strict_gcs(context.folder))
            redis = stack.enter_context(redis_server(context.folder))
        create_bucket(gcs.url, "files")
        settings = {"STORAGE_URL": "gs://files", "STORAGE_EMULATOR_HOST": gcs.url, "SESSION_URL": redis.url}
        ours = stack.enter_context(service(context.folder, settings))
        cookie = _begin(ours)
        hangs = Hang("bucket", gcs.pid, FILES), Hang("Redis", redis.process.pid, SESSION)
        for hang, path in ((hangs[0], INSTANCE), (hangs[0], SESSION), (hangs[1], INSTANCE)):
            yield from _figures(context, ours, cookie, hang, path)


def _figures(context: Context, server: Server, cookie: str, hang: Hang, path: str) -> Iterator[Figure]:
    works, hangs = [], []
    for _ in range(context.rounds):
        works.append(_measured(server, cookie, hang, path))
        with _hanging(hang.pid):
            hangs.append(_measured(server, cookie, hang, path))
        _wait_until_back(server, cookie, hang)
        context.say(f"{path} while {hang.store} hangs: {hangs[-1].rate_of_core / works[-1].rate_of_core:.2f}")
    name, rival = f"GET {path}, {hang.store} hangs", "it works"
    yield Figure(
        "hang", name, rival, "requests/s of a core",
        [each.rate_of_core for each in hangs], [each.rate_of_core for each in works], Goal(0.95),
    )  # fmt: skip
    yield Figure(
        "hang", f"p99 of {name}", rival, "ms",
        [1000 * each.p99 for each in hangs], [1000 * each.p99 for each in works], Goal(2.0, at_least=False),
    )  # fmt: skip


def _measured(server: Server, cookie: str, hang: Hang, path: str) -> Load:
    """The load on ``path``, while others ask for what the store has."""
    seconds = HANGS_BEFORE + SECONDS + 1

    def ask() -> None:
        with on_core(cores()[1]):
            open_load(server.url, [hang.needs], rate=ASKED, seconds=seconds, cookie=cookie)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        threading.Event().wait(HANGS_BEFORE)  # until the breaker knows
        return load(server, path, seconds=SECONDS, cookies=[cookie])
    finally:
        asking.join()


@contextlib.contextmanager
def _hanging(pid: int) -> Iterator[None]:
    freeze(pid)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _begin(server: Server) -> str:
    """A visitor with a session and a file; the cookie."""
    with Visitor(server.url) as visitor:
        if visitor.put("a-file", b"hello").status != 201:
            raise RuntimeError("a file could not be stored")
        return "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())


def _wait_until_back(server: Server, cookie: str, hang: Hang) -> None:
    with Visitor(server.url) as visitor:
        wait_until(
            "the store is back", lambda: visitor.ask("GET", hang.needs, headers={"Cookie": cookie}).status == 200
        )
