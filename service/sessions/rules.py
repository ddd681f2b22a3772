"""What a Change does to a Record, for stores that can't decide it themselves. Pure: knows no store and no clock.

Redis decides by the same rules, written in Lua: redis_scripts.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from service.sessions.store import MAX_COUNTER, Change, Record, Refusal


@dataclass(frozen=True)
class Limits:
    """How long a session lives (seconds) and how large it gets (bytes)."""

    idle_lifetime: float
    absolute_lifetime: float
    max_bytes: int

    def expires(self, created: float, now: float) -> float:
        """When a session ends that is used now. Not after ``now`` where it has ended already."""
        return min(now + self.idle_lifetime, created + self.absolute_lifetime)


def changed(record: Record | None, change: Change, limits: Limits, *, now: float) -> Record | Refusal:
    """The record after the change, or why there is none. ``now``: seconds since the epoch."""
    if record is None:
        if not change.create:
            return Refusal.GONE
        record = Record({}, {}, created=now, expires=now)
    if any(record.counters.get(name, 0) != number for name, number in change.expect.items()):
        return Refusal.CONFLICT
    counters = {**record.counters, **{name: _bounded(number) for name, number in change.put.items()}}
    for name, amount in change.add.items():
        counters[name] = _bounded(counters.get(name, 0) + amount)
        if counters[name] > change.at_most.get(name, MAX_COUNTER):
            return Refusal.OVER_LIMIT
    values = {name: value for name, value in record.values.items() if name not in change.delete}
    values |= change.set
    size = size_of(values, counters)
    if size > limits.max_bytes and size > size_of(record.values, record.counters):
        return Refusal.TOO_LARGE
    return record._replace(values=values, counters=counters, expires=limits.expires(record.created, now))


def size_of(values: Mapping[str, bytes], counters: Mapping[str, int]) -> int:
    """The size that ``max_bytes`` bounds: names, values, and counters in decimal digits."""
    return sum(len(name.encode()) + len(value) for name, value in values.items()) + sum(
        len(name.encode()) + len(str(number)) for name, number in counters.items()
    )


def _bounded(number: int) -> int:
    return max(0, min(number, MAX_COUNTER))
