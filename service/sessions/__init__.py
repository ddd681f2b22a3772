"""Visitors' sessions: Flask's session interface (interface.py), and one module for each store (protocol: store.py)."""

from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from service.sessions.store import SessionStore
from service.settings import Settings

if TYPE_CHECKING:
    from service.sessions.session import Session


def current() -> "Session":
    """The session of the request that is being served. It belongs to Flask's ``session``, with its type."""
    from flask import session  # noqa: PLC0415 -- the parent process needs no Flask

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
    limits = {
        "idle_lifetime": settings.session_idle_lifetime,
        "absolute_lifetime": settings.session_absolute_lifetime,
    }
    max_bytes = settings.session_max_bytes
    match urlsplit(settings.session_url).scheme:
        case "redis" | "rediss" | "unix":
            from service.sessions.redis import RedisStore  # noqa: PLC0415 -- see above

            return RedisStore(
                url=settings.session_url,
                timeout=settings.session_timeout,
                max_bytes=max_bytes,
                username=settings.session_username,
                password=settings.session_password,
                tls_ca_file=settings.session_tls_ca_file,
                tls_cert_file=settings.session_tls_cert_file,
                tls_key_file=settings.session_tls_key_file,
                **limits,
            )
        case "memcached":
            from service.sessions.memcached import MemcachedStore  # noqa: PLC0415 -- see above

            return MemcachedStore(
                url=settings.session_url, timeout=settings.session_timeout, max_bytes=max_bytes, **limits
            )
        case "memory":
            from service.sessions.memory import MemoryStore  # noqa: PLC0415 -- see above

            return MemoryStore(max_bytes=max_bytes, **limits)
        case scheme:
            raise ValueError(f"no session store for {scheme}://")
