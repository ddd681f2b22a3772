"""What a request costs Redis with 1, 2 and 4 instances: commands and bytes, counted by Redis itself."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from bench.context import Context
from bench.figures import Figure, Goal
from bench.machine import cores, on_core
from bench.servers import service
from tests.support.http import Visitor
from tests.support.redis import RedisServer, redis_server

if TYPE_CHECKING:
    import redis

INSTANCES = (1, 2, 4)
VISITORS = 8
VISITS = 50  # of each visitor, each a read and a step of a counter, by turns at every instance


class Cost(NamedTuple):
    """Of one request."""

    commands: float
    sent: float  # bytes to Redis
    received: float  # bytes from Redis


def measure(context: Context) -> Iterator[Figure]:
    """Counts: they don't depend on the machine, so once is enough."""
    costs = {}
    for instances in INSTANCES:
        with on_core(cores()[1]), redis_server(context.folder) as redis:
            costs[instances] = _cost(context, redis, instances)
        context.say(f"{instances} instances: {costs[instances]}")
    goal = Goal(1.1, at_least=False)
    for instances in INSTANCES[1:]:
        for what in Cost._fields:
            ours, one = getattr(costs[instances], what), getattr(costs[1], what)
            unit = "commands/request" if what == "commands" else "bytes/request"
            yield Figure("scale-out", f"{what} with {instances} instances", "1 instance", unit, [ours], [one], goal)


def _cost(context: Context, redis: RedisServer, instances: int) -> Cost:
    with contextlib.ExitStack() as stack:
        # The background checks are a cost of an instance, not of a request: docs/scale.md counts them.
        running = [
            stack.enter_context(service(context.folder, SESSION_URL=redis.url, DEPENDENCY_CHECK_INTERVAL="300s"))
            for _ in range(instances)
        ]
        admin = stack.enter_context(redis.client())
        visitors = [stack.enter_context(Visitor(running[0].url)) for _ in range(VISITORS)]
        for visitor in visitors:
            visitor.ask("POST", "/api/session/visits")
        for server in running:  # each connects, and knows the scripts
            with Visitor(server.url) as one:
                one.cookies = dict(visitors[0].cookies)
                one.get("/api/session")
        before = _counts(admin)
        requests = 0
        for number in range(VISITS):
            for visitor in visitors:
                with Visitor(running[number % instances].url) as now:
                    now.cookies = dict(visitor.cookies)
                    now.get("/api/session")
                    if now.ask("POST", "/api/session/visits").status != 200:
                        raise RuntimeError("a visit failed")
                    requests += 2
        after = _counts(admin)
    return Cost(*((b - a) / requests for a, b in zip(before, after, strict=True)))


def _counts(admin: "redis.Redis") -> tuple[float, float, float]:
    """Commands that clients sent, bytes in, bytes out. What this question itself costs is a constant, and small."""
    stats, commands = admin.info("stats"), admin.info("commandstats")
    calls = sum(commands.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("evalsha", "eval", "del"))
    return float(calls), float(stats["total_net_input_bytes"]), float(stats["total_net_output_bytes"])
