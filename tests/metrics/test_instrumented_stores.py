"""Stores, measured: each operation's outcome is counted, and each change of their health is observed."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from service import sessions
from service.bulkhead import Bulkhead, WaitingThreads
from service.metrics.instrumented_stores import measured_sessions, measured_storage
from service.metrics.registry import Metrics
from service.sessions.store import Applied, Change, Refusal, SessionStore, StoreBusy, StoreUnavailable
from service.settings import load
from service.storage.file import FileStore
from service.storage.store import (
    ObjectInfo,
    ObjectNotFound,
    ObjectStore,
    PreconditionFailed,
    StorageBusy,
    StorageMisconfigured,
    StorageUnavailable,
)
from tests.support.processes import free_port

KEY = "visitors/a/b"


def narrow(refusal: type[Exception]) -> Bulkhead:
    """A bulkhead with one slot."""
    return Bulkhead(WaitingThreads(3), refusal)


class Bench:
    """Both stores, what was counted and what was observed."""

    def __init__(self, folder: Path) -> None:
        self.metrics = Metrics(load({"SESSION_URL": "memory://", "STORAGE_URL": "file:///tmp"}))
        self.observed: list[tuple[str, Exception | None]] = []
        self.sessions = self.measured_sessions("memory://")
        self.storage = self.measured(FileStore(str(folder)))

    def measured_sessions(self, url: str) -> SessionStore:
        store = sessions.open_store(load({"SESSION_URL": url, "STORAGE_URL": "file:///tmp"}))
        return measured_sessions(store, self.metrics, observe=self.observe, bulkhead=narrow(StoreBusy))

    def measured(self, store: ObjectStore) -> ObjectStore:
        return measured_storage(store, self.metrics, observe=self.observe, bulkhead=narrow(StorageBusy))

    def observe(self, dependency: str, error: Exception | None) -> None:
        self.observed.append((dependency, error))

    def kinds_observed(self) -> list[type[Exception] | None]:
        return [type(error) if error else None for _, error in self.observed]

    def operations(self, store: str, operation: str, outcome: str) -> float:
        dependency = "storage" if store == "file" else "sessions"
        labels = f'dependency="{dependency}",operation="{operation}",outcome="{outcome}",store="{store}"'
        return self.value(f"dependency_operation_duration_seconds_count{{{labels}}}")

    def value(self, series: str) -> float:
        lines = self.metrics.render()[1].decode().splitlines()
        [value] = [line.rpartition(" ")[2] for line in lines if line.startswith(f"{series} ")] or ["0"]
        return float(value)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def put(store: ObjectStore, *chunks: bytes, generation: int | None = None) -> ObjectInfo:
    return store.put(KEY, iter(chunks), content_type="text/plain", generation=generation)


def broken(error: Exception) -> Iterator[bytes]:
    yield b"ab"
    raise error


def test_sessions_are_passed_on_and_counted(bench: Bench) -> None:
    store = bench.sessions
    assert store.name == "memory"
    assert store.read("k") is None
    assert store.apply("k", Change()) is Refusal.GONE
    assert store.apply("k", Change(create=True, add={"n": 2})) == Applied({"n": 2})
    assert store.apply("k", Change(add={"n": 1})) == Applied({"n": 3})
    record = store.read("k")
    assert record is not None
    assert record.counters == {"n": 3}
    assert store.apply("k", Change(new_key="other", note=b"a")) == Applied({"n": 3})
    assert store.read_note("k") == b"a"
    assert store.delete("k") is Refusal.MOVED
    assert store.delete("other") is None
    store.check()
    store.close()
    assert bench.value('session_reads_total{result="hit"}') == 1
    assert bench.value('session_reads_total{result="miss"}') == 1
    assert bench.value("sessions_created_total") == 1
    operations = {"read": 2, "apply": 4, "read_note": 1, "delete": 2, "check": 1}
    assert {name: bench.operations("memory", name, "ok") for name in operations} == operations
    assert bench.observed == []


def test_each_failure_of_a_store_is_observed_and_counted_by_its_error(bench: Bench) -> None:
    store = bench.measured_sessions(f"redis://127.0.0.1:{free_port()}")
    with pytest.raises(StoreUnavailable) as first:
        store.read("k")
    with pytest.raises(StoreUnavailable) as second:
        store.delete("k")
    assert bench.observed == [("sessions", first.value), ("sessions", second.value)]
    assert bench.operations("redis", "read", "StoreUnavailable") == 1
    assert bench.value('session_reads_total{result="miss"}') == 0


def test_files_are_passed_on_and_counted(bench: Bench) -> None:
    store = bench.storage
    assert store.name == "file"
    info = put(store, b"ab", b"cd")
    assert store.stat(KEY) == info
    assert b"".join(store.get(info, 1, 4)) == b"bcd"
    found = store.open(KEY)
    assert found is not None
    assert (found[0], b"".join(found[1])) == (info, b"abcd")
    assert store.open("visitors/a/other") is None
    assert store.list("visitors/", page_token=None, limit=1).objects == [info]
    assert store.delete(KEY, generation=info.generation)
    store.check()
    store.close()
    operations = {"put": 1, "stat": 1, "get": 1, "open": 2, "list": 1, "delete": 1, "check": 1}
    assert {name: bench.operations("file", name, "ok") for name in operations} == operations
    assert bench.value('storage_transferred_bytes_total{direction="in"}') == 4
    assert bench.value('storage_transferred_bytes_total{direction="out"}') == 7
    assert bench.observed == []


def test_what_describes_a_file_arrives_at_the_store(bench: Bench, tmp_path: Path) -> None:
    bench.storage.put(KEY, iter([b"x"]), content_type="image/png", generation=0)
    found = FileStore(str(tmp_path)).stat(KEY)
    assert found is not None
    assert found.content_type == "image/png"
    with pytest.raises(PreconditionFailed):
        put(bench.storage, b"y", generation=0)


def test_each_failure_of_an_object_store_is_observed(bench: Bench, tmp_path: Path) -> None:
    store = bench.measured(FileStore(str(tmp_path / "missing")))
    with pytest.raises(StorageMisconfigured):
        store.stat(KEY)
    with pytest.raises(StorageMisconfigured):
        put(store, b"abcd")
    assert bench.kinds_observed() == [StorageMisconfigured] * 2
    assert bench.operations("file", "stat", "StorageMisconfigured") == 1
    assert bench.operations("file", "put", "StorageMisconfigured") == 1


def test_a_refusal_comes_from_a_store_that_can_serve(bench: Bench) -> None:
    info = put(bench.storage, b"abcd")
    with pytest.raises(PreconditionFailed):
        put(bench.storage, b"other", generation=0)
    with pytest.raises(ValueError):
        bench.storage.list("visitors/", page_token="not one of ours", limit=1)
    bench.storage.delete(KEY, generation=None)
    with pytest.raises(ObjectNotFound):
        bench.storage.get(info, 0, 4)
    assert bench.observed == []
    for operation, outcome in (("put", "PreconditionFailed"), ("get", "ObjectNotFound")):
        assert bench.operations("file", operation, outcome) == 1


class Failing(FileStore):
    """Raises ``error`` where a disk would have to be taken out: at every stat, and after a download's first bytes."""

    error: Exception

    def stat(self, key: str) -> ObjectInfo | None:  # noqa: ARG002 -- as the method that it stands in for
        raise self.error

    def get(self, info: ObjectInfo, start: int, end: int) -> Iterator[bytes]:
        yield next(super().get(info, start, end))
        raise self.error


def test_an_unknown_error_says_nothing_about_the_store(bench: Bench, tmp_path: Path) -> None:
    store = Failing(str(tmp_path))
    store.error = RuntimeError("an error of ours")
    with pytest.raises(RuntimeError):
        bench.measured(store).stat(KEY)
    assert bench.observed == []
    assert bench.operations("file", "stat", "error") == 1


@pytest.mark.parametrize("error", [RuntimeError("hung up"), StorageUnavailable("of another store")])
def test_a_body_that_breaks_off_is_not_the_stores_error(bench: Bench, error: Exception) -> None:
    with pytest.raises(type(error)):
        bench.storage.put(KEY, broken(error), content_type="text/plain", generation=None)
    assert bench.observed == []
    assert bench.operations("file", "put", "aborted") == 1
    assert bench.value('storage_transferred_bytes_total{direction="in"}') == 2


def test_a_store_that_fails_in_the_middle_of_a_body_is_observed(bench: Bench, tmp_path: Path) -> None:
    info = put(bench.storage, b"abcd")
    store = Failing(str(tmp_path))
    store.error = StorageUnavailable("in the middle")
    chunks = bench.measured(store).get(info, 0, 4)
    assert next(chunks) == b"abcd"
    with pytest.raises(StorageUnavailable):
        next(chunks)
    assert bench.observed == [("storage", store.error)]


@pytest.mark.parametrize("well", ["a success", "a refusal"])
def test_the_first_sign_that_a_store_is_back_is_observed(bench: Bench, tmp_path: Path, well: str) -> None:
    store = bench.measured(FileStore(str(tmp_path / "later")))
    for _ in range(2):
        with pytest.raises(StorageMisconfigured):
            store.stat(KEY)
    (tmp_path / "later").mkdir()
    if well == "a refusal":
        with pytest.raises(ValueError):
            store.list("visitors/", page_token="not one of ours", limit=1)
    for _ in range(2):
        assert store.stat(KEY) is None
    assert bench.kinds_observed() == [StorageMisconfigured, StorageMisconfigured, None]
    (tmp_path / "later").rmdir()
    with pytest.raises(StorageMisconfigured):
        store.stat(KEY)
    assert bench.kinds_observed()[3:] == [StorageMisconfigured]


def test_a_body_that_is_closed_before_it_is_read_keeps_no_file_open(bench: Bench) -> None:
    put(bench.storage, b"abcd")

    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 -- names are enough

    before = opened()
    found = bench.storage.open(KEY)
    assert found is not None
    assert opened() == before + 1
    found[1].close()  # type: ignore[attr-defined] # the protocol asks for it
    assert opened() == before
