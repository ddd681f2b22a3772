"""The worker class, threads and keep-alive, without a goal: the figures of docs/decisions/0013-eight-threads.md."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial

from bench.context import Context
from bench.figures import Figure, alternate
from bench.load import load
from bench.machine import cores, on_core
from bench.servers import THREADS, Server, gunicorn, service
from tests.support.http import Visitor
from tests.support.redis import redis_server

HELLO, SESSION = "/api/instance", "/api/session"
OTHER_THREADS = (2, 4, 16, 32)
CONNECTIONS = 64  # more than any of them has threads
SECONDS = 1


def measure(context: Context) -> Iterator[Figure]:
    """Requests a second of the server's core."""
    yield from _classes(context)
    yield from _threads(context)


def _classes(context: Context) -> Iterator[Figure]:
    with ExitStack() as stack:
        hello = {name: stack.enter_context(gunicorn("bench.rivals.hello:app", worker=name)) for name in CLASSES}
        ours = stack.enter_context(service(context.folder))
        measures = {name: partial(_rate, server, HELLO) for name, server in hello.items()}
        measures |= {"ours": partial(_rate, ours, HELLO), "closing": partial(_rate, ours, HELLO, close=True)}
        found = _found(context, measures)
    for name in CLASSES[1:]:
        yield _figure(f"bare hello on {name}", "gthread", found[name], found["gthread"])
    yield _figure("ours, a connection for each request", "ours, kept alive", found["closing"], found["ours"])


def _threads(context: Context) -> Iterator[Figure]:
    with ExitStack() as stack:
        with on_core(cores()[1]):
            redis = stack.enter_context(redis_server(context.folder))
        settings = {"SESSION_URL": redis.url, "SESSION_TIMEOUT": "10s"}
        servers = {
            threads: stack.enter_context(service(context.folder, settings, THREADS=str(threads)))
            for threads in (THREADS, *OTHER_THREADS)
        }
        with Visitor(servers[THREADS].url) as visitor:
            visitor.ask("POST", "/api/session/visits")
            cookie = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
        measures = {
            str(threads): partial(_rate, server, SESSION, cookies=(cookie,)) for threads, server in servers.items()
        }
        found = _found(context, measures)
    for threads in OTHER_THREADS:
        yield _figure(
            f"a session read, {threads} threads", f"{THREADS} threads", found[str(threads)], found[str(THREADS)]
        )


CLASSES = ("gthread", "sync", "gevent")


def _found(context: Context, measures: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    for measure_once in measures.values():
        measure_once()
    return alternate(context.rounds, dict(measures))


def _rate(server: Server, path: str, *, cookies: tuple[str, ...] = (), close: bool = False) -> float:
    found = load(server, path, seconds=SECONDS, connections=CONNECTIONS, cookies=cookies, close=close)
    return found.rate_of_core


def _figure(name: str, rival: str, ours: list[float], theirs: list[float]) -> Figure:
    return Figure("worker", name, rival, "requests/s of a core", ours, theirs)
