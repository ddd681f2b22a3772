"""A feature with one route, which works as most do: it waits for something, then computes."""

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from service import Parts

WAITS = 0.05  # seconds, as for a database
COMPUTES = 20_000  # turns of a loop, about a millisecond


def work() -> dict[str, int]:
    """The view."""
    time.sleep(WAITS)
    return {"sum": sum(range(COMPUTES))}


def register(app: "Flask", _parts: "Parts") -> None:
    """A feature of the service."""
    app.add_url_rule("/work", "work", work)
