"""How a connection to a Redis server is opened: its options, and a socket that keeps to the deadline."""

import ssl
from typing import Any

from redis.backoff import NoBackoff
from redis.connection import Connection, ConnectionPool, parse_url
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from service.sessions.deadline import TimedSocket, connect, connect_unix, remaining


def connection_options(
    url: str,
    *,
    username: str = "",
    password: str = "",
    tls_ca_file: str = "",
    tls_cert_file: str = "",
    tls_key_file: str = "",
) -> dict[str, Any]:
    """What open_pool() takes, from SESSION_URL and the settings beside it.

    ``url`` is redis://, rediss:// or unix:// as redis-py understands it; of its query only ``db`` counts. ``username``
    and ``password`` count where the URL has none. ValueError or OSError when the URL or a TLS file can't be used.
    """
    parts = parse_url(url)  # type: ignore[no-untyped-call] # redis-py is typed in parts only
    tls = None
    if url.startswith("rediss:"):
        tls = ssl.create_default_context(cafile=tls_ca_file or None)
        if tls_cert_file:
            tls.load_cert_chain(tls_cert_file, tls_key_file)
    return {
        "host": parts.get("host", "localhost"),
        "port": parts.get("port", 6379),
        "path": parts.get("path", ""),
        "db": parts.get("db", 0),
        "username": parts.get("username") or username or None,
        "password": parts.get("password") or password or None,
        "tls": tls,
    }


def open_pool(**options: Any) -> ConnectionPool:
    """redis-py's pool of connections to one server. Nothing is connected yet."""
    return ConnectionPool(
        _Connection,
        max_connections=2**31,  # threads are what is limited
        # RESP2 needs no HELLO, and nothing else is asked when a connection begins: it costs no round trip.
        protocol=2,
        driver_info=None,
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
        socket_timeout=None,
        retry=Retry(NoBackoff(), 0),
        **options,
    )


class _Connection(Connection):
    """redis-py's connection, over a socket that keeps to the deadline. ``path``: of a Unix socket, or empty."""

    def __init__(self, *, path: str, tls: ssl.SSLContext | None, **kwargs: Any) -> None:
        self._path, self._tls = path, tls
        super().__init__(**kwargs)  # type: ignore[no-untyped-call] # as above

    def _connect(self) -> TimedSocket:
        if self._path:
            return TimedSocket(connect_unix(self._path))
        sock = connect(self.host, self.port)
        if self._tls is not None:
            sock.settimeout(remaining())  # the handshake as a whole has so long
            try:
                sock = self._tls.wrap_socket(sock, server_hostname=self.host)
            except BaseException:
                sock.close()
                raise
        return TimedSocket(sock)
