"""Sessions in Redis or Valkey (5 or later), one hash a session. The rules run in the server: redis_scripts.py."""

import contextlib
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import redis.connection
import redis.exceptions
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from service.sessions.breaker import Breaker
from service.sessions.deadline import TimedSocket, connect, connect_unix, remaining, within
from service.sessions.record import Limits, changed
from service.sessions.redis_scripts import APPLY, COPY, DELETE, MOVE, READ, Script
from service.sessions.store import (
    MAX_COUNTER,
    MOVED_SECONDS,
    Applied,
    Change,
    Record,
    Refusal,
    StoreUnavailable,
)

PREFIX = "seatrial:session:1:"
MAX_CONNECTIONS = 1024  # as many as there may be threads, with room

_parse_url: Callable[[str], dict[str, Any]] = redis.connection.parse_url
_REPLIES = {refusal.value.encode(): refusal for refusal in Refusal}


class _Connection(redis.connection.Connection):
    """redis-py's connection, over a socket that keeps to the deadline."""

    def __init__(self, *, path: str, tls: ssl.SSLContext | None, **kwargs: Any) -> None:
        self._path, self._tls = path, tls
        super().__init__(**kwargs)  # type: ignore[no-untyped-call] # redis-py is typed in parts only

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


class RedisStore:
    """Implements SessionStore; see there.

    ``url`` is redis://, rediss:// or unix:// as redis-py understands it; of its query only ``db`` counts.
    ``username`` and ``password`` count where the URL has none. Times are in seconds. ValueError or OSError when the URL
    or a TLS file can't be used.
    """

    name = "redis"

    def __init__(
        self,
        *,
        url: str,
        timeout: float,
        idle_lifetime: float,
        absolute_lifetime: float,
        max_bytes: int,
        username: str = "",
        password: str = "",
        tls_ca_file: str = "",
        tls_cert_file: str = "",
        tls_key_file: str = "",
    ) -> None:
        self._timeout = timeout
        self._limits = Limits(idle_lifetime, absolute_lifetime, max_bytes)
        self._lifetimes = (round(idle_lifetime * 1000), round(absolute_lifetime * 1000))
        parts = _parse_url(url)
        tls = None
        if url.startswith("rediss:"):
            tls = ssl.create_default_context(cafile=tls_ca_file or None)
            if tls_cert_file:
                tls.load_cert_chain(tls_cert_file, tls_key_file)
        path = parts.get("path", "")
        host, port = parts.get("host", "localhost"), parts.get("port", 6379)
        self._where = f"Redis at {path or f'{host}:{port}'}"
        self._breaker = Breaker()
        self._pool = redis.connection.ConnectionPool(
            _Connection,
            max_connections=MAX_CONNECTIONS,
            path=path,
            tls=tls,
            host=host,
            port=port,
            db=parts.get("db", 0),
            username=parts.get("username") or username or None,
            password=parts.get("password") or password or None,
            # RESP2 needs no HELLO, and nothing else is asked when a connection begins: it costs no round trip.
            protocol=2,
            driver_info=None,
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
            health_check_interval=0,
            retry=Retry(NoBackoff(), 0),
        )

    def read(self, key: str) -> Record | None:
        """See SessionStore."""
        found = self._read(key)
        return None if found is None else found[1]

    def apply(self, key: str, change: Change) -> Applied | Refusal:
        """See SessionStore. A new key costs three round trips."""
        if change.new_key is not None:
            with within(self._timeout):
                return self._move(key, change.new_key, change)
        arguments = [self._limits.max_bytes, int(change.create), len(change.delete), *change.delete]
        arguments += _flat(change.set) + _flat(change.expect) + _flat(change.put)
        arguments.append(len(change.add))
        for name, amount in change.add.items():
            arguments += [name, amount, change.at_most.get(name, MAX_COUNTER)]
        with self._connection() as connection:
            head, *counters = self._run(connection, APPLY, key, *arguments)
            if head != b"ok":
                return _REPLIES[head]
            return Applied({name.decode(): int(number) for name, number in _pairs(counters)})

    def delete(self, key: str) -> Literal[Refusal.MOVED] | None:
        """See SessionStore."""
        with self._connection() as connection:
            return Refusal.MOVED if self._run(connection, DELETE, key) == b"moved" else None

    def check(self) -> None:
        """See SessionStore. Writes, so a full server and a read-only one can't serve."""
        with self._connection(probe=True) as connection:
            # A key that no session has: theirs are hex. It is created anew, for two seconds, by the usual script.
            self._run(connection, COPY, "check", "created", 0, lifetimes=(2000, 2**50))

    def close(self) -> None:
        """See SessionStore."""
        self._pool.close()

    def _read(self, key: str) -> tuple[dict[bytes, bytes], Record] | None:
        with self._connection() as connection:
            reply = self._run(connection, READ, key)
            if reply is None:
                return None
            fields = dict(_pairs(reply))
            return fields, _record(fields)

    def _move(self, key: str, new_key: str, change: Change) -> Applied | Refusal:
        """Copy, then leave a mark at the old key if nobody wrote there meanwhile; else again.

        A crash between the two leaves the old session as it was, and a copy under a key that nobody knows.
        """
        while True:
            try:
                remaining()
            except TimeoutError:
                raise StoreUnavailable(f"{self._where}: the session was written to too often to move it") from None
            found = self._read(key)
            if found is None:
                # A change of nothing tells whether it was moved or is gone.
                result = self.apply(key, Change())
                if isinstance(result, Refusal):
                    return result
                continue
            fields, old = found
            record = changed(old, change, self._limits, now=0)
            if isinstance(record, Refusal):
                return record
            with self._connection() as connection:
                copy = [part for field in _fields(record, fields).items() for part in field]
                self._run(connection, COPY, new_key, *copy)
                outcome = self._run(connection, MOVE, key, fields[b"version"], MOVED_SECONDS * 1000)
                if outcome == b"ok":
                    return Applied(record.counters)
                if outcome != b"changed":
                    _ask(connection, "DEL", PREFIX + new_key)
                    return _REPLIES[outcome]

    @contextlib.contextmanager
    def _connection(self, *, probe: bool = False) -> Iterator[Any]:
        """A connection for one call, within the timeout; every way to fail becomes StoreUnavailable.

        A ``probe`` tries even while the breaker is open.
        """
        if not probe and (cause := self._breaker.admit()):
            raise StoreUnavailable(f"{cause} (not tried again yet)")
        connection: Any = None
        started = time.monotonic()
        try:
            with within(self._timeout):
                connection = self._pool.get_connection()
                yield connection
        except (redis.exceptions.RedisError, OSError, ValueError, TypeError, KeyError) as error:
            if connection is not None and not isinstance(error, redis.exceptions.OutOfMemoryError):
                connection.disconnect()
            raise self._explain(error, time.monotonic() - started) from error
        else:
            self._breaker.succeeded()
        finally:
            if connection is not None:
                self._pool.release(connection)

    def _explain(self, error: Exception, waited: float) -> StoreUnavailable:
        match error:
            case redis.exceptions.ReadOnlyError():
                # It was the primary once. What is connected to it must find the new one.
                self._pool.disconnect(inuse_connections=False)
                cause = f"is a read-only replica: {_text(error)}"
            case redis.exceptions.OutOfMemoryError():
                cause = f"is full: {_text(error)}"
            case redis.exceptions.AuthenticationError():
                cause = f"wants another password, or any: {_text(error)}"
            case redis.exceptions.ResponseError() if "unauthenticated" in str(error):
                # A long command is refused before Redis looks at what it is.
                cause = f"wants another password, or any: {_text(error)}"
            case redis.exceptions.ResponseError():
                cause = f"refused: {_text(error)}"
            case redis.exceptions.TimeoutError() | TimeoutError():
                # What else is pooled may lead to where nothing answers any more, too.
                self._pool.disconnect(inuse_connections=False)
                cause = f"did not answer in time: {_text(error)}"
            case redis.exceptions.RedisError() | OSError():
                cause = f"can't be used: {_text(error)}"
            case _:
                cause = f"gave an answer that makes no sense: {_text(error)}"
        message = f"{self._where} {cause}"
        if isinstance(error, redis.exceptions.ResponseError):
            self._breaker.succeeded()
        elif not isinstance(error, redis.exceptions.TimeoutError | TimeoutError) or waited >= self._timeout / 2:
            # A request that had little time left proves nothing.
            self._breaker.failed(message)
        return StoreUnavailable(message)

    def _run(
        self,
        connection: Any,
        script: Script,
        key: str,
        *arguments: Any,
        lifetimes: tuple[int, int] | None = None,
    ) -> Any:
        rest = (1, PREFIX + key, *(lifetimes or self._lifetimes), *arguments)
        try:
            return _ask(connection, "EVALSHA", script.sha, *rest)
        except redis.exceptions.NoScriptError:
            # The server is new or was restarted; from now on it knows the script.
            return _ask(connection, "EVAL", script.text, *rest)


def _ask(connection: Any, *command: Any) -> Any:
    connection.send_command(*command)
    return connection.read_response()


def _text(error: Exception) -> str:
    """What the server or the library said, in one line that fits a log."""
    code = getattr(error, "status_code", None)
    words = f"{code} {error}" if code else str(error)
    return "".join(c if c.isprintable() else " " for c in words)[:200]


def _pairs(flat: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    if not isinstance(flat, list) or not all(isinstance(part, bytes) for part in flat):
        raise TypeError("not a list of strings")
    return zip(flat[::2], flat[1::2], strict=True)


def _flat(parts: Mapping[str, Any]) -> list[Any]:
    return [len(parts), *(part for pair in parts.items() for part in pair)]


def _record(fields: Mapping[bytes, bytes]) -> Record:
    return Record(
        values={name[2:].decode(): value for name, value in fields.items() if name.startswith(b"v:")},
        counters={name[2:].decode(): int(value) for name, value in fields.items() if name.startswith(b"n:")},
        created=int(fields[b"created"]) / 1000,
        expires=int(fields[b"expires"]) / 1000,
    )


def _fields(record: Record, old: Mapping[bytes, bytes]) -> dict[str, Any]:
    """The hash of a record that got another key: it keeps when it was created, and counts on."""
    fields: dict[str, Any] = {"created": old[b"created"], "version": int(old[b"version"]) + 1}
    fields |= {f"v:{name}": value for name, value in record.values.items()}
    return fields | {f"n:{name}": number for name, number in record.counters.items()}
