"""Transfers of large bodies. Each holds a thread as long as its client likes, so there are only so many places."""

import threading
from collections.abc import Iterator
from typing import Any

from prometheus_client import Gauge

from service.http.errors import Problem

CHUNK = 256 * 1024  # bytes; the server's write time-out is for one chunk


class Transfers:
    """The places. ``busy`` shows how many are taken."""

    def __init__(self, places: int, busy: Gauge) -> None:
        self._free = places
        self._busy = busy
        self._lock = threading.Lock()

    def is_full(self) -> bool:
        """Whether there is no place just now."""
        return self._free == 0

    def take(self) -> "Place":
        """A place, also as a context. A 503 Problem where there is none left."""
        with self._lock:
            if self._free:
                self._free -= 1
                self._busy.inc()
                return Place(self)
        detail = "All places for transfers are taken just now. Please try again."
        raise Problem(503, detail, kind="busy", headers={"Retry-After": "1"})

    def put_back(self) -> None:
        """One is free again."""
        with self._lock:
            self._free += 1
            self._busy.dec()


class Place:
    """A place among the transfers, given back once."""

    def __init__(self, transfers: Transfers) -> None:
        self._transfers: Transfers | None = transfers

    def give_back(self) -> None:
        """Also again and again."""
        transfers, self._transfers = self._transfers, None
        if transfers is not None:
            transfers.put_back()

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self.give_back()


class Download:
    """A body on its way out, in chunks that the server's write time-out is made for."""

    def __init__(self, source: Iterator[bytes], place: Place, in_flight: Any) -> None:
        self._source, self._place = source, place
        self._progress = getattr(in_flight, "progress", None)
        self._rest = memoryview(b"")

    def __iter__(self) -> "Download":
        return self

    def __next__(self) -> bytes:
        if not self._rest:
            self._rest = memoryview(next(self._source))
        chunk, self._rest = self._rest[:CHUNK], self._rest[CHUNK:]
        if self._progress is not None:
            self._progress()
        return bytes(chunk)

    def close(self) -> None:
        """End it, wherever it is."""
        try:
            close(self._source)
        finally:
            self._place.give_back()


def close(source: Iterator[bytes] | None) -> None:
    """End what a store gives, if there is something."""
    end = getattr(source, "close", None)
    if end is not None:
        end()
