"""The stores, with each operation's time and outcome counted, and told to whoever watches their health."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Literal, Self

from prometheus_client import Counter

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

# With these the store is not well. The others are refusals of a store that is.
_FAILURES = (StoreUnavailable, StorageUnavailable, StorageMisconfigured)
_REFUSALS = (ObjectNotFound, PreconditionFailed, ChecksumMismatch, ValueError)


def measured_sessions(store: SessionStore, metrics: Metrics, observe: Observe | None = None) -> SessionStore:
    """The same store, measured. ``observe("sessions", error or None)`` is called after each operation."""
    return _MeasuredSessions(store, metrics, observe)


def measured_storage(store: ObjectStore, metrics: Metrics, observe: Observe | None = None) -> ObjectStore:
    """The same store, measured. ``observe("storage", error or None)`` is called after each operation."""
    return _MeasuredStorage(store, metrics, observe)


class _Measured:
    """What is measured of each call of a store."""

    def __init__(self, dependency: str, name: str, metrics: Metrics, observe: Observe | None) -> None:
        self.name = name
        self._dependency = dependency
        self._metrics = metrics
        self._observe = observe or (lambda _dependency, _error: None)

    @contextmanager
    def _call(self, operation: str, broken: Sequence[BaseException] = ()) -> Iterator[None]:
        """Around one call. ``broken`` has what broke the body that is given to the store: not the store's error."""
        start, outcome = perf_counter(), "ok"
        try:
            yield
        except BaseException as error:
            outcome = "aborted" if any(error is other for other in broken) else self._failed(error)
            raise
        else:
            self._observe(self._dependency, None)
        finally:
            self._metrics.operation(self._dependency, self.name, operation, outcome, perf_counter() - start)

    def _failed(self, error: BaseException) -> str:
        """Tell the store's health; the outcome."""
        if isinstance(error, _FAILURES):
            self._observe(self._dependency, error)
        elif isinstance(error, _REFUSALS):
            self._observe(self._dependency, None)
        else:
            return "error"
        return type(error).__name__


class _MeasuredSessions(_Measured):
    def __init__(self, store: SessionStore, metrics: Metrics, observe: Observe | None) -> None:
        super().__init__("sessions", store.name, metrics, observe)
        self._store = store

    def read(self, key: str) -> Record | None:
        with self._call("read"):
            record = self._store.read(key)
        (self._metrics.session_misses if record is None else self._metrics.session_hits).inc()
        return record

    def apply(self, key: str, change: Change) -> Applied | Refusal:
        with self._call("apply"):
            result = self._store.apply(key, change)
        if change.create and isinstance(result, Applied):
            self._metrics.sessions_created.inc()
        return result

    def delete(self, key: str) -> Literal[Refusal.MOVED] | None:
        with self._call("delete"):
            return self._store.delete(key)

    def check(self) -> None:
        with self._call("check"):
            self._store.check()

    def close(self) -> None:
        self._store.close()


class _MeasuredStorage(_Measured):
    def __init__(self, store: ObjectStore, metrics: Metrics, observe: Observe | None) -> None:
        super().__init__("storage", store.name, metrics, observe)
        self._store = store

    def put(self, key: str, body: Iterator[bytes], *, content_type: str, generation: int | None) -> ObjectInfo:
        broken: list[BaseException] = []
        chunks = self._counted(body, broken)
        with self._call("put", broken):
            return self._store.put(key, chunks, content_type=content_type, generation=generation)

    def _counted(self, body: Iterator[bytes], broken: list[BaseException]) -> Iterator[bytes]:
        """A body on its way in; what it raises is kept in ``broken``."""
        try:
            for chunk in body:
                self._metrics.stored_in.inc(len(chunk))
                yield chunk
        except BaseException as error:
            broken.append(error)
            raise

    def stat(self, key: str) -> ObjectInfo | None:
        with self._call("stat"):
            return self._store.stat(key)

    def get(self, info: ObjectInfo, start: int, end: int) -> Iterator[bytes]:
        with self._call("get"):
            chunks = self._store.get(info, start, end)
        return _CountedDownload(chunks, self._metrics.stored_out, self._failed)

    def open(self, key: str) -> tuple[ObjectInfo, Iterator[bytes]] | None:
        with self._call("open"):
            found = self._store.open(key)
        return found and (found[0], _CountedDownload(found[1], self._metrics.stored_out, self._failed))

    def delete(self, key: str, *, generation: int | None) -> bool:
        with self._call("delete"):
            return self._store.delete(key, generation=generation)

    def list(self, prefix: str, *, page_token: str | None, limit: int) -> ObjectPage:
        with self._call("list"):
            return self._store.list(prefix, page_token=page_token, limit=limit)

    def check(self) -> None:
        with self._call("check"):
            self._store.check()

    def close(self) -> None:
        self._store.close()


class _CountedDownload:
    """A body on its way out. Its errors come after the call that began it, and it may be closed before it is read."""

    def __init__(self, chunks: Iterator[bytes], out: Counter, failed: Callable[[BaseException], object]) -> None:
        self._chunks = chunks
        self._out = out
        self._failed = failed

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        try:
            chunk = next(self._chunks)
        except _FAILURES as error:
            self._failed(error)
            raise
        self._out.inc(len(chunk))
        return chunk

    def close(self) -> None:
        self._chunks.close()  # type: ignore[attr-defined] # ObjectStore promises it
