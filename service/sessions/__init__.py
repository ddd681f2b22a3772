"""Visitors' sessions: Flask's session interface (interface.py), and one module for each store (protocol: store.py)."""

from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from service.sessions.store import SessionStore
from service.settings import Settings

if TYPE_CHECKING:
    from service.sessions.session import Session


def current() -> "Session":
    """The session of the request that is served now: ``flask.session``, with its type. Asks the store for nothing.

    RuntimeError at its use outside of a request.
    """
    from flask import session  # noqa: PLC0415 -- the parent process imports this module and needs no Flask

    return cast("Session", session)


def open_store(settings: Settings) -> SessionStore:
    """The store that SESSION_URL names. Nothing is connected yet.

    ValueError or OSError where the URL or a TLS file can't be used, or the store's client library is not installed.
    """
    try:
        return _open(settings)
    except ImportError as error:
        advice = "install seatrial[redis] or seatrial[memcached]"
        raise ValueError(f"the client library of SESSION_URL's store is missing ({error}); {advice}") from error


def _open(settings: Settings) -> SessionStore:
    """Only the store in use is imported: to drop one, delete its module and its case here."""
    url, timeout, max_bytes = settings.session_url, settings.session_timeout, settings.session_max_bytes
    lifetimes: dict[str, Any] = {
        "idle_lifetime": settings.session_idle_lifetime,
        "absolute_lifetime": settings.session_absolute_lifetime,
    }
    login: dict[str, Any] = {
        "username": settings.session_username,
        "password": settings.session_password,
        "tls_ca_file": settings.session_tls_ca_file,
        "tls_cert_file": settings.session_tls_cert_file,
        "tls_key_file": settings.session_tls_key_file,
    }
    match urlsplit(url).scheme:
        case "redis" | "rediss" | "unix":
            from service.sessions.redis import RedisStore  # noqa: PLC0415 -- see above

            return RedisStore(url=url, timeout=timeout, max_bytes=max_bytes, **lifetimes, **login)
        case "redis+cluster" | "rediss+cluster":
            from service.sessions.redis_cluster import RedisClusterStore  # noqa: PLC0415 -- see above

            return RedisClusterStore(url=url, timeout=timeout, max_bytes=max_bytes, **lifetimes, **login)
        case "memcached":
            from service.sessions.memcached import MemcachedStore  # noqa: PLC0415 -- see above

            return MemcachedStore(url=url, timeout=timeout, max_bytes=max_bytes, **lifetimes)
        case "memory":
            from service.sessions.memory import MemoryStore  # noqa: PLC0415 -- see above

            return MemoryStore(max_bytes=max_bytes, **lifetimes)
        case scheme:
            raise ValueError(f"no session store for {scheme}://")
