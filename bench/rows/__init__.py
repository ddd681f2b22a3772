"""The rows of the benchmark, one module for each group; ``ROWS`` is their order in the table."""

from collections.abc import Callable, Iterable

from bench.context import Context
from bench.figures import Figure
from bench.rows import (
    drain,
    files,
    hang,
    health,
    instance,
    listing,
    log,
    overload,
    scale_out,
    scrape,
    sessions,
    start,
    worker,
)

ROWS: dict[str, Callable[[Context], Iterable[Figure]]] = {
    "instance": instance.measure,
    "sessions": sessions.measure,
    "files": files.measure,
    "listing": listing.measure,
    "start": start.measure,
    "scrape": scrape.measure,
    "health": health.measure,
    "overload": overload.measure,
    "hang": hang.measure,
    "scale-out": scale_out.measure,
    "log": log.measure,
    "drain": drain.measure,
    "worker": worker.measure,
}
