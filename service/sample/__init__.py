"""The pages and the API. ``register`` puts all of them on an application."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from flask import Flask
from prometheus_client import Gauge

from service.http import errors, security
from service.http.static_assets import Assets
from service.http.system_routes import Instance
from service.ops.health import Health
from service.sample.files import Files
from service.sample.page import Page
from service.sample.visitor import Visitor
from service.sessions.store import SessionStore
from service.settings import Settings
from service.storage.store import ObjectStore


def register(
    app: Flask,
    settings: Settings,
    sessions: SessionStore,
    storage: ObjectStore,
    health: Health,
    *,
    figures: Callable[[], dict[str, Any]],
    transfers_busy: Gauge,
    started: datetime,
) -> None:
    """Every route, every guard, every error handler. A fork deletes its sample pages here."""
    app.url_map.merge_slashes = False  # a file's name may hold two slashes' worth of nonsense; say so, don't redirect
    app.json.ensure_ascii = False  # type: ignore[attr-defined] # of Flask's default provider
    errors.install(app)
    security.install(app, settings)
    instance = Instance(
        settings,
        health,
        started=started.isoformat(timespec="seconds").replace("+00:00", "Z"),
        stores={"sessions": sessions.name, "files": storage.name},
        figures=figures,
    )
    visitor = Visitor(sessions.name)
    files = Files(storage, settings, transfers_busy)
    page = Page(settings, instance, visitor, files)
    Assets().register(app)
    instance.register(app)
    visitor.register(app)
    files.register(app)
    page.register(app)
