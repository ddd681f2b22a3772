"""Breaks the session: signing in keeps the id that the visitor came with."""

from service.sessions.session import Session
from tests.conformance.twins.ours import start

if __name__ == "__main__":
    Session.renew = lambda self, secret="": None  # type: ignore[method-assign] # noqa: ARG005 -- as the real one
    start()
