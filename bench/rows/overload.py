"""Twice and ten times as many requests as can be served: how many are served in time, and how long those took."""

from collections.abc import Iterator
from contextlib import ExitStack

from bench.context import Context
from bench.figures import Figure, Goal
from bench.load import load
from bench.machine import cores, on_core
from bench.open_load import GIVES_UP, Outcome, open_load
from bench.servers import Server, gunicorn, service

PATH = "/work"
SECONDS = 6
TIMES = (2, 10)

# How many requests a second can be served, and what came of more.
Round = tuple[float, dict[int, Outcome]]


def measure(context: Context) -> Iterator[Figure]:
    """Requests a second that were served within a second, against as many as can be; and their 99th percentile."""
    with ExitStack() as stack:
        servers = {
            "ours": stack.enter_context(service(context.folder, module="bench.work")),
            "gunicorn and exporter": stack.enter_context(gunicorn("bench.rivals.work:app")),
        }
        for server in servers.values():
            load(server, PATH, seconds=1)
        found = {
            name: [_round(context, name, server) for _ in range(context.rounds)] for name, server in servers.items()
        }
    goals = Goal(0.9), Goal(1.0, at_least=False)
    for name, rounds in found.items():
        good, fast = goals if name == "ours" else (None, None)
        for times in TIMES:
            capacity = [each[0] for each in rounds]
            goodput = [each[1][times].goodput for each in rounds]
            p99 = [1000 * each[1][times].p99 for each in rounds]
            load_name = f"{times} times capacity, {name}"
            more = {"statuses": [dict(each[1][times].statuses) for each in rounds]}
            yield Figure(
                "overload", f"goodput at {load_name}", "capacity", "requests/s", goodput, capacity, good, more=more
            )
            yield Figure("overload", f"p99 at {load_name}", "a second", "ms", p99, [1000 * GIVES_UP] * len(p99), fast)


def _round(context: Context, name: str, server: Server) -> Round:
    capacity = load(server, PATH, seconds=2).rate
    outcomes = {}
    for times in TIMES:
        with on_core(cores()[1]):
            outcomes[times] = open_load(server.url, [PATH], rate=times * capacity, seconds=SECONDS)
        served = outcomes[times].goodput / capacity
        context.say(f"{name}, {times} times {capacity:.0f} requests/s: {served:.2f} of them served in time")
    return capacity, outcomes
