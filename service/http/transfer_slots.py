"""Transfers of large bodies. Each holds a thread for as long as its client likes, so their number is limited."""

import threading
from collections.abc import Iterator
from typing import Any

from flask import Response, request
from prometheus_client import Gauge

from service.http.errors import Problem, error_response

SMALL = 64 * 1024  # bytes; such a response fits into the socket's empty buffer (client_socket.py) and holds no thread
CHUNK = 256 * 1024  # bytes; the server's write time-out is for one chunk


class TransferSlots:
    """The slots. ``busy`` shows how many are taken."""

    def __init__(self, slots: int, busy: Gauge) -> None:
        self._free = slots
        self._busy = busy
        self._lock = threading.Lock()

    def is_full(self) -> bool:
        """Whether no slot is free now."""
        return self._free == 0

    def take(self) -> "TransferSlot":
        """A slot, also as a context. A 503 Problem if none is free."""
        with self._lock:
            if self._free:
                self._free -= 1
                self._busy.inc()
                return TransferSlot(self)
        detail = "All slots for transfers are taken now. Please try again."
        raise Problem(503, detail, kind="busy", headers={"Retry-After": "1"})

    def put_back(self) -> None:
        """A slot is free again."""
        with self._lock:
            self._free += 1
            self._busy.dec()

    def limit_large_responses(self, response: Response) -> Response:
        """For ``after_request``: a large response that was made in memory, such as a listing, needs a slot too."""
        if response.direct_passthrough or (response.content_length or 0) <= SMALL or request.method == "HEAD":
            return response
        try:
            slot = self.take()
        except Problem as problem:
            return error_response(problem)
        response.call_on_close(slot.give_back)
        return response


class TransferSlot:
    """One slot, given back once."""

    def __init__(self, slots: TransferSlots) -> None:
        self._slots: TransferSlots | None = slots

    def give_back(self) -> None:
        """Idempotent."""
        slots, self._slots = self._slots, None
        if slots is not None:
            slots.put_back()

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self.give_back()


class LargeResponse:
    """The body of a large response, in chunks that the server's write time-out is made for. It holds a slot."""

    def __init__(self, source: Iterator[bytes], slot: TransferSlot, in_flight: Any) -> None:
        self._source, self._slot = source, slot
        self._progress = getattr(in_flight, "progress", None)
        self._rest = memoryview(b"")

    def __iter__(self) -> "LargeResponse":
        return self

    def __next__(self) -> bytes:
        if not self._rest:
            self._rest = memoryview(next(self._source))
        chunk, self._rest = self._rest[:CHUNK], self._rest[CHUNK:]
        if self._progress is not None:
            self._progress()
        return bytes(chunk)

    def close(self) -> None:
        """End the transfer, finished or not."""
        try:
            close(self._source)
        finally:
            self._slot.give_back()


def close(source: Iterator[bytes] | None) -> None:
    """Close what a store is sending, if anything."""
    end = getattr(source, "close", None)
    if end is not None:
        end()
