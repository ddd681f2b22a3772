"""Transfers of large bodies. Each holds a thread for as long as its client likes, so their number is limited."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from time import monotonic
from typing import Any

from flask import Response, request
from prometheus_client import Gauge

from service.bulkhead import PATIENCE, Bulkhead
from service.http.errors import RETRY_AFTER, Problem, error_response

SMALL = 64 * 1024  # bytes; such a response fits into the socket's empty buffer (client_socket.py) and holds no thread
CHUNK = 256 * 1024  # bytes; the server's write time-out is for one chunk


class TransferSlots:
    """The slots. ``busy`` shows how many are in use. ``bulkhead`` is that of the object store."""

    def __init__(self, slots: int, busy: Gauge, bulkhead: Bulkhead) -> None:
        self._free = slots
        self._busy = busy
        self._bulkhead = bulkhead
        self._moved = 0.0  # monotonic: when a slot was last taken or given back
        self._changed = threading.Condition()

    def take(self) -> "TransferSlot":
        """A slot for a transfer to or from the object store, also as a context.

        Where none is free, a peak is waited out as by a bulkhead: a 503 Problem where no slot has moved for PATIENCE.
        StorageBusy if too many threads wait for the store already.
        """
        slot = self._take()
        try:
            slot.enter_context(self._bulkhead.hold())
        except BaseException:
            slot.give_back()
            raise
        return slot

    def _take(self) -> "TransferSlot":
        with self._changed:
            patience = max(0.0, self._moved + PATIENCE - monotonic())
            if not self._changed.wait_for(lambda: self._free > 0, patience):
                raise Problem(
                    503, "All slots for transfers are in use. Please try again.", kind="busy", headers=RETRY_AFTER
                )
            self._free -= 1
            self._moved = monotonic()
            self._busy.inc()
        request.environ["service.is_transfer"] = True
        slot = TransferSlot()
        slot.callback(self._give_back)
        return slot

    def _give_back(self) -> None:
        with self._changed:
            self._free += 1
            self._moved = monotonic()
            self._busy.dec()
            self._changed.notify()

    def limit(self, response: Response) -> Response:
        """The response, with a slot until it is sent; or the one that says that no slot is free."""
        try:
            response.call_on_close(self._take().give_back)
        except Problem as problem:
            return error_response(problem)
        return response


class TransferSlot(ExitStack):
    """One slot."""

    def give_back(self) -> None:
        """Idempotent."""
        self.close()


class LargeResponse:
    """The body of a large response, in chunks that the server's write time-out is made for. It holds a slot."""

    def __init__(self, source: Iterator[bytes], slot: TransferSlot, in_flight: Any) -> None:
        self._source, self._slot, self._in_flight = source, slot, in_flight
        self._rest = memoryview(b"")

    def __iter__(self) -> "LargeResponse":
        return self

    def __next__(self) -> bytes:
        if not self._rest:
            self._rest = memoryview(next(self._source))
        chunk, self._rest = self._rest[:CHUNK], self._rest[CHUNK:]
        self._in_flight.progress()
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
