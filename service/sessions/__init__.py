"""Visitors' sessions: Flask's session interface (interface.py), and one module for each store (protocol: store.py)."""

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from service.name import NAME
from service.sessions.rules import Limits
from service.sessions.store import SessionStore
from service.settings import Settings

if TYPE_CHECKING:
    from service.sessions.session import current

__all__ = ["current", "open_store"]


def __getattr__(name: str) -> Any:
    """``current``, at its first use: the arbiter imports this module too, and needs no Flask."""
    if name != "current":
        raise AttributeError(name)
    from service.sessions.session import current  # noqa: PLC0415 -- see above

    globals()[name] = current
    return current


def open_store(settings: Settings) -> SessionStore:
    """The store that SESSION_URL names. Nothing is connected yet.

    ValueError or OSError where the URL or a TLS file can't be used, or the store's client library is not installed.
    """
    url, timeout = settings.session_url, settings.session_timeout
    limits = Limits(
        settings.session_idle_lifetime, settings.session_absolute_lifetime, max_bytes=settings.session_max_bytes
    )
    login = {
        "username": settings.session_username,
        "password": settings.session_password,
        "tls_ca_file": settings.session_tls_ca_file,
        "tls_cert_file": settings.session_tls_cert_file,
        "tls_key_file": settings.session_tls_key_file,
    }
    try:
        # Only the store in use is imported: to drop one, delete its module and its case here.
        match urlsplit(url).scheme:
            case "redis" | "rediss" | "unix":
                from service.sessions.redis import RedisStore  # noqa: PLC0415 -- see above

                return RedisStore(url=url, timeout=timeout, limits=limits, **login)
            case "redis+cluster" | "rediss+cluster":
                from service.sessions.redis_cluster import RedisClusterStore  # noqa: PLC0415 -- see above

                return RedisClusterStore(url=url, timeout=timeout, limits=limits, **login)
            case "memcached":
                from service.sessions.memcached import MemcachedStore  # noqa: PLC0415 -- see above

                return MemcachedStore(url=url, timeout=timeout, limits=limits)
            case "memory":
                from service.sessions.memory import MemoryStore  # noqa: PLC0415 -- see above

                return MemoryStore(limits)
            case scheme:
                raise ValueError(f"no session store for {scheme}://")
    except ImportError as error:
        advice = f"install {NAME}[redis] or {NAME}[memcached]"
        raise ValueError(f"the client library of SESSION_URL's store is missing ({error}); {advice}") from error
