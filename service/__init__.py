"""A small service that shows how a container is operated.

Its parts meet in ``create_app`` alone, which imports them itself: the arbiter imports this module too, before the
settings are read, and needs none of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import flask

    from service.dependencies import DependencyClient
    from service.http.openapi import OpenApi
    from service.http.static_assets import StaticAssets
    from service.http.transfer_slots import TransferSlots
    from service.lifecycle import Lifecycle
    from service.metrics.registry import Metrics
    from service.ops.health import Health
    from service.ops.in_flight import InFlight
    from service.sessions.store import SessionStore
    from service.settings import Settings
    from service.storage.store import ObjectStore

# What this service does. A feature is a package with ``register(app, parts)``. If it has settings of its own, its
# module ``settings`` names their dataclass ``FEATURE_SETTINGS``. A fork deletes the sample's folder, and its name here.
FEATURES: tuple[str, ...] = ("service.sample",)


@dataclass(frozen=True)
class Parts:
    """What a feature and the server can use; also ``app.extensions["service"]``."""

    settings: "Settings"
    instance: Mapping[str, Any]  # name, version, revision, start time, and the stores in use
    dependencies: Mapping[str, "DependencyClient"]
    sessions: "SessionStore"
    storage: "ObjectStore"
    metrics: "Metrics"
    health: "Health"
    in_flight: "InFlight"
    transfers: "TransferSlots"
    openapi: "OpenApi"
    assets: "StaticAssets"

    def close(self) -> None:
        """Stop what runs in the background, and close the connections to dependencies."""
        self.health.stop()
        for client in self.dependencies.values():
            client.close()


def feature_settings() -> list[type]:
    """The dataclasses of the features' own settings."""
    modules = [f"{name}.settings" for name in FEATURES]
    return [import_module(name).FEATURE_SETTINGS for name in modules if find_spec(name) is not None]


def create_app(settings: "Settings", *, lifecycle: "Lifecycle | None" = None) -> "flask.Flask":
    """The application, made of its parts. Nothing is started, and no store is asked yet.

    ``settings`` were loaded with ``feature_settings()``. ``lifecycle`` is the state that is shared with the arbiter;
    without one the application makes its own.
    """
    import flask

    from service import http
    from service.bulkhead import PATIENCE, Bulkhead, WaitingThreads
    from service.dependencies import DEPENDENCIES
    from service.http.errors import error_response
    from service.http.middleware import instrument
    from service.http.openapi import OpenApi
    from service.http.security import response_headers
    from service.http.static_assets import StaticAssets
    from service.http.transfer_slots import TransferSlots
    from service.lifecycle import Lifecycle
    from service.metrics.instrumented_stores import measured_sessions, measured_storage
    from service.metrics.registry import Metrics
    from service.name import TITLE
    from service.ops.health import Health, HealthCheck
    from service.ops.in_flight import InFlight
    from service.sessions.interface import SessionInterface
    from service.sessions.store import StoreBusy
    from service.storage.store import StorageBusy

    metrics = Metrics(settings)
    in_flight = InFlight(settings.threads)
    clients = {name: dependency.open(settings) for name, dependency in DEPENDENCIES.items()}
    checks = {name: HealthCheck(client.check, DEPENDENCIES[name].kind) for name, client in clients.items()}
    health = Health(
        settings,
        in_flight,
        lifecycle or Lifecycle(),
        checks,
        on_change=lambda name, up: metrics.set_dependency(name, up=up),
    )
    waiting = WaitingThreads(settings.threads)
    of_storage = Bulkhead(waiting, lambda: StorageBusy("too many requests wait for the object store"))
    of_sessions = Bulkhead(
        waiting,
        lambda: StoreBusy("too many requests wait for the session store"),
        patience=min(PATIENCE, settings.session_timeout / 2),  # the other half is for the store
    )
    parts = Parts(
        settings=settings,
        instance={
            "name": settings.instance,
            "version": settings.version,
            "revision": settings.revision,
            "started": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "stores": {name: client.name for name, client in clients.items()},
        },
        dependencies=clients,
        sessions=measured_sessions(clients["sessions"], metrics, observe=health.observe, bulkhead=of_sessions),
        storage=measured_storage(clients["storage"], metrics, observe=health.observe, bulkhead=of_storage),
        metrics=metrics,
        health=health,
        in_flight=in_flight,
        transfers=TransferSlots(settings.transfer_slots, metrics.transfers_busy, of_storage),
        openapi=OpenApi(title=TITLE, version=settings.version),
        assets=StaticAssets(),
    )
    app = flask.Flask(__name__, template_folder=None, static_folder=None)
    app.extensions["service"] = parts
    app.session_interface = SessionInterface(parts.sessions, settings, on_error=error_response)
    http.register(app, parts)
    for feature in FEATURES:
        import_module(feature).register(app, parts)
    headers = response_headers(settings)
    app.wsgi_app = instrument(app.wsgi_app, metrics=metrics, in_flight=in_flight, headers=headers)  # type: ignore[method-assign, assignment] # Flask's documented way to wrap the application
    return app
