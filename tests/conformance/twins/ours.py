"""The service as it is, with one more route, which raises, so that stack traces can be looked at. Twins stand on it."""

import sys
from typing import TYPE_CHECKING, Any

import service
from service.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Callable

    import flask

FAILING = "/raise"


def start(patch: "Callable[[flask.Flask], None] | None" = None) -> None:
    """The service's own start. ``patch`` gets each worker's application."""
    create_app = service.create_app

    def patched(*arguments: Any, **named: Any) -> "flask.Flask":
        app = create_app(*arguments, **named)
        app.add_url_rule(FAILING, view_func=_fail)
        if patch:
            patch(app)
        return app

    service.create_app = patched
    sys.exit(main())


def _fail() -> str:
    raise RuntimeError('it says "no"\nand a second line')


if __name__ == "__main__":
    start()
