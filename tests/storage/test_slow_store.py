"""Google Cloud Storage when it sends a byte at a time, or is frozen: how long a call takes, and who finds out."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from google.auth.credentials import AnonymousCredentials

from service.breaker import FAILURES
from service.storage.gcs import GcsClient, GcsStore
from service.storage.store import ObjectInfo, StorageUnavailable
from tests.support.gcs import create_bucket, strict_gcs
from tests.support.processes import freeze, wait_until

KEY = "visitors/owner/name"
HANGING = 20  # seconds: what takes longer hangs
LARGE = bytes(3 * 2**20)  # more than goes in one request
DESCRIBED = b"x-goog-hash: crc32c=AAAAAA==\r\nx-goog-stored-content-length: 100000\r\nx-goog-generation: 1\r\n"
HEADERS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n"
    + DESCRIBED
    + b"Last-Modified: Sat, 28 Nov 2026 12:00:00 GMT\r\n\r\n"
)


class TricklingStore:
    """Sends ``at_once``, then spaces, a byte each tenth of a second."""

    def __init__(self) -> None:
        self.at_once = b""
        self.hung_up = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(self.at_once)
            while True:
                time.sleep(0.1)
                connection.sendall(b" ")
        self.hung_up.set()


@pytest.fixture
def trickling() -> Iterator[TricklingStore]:
    store = TricklingStore()
    yield store
    store.close()


def gcs(url: str, *, timeout: float, retry_budget: float = 0) -> GcsStore:
    nobody = AnonymousCredentials()  # type: ignore[no-untyped-call] # google-auth is typed in parts
    client = GcsClient(
        "files", endpoint=url, timeout=timeout, retry_budget=retry_budget, least_rate=1024, credentials=nobody
    )
    return GcsStore(client)


INFO = ObjectInfo(KEY, 100_000, "text/plain", 1, 0, 0.0)
CALLS: dict[str, Callable[[GcsStore], object]] = {
    "stat": lambda store: store.stat(KEY),
    "list": lambda store: store.list("", page_token=None, limit=10),
    "delete": lambda store: store.delete(KEY, generation=1),
    "open": lambda store: store.open(KEY),
    "get": lambda store: b"".join(store.get(INFO, 0, INFO.size)),
    "put": lambda store: store.put(KEY, iter([b"x"]), content_type="text/plain", generation=0),
}


@pytest.mark.parametrize("what", CALLS)
def test_headers_that_come_byte_by_byte_are_waited_for_as_long_as_one_deadline(
    trickling: TricklingStore, what: str
) -> None:
    trickling.at_once = b"HTTP/1.1 200 OK\r\nX-Slow: "
    store = gcs(trickling.url, timeout=1)
    begin = time.monotonic()
    with pytest.raises(StorageUnavailable, match="in time"):
        CALLS[what](store)
    assert time.monotonic() - begin < HANGING
    assert trickling.hung_up.wait(HANGING)
    store.close()


@pytest.mark.parametrize("what", ["stat", "list", "put"])
def test_a_body_that_comes_byte_by_byte_is_waited_for_as_long_as_one_deadline(
    trickling: TricklingStore, what: str
) -> None:
    trickling.at_once = HEADERS
    store = gcs(trickling.url, timeout=1)
    begin = time.monotonic()
    with pytest.raises(StorageUnavailable, match="in time"):
        CALLS[what](store)
    assert time.monotonic() - begin < HANGING
    store.close()


def test_a_download_below_the_least_rate_is_given_up(trickling: TricklingStore) -> None:
    trickling.at_once = HEADERS
    store = gcs(trickling.url, timeout=1)
    found = store.open(KEY)
    assert found is not None
    begin = time.monotonic()
    with pytest.raises(StorageUnavailable, match="too slowly"):
        b"".join(found[1])
    assert time.monotonic() - begin < HANGING
    assert trickling.hung_up.wait(HANGING)
    store.close()


def is_back(store: GcsStore) -> bool:
    try:
        return store.stat(KEY) is None
    except StorageUnavailable:
        return False


def test_a_frozen_store_is_waited_for_by_the_first_calls_only_and_is_back_by_itself(tmp_path: Path) -> None:
    with strict_gcs(tmp_path) as server, ThreadPoolExecutor(FAILURES) as pool:
        create_bucket(server.url, "files")
        store = gcs(server.url, timeout=3, retry_budget=30)
        freeze(server.pid)
        begin = time.monotonic()
        for failed in [pool.submit(store.stat, KEY) for _ in range(FAILURES)]:
            with pytest.raises(StorageUnavailable, match="in time"):
                failed.result()
        assert time.monotonic() - begin < 2 * 3  # one deadline, not the retries' budget
        begin = time.monotonic()
        for _ in range(20):  # sooner than any attempt is made again
            with pytest.raises(StorageUnavailable, match="in time"):
                store.stat(KEY)
        assert time.monotonic() - begin < 2
        os.kill(server.pid, signal.SIGCONT)
        wait_until("the store is back", lambda: is_back(store))
        store.close()


BEGINNINGS: dict[str, Callable[[GcsStore], object]] = {
    "an upload in chunks": lambda store: store.put(KEY, iter([LARGE]), content_type="text/plain", generation=0),
    "a download": lambda store: store.open(KEY),
    "a download of a part": lambda store: store.get(INFO, 0, INFO.size),
}


@pytest.mark.parametrize("what", BEGINNINGS)
def test_the_beginning_of_a_transfer_is_waited_for_as_long_as_one_deadline(tmp_path: Path, what: str) -> None:
    with strict_gcs(tmp_path) as server:
        create_bucket(server.url, "files")
        store = gcs(server.url, timeout=2, retry_budget=2 * HANGING)
        freeze(server.pid)
        begin = time.monotonic()
        with pytest.raises(StorageUnavailable, match="in time"):
            BEGINNINGS[what](store)
        assert time.monotonic() - begin < HANGING
        store.close()


def test_a_check_finds_out_though_the_breaker_is_open(tmp_path: Path) -> None:
    with strict_gcs(tmp_path) as server:
        create_bucket(server.url, "files")
        store = gcs(server.url, timeout=1)
        freeze(server.pid)
        for _ in range(FAILURES):
            with pytest.raises(StorageUnavailable):
                store.check()
        os.kill(server.pid, signal.SIGCONT)
        store.check()
        assert store.stat(KEY) is None
        store.close()
