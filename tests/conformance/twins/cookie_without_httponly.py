"""Breaks the session: scripts may read the cookie."""

from werkzeug import Response

from tests.conformance.twins.ours import start

set_cookie = Response.set_cookie


def readable(self: Response, *arguments: object, **named: object) -> None:
    set_cookie(self, *arguments, **named | {"httponly": False})  # type: ignore[arg-type] # as they came


if __name__ == "__main__":
    Response.set_cookie = readable  # type: ignore[assignment, method-assign] # that is the break
    start()
