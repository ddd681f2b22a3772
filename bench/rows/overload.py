"""Twice and ten times as many requests as can be served: how many are served in time, and how long those took."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from statistics import mean

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
    servers: dict[str, Callable[[], AbstractContextManager[Server]]] = {
        "ours": partial(service, context.folder, module="bench.work"),
        "gunicorn and exporter": partial(gunicorn, "bench.rivals.work:app"),
    }
    found = {name: [_round(context, name, begin) for _ in range(context.rounds)] for name, begin in servers.items()}
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


def _round(context: Context, name: str, begin: Callable[[], AbstractContextManager[Server]]) -> Round:
    """Each load on a server of its own: one that queues without a limit would still be working on the load before."""
    outcomes = {}
    capacities = []
    for times in TIMES:
        with begin() as server, on_core(cores()[1]):
            load(server, PATH, seconds=1)
            capacities.append(load(server, PATH, seconds=2).rate)
            outcomes[times] = open_load(server.url, [PATH], rate=times * capacities[-1], seconds=SECONDS)
        served = outcomes[times].goodput / capacities[-1]
        context.say(f"{name}, {times} times {capacities[-1]:.0f} requests/s: {served:.2f} of them served in time")
    return mean(capacities), outcomes
