"""Sessions in Redis, for redis.py and redis_cluster.py: each step is a script, which a server runs."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, Literal, Protocol, TypeVar

from redis import exceptions

from service.breaker import Breaker
from service.sessions.deadline import within
from service.sessions.redis_connection import open_pool
from service.sessions.redis_scripts import APPLY, DELETE, NOTE, READ, Script
from service.sessions.rules import Limits
from service.sessions.store import MAX_COUNTER, Applied, Change, Record, Refusal, StoreUnavailable

T = TypeVar("T")

PREFIX = "session:1:"  # of every key
_REFUSALS = {refusal.value.encode(): refusal for refusal in Refusal}

# What went wrong, in words for people; the first that fits. Redis refuses a long command before it asks for a password:
# "unauthenticated bulk length".
_CAUSES = (
    (exceptions.MovedError, "", "is a node of a Redis Cluster, so SESSION_URL must begin with redis+cluster"),
    (exceptions.ReadOnlyError, "", "is a read-only replica"),
    (exceptions.OutOfMemoryError, "", "is full"),
    (exceptions.AuthenticationError, "", "wants another password, or any"),
    (exceptions.ResponseError, "unauthenticated", "wants another password, or any"),
    (exceptions.ResponseError, "", "refused"),
    ((exceptions.TimeoutError, TimeoutError), "", "did not respond in time"),
    ((exceptions.RedisError, OSError), "", "can't be used"),
    (Exception, "", "sent a reply that makes no sense"),
)


class Step(Generic[T]):
    """A script, what it is given, and ``understand``, which reads its reply."""

    def __init__(self, script: Script, keys: list[str], arguments: Iterable[Any], understand: Callable[[Any], T]):
        self.script = script
        self.keys = keys
        self.inputs = [len(keys), *keys, *arguments]  # as EVAL takes them
        self.understand = understand

    def run(self, connection: Any) -> T:
        """Run it in the server."""
        try:
            reply = ask(connection, "EVALSHA", self.script.sha, *self.inputs)
        except exceptions.NoScriptError:
            # The server is new or was restarted; from now on it knows the script.
            reply = ask(connection, "EVAL", self.script.text, *self.inputs)
        return self.understand(reply)


class RunStep(Protocol):
    """Runs a step in the server that has its keys. Every way to fail becomes StoreUnavailable.

    A ``probe`` tries even while the breaker is open.
    """

    def __call__(self, step: Step[T], *, probe: bool = False) -> T: ...


class RedisSessions:
    """A SessionStore but for ``name``, ``close()`` and how a step gets to its server: ``run``."""

    def __init__(self, limits: Limits, run: RunStep) -> None:
        self._limits = limits
        self._lifetimes = (round(limits.idle_lifetime * 1000), round(limits.absolute_lifetime * 1000))
        self._run = run

    def read(self, key: str) -> Record | None:
        return self._run(Step(READ, [PREFIX + key], self._lifetimes, record_of))

    def apply(self, key: str, change: Change) -> Applied | Refusal:
        keys = [PREFIX + key]
        if change.new_key is not None:
            keys.append(PREFIX + change.new_key)
        return self._run(Step(APPLY, keys, [*self._lifetimes, *self._arguments(change)], applied))

    def read_note(self, key: str) -> bytes | None:
        return self._run(Step(NOTE, [PREFIX + key], self._lifetimes, note_of))

    def delete(self, key: str) -> Literal[Refusal.MOVED] | None:
        return Refusal.MOVED if self._run(Step(DELETE, [PREFIX + key], self._lifetimes, refusal)) else None

    def check(self) -> None:
        """Writes, so that a full server and a read-only one can't serve."""
        # A key that no session has, because theirs are hex; for two seconds.
        arguments = [2000, 2**50, *self._arguments(Change(create=True))]
        self._run(Step(APPLY, [PREFIX + "check"], arguments, applied), probe=True)

    def _arguments(self, change: Change) -> list[Any]:
        """A change, as APPLY takes it after the lifetimes."""
        arguments = [self._limits.max_bytes, int(change.create), change.note, len(change.delete), *change.delete]
        arguments += _flat(change.set) + _flat(change.expect) + _flat(change.put)
        arguments.append(len(change.add))
        for name, amount in change.add.items():
            arguments += [name, amount, change.at_most.get(name, MAX_COUNTER)]
        return arguments


def _flat(parts: Mapping[str, Any]) -> list[Any]:
    return [len(parts), *(part for pair in parts.items() for part in pair)]


# How replies are read. TypeError, ValueError or KeyError where they make no sense.


def fields_of(reply: Any) -> dict[bytes, bytes]:
    """A list of names and values in turn, as a dict."""
    if not isinstance(reply, list) or not {bytes}.issuperset(map(type, reply)):
        raise TypeError("not a list of strings")
    return dict(zip(reply[::2], reply[1::2], strict=True))


def record_of(reply: Any) -> Record | None:
    """The session that READ found; None where there is none."""
    if reply is None:
        return None
    fields = fields_of(reply)
    return Record(
        values={name[2:].decode(): value for name, value in fields.items() if name.startswith(b"v:")},
        counters={name[2:].decode(): int(value) for name, value in fields.items() if name.startswith(b"n:")},
        created=int(fields[b"created"]) / 1000,
        expires=int(fields[b"expires"]) / 1000,
    )


def note_of(reply: Any) -> bytes | None:
    """The reply to NOTE."""
    if not isinstance(reply, bytes | None):
        raise TypeError("not a note")
    return reply


def applied(reply: Any) -> Applied | Refusal:
    """The reply to APPLY."""
    first, *counters = reply
    if first != b"ok":
        return _REFUSALS[first]
    return Applied({name.decode(): int(number) for name, number in fields_of(counters).items()})


def refusal(reply: Any) -> Refusal | None:
    """The reply to a script that says "ok" or why not."""
    return None if reply == b"ok" else _REFUSALS[reply]


class RedisServer:
    """One server: its connections, and whether it is down. ``timeout`` (seconds) is for all that a call does.

    ``options``: see connection_options().
    """

    def __init__(self, *, timeout: float, **options: Any) -> None:
        self.host: str = options["host"]
        address = "[{host}]:{port}" if ":" in self.host else "{host}:{port}"
        self.where = f"Redis at {options['path'] or address.format(**options)}"
        self.breaker = Breaker(timeout)
        self._timeout = timeout
        self._pool = open_pool(**options)

    def run(self, step: Step[T], *, probe: bool = False) -> T:
        """See RunStep."""
        return self.call(step.run, probe=probe)

    def call(self, do: Callable[[Any], T], *, probe: bool = False) -> T:
        """What ``do`` returns, which is given a connection. ``probe`` and errors: see RunStep."""
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
        """Close the connections that are not in use."""
        self._pool.disconnect(inuse_connections=False)

    def _with_connection(self, do: Callable[[Any], T]) -> T:
        connection = self._pool.get_connection()
        try:
            return do(connection)
        except BaseException as error:
            if not isinstance(error, exceptions.ResponseError):
                # A reply may still come, and no other request may get it. redis-py's own client looks for one
                # before it hands the connection out again, which may be too soon to see it.
                connection.disconnect()  # type: ignore[no-untyped-call] # redis-py is typed in parts only
            raise
        finally:
            self._pool.release(connection)

    def _explain(self, error: Exception, waited: float) -> StoreUnavailable:
        cause = next(words for kind, part, words in _CAUSES if isinstance(error, kind) and part in str(error))
        code = getattr(error, "status_code", None)  # redis-py takes it off the server's words
        message = f"{self.where} {cause}: {f'{code} ' if code else ''}{error}"
        is_late = isinstance(error, exceptions.TimeoutError | TimeoutError)
        if not isinstance(error, exceptions.ResponseError) or isinstance(error, exceptions.ReadOnlyError):
            # The other pooled connections may lead to the same dead end, or to a server that is no longer the primary.
            self.close()
        if isinstance(error, exceptions.ResponseError):
            self.breaker.succeeded()
        elif not is_late or waited >= self._timeout / 2 or self.breaker.is_open:
            # A request that had little time left proves nothing, but it may have been the one that was to find out.
            self.breaker.failed(message)
        return StoreUnavailable(message)


def ask(connection: Any, *command: Any) -> Any:
    """Send a command, and return the reply."""
    connection.send_command(*command)
    return connection.read_response()
