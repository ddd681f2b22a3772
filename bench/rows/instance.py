"""``GET /api/instance`` with everything on, against a bare hello, and against the same from stock parts."""

from collections.abc import Iterator
from functools import partial

from bench.context import Context
from bench.figures import Figure, Goal, alternate
from bench.load import Load, load
from bench.servers import Server, gunicorn, service

PATH = "/api/instance"
SECONDS = 2


def measure(context: Context) -> Iterator[Figure]:
    """Requests a second of the server's core."""
    with (
        service(context.folder, INSTANCE="bench") as ours,
        gunicorn("bench.rivals.hello:app") as hello,
        gunicorn("bench.rivals.exporter:app") as exporter,
    ):
        sides = {"ours": ours, "hello": hello, "exporter": exporter}
        loads: dict[str, list[Load]] = {name: [] for name in sides}

        def once(name: str, server: Server) -> float:
            found = load(server, PATH, seconds=SECONDS)
            context.say(f"{name}: {found.rate:.0f} requests/s, {found.share:.0%} of its core")
            context.check_generator(found.rate)
            loads[name].append(found)
            return found.rate_of_core

        for server in sides.values():
            load(server, PATH, seconds=1)  # caches are filled, threads are there
        found = alternate(context.rounds, {name: partial(once, name, server) for name, server in sides.items()})
    more = {
        f"{name} {what}": [round(getattr(each, what), 4) for each in of]
        for name, of in loads.items()
        for what in ("rate", "share", "p99")
    }
    goals = {"hello": ("bare Flask hello", 0.70), "exporter": ("prometheus-flask-exporter, JSON log", 1.25)}
    for name, (rival, bound) in goals.items():
        yield Figure(
            "instance", f"GET {PATH}", rival, "requests/s of a core", found["ours"], found[name], Goal(bound), more=more
        )
