"""A visitor's session during one request: a mapping that asks the store when it is used, and not before.

Reading takes one round trip, whatever is read. Values that were set, deleted, or changed in place are written in one
step at the end of the request. Counters, and what else must be decided in the store, are written at once: ``step()``.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NoReturn, ParamSpec, TypeVar, cast

import flask
from flask.json.tag import TaggedJSONSerializer
from flask.sessions import SessionMixin

from service.sessions.cookie import ID_BYTES, key_of, new_id, sealed
from service.sessions.deadline import within
from service.sessions.rules import Limits, changed, size_of
from service.sessions.store import Applied, Change, Record, Refusal, SessionStore, StoreUnavailable

P = ParamSpec("P")
T = TypeVar("T")

_serializer = TaggedJSONSerializer()
_IMMUTABLE = (str, int, float, bool, type(None))


class SessionGone(Exception):
    """The session was there when the request began to use it. It was ended meanwhile or, if ``moved``, got another id.

    The old id opens nothing then.
    """

    def __init__(self, *, moved: bool) -> None:
        super().__init__(f"The session {'got a new id' if moved else 'was ended'} while this request used it.")
        self.moved = moved


class SessionTooLarge(Exception):
    """The session would be larger than it may be. Both sizes are in bytes; ``size`` is 0 if it is unknown."""

    def __init__(self, size: int, max_bytes: int) -> None:
        takes = f"{size} bytes" if size else "more than the store takes"
        super().__init__(f"The session would hold {takes}; it may hold {max_bytes}.")


def current() -> "Session":
    """The session of the request that is served now: ``flask.session``, with its type. Asks the store for nothing.

    RuntimeError at its use outside of a request.
    """
    return cast("Session", flask.session)


class Session(SessionMixin):
    """A visitor's session. Every use may raise StoreUnavailable, every write SessionGone too.

    ``session_id`` is what the visitor's cookie says, or None. ``timeout``: what all use together may keep the request
    waiting, in seconds. The time that the request spends on other things is given back, so that an upload of an hour
    may use its session again and again.
    """

    def __init__(self, store: SessionStore, session_id: bytes | None, *, timeout: float, max_bytes: int) -> None:
        self._store = store
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._waited = 0.0
        self._last_use = time.monotonic()

        self._id = session_id
        self._is_known = False  # the store has said in this request that it is there
        self._gone: SessionGone | None = None
        self._renew = False
        self._secret = ""  # with which the client may repeat this request
        self.touched = False
        self.gave_id: bytes | None = None  # the visitor must get this id
        self.ended = False

        self._record: Record | None = None  # as it was read
        self._is_read = False
        self._counters: Mapping[str, int] | None = None
        self._live: dict[str, Any] = {}  # values that the view has seen or set
        self._assigned: set[str] = set()
        self._dropped: set[str] = set()

    # The mapping

    def __getitem__(self, name: str) -> Any:
        if name in self._live:
            return self._live[name]
        record = None if name in self._dropped else self._read()
        if record is None or name not in record.values:
            raise KeyError(name)
        try:
            self._live[name] = _serializer.loads(record.values[name].decode())
        except ValueError as error:
            raise StoreUnavailable(f"the session store holds a value that is not JSON: {error}") from error
        return self._live[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if not isinstance(name, str):
            raise TypeError("names in a session are strings")
        self.touched = True
        self._live[name] = value
        self._assigned.add(name)
        self._dropped.discard(name)

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self._live.pop(name, None)
        self._assigned.discard(name)
        self._dropped.add(name)

    def __iter__(self) -> Iterator[str]:
        record = self._read()
        stored = {} if record is None else record.values
        return iter([name for name in {**stored, **self._live} if name not in self._dropped])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    # What else there is to know

    @property
    def exists(self) -> bool:
        """Whether the store has it. Costs a read, unless it is known."""
        return self._is_known or self._read() is not None

    @property
    def counters(self) -> Mapping[str, int]:
        """The counters, as of the last step or read. A counter that is missing is 0."""
        if self._counters is None:
            self._read()
        return self._counters or {}

    @property
    def created(self) -> float | None:
        """When it began, in seconds since the epoch; None where there is none."""
        record = self._read()
        return None if record is None else record.created

    @property
    def expires(self) -> float | None:
        """When it ends unless it is used again, in seconds since the epoch; None where there is none."""
        record = self._read()
        return None if record is None else record.expires

    # Steps

    def increment(self, name: str, by: int = 1) -> int:
        """Change a counter now, in one atomic step, and return it. Begins a session where there is none.

        Raises SessionTooLarge.
        """
        change = Change(add={name: by}, create=True)
        outcome = self.step(change)
        if isinstance(outcome, Applied):
            return outcome.counters[name]
        raise self._too_large(change)  # the one refusal of such a change

    def step(self, change: Change) -> Applied | Refusal:
        """Make a change now, in one atomic step. With ``create``, begins a session where there is none.

        A session that this request has seen, and that is gone now, is SessionGone; so is one that another request
        has just given a new id, because its visitor is about to learn that id.
        """
        self.touched = True
        if self._gone is not None:
            raise self._gone
        outcome: Applied | Refusal = Refusal.GONE
        if self._id is not None:
            given = new_id() if self._renew else None
            note = sealed(given, self._id, self._secret) if given and self._secret else b""
            known = replace(change, create=False, new_key=key_of(given) if given else None, note=note)
            outcome = self._apply(self._id, known, given)
            if outcome is Refusal.MOVED and note:
                outcome = self._repeat(self._id, change)
            if outcome is Refusal.MOVED or (outcome is Refusal.GONE and self._is_known):
                self._lose(moved=outcome is Refusal.MOVED)
        if outcome is Refusal.GONE:
            # The id of a session that is not there is never used for a new one: an attacker may have planted it.
            self._forget()
            if change.create:
                given = new_id()
                outcome = self._apply(given, change, given)
        return outcome

    def renew(self, secret: str = "") -> None:
        """Give the session a new id with the next write, and keep what it holds. The old id opens nothing then.

        For a change of privilege: an id that an attacker planted opens nothing then (session fixation). ``secret`` is
        random text of the client's own, of 128 bits or more. If the response is lost, a request with the old id and the
        same secret is given the new id again, for MOVED_SECONDS. Why: docs/decisions/0018-repeated-sign-in.md.
        """
        self.touched = True
        self._renew = True
        self._secret = secret

    def end(self) -> None:
        """End the session: it is gone from the store when this returns. Writing to it begins a new one.

        Raises SessionGone where it has just got another id: the session lives on under that, and the cookie stays.
        """
        self.touched = True
        if self._id is not None and self._ask(self._store.delete, key_of(self._id)) is Refusal.MOVED:
            self._lose(moved=True)
        self._forget()
        self.ended = True
        self.gave_id = None
        self._gone = None
        self._live, self._assigned, self._dropped = {}, set(), set()

    def refresh(self) -> None:
        """Forget what was read: the next use asks the store again. Values that the view has set
        stay set; values that it has changed in place are read again.
        """
        self._record, self._counters, self._is_read = None, None, False
        self._live = {name: value for name, value in self._live.items() if name in self._assigned}

    def write(self) -> None:
        """Write what the view has changed, in one step; nothing where it changed nothing. Raises SessionTooLarge."""
        stored = {} if self._record is None else self._record.values
        puts = {}
        for name, value in self._live.items():
            if name in self._assigned or not isinstance(value, _IMMUTABLE):
                tagged = _serializer.tag(value)
                content = flask.json.dumps(tagged, ensure_ascii=False, separators=(",", ":")).encode()
                if content != stored.get(name):
                    puts[name] = content
        dropped = self._dropped & stored.keys() if self._is_read else self._dropped
        if puts or dropped or (self._renew and self._id is not None):
            change = Change(set=puts, delete=frozenset(dropped), create=bool(puts))
            if self.step(change) is Refusal.TOO_LARGE:
                raise self._too_large(change)

    # Inside

    def _apply(self, session_id: bytes, change: Change, given: bytes | None) -> Applied | Refusal:
        """A change in the store, and what follows from it here. ``given``: the id that the visitor then gets."""
        outcome = self._ask(self._store.apply, key_of(session_id), change)
        if isinstance(outcome, Applied):
            self._is_known = True
            if given is not None:
                self._id = self.gave_id = given
                self._renew = False
            self._counters = outcome.counters
            if self._record is not None:
                values = {n: v for n, v in self._record.values.items() if n not in change.delete} | dict(change.set)
                self._record = self._record._replace(values=values, counters=outcome.counters)
            self._assigned -= change.set.keys()
            self._dropped -= change.delete
        return outcome

    def _repeat(self, old_id: bytes, change: Change) -> Applied | Refusal:
        """The session has moved already. If it was with the same secret, give its id again, and set what is to be set.

        What is to be counted was counted then.
        """
        note = self._ask(self._store.read_note, key_of(old_id))
        if note is None or len(note) != ID_BYTES:
            return Refusal.MOVED
        self._record, self._is_read = None, False
        given = sealed(note, old_id, self._secret)
        outcome = self._apply(given, Change(set=change.set, delete=change.delete), given)
        return Refusal.MOVED if outcome is Refusal.GONE else outcome

    def _lose(self, *, moved: bool) -> NoReturn:
        self._gone = SessionGone(moved=moved)
        self.gave_id = None
        raise self._gone

    def _forget(self) -> None:
        self._id = None
        self._is_known = self._renew = False
        self._record, self._counters, self._is_read = None, None, False

    def _read(self) -> Record | None:
        self.touched = True
        if self._id is not None and not self._is_read:
            self._record = self._ask(self._store.read, key_of(self._id))
            self._is_read = True
            if self._record is not None:
                self._is_known = True
                self._counters = self._record.counters
        return self._record

    def _too_large(self, change: Change) -> SessionTooLarge:
        """The error, with the size, for which the store is asked once more."""
        record = None if self._id is None else self._ask(self._store.read, key_of(self._id))
        unlimited = Limits(1, 1, 2**62)
        after = changed(record, replace(change, create=True, at_most={}, expect={}), unlimited, now=0)
        size = size_of(after.values, after.counters) if isinstance(after, Record) else 0
        return SessionTooLarge(size if size > self._max_bytes else 0, self._max_bytes)

    def _ask(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Ask the store, within what is left of the request's time for it."""
        started = time.monotonic()
        self._waited = max(0.0, self._waited - (started - self._last_use))
        left = self._timeout - self._waited
        if left <= 0:
            raise StoreUnavailable("this request has waited for the session store as long as SESSION_TIMEOUT allows")
        try:
            with within(left):
                return call(*args, **kwargs)
        finally:
            self._last_use = time.monotonic()
            self._waited += self._last_use - started
