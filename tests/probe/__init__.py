"""An application of the tests' own, so that what every fork keeps is tested without the sample.

``python -m tests.probe`` runs the whole service with these routes instead of the sample's:

- ``GET /`` is a page
- ``POST /visits`` counts a visit in the session: ``{"visits": 1}``
- ``GET /session`` reads it, ``PUT /session {"name": "Ada"}`` signs in (a new id), ``DELETE /session`` signs out
- ``PUT``, ``GET``, ``DELETE /bytes/<name>`` write, read and delete an object, streamed both ways; everybody shares them
- ``GET /bytes`` asks the object store for a listing
- ``POST /forms/any`` takes a form: the files become objects, the fields come back
- ``GET /fail`` raises an exception
"""

from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from flask import Flask

    from service import Parts


def path_of(name: str) -> str:
    """The path of an object's bytes."""
    return f"/bytes/{quote(name, safe='')}"


def register(app: "Flask", parts: "Parts") -> None:
    """Put the probe's routes on ``app``."""
    from tests.probe import routes  # not before: the parent process imports this package, and needs no routes

    routes.register(app, parts)
