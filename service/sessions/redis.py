"""Sessions in Redis or Valkey (5 or later), one hash a session. The rules run in the server: redis_scripts.py."""

import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeVar

import redis.connection
import redis.exceptions
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from service.sessions.deadline import TimedSocket, connect, connect_unix, remaining, within
from service.sessions.redis_nodes import Node, Nodes
from service.sessions.redis_scripts import APPLY, COPY, DELETE, MOVE, READ, Script
from service.sessions.rules import Limits, changed
from service.sessions.store import (
    MAX_COUNTER,
    MOVED_SECONDS,
    Applied,
    Change,
    Record,
    Refusal,
    StoreUnavailable,
)

T = TypeVar("T")

PREFIX = "seatrial:session:1:"

_parse_url: Callable[[str], dict[str, Any]] = redis.connection.parse_url
_REDIRECTS = 5  # in one call; a cluster at rest needs one
_FAILURES = (redis.exceptions.RedisError, OSError, ValueError, TypeError, KeyError)
_BYTES = {bytes}
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
        options: dict[str, Any] = {
            "tls": tls,
            "username": parts.get("username") or username or None,
            "password": parts.get("password") or password or None,
            # RESP2 needs no HELLO, and nothing else is asked when a connection begins: it costs no round trip.
            "protocol": 2,
            "driver_info": None,
            "maint_notifications_config": MaintNotificationsConfig(enabled=False),
            "health_check_interval": 0,
            "retry": Retry(NoBackoff(), 0),
        }

        def seed() -> _Connection:
            return _Connection(path=path, host=host, port=port, db=parts.get("db", 0), **options)

        def node(host: str, port: int) -> _Connection:
            return _Connection(path="", host=host, port=port, **options)  # a cluster has no other database than 0

        self._nodes = Nodes(Node(f"Redis at {path or f'{host}:{port}'}", seed), node)

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

        def understand(reply: Any) -> Applied | Refusal:
            head, *counters = reply
            if head != b"ok":
                return _REPLIES[head]
            return Applied({name.decode(): int(number) for name, number in _pairs(counters)})

        return self._run(APPLY, key, *arguments, understand=understand)

    def delete(self, key: str) -> Literal[Refusal.MOVED] | None:
        """See SessionStore."""
        return Refusal.MOVED if self._run(DELETE, key, understand=_word) == b"moved" else None

    def check(self) -> None:
        """See SessionStore. Writes, so a full server and a read-only one can't serve."""
        # A key that no session has: theirs are hex. It is created anew, for two seconds, by the usual script.
        self._run(COPY, "check", "created", 0, lifetimes=(2000, 2**50), probe=True, understand=_word)

    def close(self) -> None:
        """See SessionStore."""
        self._nodes.close()

    def _read(self, key: str) -> tuple[dict[bytes, bytes], Record] | None:
        return self._run(READ, key, understand=_found)

    def _move(self, key: str, new_key: str, change: Change) -> Applied | Refusal:
        """Copy, then leave a mark at the old key if nobody wrote there meanwhile; else again.

        A crash between the two leaves the old session as it was, and a copy under a key that nobody knows.
        """
        while True:
            try:
                remaining()
            except TimeoutError:
                where = self._nodes.of(key).where
                raise StoreUnavailable(f"{where}: the session was written to too often to move it") from None
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
            copy = [part for field in _fields(record, fields).items() for part in field]
            self._run(COPY, new_key, *copy, understand=_word)
            outcome = self._run(MOVE, key, fields[b"version"], MOVED_SECONDS * 1000, understand=_word)
            if outcome == b"ok":
                return Applied(record.counters)
            if outcome != b"changed":
                self._run(DELETE, new_key, understand=_word)
                return _REPLIES[outcome]

    def _run(
        self,
        script: Script,
        key: str,
        *arguments: Any,
        lifetimes: tuple[int, int] | None = None,
        probe: bool = False,
        understand: Callable[[Any], T],
    ) -> T:
        """Run a script where its key is, and ``understand`` its answer.

        Every way to fail becomes StoreUnavailable. A ``probe`` tries even while the breaker is open.
        """
        key = PREFIX + key
        command = (script, 1, key, *(lifetimes or self._lifetimes), *arguments)
        with within(self._timeout):
            node = self._nodes.of(key)
            for _ in range(_REDIRECTS):
                with self._connection(node, probe=probe) as connection:
                    try:
                        return understand(_evaluate(connection, *command))
                    except redis.exceptions.MovedError as moved:
                        self._nodes.learn(_ask(connection, "CLUSTER", "SLOTS"), connection.host)
                        node = self._nodes.at(moved.host or connection.host, moved.port)
                    except redis.exceptions.AskError as elsewhere:  # this key only, while its slot is moved
                        node = self._nodes.at(elsewhere.host or connection.host, elsewhere.port)
                        with self._connection(node, probe=probe) as other:
                            return understand(_evaluate(other, *command, asking=True))
        raise StoreUnavailable(f"{node.where} sends us round in circles")

    def _connection(self, node: Node, *, probe: bool) -> "_Use":
        if not probe and (cause := node.breaker.admit()):
            self._nodes.forget()
            raise StoreUnavailable(f"{cause} (not tried again yet)")
        return _Use(node, self._explain)

    def _explain(self, node: Node, error: Exception, waited: float) -> StoreUnavailable:
        match error:
            case redis.exceptions.ReadOnlyError():
                # It was the primary once. What is connected to it must find the new one.
                node.pool.drop_idle()
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
                node.pool.drop_idle()
                cause = f"did not answer in time: {_text(error)}"
            case redis.exceptions.RedisError() | OSError():
                cause = f"can't be used: {_text(error)}"
            case _:
                cause = f"gave an answer that makes no sense: {_text(error)}"
        message = f"{node.where} {cause}"
        if isinstance(error, redis.exceptions.ResponseError):
            node.breaker.succeeded()
            return StoreUnavailable(message)
        self._nodes.forget()
        if not isinstance(error, redis.exceptions.TimeoutError | TimeoutError) or waited >= self._timeout / 2:
            # A request that had little time left proves nothing.
            node.breaker.failed(message)
        return StoreUnavailable(message)


class _Use:
    """A connection to ``node`` for one command, as a context. ``explain`` says in our words what went wrong."""

    __slots__ = ("_connection", "_explain", "_node", "_started")

    def __init__(self, node: Node, explain: Callable[[Node, Exception, float], StoreUnavailable]) -> None:
        self._node, self._explain = node, explain

    def __enter__(self) -> Any:
        self._started = time.monotonic()
        try:
            self._connection = self._node.pool.take()
        except _FAILURES as error:
            raise self._explain(self._node, error, time.monotonic() - self._started) from error
        return self._connection

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        try:
            if error is None:
                self._node.breaker.succeeded()
                return
            if not isinstance(error, redis.exceptions.OutOfMemoryError):
                self._connection.disconnect()  # it may have an answer to come, which is nobody else's
            if isinstance(error, _FAILURES):
                raise self._explain(self._node, error, time.monotonic() - self._started) from error
        finally:
            self._node.pool.give_back(self._connection)


def _evaluate(connection: Any, script: Script, *rest: Any, asking: bool = False) -> Any:
    """Run the script. ``asking``: the cluster sent us here with ASK, which has to be said before each command."""
    if asking:
        _ask(connection, "ASKING")
    try:
        return _ask(connection, "EVALSHA", script.sha, *rest)
    except redis.exceptions.NoScriptError:
        # The server is new or was restarted; from now on it knows the script.
        if asking:
            _ask(connection, "ASKING")
        return _ask(connection, "EVAL", script.text, *rest)


def _ask(connection: Any, *command: Any) -> Any:
    connection.send_command(*command)
    return connection.read_response()


def _found(reply: Any) -> tuple[dict[bytes, bytes], Record] | None:
    if reply is None:
        return None
    fields = dict(_pairs(reply))
    return fields, _record(fields)


def _word(reply: Any) -> bytes:
    if not isinstance(reply, bytes):
        raise TypeError("not a word")
    return reply


def _text(error: Exception) -> str:
    """What the server or the library said, in one line that fits a log."""
    code = getattr(error, "status_code", None)
    words = f"{code} {error}" if code else str(error)
    return "".join(c if c.isprintable() else " " for c in words)[:200]


def _pairs(flat: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    if not isinstance(flat, list) or not set(map(type, flat)) <= _BYTES:
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
