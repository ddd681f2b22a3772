"""Breaks 4a: many workers, each with counters of its own, and any of them serves the scrape."""

from service.server import application as server
from tests.conformance.twins.ours import start

if __name__ == "__main__":
    server.prepare_multiprocess = lambda settings: None  # type: ignore[attr-defined] # noqa: ARG005 -- as the real one
    start()
