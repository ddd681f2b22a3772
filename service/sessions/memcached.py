"""Sessions in Memcached (1.5.3 or later, for ``gats``), one item a session, changed by compare-and-swap.

An item is a line of JSON (when it was created, the counters, the values' names and lengths) and then the values, one
after the other. Memcached has no command for the time: lifetimes are by our clock. Why one server only:
docs/decisions/0003-one-memcached-item.md.
"""

import contextlib
import json
import math
import threading
import time
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheClientError, MemcacheError, MemcacheServerError, MemcacheUnexpectedCloseError
from pymemcache.pool import ObjectPool

from service.breaker import Breaker
from service.sessions.deadline import TimedSocket, connect, remaining, within
from service.sessions.rules import Limits, changed
from service.sessions.store import MOVED_SECONDS, Applied, Change, Record, Refusal, StoreUnavailable

PREFIX = "session:1:"
MOVED = b"moved"  # what begins the item that stands for a while under the key of a session that got another
TOO_LARGE = b"object too large for cache"
LOCKS = 64

# protocol.txt, "Expiration times": what is longer is taken for a date.
LONGEST_RELATIVE = 30 * 24 * 3600

# What went wrong, in words for people; the first that fits.
_CAUSES = (
    (TimeoutError, "did not respond in time"),
    (MemcacheUnexpectedCloseError, "closed the connection"),
    ((MemcacheServerError, MemcacheClientError), "refused"),
    (OSError, "can't be used"),
    (Exception, "sent a reply that makes no sense"),
)


class _Item(NamedTuple):
    """What the server has under a key, and its CAS token. Both are None where there is nothing."""

    data: bytes | None = None
    cas: bytes | None = None

    @property
    def note(self) -> bytes | None:
        """What a session left here that got another key."""
        return self.data.removeprefix(MOVED) if self.data is not None and self.data.startswith(MOVED) else None


class _Client(Client):  # type: ignore[misc] # pymemcache is not typed
    """pymemcache's client, over a socket that keeps to the deadline, with one command more."""

    epoch = 0  # see MemcachedStore

    def _connect(self) -> None:
        self.close()
        self.sock = TimedSocket(connect(*self.server))

    def gats(self, key: str, expire: int) -> _Item:
        """Get, with the CAS token, and touch, in one round trip."""
        return _Item(*self._fetch_cmd(b"gats %d" % expire, [key], True).get(key, ()))

    def renew_if_stale(self, epoch: int) -> None:
        """A connection that has something to read before anything was asked was closed by the server."""
        if self.sock is not None and (self.epoch != epoch or self.sock.is_readable()):
            self.close()
        self.epoch = epoch


class MemcachedStore:
    """A SessionStore. ``url``: memcached://host:port or memcached://[::1]:port. ``timeout`` is in seconds."""

    name = "memcached"

    def __init__(self, *, url: str, timeout: float, limits: Limits) -> None:
        self._address = url.removeprefix("memcached://")
        self._timeout = timeout
        self._limits = limits
        self._breaker = Breaker(timeout)
        host, _, port = self._address.rpartition(":")
        host = host.strip("[]")  # of an IPv6 address (RFC 3986 §3.2.2)
        self._pool = ObjectPool(lambda: _Client((host, int(port))), after_remove=lambda client: client.close())
        self._epoch = 0  # connections of an earlier one are not used again
        # Threads of one process take turns at a session, so that few attempts are in vain.
        self._locks = [threading.Lock() for _ in range(LOCKS)]
        self._last_read = threading.local()

    def read(self, key: str) -> Record | None:
        with within(self._timeout), self._client() as client:
            item = client.gats(PREFIX + key, _expiration(self._limits.idle_lifetime))
            now = time.time()
            record = self._live(item, now)
            if record is not None:
                self._last_read.found = (key, item)
            return record

    def apply(self, key: str, change: Change) -> Applied | Refusal:
        """One round trip if this thread read the session before and no other request wrote to it since, and for a new
        session; else two or more. A new key costs one more.
        """
        with within(self._timeout), self._turn(key), self._client() as client:
            assumed = self._take_last_read(key) or (_Item() if change.create else None)
            if assumed is not None:
                outcome = self._attempt(client, key, change, assumed)
                if isinstance(outcome, Applied):
                    return outcome
            while True:
                outcome = self._attempt(client, key, change, _Item(*client.gets(PREFIX + key)))
                if outcome is not None:
                    return outcome

    def read_note(self, key: str) -> bytes | None:
        with within(self._timeout), self._client() as client:
            return _Item(*client.gets(PREFIX + key)).note

    def delete(self, key: str) -> Literal[Refusal.MOVED] | None:
        """Two round trips: Memcached's own ``delete`` would also delete the mark of a move."""
        with within(self._timeout), self._turn(key), self._client() as client:
            while True:
                item = _Item(*client.gets(PREFIX + key))
                if item.note is not None:
                    return Refusal.MOVED
                # protocol.txt, "Expiration times": what expires before now is gone at once.
                if item.cas is None or client.cas(PREFIX + key, b"", item.cas, expire=-1):
                    return None

    def check(self) -> None:
        with within(self._timeout), self._client(probe=True) as client:
            client.set(PREFIX + "check", b"", expire=2, noreply=False)

    def close(self) -> None:
        self._pool.clear()

    def _attempt(self, client: _Client, key: str, change: Change, item: _Item) -> Applied | Refusal | None:
        """Make the change if the item is still what the server has; None where it is not."""
        if item.note is not None:
            return Refusal.MOVED
        now = time.time()
        result = changed(self._live(item, now), change, self._limits, now=now)
        if isinstance(result, Refusal):
            return result
        data, expire = _encode(result), _expiration(result.expires - now)
        try:
            if change.new_key is not None:
                client.set(PREFIX + change.new_key, data, expire=expire, noreply=False)
                data, expire = MOVED + change.note, MOVED_SECONDS
            if item.cas is None:
                stored = client.add(PREFIX + key, data, expire=expire, noreply=False)
            else:
                stored = client.cas(PREFIX + key, data, item.cas, expire=expire)
        except MemcacheServerError as error:
            if error.args != (TOO_LARGE,):
                raise
            return Refusal.TOO_LARGE
        if stored:
            return Applied(result.counters)
        if change.new_key is not None:
            client.delete(PREFIX + change.new_key, noreply=False)
        return None

    @contextlib.contextmanager
    def _client(self, *, probe: bool = False) -> Iterator[_Client]:
        """A connection for a call. Every way to fail becomes StoreUnavailable. A ``probe`` ignores the breaker."""
        if not probe and (cause := self._breaker.admit()):
            raise StoreUnavailable(f"{cause} (not tried again yet)")
        started = time.monotonic()
        try:
            with self._pool.get_and_release(destroy_on_fail=True) as client:
                client.renew_if_stale(self._epoch)
                yield client
        except (MemcacheError, OSError, ValueError, TypeError, KeyError) as error:
            raise self._explain(error, time.monotonic() - started) from error
        self._breaker.succeeded()

    def _explain(self, error: Exception, waited: float) -> StoreUnavailable:
        cause = next(words for kind, words in _CAUSES if isinstance(error, kind))
        message = f"Memcached at {self._address} {cause}: {_text(error)}"
        is_late = isinstance(error, TimeoutError)
        if is_late:
            # The other pooled connections may lead to the same dead end.
            self._epoch += 1
        if cause == "refused":
            self._breaker.succeeded()
        elif not is_late or waited >= self._timeout / 2 or self._breaker.is_open:
            # A request that had little time left proves nothing, but it may have been the one that was to find out.
            self._breaker.failed(message)
        return StoreUnavailable(message)

    @contextlib.contextmanager
    def _turn(self, key: str) -> Iterator[None]:
        lock = self._locks[hash(key) % LOCKS]
        try:
            is_ours = lock.acquire(timeout=remaining())
        except TimeoutError:  # there is no time left, not even to try
            is_ours = False
        if not is_ours:
            raise StoreUnavailable(f"Memcached at {self._address} did not respond earlier requests in time")
        try:
            yield
        finally:
            lock.release()

    def _take_last_read(self, key: str) -> _Item | None:
        key_read, item = vars(self._last_read).pop("found", ("", None))
        return item if key_read == key else None

    def _live(self, item: _Item, now: float) -> Record | None:
        """The record, if the item is one and has not ended."""
        if item.data is None or item.note is not None:
            return None
        try:
            created, counters, values = _decode(item.data)
        except (ValueError, TypeError, KeyError) as error:
            raise StoreUnavailable(f"Memcached holds an item that makes no sense: {_text(error)}") from error
        record = Record(values, counters, created, self._limits.expires(created, now))
        return record if record.expires > now else None


def _encode(record: Record) -> bytes:
    lengths = [(name, len(value)) for name, value in record.values.items()]
    document = {"created": record.created, "counters": dict(record.counters), "values": lengths}
    return json.dumps(document, separators=(",", ":")).encode() + b"\n" + b"".join(record.values.values())


def _decode(data: bytes) -> tuple[float, dict[str, int], dict[str, bytes]]:
    first_line, _, rest = data.partition(b"\n")
    document: dict[str, Any] = json.loads(first_line)
    values, position = {}, 0
    for name, length in document["values"]:
        values[name] = rest[position : position + length]
        position += length
    if position != len(rest):
        raise ValueError("it is cut off")
    return float(document["created"]), document["counters"], values


def _expiration(seconds: float) -> int:
    """As Memcached wants it: whole seconds, or a date. One second more, because its clock ticks once a second."""
    whole = math.ceil(seconds) + 1
    return whole if whole <= LONGEST_RELATIVE else int(time.time()) + whole


def _text(error: Exception) -> str:
    """What the server said, which pymemcache keeps as bytes, or the library."""
    first = error.args[0] if len(error.args) == 1 else str(error)
    return first.decode(errors="replace") if isinstance(first, bytes) else str(first)
