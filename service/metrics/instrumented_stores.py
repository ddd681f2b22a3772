"""The stores, with each operation's time and outcome counted, and told to whoever watches their health."""

from collections.abc import Callable, Iterator, Mapping
from time import perf_counter
from types import TracebackType
from typing import Literal, Self

from service.metrics.registry import Metrics
from service.sessions.store import Applied, Change, Record, Refusal, SessionStore, StoreUnavailable
from service.storage.store import (
    ChecksumMismatch,
    ObjectInfo,
    ObjectNotFound,
    ObjectStore,
    Page,
    PreconditionFailed,
    StorageMisconfigured,
    StorageUnavailable,
)

Observe = Callable[[str, Exception | None], None]

# Of these the store's health suffers. The others are answers of a store that is well.
_FAILURES = (StoreUnavailable, StorageUnavailable, StorageMisconfigured)
_ANSWERS = (ObjectNotFound, PreconditionFailed, ChecksumMismatch, ValueError)


def measured_sessions(store: SessionStore, metrics: Metrics, observe: Observe | None = None) -> SessionStore:
    """The same store, measured. ``observe("sessions", error or None)`` is called after each operation."""
    return _Sessions(store, metrics, _Meter("sessions", store.name, metrics, observe))


def measured_storage(store: ObjectStore, metrics: Metrics, observe: Observe | None = None) -> ObjectStore:
    """The same store, measured. ``observe("storage", error or None)`` is called after each operation."""
    return _Storage(store, metrics, _Meter("storage", store.name, metrics, observe))


class _Meter:
    """Of one store."""

    def __init__(self, dependency: str, store: str, metrics: Metrics, observe: Observe | None) -> None:
        self._dependency = dependency
        self._store = store
        self._metrics = metrics
        self._observe = observe

    def operation(self, name: str, source: "_Upload | None" = None) -> "_Operation":
        return _Operation(self, name, source)

    def done(self, operation: str, outcome: str, seconds: float) -> None:
        self._metrics.operation(self._dependency, self._store, operation, outcome, seconds)

    def observe(self, error: Exception | None) -> None:
        if self._observe is not None:
            self._observe(self._dependency, error)


class _Operation:
    """A ``with`` block around one call of a store."""

    __slots__ = ("_meter", "_name", "_source", "_start")

    def __init__(self, meter: _Meter, name: str, source: "_Upload | None") -> None:
        self._meter = meter
        self._name = name
        self._source = source

    def __enter__(self) -> Self:
        self._start = perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        seconds = perf_counter() - self._start
        if kind is None:
            outcome = "ok"
        elif self._source is not None and self._source.error is error:
            outcome = "aborted"  # by the visitor, not by the store
        elif isinstance(error, (*_FAILURES, *_ANSWERS)):
            outcome = kind.__name__
        else:
            outcome = "error"
        self._meter.done(self._name, outcome, seconds)
        if outcome == "aborted":
            return
        if isinstance(error, _FAILURES):
            self._meter.observe(error)
        elif kind is None or isinstance(error, _ANSWERS):
            self._meter.observe(None)


class _Sessions:
    def __init__(self, store: SessionStore, metrics: Metrics, meter: _Meter) -> None:
        self.name = store.name
        self._store = store
        self._metrics = metrics
        self._meter = meter

    def read(self, key: str) -> Record | None:
        with self._meter.operation("read"):
            record = self._store.read(key)
        (self._metrics.session_misses if record is None else self._metrics.session_hits).inc()
        return record

    def apply(self, key: str, change: Change) -> Applied | Refusal:
        with self._meter.operation("apply"):
            result = self._store.apply(key, change)
        if change.create and isinstance(result, Applied):
            self._metrics.sessions_created.inc()
        return result

    def delete(self, key: str) -> Literal[Refusal.MOVED] | None:
        with self._meter.operation("delete"):
            return self._store.delete(key)

    def check(self) -> None:
        with self._meter.operation("check"):
            self._store.check()

    def close(self) -> None:
        self._store.close()


class _Storage:
    def __init__(self, store: ObjectStore, metrics: Metrics, meter: _Meter) -> None:
        self.name = store.name
        self._store = store
        self._metrics = metrics
        self._meter = meter

    def put(
        self,
        key: str,
        body: Iterator[bytes],
        *,
        size: int | None,
        content_type: str,
        generation: int | None,
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectInfo:
        source = _Upload(body)
        try:
            with self._meter.operation("put", source):
                return self._store.put(
                    key, source, size=size, content_type=content_type, generation=generation, metadata=metadata
                )
        finally:
            self._metrics.stored_in.inc(source.count)

    def stat(self, key: str) -> ObjectInfo | None:
        with self._meter.operation("stat"):
            return self._store.stat(key)

    def get(self, info: ObjectInfo, start: int, end: int) -> Iterator[bytes]:
        with self._meter.operation("get"):
            chunks = self._store.get(info, start, end)
        return _Download(chunks, self._metrics, self._meter)

    def open(self, key: str) -> tuple[ObjectInfo, Iterator[bytes]] | None:
        with self._meter.operation("open"):
            found = self._store.open(key)
        return found and (found[0], _Download(found[1], self._metrics, self._meter))

    def delete(self, key: str, *, generation: int | None) -> bool:
        with self._meter.operation("delete"):
            return self._store.delete(key, generation=generation)

    def list(self, prefix: str, *, page_token: str | None, limit: int) -> Page:
        with self._meter.operation("list"):
            return self._store.list(prefix, page_token=page_token, limit=limit)

    def check(self) -> None:
        with self._meter.operation("check"):
            self._store.check()

    def close(self) -> None:
        self._store.close()


class _Upload:
    """A body on its way in: how much of it, and what broke it."""

    __slots__ = ("_chunks", "count", "error")

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self.count = 0
        self.error: BaseException | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        try:
            chunk = next(self._chunks)
        except StopIteration:
            raise
        except BaseException as error:
            self.error = error
            raise
        self.count += len(chunk)
        return chunk


class _Download:
    """A body on its way out. Its errors come after the operation that began it."""

    __slots__ = ("_chunks", "_meter", "_metrics")

    def __init__(self, chunks: Iterator[bytes], metrics: Metrics, meter: _Meter) -> None:
        self._chunks = chunks
        self._metrics = metrics
        self._meter = meter

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        try:
            chunk = next(self._chunks)
        except _FAILURES as error:
            self._meter.observe(error)
            raise
        self._metrics.stored_out.inc(len(chunk))
        return chunk

    def close(self) -> None:
        close = getattr(self._chunks, "close", None)
        if close is not None:
            close()
