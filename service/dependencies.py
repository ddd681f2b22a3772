"""What the service depends on, each with one line.

``--check``, ``/ready``, the metric ``dependency_up`` and READY_REQUIRES know dependencies from here alone.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from service import sessions, storage
from service.settings import Settings


class DependencyClient(Protocol):
    """The client of a dependency."""

    name: str  # its kind of server, such as "redis"; for people, and a label of metrics

    def check(self) -> None:
        """Ask it whether it can serve. Any exception means that it can't, and says why."""

    def close(self) -> None:
        """Close its connections. Nothing is called after this."""


class Dependency(NamedTuple):
    """How to reach it. ``open`` connects to nothing yet; ValueError or OSError if the settings can't be used."""

    kind: str  # health+json's componentType: "datastore", "system" or "component"
    open: Callable[[Settings], Any]  # a DependencyClient


DEPENDENCIES = {
    "sessions": Dependency("datastore", sessions.open_store),
    "storage": Dependency("datastore", storage.open_store),
}
