"""One small application with sessions, by Flask-Session or by ours: ``SESSIONS`` says which, ``SESSION_URL`` where.

The same routes and nothing around them, so that what differs is the sessions.
"""

import os
from urllib.parse import urlsplit

from flask import Flask, session

app = Flask(__name__)


def _flask_session() -> None:
    from flask_session import Session  # noqa: PLC0415 -- only where it is the one

    url = os.environ["SESSION_URL"]
    if url.startswith("redis:"):
        from redis import Redis  # noqa: PLC0415 -- as above

        app.config.update(SESSION_TYPE="redis", SESSION_REDIS=Redis.from_url(url))
    else:
        from pymemcache.client.base import PooledClient  # noqa: PLC0415 -- as above

        address = urlsplit(url)
        client = PooledClient((address.hostname, address.port), max_pool_size=64)
        app.config.update(SESSION_TYPE="memcached", SESSION_MEMCACHED=client)
    Session(app)


def _ours() -> None:
    from service.sessions import open_store  # noqa: PLC0415 -- as above
    from service.sessions.interface import SessionInterface  # noqa: PLC0415 -- as above
    from service.settings import load  # noqa: PLC0415 -- as above

    # Time enough for a busy machine: a time-out is no cost, but an error.
    settings = load(
        {
            "STORAGE_URL": "file:///nowhere",
            "COOKIE_SECURE": "false",
            "SESSION_TIMEOUT": "10s",
            "SESSION_URL": os.environ["SESSION_URL"],
        }
    )
    app.session_interface = SessionInterface(open_store(settings), settings)


if os.environ["SESSIONS"] == "ours":
    _ours()
else:
    _flask_session()


@app.get("/untouched")
def untouched() -> dict[str, str]:
    """Nobody looks at the session."""
    return {"hello": "world"}


@app.get("/read")
def read() -> dict[str, str]:
    """A value is read."""
    return {"name": session.get("name", "")}


@app.get("/write")
def write() -> dict[str, int]:
    """A value is read, changed and written."""
    session["visits"] = session.get("visits", 0) + 1
    return {"visits": session["visits"]}


@app.post("/begin")
def begin() -> dict[str, str]:
    """What a session holds before it is measured."""
    session["name"] = "Ada"
    session["cart"] = ["a compass", "a chart", "a log"]
    return {}
