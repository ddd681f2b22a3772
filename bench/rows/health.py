"""``/health`` of the ops listener while every request thread is busy, against an idle service."""

from collections.abc import Iterator
from time import perf_counter

from bench.context import Context
from bench.figures import Figure, Goal, alternate
from bench.load import background
from bench.machine import cores, on_core
from bench.servers import Server, service
from tests.support.hold import holdable_service
from tests.support.raw import RawClient, head

ASKED = 300  # times a round
THREADS = 8


def measure(context: Context) -> Iterator[Figure]:
    """The 99th percentile in milliseconds: threads that wait for a store, and threads that compute."""
    goal = Goal(3.0, at_least=False)
    with on_core(cores()[0]), holdable_service(context.folder, THREADS=str(THREADS)) as hold:
        with on_core(cores()[1]):
            _p99(hold.service.ops_url)
            idle = [_p99(hold.service.ops_url) for _ in range(context.rounds)]
            hold.take(THREADS)
            busy = [_p99(hold.service.ops_url) for _ in range(context.rounds)]
        hold.let_go()
    yield Figure("health", "p99 of /health, all threads waiting", "idle", "ms", busy, idle, goal)
    with service(context.folder) as ours, on_core(cores()[1]):
        _p99(ours.ops_url)
        found = alternate(context.rounds, {"busy": lambda: _busy(ours), "idle": lambda: _p99(ours.ops_url)})
    yield Figure("health", "p99 of /health, all threads computing", "idle", "ms", found["busy"], found["idle"], goal)


def _busy(server: Server) -> float:
    with background(server, "/api/instance"):
        return _p99(server.ops_url)


def _p99(url: str) -> float:
    """Of many questions, each on a connection of its own, as a kubelet asks."""
    milliseconds = []
    for _ in range(ASKED):
        started = perf_counter()
        with RawClient(url) as client:
            client.send(head("GET", "/health"))
            status = client.answer().status
        milliseconds.append(1000 * (perf_counter() - started))
        if status != 200:
            raise RuntimeError(f"/health said {status}")
    return sorted(milliseconds)[int(ASKED * 0.99) - 1]
