"""Sessions in this process: lost when it ends, and not shared with another. For development, and to show what fails."""

import logging
import threading
import time
from typing import Literal

from service.sessions.rules import Limits, changed
from service.sessions.store import MOVED_SECONDS, Applied, Change, Record, Refusal

log = logging.getLogger(__name__)

SWEEP_SECONDS = 30.0  # ended sessions are removed at most so much later


class MemoryStore:
    """A SessionStore."""

    name = "memory"

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._records: dict[str, Record] = {}
        self._moved: dict[str, tuple[float, bytes]] = {}  # the key a session had: until when we know it, and the note
        self._next_sweep = 0.0
        log.warning("SESSION_URL is memory://: sessions are lost at restart and not shared with other processes")

    def read(self, key: str) -> Record | None:
        with self._lock:
            now = time.time()
            record = self._live(key, now)
            if record is not None:
                record = record._replace(expires=self._limits.expires(record.created, now))
                self._records[key] = record
            return record

    def apply(self, key: str, change: Change) -> Applied | Refusal:
        with self._lock:
            now = time.time()
            self._sweep(now)
            if self._note(key, now) is not None:
                return Refusal.MOVED
            result = changed(self._live(key, now), change, self._limits, now=now)
            if isinstance(result, Refusal):
                return result
            if change.new_key is not None:
                del self._records[key]
                self._moved[key] = now + MOVED_SECONDS, change.note
            self._records[change.new_key or key] = result
            return Applied(result.counters)

    def read_note(self, key: str) -> bytes | None:
        with self._lock:
            return self._note(key, time.time())

    def delete(self, key: str) -> Literal[Refusal.MOVED] | None:
        with self._lock:
            self._records.pop(key, None)
            return None if self._note(key, time.time()) is None else Refusal.MOVED

    def check(self) -> None:
        """Memory can always serve."""

    def close(self) -> None:
        with self._lock:
            self._records.clear()

    def _live(self, key: str, now: float) -> Record | None:
        record = self._records.get(key)
        return record if record is not None and record.expires > now else None

    def _note(self, key: str, now: float) -> bytes | None:
        until, note = self._moved.get(key, (0.0, b""))
        return note if until > now else None

    def _sweep(self, now: float) -> None:
        if now < self._next_sweep:
            return
        self._next_sweep = now + SWEEP_SECONDS
        self._records = {key: record for key, record in self._records.items() if record.expires > now}
        self._moved = {key: mark for key, mark in self._moved.items() if mark[0] > now}
