"""One Redis server, for redis.py and redis_cluster.py: redis-py's pool, over sockets that keep to the deadline."""

import ssl
import time
from collections.abc import Callable
from typing import Any, TypeVar

from redis import exceptions
from redis.backoff import NoBackoff
from redis.connection import Connection, ConnectionPool, parse_url
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from service.sessions.breaker import Breaker
from service.sessions.deadline import TimedSocket, connect, connect_unix, remaining, within
from service.sessions.redis_scripts import Script
from service.sessions.store import StoreUnavailable

T = TypeVar("T")

# What went wrong, in words for people; the first that fits. Redis refuses a long command before it asks who sends it:
# "unauthenticated bulk length".
_CAUSES = (
    (exceptions.MovedError, "", "is a node of a Redis Cluster, so SESSION_URL must begin with redis+cluster"),
    (exceptions.ReadOnlyError, "", "is a read-only replica"),
    (exceptions.OutOfMemoryError, "", "is full"),
    (exceptions.AuthenticationError, "", "wants another password, or any"),
    (exceptions.ResponseError, "unauthenticated", "wants another password, or any"),
    (exceptions.ResponseError, "", "refused"),
    ((exceptions.TimeoutError, TimeoutError), "", "did not answer in time"),
    ((exceptions.RedisError, OSError), "", "can't be used"),
    (Exception, "", "gave an answer that makes no sense"),
)


def connection_options(
    url: str,
    *,
    username: str = "",
    password: str = "",
    tls_ca_file: str = "",
    tls_cert_file: str = "",
    tls_key_file: str = "",
) -> dict[str, Any]:
    """What RedisServer takes, from SESSION_URL and the settings beside it.

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


class RedisServer:
    """One server: its connections, and whether it is down. ``timeout`` (seconds) is for all that a call does."""

    def __init__(self, *, host: str, port: int, path: str, timeout: float, **options: Any) -> None:
        self.host = host
        self.where = f"Redis at {path or f'{host}:{port}'}"
        self.breaker = Breaker()
        self._timeout = timeout
        self._pool = ConnectionPool(
            _Connection,
            max_connections=2**31,  # threads are what is limited
            host=host,
            port=port,
            path=path,
            # RESP2 needs no HELLO, and nothing else is asked when a connection begins: it costs no round trip.
            protocol=2,
            driver_info=None,
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
            socket_timeout=None,
            retry=Retry(NoBackoff(), 0),
            **options,
        )

    def call(self, do: Callable[[Any], T], *, probe: bool = False) -> T:
        """What ``do`` returns, which is given a connection. Every way to fail becomes StoreUnavailable.

        A ``probe`` tries even while the breaker is open.
        """
        if not probe and (cause := self.breaker.admit()):
            raise StoreUnavailable(f"{cause} (not tried again yet)")
        started = time.monotonic()
        try:
            with within(self._timeout):
                result = self._with_connection(do)
        except (exceptions.RedisError, OSError, ValueError, TypeError, KeyError) as error:
            raise self._explain(error, time.monotonic() - started) from error
        self.breaker.succeeded()
        return result

    def close(self) -> None:
        """Close the connections that nobody uses."""
        self._pool.disconnect(inuse_connections=False)

    def _with_connection(self, do: Callable[[Any], T]) -> T:
        connection = self._pool.get_connection()
        try:
            return do(connection)
        except exceptions.ResponseError:
            raise
        except BaseException:
            # There may be a reply to come, which is nobody else's. redis-py's own client can't rule that out: it looks
            # before it hands the connection out again, which may be too soon to see it.
            connection.disconnect()  # type: ignore[no-untyped-call] # as above
            raise
        finally:
            self._pool.release(connection)

    def _explain(self, error: Exception, waited: float) -> StoreUnavailable:
        cause = next(words for kind, part, words in _CAUSES if isinstance(error, kind) and part in str(error))
        code = getattr(error, "status_code", None)  # redis-py takes it off what the server said
        message = f"{self.where} {cause}: {f'{code} ' if code else ''}{error}"
        is_late = isinstance(error, exceptions.TimeoutError | TimeoutError)
        if not isinstance(error, exceptions.ResponseError) or isinstance(error, exceptions.ReadOnlyError):
            # What else is pooled may lead to where nothing answers any more, or to what was the primary once.
            self.close()
        if isinstance(error, exceptions.ResponseError):
            self.breaker.succeeded()
        elif not is_late or waited >= self._timeout / 2:
            # A request that had little time left proves nothing.
            self.breaker.failed(message)
        return StoreUnavailable(message)


def ask(connection: Any, *command: Any) -> Any:
    """Send a command, and return the reply."""
    connection.send_command(*command)
    return connection.read_response()


def evaluate(connection: Any, script: Script, keys: list[str], *arguments: Any) -> Any:
    """Run the script in the server, and return its reply."""
    try:
        return ask(connection, "EVALSHA", script.sha, len(keys), *keys, *arguments)
    except exceptions.NoScriptError:
        # The server is new or was restarted; from now on it knows the script.
        return ask(connection, "EVAL", script.text, len(keys), *keys, *arguments)
