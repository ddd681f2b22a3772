"""The stores, with each operation's time and outcome counted, and the health checks informed of what traffic meets."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from time import perf_counter
from typing import Generic, Literal, Self, TypeVar

from prometheus_client import Counter

from service.bulkhead import Bulkhead
from service.metrics.registry import Metrics
from service.sessions.store import Applied, Change, Record, Refusal, SessionStore, StoreUnavailable
from service.storage.store import (
    ChecksumMismatch,
    ObjectInfo,
    ObjectNotFound,
    ObjectPage,
    ObjectStore,
    PreconditionFailed,
    StorageMisconfigured,
    StorageUnavailable,
)

Observe = Callable[[str, Exception | None], None]
S = TypeVar("S", bound=SessionStore | ObjectStore)
T = TypeVar("T")

# With these the store can't serve. The others are refusals of a store that can.
_FAILURES = (StoreUnavailable, StorageUnavailable, StorageMisconfigured)
_REFUSALS = (ObjectNotFound, PreconditionFailed, ChecksumMismatch, ValueError)


def measured_sessions(store: SessionStore, metrics: Metrics, observe: Observe, bulkhead: Bulkhead) -> SessionStore:
    """The same store, measured. ``observe("sessions", error)`` is called after each failure.

    ``observe("sessions", None)`` is called after the first operation that the store serves again.
    Each call but ``check`` holds a slot of ``bulkhead``.
    """
    return _MeasuredSessions("sessions", store, metrics, observe, bulkhead)


def measured_storage(store: ObjectStore, metrics: Metrics, observe: Observe, bulkhead: Bulkhead) -> ObjectStore:
    """The same store, measured. ``observe`` is called with "storage", else as in ``measured_sessions``.

    Each call holds a slot of ``bulkhead``, a download until it is closed or read to its end.
    """
    return _MeasuredStorage("storage", store, metrics, observe, bulkhead)


class _Measured(Generic[S]):
    """A store, and the measurement of each call of it."""

    def __init__(self, dependency: str, store: S, metrics: Metrics, observe: Observe, bulkhead: Bulkhead) -> None:
        self.name = store.name
        self._dependency = dependency
        self._store: S = store
        self._metrics = metrics
        self._observe = observe
        self._bulkhead = bulkhead
        self._failed = False  # at the last call

    def check(self) -> None:
        self._call("check", self._store.check)

    def close(self) -> None:
        self._store.close()

    def _call(self, operation: str, call: Callable[[], T], broken: Sequence[BaseException] = ()) -> T:
        """``broken`` has what broke the body that is given to the store, which is not the store's error."""
        start, outcome = perf_counter(), "ok"
        try:
            result = call()
        except BaseException as error:
            outcome = "aborted" if any(error is other for other in broken) else self._note(error)
            raise
        else:
            if self._failed:
                self._recovered()
            return result
        finally:
            self._metrics.operation(self._dependency, self.name, operation, outcome, perf_counter() - start)

    def _note(self, error: BaseException) -> str:
        """Note what an error says about the store's health. The outcome of the call."""
        if isinstance(error, _FAILURES):
            self._failed = True
            self._observe(self._dependency, error)
        elif not isinstance(error, _REFUSALS):
            return "error"
        elif self._failed:
            self._recovered()
        return type(error).__name__

    def _recovered(self) -> None:
        self._failed = False
        self._observe(self._dependency, None)


class _MeasuredSessions(_Measured[SessionStore]):
    def read(self, key: str) -> Record | None:
        with self._bulkhead.hold():
            record = self._call("read", partial(self._store.read, key))
        (self._metrics.session_misses if record is None else self._metrics.session_hits).inc()
        return record

    def apply(self, key: str, change: Change) -> Applied | Refusal:
        with self._bulkhead.hold():
            result = self._call("apply", partial(self._store.apply, key, change))
        if change.create and isinstance(result, Applied):
            self._metrics.sessions_created.inc()
        return result

    def read_note(self, key: str) -> bytes | None:
        with self._bulkhead.hold():
            return self._call("read_note", partial(self._store.read_note, key))

    def delete(self, key: str) -> Literal[Refusal.MOVED] | None:
        with self._bulkhead.hold():
            return self._call("delete", partial(self._store.delete, key))


class _MeasuredStorage(_Measured[ObjectStore]):
    def put(self, key: str, body: Iterator[bytes], *, content_type: str, generation: int | None) -> ObjectInfo:
        broken: list[BaseException] = []
        chunks = self._counted(body, broken)
        put = partial(self._store.put, key, chunks, content_type=content_type, generation=generation)
        with self._bulkhead.hold():
            return self._call("put", put, broken)

    def _counted(self, body: Iterator[bytes], broken: list[BaseException]) -> Iterator[bytes]:
        """A body for the store; what it raises is kept in ``broken``."""
        try:
            for chunk in body:
                self._metrics.stored_in.inc(len(chunk))
                yield chunk
        except BaseException as error:
            broken.append(error)
            raise

    def stat(self, key: str) -> ObjectInfo | None:
        with self._bulkhead.hold():
            return self._call("stat", partial(self._store.stat, key))

    def get(self, info: ObjectInfo, start: int, end: int) -> Iterator[bytes]:
        with self._bulkhead.hold() as slot:
            chunks = self._call("get", partial(self._store.get, info, start, end))
            return _CountedDownload(chunks, self._metrics.stored_out, self._note, slot.pop_all())

    def open(self, key: str) -> tuple[ObjectInfo, Iterator[bytes]] | None:
        with self._bulkhead.hold() as slot:
            found = self._call("open", partial(self._store.open, key))
            if found is None:
                return None
            return found[0], _CountedDownload(found[1], self._metrics.stored_out, self._note, slot.pop_all())

    def delete(self, key: str, *, generation: int | None) -> bool:
        with self._bulkhead.hold():
            return self._call("delete", partial(self._store.delete, key, generation=generation))

    def list(self, prefix: str, *, page_token: str | None, limit: int) -> ObjectPage:
        with self._bulkhead.hold():
            return self._call("list", partial(self._store.list, prefix, page_token=page_token, limit=limit))


class _CountedDownload:
    """A body from the store. Its errors come after the call that began it, and it may be closed before it is read."""

    def __init__(
        self, chunks: Iterator[bytes], out: Counter, note: Callable[[BaseException], object], slot: ExitStack
    ) -> None:
        self._chunks = chunks
        self._out = out
        self._note = note
        self._slot = slot

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        try:
            chunk = next(self._chunks)
        except _FAILURES as error:
            self._note(error)
            self._slot.close()
            raise
        except BaseException:  # such as the end
            self._slot.close()
            raise
        self._out.inc(len(chunk))
        return chunk

    def close(self) -> None:
        with self._slot:
            self._chunks.close()  # type: ignore[attr-defined] # ObjectStore promises it
