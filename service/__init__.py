"""Seatrial: a small service that shows how a container is operated.

``create_app`` is the one place where its parts meet. It imports them itself: the parent process imports this package
too, before the settings are read, and needs none of them.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import flask

    from service.lifecycle import InFlight, Lifecycle
    from service.metrics.registry import Metrics
    from service.ops.health import Health
    from service.sessions.store import SessionStore
    from service.settings import Settings
    from service.storage.store import ObjectStore


@dataclass(frozen=True)
class Parts:
    """What the server needs of an application, under ``app.extensions["seatrial"]``."""

    sessions: "SessionStore"
    storage: "ObjectStore"
    metrics: "Metrics"
    health: "Health"
    in_flight: "InFlight"

    def close(self) -> None:
        """Stop what runs in the background, and give back the stores' connections."""
        self.health.stop()
        self.sessions.close()
        self.storage.close()


def create_app(settings: "Settings", *, lifecycle: "Lifecycle | None" = None) -> "flask.Flask":
    """The application, its parts made and joined. Nothing is started and no store is asked yet.

    ``lifecycle`` is the state that is shared with the parent process; one of its own where there is no parent.
    """
    import flask
    from jinja2 import FileSystemLoader

    from service import sessions, storage
    from service.http.errors import answer
    from service.http.middleware import instrument
    from service.lifecycle import InFlight, Lifecycle
    from service.metrics.instrumented_stores import measured_sessions, measured_storage
    from service.metrics.registry import Metrics
    from service.ops.health import Health
    from service.sample import register
    from service.sessions.interface import SessionInterface

    lifecycle = lifecycle or Lifecycle()
    in_flight = InFlight(settings.threads)
    metrics = Metrics(settings)
    session_store = sessions.open_store(settings)
    object_store = storage.open_store(settings)
    checks = {"sessions": session_store.check, "storage": object_store.check}
    health = Health(
        settings, in_flight, lifecycle, checks, on_change=lambda name, up: metrics.set_dependency(name, up=up)
    )
    session_store = measured_sessions(session_store, metrics, observe=health.observe)
    object_store = measured_storage(object_store, metrics, observe=health.observe)

    app = flask.Flask(__name__, template_folder=None, static_folder=None)
    here = Path(__file__).parent
    app.jinja_loader = FileSystemLoader([here / "sample" / "templates", here / "http" / "templates"])
    app.session_interface = SessionInterface(session_store, settings, on_error=answer)
    register(
        app,
        settings,
        session_store,
        object_store,
        health,
        figures=metrics.figures,
        transfers_busy=metrics.transfers_busy,
        started=datetime.now(UTC),
    )
    app.wsgi_app = instrument(app.wsgi_app, metrics=metrics, settings=settings, in_flight=in_flight)  # type: ignore[method-assign, assignment] # Flask's documented way to wrap the application
    app.extensions["seatrial"] = Parts(session_store, object_store, metrics, health, in_flight)
    return app
