"""Stores, measured: each operation's outcome is counted, and their health is told."""

from collections.abc import Iterator, Mapping

import pytest

from service.metrics.instrumented_stores import measured_sessions, measured_storage
from service.metrics.registry import Metrics
from service.sessions.store import Applied, Change, Record, Refusal, SessionStore, StoreUnavailable
from service.settings import load
from service.storage.store import (
    ObjectInfo,
    ObjectNotFound,
    ObjectStore,
    Page,
    PreconditionFailed,
    StorageMisconfigured,
    StorageUnavailable,
)

INFO = ObjectInfo("visitors/a/b", 4, "text/plain", 7, 0, 0.0)
RECORD = Record({}, {}, 0.0, 1.0)


class Sessions:
    """Answers, or raises ``error``."""

    name = "redis"

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.record: Record | None = RECORD
        self.result: Applied | Refusal = Applied({})
        self.calls: list[str] = []

    def _answer(self, call: str) -> None:
        self.calls.append(call)
        if self.error:
            raise self.error

    def read(self, key: str) -> Record | None:
        self._answer(f"read {key}")
        return self.record

    def apply(self, key: str, change: Change) -> Applied | Refusal:
        self._answer(f"apply {key} {change.create}")
        return self.result

    def delete(self, key: str) -> None:
        self._answer(f"delete {key}")

    def check(self) -> None:
        self._answer("check")

    def close(self) -> None:
        self._answer("close")


class Storage:
    """As Sessions; bodies are read to their end."""

    name = "gcs"

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.closed = 0
        self.calls: list[tuple[object, ...]] = []

    def _answer(self, *asked: object) -> None:
        self.calls.append(asked)
        if self.error:
            raise self.error

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
        b"".join(body)
        self._answer("put", key, size, content_type, generation, metadata)
        return INFO

    def stat(self, key: str) -> ObjectInfo | None:
        self._answer("stat", key)
        return INFO

    def get(self, info: ObjectInfo, start: int, end: int) -> Iterator[bytes]:
        self._answer("get", info, start, end)
        return self._chunks()

    def open(self, key: str) -> tuple[ObjectInfo, Iterator[bytes]] | None:
        self._answer("open", key)
        return (INFO, self._chunks()) if key == "k" else None

    def _chunks(self) -> Iterator[bytes]:
        try:
            yield b"ab"
            if self.error:
                raise self.error
            yield b"cd"
        finally:
            self.closed += 1

    def delete(self, key: str, *, generation: int | None) -> bool:
        self._answer("delete", key, generation)
        return True

    def list(self, prefix: str, *, page_token: str | None, limit: int) -> Page:
        self._answer("list", prefix, page_token, limit)
        return Page([INFO], None)

    def check(self) -> None:
        self._answer("check")

    def close(self) -> None:
        self.closed += 1


class Bench:
    """Both stores, what was counted and what was told."""

    def __init__(self) -> None:
        self.metrics = Metrics(load({"SESSION_URL": "memory://", "STORAGE_URL": "file:///tmp"}))
        self.told: list[tuple[str, Exception | None]] = []
        self.sessions, self.storage = Sessions(), Storage()
        self.measured_sessions: SessionStore = measured_sessions(self.sessions, self.metrics, observe=self.observe)
        self.measured_storage: ObjectStore = measured_storage(self.storage, self.metrics, observe=self.observe)

    def observe(self, dependency: str, error: Exception | None) -> None:
        self.told.append((dependency, error))

    def text(self) -> list[str]:
        return self.metrics.render()[1].decode().splitlines()

    def operations(self, store: str, operation: str, outcome: str) -> float:
        dependency = "sessions" if store == "redis" else "storage"
        labels = f'dependency="{dependency}",operation="{operation}",outcome="{outcome}",store="{store}"'
        return self.value(f"dependency_operation_duration_seconds_count{{{labels}}}")

    def value(self, series: str) -> float:
        [value] = [line.rpartition(" ")[2] for line in self.text() if line.startswith(f"{series} ")] or ["0"]
        return float(value)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def put(store: ObjectStore, body: Iterator[bytes]) -> ObjectInfo:
    return store.put("k", body, size=4, content_type="t", generation=0, metadata={"a": "b"})


def broken(error: Exception) -> Iterator[bytes]:
    yield b"ab"
    raise error


def test_sessions_are_passed_on_and_counted(bench: Bench) -> None:
    store = bench.measured_sessions
    assert store.name == "redis"
    assert store.read("k") is RECORD
    bench.sessions.record = None
    assert store.read("k") is None
    assert store.apply("k", Change(create=True)) == Applied({})
    assert store.apply("k", Change()) == Applied({})
    bench.sessions.result = Refusal.GONE
    assert store.apply("k", Change(create=True)) is Refusal.GONE
    store.delete("k")
    store.check()
    store.close()
    assert bench.sessions.calls == [
        "read k", "read k", "apply k True", "apply k False", "apply k True", "delete k", "check", "close",
    ]  # fmt: skip
    assert bench.value('session_reads_total{result="hit"}') == 1
    assert bench.value('session_reads_total{result="miss"}') == 1
    assert bench.value("sessions_created_total") == 1
    assert bench.operations("redis", "read", "ok") == 2
    assert bench.operations("redis", "apply", "ok") == 3
    assert bench.operations("redis", "delete", "ok") == 1
    assert set(bench.told) == {("sessions", None)}


def test_a_store_that_is_down_is_told_and_counted_by_its_error(bench: Bench) -> None:
    bench.sessions.error = down = StoreUnavailable("no answer within 250 ms")
    with pytest.raises(StoreUnavailable):
        bench.measured_sessions.read("k")
    with pytest.raises(StoreUnavailable):
        bench.measured_sessions.delete("k")
    assert bench.told == [("sessions", down)] * 2
    assert bench.operations("redis", "read", "StoreUnavailable") == 1
    assert bench.value('session_reads_total{result="miss"}') == 0


def test_files_are_passed_on_and_counted(bench: Bench) -> None:
    store = bench.measured_storage
    assert store.name == "gcs"
    assert put(store, iter([b"ab", b"cd"])) is INFO
    assert store.stat("k") is INFO
    assert b"".join(store.get(INFO, 0, 4)) == b"abcd"
    found = store.open("k")
    assert found is not None
    assert (found[0], b"".join(found[1])) == (INFO, b"abcd")
    assert store.open("other") is None
    assert store.delete("k", generation=7)
    assert store.list("k", page_token=None, limit=1) == Page([INFO], None)
    store.check()
    store.close()
    assert bench.storage.calls == [
        ("put", "k", 4, "t", 0, {"a": "b"}),
        ("stat", "k"),
        ("get", INFO, 0, 4),
        ("open", "k"),
        ("open", "other"),
        ("delete", "k", 7),
        ("list", "k", None, 1),
        ("check",),
    ]
    for operation in ("put", "stat", "get", "delete", "list", "check"):
        assert bench.operations("gcs", operation, "ok") == 1
    assert bench.operations("gcs", "open", "ok") == 2
    assert bench.value('storage_transferred_bytes_total{direction="in"}') == 4
    assert bench.value('storage_transferred_bytes_total{direction="out"}') == 8
    assert set(bench.told) == {("storage", None)}


@pytest.mark.parametrize("error", [StorageUnavailable("slow"), StorageMisconfigured("no bucket")])
def test_an_object_store_that_fails_is_told(bench: Bench, error: Exception) -> None:
    bench.storage.error = error
    with pytest.raises(type(error)):
        bench.measured_storage.stat("k")
    with pytest.raises(type(error)):
        put(bench.measured_storage, iter([b"abcd"]))
    assert bench.told == [("storage", error)] * 2
    assert bench.operations("gcs", "stat", type(error).__name__) == 1
    assert bench.operations("gcs", "put", type(error).__name__) == 1


@pytest.mark.parametrize("error", [ObjectNotFound("gone"), PreconditionFailed("other"), ValueError("bad token")])
def test_a_no_is_an_answer_of_a_store_that_is_well(bench: Bench, error: Exception) -> None:
    bench.storage.error = error
    with pytest.raises(type(error)):
        bench.measured_storage.list("k", page_token="x", limit=1)
    assert bench.told == [("storage", None)]
    assert bench.operations("gcs", "list", type(error).__name__) == 1


def test_an_unknown_error_says_nothing_of_the_store(bench: Bench) -> None:
    bench.storage.error = RuntimeError("a fault of ours")
    with pytest.raises(RuntimeError):
        bench.measured_storage.stat("k")
    assert bench.told == []
    assert bench.operations("gcs", "stat", "error") == 1


@pytest.mark.parametrize("error", [RuntimeError("hung up"), StorageUnavailable("of another store")])
def test_a_body_that_breaks_off_is_not_the_stores_fault(bench: Bench, error: Exception) -> None:
    with pytest.raises(type(error)):
        put(bench.measured_storage, broken(error))
    assert bench.told == []
    assert bench.operations("gcs", "put", "aborted") == 1
    assert bench.value('storage_transferred_bytes_total{direction="in"}') == 2


def test_a_store_that_fails_in_the_middle_of_a_body_is_told(bench: Bench) -> None:
    chunks = bench.measured_storage.get(INFO, 0, 4)
    assert next(chunks) == b"ab"
    bench.storage.error = down = StorageUnavailable("in the middle")
    with pytest.raises(StorageUnavailable):
        next(chunks)
    assert bench.told == [("storage", None), ("storage", down)]


def test_closing_a_body_closes_the_stores(bench: Bench) -> None:
    chunks = bench.measured_storage.get(INFO, 0, 4)
    next(chunks)
    chunks.close()  # type: ignore[attr-defined] # the protocol asks for it
    assert bench.storage.closed == 1


def test_nobody_needs_to_watch(bench: Bench) -> None:
    bench.sessions.error = StoreUnavailable("down")
    with pytest.raises(StoreUnavailable):
        measured_sessions(bench.sessions, bench.metrics).read("k")
    measured_storage(bench.storage, bench.metrics).check()
