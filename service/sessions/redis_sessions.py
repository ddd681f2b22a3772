"""What a session is in Redis, and its steps as scripts; for redis.py and redis_cluster.py."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeVar

from service.sessions.redis_scripts import APPLY, DELETE, READ, Script
from service.sessions.rules import Limits
from service.sessions.store import MAX_COUNTER, Applied, Change, Record, Refusal

T = TypeVar("T")

PREFIX = "seatrial:session:1:"  # of every key
_REFUSALS = {refusal.value.encode(): refusal for refusal in Refusal}


class RedisSessions(ABC):
    """A SessionStore but for ``name``, ``close()`` and how a script gets to its server."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lifetimes = (round(limits.idle_lifetime * 1000), round(limits.absolute_lifetime * 1000))

    @abstractmethod
    def _run(
        self, script: Script, keys: list[str], *arguments: Any, understand: Callable[[Any], T], probe: bool = False
    ) -> T:
        """Run a script on these keys (without PREFIX) and ``understand`` its reply.

        Every way to fail becomes StoreUnavailable. A ``probe`` tries even while the breaker is open.
        """

    def read(self, key: str) -> Record | None:
        return self._run(READ, [key], *self._lifetimes, understand=record_of)

    def apply(self, key: str, change: Change) -> Applied | Refusal:
        keys = [key] if change.new_key is None else [key, change.new_key]
        return self._run(APPLY, keys, *self._lifetimes, *self._arguments(change), understand=applied)

    def delete(self, key: str) -> Literal[Refusal.MOVED] | None:
        return Refusal.MOVED if self._run(DELETE, [key], *self._lifetimes, understand=refusal) else None

    def check(self) -> None:
        """Writes, so that a full server and a read-only one can't serve."""
        # A key that no session has, because theirs are hex; for two seconds.
        arguments = self._arguments(Change(create=True))
        self._run(APPLY, ["check"], 2000, 2**50, *arguments, understand=applied, probe=True)

    def _arguments(self, change: Change) -> list[Any]:
        """A change, as APPLY takes it after the lifetimes."""
        arguments = [self._limits.max_bytes, int(change.create), len(change.delete), *change.delete]
        arguments += _flat(change.set) + _flat(change.expect) + _flat(change.put)
        arguments.append(len(change.add))
        for name, amount in change.add.items():
            arguments += [name, amount, change.at_most.get(name, MAX_COUNTER)]
        return arguments


# How replies are read. TypeError, ValueError or KeyError where they make no sense.


def fields_of(reply: Any) -> dict[bytes, bytes]:
    """The fields that READ found, and ``expires``."""
    return dict(_pairs(reply))


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


def applied(reply: Any) -> Applied | Refusal:
    """What APPLY said."""
    first, *counters = reply
    if first != b"ok":
        return _REFUSALS[first]
    return Applied({name.decode(): int(number) for name, number in _pairs(counters)})


def refusal(reply: Any) -> Refusal | None:
    """What a script said that says "ok" or why not."""
    return None if reply == b"ok" else _REFUSALS[reply]


def _pairs(flat: Any) -> Iterator[tuple[bytes, bytes]]:
    if not isinstance(flat, list) or not all(isinstance(part, bytes) for part in flat):
        raise TypeError("not a list of strings")
    return zip(flat[::2], flat[1::2], strict=True)


def _flat(parts: Mapping[str, Any]) -> list[Any]:
    return [len(parts), *(part for pair in parts.items() for part in pair)]
