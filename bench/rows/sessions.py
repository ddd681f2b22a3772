"""A session that is not touched, read, written: ours against Flask-Session, same server, same routes."""

import http.client
from collections.abc import Iterator
from contextlib import closing
from http.cookies import SimpleCookie
from urllib.parse import urlsplit

from bench.context import Context
from bench.figures import Figure, Goal, alternate
from bench.load import load
from bench.machine import cores, on_core
from bench.servers import Server, gunicorn
from tests.support.memcached import memcached_server
from tests.support.redis import redis_server

APP = "bench.rivals.sessions:app"
GOALS = {"untouched": 1.8, "read": 1.2, "write": 1.0}
SECONDS = 1
VISITORS = 64


def measure(context: Context) -> Iterator[Figure]:
    """On each store, requests a second of the server's core. The store runs on the other one."""
    for store in ("redis", "memcached"):
        with on_core(cores()[1]):
            server = redis_server(context.folder) if store == "redis" else memcached_server(context.folder)
            running = server.__enter__()
        try:
            yield from _on(context, store, running.url)
        finally:
            server.__exit__(None, None, None)


def _on(context: Context, store: str, url: str) -> Iterator[Figure]:
    with (
        gunicorn(APP, {"SESSIONS": "ours", "SESSION_URL": url}) as ours,
        gunicorn(APP, {"SESSIONS": "flask-session", "SESSION_URL": url}) as rival,
    ):
        cookies = {server.url: [_begin(server) for _ in range(VISITORS)] for server in (ours, rival)}
        for route, bound in GOALS.items():

            def once(server: Server, route: str = route) -> float:
                found = load(server, f"/{route}", seconds=SECONDS, cookies=cookies[server.url])
                context.check_generator(found.rate)
                return found.rate_of_core

            once(ours), once(rival)
            found = alternate(context.rounds, {"ours": lambda: once(ours), "rival": lambda: once(rival)})
            figure = Figure(
                "sessions",
                f"session {route}, {store.title()}",
                "Flask-Session 0.8",
                "requests/s of a core",
                found["ours"],
                found["rival"],
                Goal(bound),
            )
            context.say(f"{figure.name}: {figure.ratio:.2f}")
            yield figure


def _begin(server: Server) -> str:
    """A session with something in it; its cookie."""
    with closing(http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=10)) as connection:
        connection.request("POST", "/begin")
        response = connection.getresponse()
        if response.read() is None or response.status != 200:
            raise RuntimeError(f"a session could not be begun: {response.status}")
        (morsel,) = SimpleCookie(response.headers["Set-Cookie"]).values()
    return f"{morsel.key}={morsel.value}"
