"""What every route gets: errors, security, system routes, and the API's description."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from service import Parts

FOLDER = Path(__file__).parent


def register(app: "Flask", parts: "Parts") -> None:
    """Prepare ``app`` for features: for what they return, raise and describe."""
    from jinja2 import ChoiceLoader, FileSystemLoader

    from service.http import errors, security, system_routes

    app.url_map.merge_slashes = False  # a path with "//" is not redirected: the response says what is wrong with it
    app.json.ensure_ascii = False  # type: ignore[attr-defined] # of Flask's default provider
    app.jinja_loader = ChoiceLoader([FileSystemLoader(FOLDER / "templates")])
    parts.assets.add(FOLDER / "static")
    parts.assets.register(app)
    errors.register(app)
    parts.openapi.add(paths={}, problems=errors.KINDS)
    security.register(app, parts.settings, parts.transfers)
    system_routes.register(app, parts)
