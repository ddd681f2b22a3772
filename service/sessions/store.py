"""What a session store promises. Each store is a module of its own beside this one.

A session is a record of named values (JSON) and named counters (whole numbers). There are four operations, each one
round trip and each atomic in the store: ``read``, ``apply``, ``read_note`` and ``delete``. All that is decided about a
session while it is written (does it still exist, is it too large, is a counter over its limit) is decided by the store
in that step, so that a request in flight can't bring back a session that was ended, and two requests can't lose each
other's update.

Keys are made by the session interface: the SHA-256 of the cookie's random bits, in hex.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, NamedTuple, Protocol

MAX_COUNTER = 2**53 - 1  # Lua's numbers are doubles, exact up to here; counters stop there

# How long a key says MOVED after its session got another. Longer than a request that came before is on its way.
MOVED_SECONDS = 60


class StoreUnavailable(Exception):
    """The store did not respond in time, refused, or made no sense. The message is one line and has no secret in it."""

    def __init__(self, message: str) -> None:
        super().__init__("".join(c if c.isprintable() else " " for c in message)[:400])


class StoreBusy(StoreUnavailable):
    """It was not asked: too many requests wait for it already (service/bulkhead.py)."""


class Refusal(Enum):
    """Why a change was not applied. Nothing of it was."""

    GONE = "gone"  # there is no such session (any more)
    MOVED = "moved"  # there was one a moment ago, and it got another key
    TOO_LARGE = "too-large"  # the record would be over ``max_bytes``, and larger than before
    OVER_LIMIT = "over-limit"  # a counter would be over its limit
    CONFLICT = "conflict"  # a counter was not what ``expect`` said


class Record(NamedTuple):
    """A session as the store has it."""

    values: Mapping[str, bytes]  # JSON, as it was written
    counters: Mapping[str, int]
    created: float  # seconds since the epoch, by the store's clock where it has one
    expires: float  # when it ends unless it is used again; seconds since the epoch


@dataclass(frozen=True)
class Change:
    """One atomic step on a session. Everything in it happens, or nothing does.

    Where a name is in more than one part: ``delete`` comes before ``set``, and ``put`` before ``add``. Counters are
    0 to MAX_COUNTER; what would come out below or above comes out as the bound. ValueError for a change that no store
    could carry out.
    """

    set: Mapping[str, bytes] = field(default_factory=dict)  # values to put, JSON
    delete: frozenset[str] = frozenset()  # values to drop
    add: Mapping[str, int] = field(default_factory=dict)  # counters to change, by how much; never below 0
    put: Mapping[str, int] = field(default_factory=dict)  # counters to set
    at_most: Mapping[str, int] = field(default_factory=dict)  # refuse (OVER_LIMIT) if an added counter came out above
    expect: Mapping[str, int] = field(default_factory=dict)  # refuse (CONFLICT) if a counter isn't this; missing is 0
    create: bool = False  # begin the session where there is none
    new_key: str | None = None  # the record moves there, and the old key opens nothing; not with ``create``
    note: bytes = b""  # what the move leaves at the old key, as long as that says MOVED

    def __post_init__(self) -> None:
        "".join((*self.set, *self.delete, *self.add, *self.put, *self.expect)).encode()  # ValueError: half a character
        if self.create and self.new_key is not None:
            raise ValueError("a session is begun or moved, not both")
        if self.note and self.new_key is None:
            raise ValueError("only a move leaves a note")
        for numbers in (self.add, self.put, self.at_most, self.expect):
            if any(abs(number) > MAX_COUNTER for number in numbers.values()):
                raise ValueError(f"counters are at most {MAX_COUNTER}")


class Applied(NamedTuple):
    """The change was applied; the counters are as they are after it."""

    counters: Mapping[str, int]


class SessionStore(Protocol):
    """Where sessions live.

    Every method may raise StoreUnavailable, returns within the store's timeout (seconds, given at construction), and
    may be called from many threads at once. A stored session ends ``idle_lifetime`` after it was last read or written,
    and ``absolute_lifetime`` after it was created, whichever is first.

    The size of a record is that of its names (UTF-8), its values, and its counters in decimal digits.
    """

    name: str  # "redis", "redis-cluster", "memcached", "memory"

    def read(self, key: str) -> Record | None:
        """The session, its idle lifetime begun anew; None where there is none. One round trip."""

    def apply(self, key: str, change: Change) -> Applied | Refusal:
        """One atomic step; see Change. It slides the idle lifetime. One round trip where nothing contends."""

    def read_note(self, key: str) -> bytes | None:
        """The note that the session left here when it got another key; None where there was no move, or long ago."""

    def delete(self, key: str) -> Literal[Refusal.MOVED] | None:
        """The session is gone when this returns None. A session that is not there is not an error.

        Refusal.MOVED where it has another key by now; the session there lives on, and the old key goes on saying so.
        """

    def check(self) -> None:
        """Ask the store whether it can serve (it can be written to); StoreUnavailable says why it can't."""

    def close(self) -> None:
        """Give back connections. Nothing is called after this."""
