"""Google Cloud Storage when things go wrong: what is tried again, what is told, what is left behind."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth.credentials import AnonymousCredentials

from service.storage.gcs import GcsClient, GcsStore
from service.storage.store import (
    ChecksumMismatch,
    ObjectInfo,
    ObjectNotFound,
    PreconditionFailed,
    StorageError,
    StorageMisconfigured,
    StorageUnavailable,
)
from tests.support.gcs import StrictGcs, create_bucket, strict_gcs
from tests.support.processes import free_port, freeze, wait_until

MIB = 2**20
KEY = "visitors/owner/name"
LARGE = b"".join(bytes([number]) * MIB for number in range(20))  # three chunks; every MiB differs
HANGING = 60  # seconds: what takes longer hangs


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StrictGcs]:
    with strict_gcs(tmp_path_factory.mktemp("strict")) as running:
        yield running


@pytest.fixture
def bucket(server: StrictGcs) -> Iterator[str]:
    """A bucket of its own for each test; no fault is left from the last one."""
    server.clear()
    name = f"bucket-{time.monotonic_ns()}"
    create_bucket(server.url, name)
    server.clear()
    yield name
    server.clear()


def gcs(url: str, bucket: str, *, timeout: float = 10, retry_budget: float = 10) -> GcsStore:
    nobody = AnonymousCredentials()  # type: ignore[no-untyped-call] # google-auth is typed in parts
    client = GcsClient(bucket, endpoint=url, timeout=timeout, retry_budget=retry_budget, credentials=nobody)
    return GcsStore(client)


@pytest.fixture
def store(server: StrictGcs, bucket: str) -> Iterator[GcsStore]:
    opened = gcs(server.url, bucket)
    yield opened
    opened.close()


def put(store: GcsStore, data: bytes = b"hello", generation: int | None = 0, key: str = KEY) -> ObjectInfo:
    return store.put(key, iter([data]), content_type="text/plain", generation=generation)


def read(store: GcsStore, info: ObjectInfo) -> bytes:
    return b"".join(store.get(info, 0, info.size))


def open_and_read(store: GcsStore, key: str = KEY) -> tuple[ObjectInfo, bytes]:
    found = store.open(key)
    assert found is not None
    return found[0], b"".join(found[1])


CALLS: dict[str, tuple[str, Callable[[GcsStore, ObjectInfo], object]]] = {
    "small put": ("upload.multipart", lambda store, _: put(store, key="visitors/owner/new")),
    "large put, start": ("upload.start", lambda store, _: put(store, LARGE, key="visitors/owner/new")),
    "large put, chunk": ("upload.chunk", lambda store, _: put(store, LARGE, key="visitors/owner/new")),
    "stat": ("objects.get", lambda store, info: store.stat(info.key)),
    "get": ("objects.media", read),
    "open": ("objects.media", lambda store, info: open_and_read(store, info.key)),
    "delete": ("objects.delete", lambda store, info: store.delete(info.key, generation=info.generation)),
    "list": ("objects.list", lambda store, _: store.list("visitors/", page_token=None, limit=10)),
}


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("what", CALLS)
def test_a_passing_fault_is_not_noticed(server: StrictGcs, store: GcsStore, what: str, status: int) -> None:
    call, act = CALLS[what]
    info = put(store)
    server.fault(call, "status", status=status, times=2)
    assert act(store, info)
    assert server.calls[call] >= 3
    assert server.state["sessions"] == 0


@pytest.mark.parametrize("what", CALLS)
def test_a_lasting_fault_is_told_when_the_budget_is_used_up(server: StrictGcs, bucket: str, what: str) -> None:
    call, act = CALLS[what]
    store = gcs(server.url, bucket, retry_budget=0.5)
    info = put(store)
    server.fault(call, "status", status=503, times=-1)
    begin = time.monotonic()
    with pytest.raises(StorageUnavailable, match="503"):
        act(store, info)
    assert time.monotonic() - begin < HANGING
    assert 2 <= server.calls[call] < 20
    assert server.state["sessions"] == 0
    store.close()


@pytest.mark.parametrize("what", CALLS)
def test_without_a_budget_nothing_is_tried_again(server: StrictGcs, bucket: str, what: str) -> None:
    call, act = CALLS[what]
    store = gcs(server.url, bucket, retry_budget=0)
    info = put(store)
    server.clear()
    server.fault(call, "status", status=503)
    with pytest.raises(StorageUnavailable):
        act(store, info)
    assert server.calls[call] == 1
    store.close()


@pytest.mark.parametrize("what", CALLS)
def test_a_lost_response_is_not_a_failure(server: StrictGcs, store: GcsStore, what: str) -> None:
    call, act = CALLS[what]
    info = put(store)
    server.fault(call, "lost")
    assert act(store, info)
    # Of a session whose address was lost nobody knows; it expires.
    assert server.state["sessions"] == (what == "large put, start")


@pytest.mark.parametrize("data", [b"hello", LARGE], ids=["small", "large"])
def test_a_write_whose_response_was_lost_happened_once(
    server: StrictGcs, store: GcsStore, bucket: str, data: bytes
) -> None:
    """The store has it when the answer is lost; the retry must neither write again nor tell of a failure."""
    old = put(store, b"old")
    server.fault("upload.multipart", "lost")
    server.fault("upload.chunk", "lost", skip=2)
    seen: list[int] = []
    stop = threading.Event()

    def watch() -> None:
        other = gcs(server.url, bucket)
        while not stop.is_set():
            info = other.stat(KEY)
            if info and info.generation not in seen:
                seen.append(info.generation)
        other.close()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        info = put(store, data, old.generation)
        time.sleep(0.2)  # a second write would come now
    finally:
        stop.set()
        watcher.join(20)
    assert store.stat(KEY) == info
    assert set(seen) <= {old.generation, info.generation}
    assert read(store, info) == data


def test_a_write_without_a_generation_happens_once_too(server: StrictGcs, store: GcsStore) -> None:
    put(store, b"old")
    server.fault("upload.chunk", "lost")
    info = put(store, b"new", None)
    assert store.stat(KEY) == info
    assert server.calls["upload.multipart"] == 1  # only that of the old one: a plain request can't be repeated


@pytest.mark.parametrize("data", [b"hello", LARGE], ids=["small", "large"])
def test_somebody_elses_write_is_not_taken_for_ours(server: StrictGcs, store: GcsStore, data: bytes) -> None:
    """Even the same bytes: after a failed attempt, 412 is ours only where the object carries our mark."""
    first = put(store, data)
    server.fault("upload.multipart", "status", status=503)
    server.fault("upload.start", "status", status=503)
    with pytest.raises(PreconditionFailed):
        put(store, data)
    assert store.stat(KEY) == first


def test_a_delete_whose_response_was_lost_is_a_delete(server: StrictGcs, store: GcsStore) -> None:
    info = put(store)
    server.fault("objects.delete", "lost")
    assert store.delete(KEY, generation=info.generation)
    assert store.stat(KEY) is None


@pytest.mark.parametrize("after", [0, 1, 300_000, 5 * MIB, 8 * MIB - 1])
@pytest.mark.parametrize("chunk", [0, 1, 2])
def test_an_upload_that_breaks_goes_on_where_it_broke(
    server: StrictGcs, store: GcsStore, chunk: int, after: int
) -> None:
    server.fault("upload.chunk", "drop", skip=chunk, after=after)
    pulled = 0

    def body() -> Iterator[bytes]:
        nonlocal pulled
        for at in range(0, len(LARGE), 65536):
            pulled += 65536
            yield LARGE[at : at + 65536]

    info = store.put(KEY, body(), content_type="a/b", generation=0)
    assert pulled == len(LARGE)
    assert read(store, info) == LARGE
    assert server.calls["upload.status"] == 1


def test_many_breaks_in_a_row_are_survived(server: StrictGcs, store: GcsStore) -> None:
    """Each one comes further: the budget is for standing still, not for the whole transfer."""
    server.fault("upload.chunk", "drop", after=MIB, times=15)
    assert read(store, put(store, LARGE)) == LARGE


def test_a_session_that_is_lost_is_told(server: StrictGcs, store: GcsStore) -> None:
    server.fault("upload.chunk", "forget", skip=1)
    with pytest.raises(StorageUnavailable, match="again"):
        put(store, LARGE)
    assert store.stat(KEY) is None


def test_an_upload_that_is_given_up_is_cancelled(server: StrictGcs, store: GcsStore) -> None:
    def body() -> Iterator[bytes]:
        yield LARGE
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.put(KEY, body(), content_type="a/b", generation=0)
    assert server.calls["upload.cancel"] == 1
    assert server.state["sessions"] == 0
    assert store.stat(KEY) is None


def test_giving_up_works_without_the_store(server: StrictGcs, store: GcsStore) -> None:
    """What made the upload fail is told, not that the session could not be cancelled."""
    server.fault("upload.cancel", "drop")

    def body() -> Iterator[bytes]:
        yield LARGE
        raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError) as raised:
        store.put(KEY, body(), content_type="a/b", generation=0)
    assert raised.traceback[-1].name == "body"


@pytest.mark.parametrize("data", [b"hello", LARGE], ids=["small", "large"])
def test_what_the_store_got_wrong_is_taken_back(server: StrictGcs, store: GcsStore, data: bytes) -> None:
    call = "upload.multipart" if data == b"hello" else "upload.chunk"
    server.fault(call, "corrupt", times=-1)
    with pytest.raises(ChecksumMismatch):
        put(store, data)
    assert store.stat(KEY) is None
    assert server.state["objects"] == 0 or KEY not in str(store.list("", page_token=None, limit=10))


@pytest.mark.parametrize("data", [b"hello", LARGE], ids=["small", "large"])
def test_bytes_that_changed_on_their_way_in_are_refused_by_the_store(
    server: StrictGcs, store: GcsStore, data: bytes
) -> None:
    """It is told the checksum, so a wrong object is never there, not even for a moment."""
    old = put(store, b"old")
    server.fault(
        "upload.multipart" if data == b"hello" else "upload.chunk", "damage", skip=0 if data == b"hello" else 1
    )
    with pytest.raises(ChecksumMismatch):
        put(store, data, old.generation)
    assert store.stat(KEY) == old
    assert server.state["sessions"] == 0


def test_a_store_that_takes_nothing_more_is_asked_again(server: StrictGcs, store: GcsStore) -> None:
    server.fault("upload.chunk", "stall", skip=1, times=2)
    assert read(store, put(store, LARGE)) == LARGE


def test_a_store_that_never_takes_anything_is_told(server: StrictGcs, bucket: str) -> None:
    store = gcs(server.url, bucket, retry_budget=0.5)
    server.fault("upload.chunk", "stall", skip=1, times=-1)
    with pytest.raises(StorageUnavailable, match="takes nothing more"):
        put(store, LARGE)
    store.close()


def test_a_session_that_was_forgotten_after_its_end_was_a_success(server: StrictGcs, store: GcsStore) -> None:
    server.fault("upload.chunk", "lost", skip=2)
    server.fault("upload.status", "forget")
    assert read(store, put(store, LARGE)) == LARGE


def test_a_delete_without_a_generation_takes_what_came_meanwhile_too(server: StrictGcs, store: GcsStore) -> None:
    put(store)
    server.fault("objects.delete", "status", status=412)  # as if it had been written in between
    assert store.delete(KEY, generation=None)
    assert store.stat(KEY) is None


@pytest.mark.parametrize("key", ["", "visitors/owner/" + "x" * 1100, "visitors/owner/a\nb"])
def test_a_key_that_is_not_an_object_name_is_refused(store: GcsStore, key: str) -> None:
    with pytest.raises(ValueError, match="1 to 1024 bytes"):
        put(store, key=key)
    with pytest.raises(ValueError, match="1 to 1024 bytes"):
        store.stat(key)


def test_a_proxy_of_the_environment_is_used(server: StrictGcs, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "localhost")
    store = gcs("http://storage.example", bucket)
    assert store.stat(KEY) is None
    store.close()


@pytest.mark.parametrize("after", [0, 1, 256 * 1024, 10 * MIB + 1, len(LARGE) - 1])
def test_a_download_that_breaks_goes_on_where_it_broke(server: StrictGcs, store: GcsStore, after: int) -> None:
    info = put(store, LARGE)
    server.fault("objects.media", "cut", after=after)
    assert read(store, info) == LARGE
    assert server.calls["objects.media"] == 2


def test_a_range_that_breaks_goes_on_too(server: StrictGcs, store: GcsStore) -> None:
    info = put(store, LARGE)
    server.fault("objects.media", "cut", after=MIB, times=3)
    assert b"".join(store.get(info, 5 * MIB - 7, 15 * MIB + 7)) == LARGE[5 * MIB - 7 : 15 * MIB + 7]


def test_a_download_never_goes_on_with_another_generation(server: StrictGcs, store: GcsStore) -> None:
    info = put(store, LARGE)
    server.fault("objects.media", "cut", after=MIB)
    download = store.get(info, 0, info.size)
    put(store, LARGE[::-1], info.generation)
    with pytest.raises(ObjectNotFound):
        list(download)


def test_what_was_opened_never_goes_on_with_another_generation(server: StrictGcs, store: GcsStore) -> None:
    info = put(store, LARGE)
    server.fault("objects.media", "cut", after=MIB, times=2)
    assert open_and_read(store)[1] == LARGE
    server.fault("objects.media", "cut", after=MIB)
    found = store.open(KEY)
    assert found is not None
    put(store, LARGE[::-1], info.generation)
    with pytest.raises(ObjectNotFound):
        list(found[1])


@pytest.mark.parametrize("fault", ["bare", "cut"])
@pytest.mark.parametrize("is_replaced", [True, False], ids=["replaced", "deleted"])
def test_what_is_replaced_before_its_first_bytes_came_is_opened_as_it_is_now(
    server: StrictGcs, bucket: str, fault: str, is_replaced: bool
) -> None:
    store = gcs(server.url, bucket, retry_budget=HANGING)
    info = put(store)
    server.clear()
    server.fault("objects.media", fault)
    server.fault("objects.media", "status", skip=1, times=-1)
    with ThreadPoolExecutor(1) as thread:
        opened = thread.submit(store.open, KEY)
        wait_until("it is asked again", lambda: server.calls.get("objects.media", 0) >= 2)
        if is_replaced:
            info = put(store, b"new", info.generation)
        else:
            store.delete(KEY, generation=info.generation)
        server.clear()
        found = opened.result(HANGING)
    if is_replaced:
        assert found is not None
        assert (found[0].generation, b"".join(found[1])) == (info.generation, b"new")
    else:
        assert found is None


def test_a_store_that_never_finds_what_it_describes_is_unavailable(server: StrictGcs, store: GcsStore) -> None:
    put(store)
    server.fault("objects.media", "bare", times=-1)
    for number in range(5):
        server.fault("objects.media", "status", status=404, skip=2 * number + 1)
    with pytest.raises(StorageUnavailable, match="again and again"):
        store.open(KEY)


@pytest.mark.parametrize("data", [b"", b"hello", LARGE], ids=["empty", "small", "large"])
def test_to_open_is_one_request(server: StrictGcs, store: GcsStore, data: bytes) -> None:
    info = put(store, data)
    server.clear()
    described, body = open_and_read(store)
    assert (described.generation, body) == (info.generation, data)
    assert server.calls == {"objects.media": 1}


@pytest.mark.parametrize("data", [b"", b"hello", LARGE], ids=["empty", "small", "large"])
def test_a_download_that_does_not_say_what_it_is_is_described_by_another_request(
    server: StrictGcs, store: GcsStore, data: bytes
) -> None:
    info = put(store, data)
    server.clear()
    server.fault("objects.media", "bare", times=-1)
    assert open_and_read(store) == (info, data)
    assert server.calls == {"objects.media": 2, "objects.get": 1}


def test_a_download_that_stays_broken_is_told(server: StrictGcs, bucket: str) -> None:
    store = gcs(server.url, bucket, retry_budget=0.5)
    info = put(store, LARGE)
    server.fault("objects.media", "cut", after=MIB)
    server.fault("objects.media", "status", status=503, skip=1, times=-1)
    with pytest.raises(StorageUnavailable):
        read(store, info)
    store.close()


@pytest.mark.parametrize("size", [1, 5000, 10 * MIB])
def test_bytes_that_changed_on_the_way_are_not_all_handed_out(server: StrictGcs, store: GcsStore, size: int) -> None:
    """Whoever counts sees a transfer cut short, not a wrong file."""
    info = put(store, LARGE[:size])
    server.fault("objects.media", "corrupt")
    received = 0
    with pytest.raises(ChecksumMismatch):
        for chunk in store.get(info, 0, info.size):
            received += len(chunk)
    assert received < size
    assert read(store, info) == LARGE[:size]
    server.fault("objects.media", "corrupt")
    with pytest.raises(ChecksumMismatch):
        open_and_read(store)


@pytest.mark.parametrize("what", CALLS)
def test_a_slow_store_is_not_waited_for_long(server: StrictGcs, bucket: str, what: str) -> None:
    call, act = CALLS[what]
    store = gcs(server.url, bucket, timeout=0.2, retry_budget=0)
    info = put(store)
    server.fault(call, "latency", seconds=2)
    begin = time.monotonic()
    with pytest.raises(StorageUnavailable, match="did not respond"):
        act(store, info)
    assert time.monotonic() - begin < HANGING
    store.close()


def test_a_frozen_store_is_back_by_itself(server: StrictGcs, bucket: str) -> None:
    store = gcs(server.url, bucket, timeout=0.3, retry_budget=0)
    info = put(store)
    freeze(server.pid)
    try:
        with pytest.raises(StorageUnavailable):
            store.stat(KEY)
        with pytest.raises(StorageUnavailable):
            store.check()
        with pytest.raises(StorageUnavailable):
            put(store, LARGE, info.generation)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    store.check()
    assert read(store, info) == b"hello"
    store.close()


def test_a_store_that_is_not_there_is_told() -> None:
    store = gcs(f"http://127.0.0.1:{free_port()}", "files", retry_budget=0.2)
    with pytest.raises(StorageUnavailable, match="can't be reached"):
        store.stat(KEY)
    store.close()


@pytest.mark.parametrize(
    "refusal",
    [(403, "grant roles/storage.objectUser on gs://"), (401, "Workload Identity"), (400, "refused"), (409, "refused")],
    ids=lambda refusal: str(refusal[0]),
)
@pytest.mark.parametrize("what", [*CALLS, "check"])
def test_a_refusal_says_what_to_do(server: StrictGcs, store: GcsStore, what: str, refusal: tuple[int, str]) -> None:
    call, act = CALLS.get(what, ("objects.get", lambda store, _: store.check() or True))
    info = put(store)
    server.clear()
    server.fault(call, "status", status=refusal[0])
    with pytest.raises(StorageMisconfigured, match=refusal[1]):
        act(store, info)
    assert server.calls[call] == 1


@pytest.mark.parametrize("what", CALLS)
def test_something_else_that_responds_is_not_a_store(server: StrictGcs, store: GcsStore, what: str) -> None:
    _, act = CALLS[what]
    if what in ("delete", "get", "open", "large put, start"):
        pytest.skip("its good answer has no JSON")
    info = put(store)
    server.fault("*", "garbage", times=-1)
    with pytest.raises(StorageError, match="not an object store"):
        act(store, info)


def test_a_check_costs_one_request_that_is_no_listing(server: StrictGcs, store: GcsStore) -> None:
    """Google bills a listing at about twelve times a read, and checks come every other second."""
    store.check()
    assert server.calls == {"objects.get": 1}


def test_the_library_asks_for_nothing_of_its_own(server: StrictGcs, store: GcsStore) -> None:
    """It would describe the bucket, in threads, for traces that nobody takes."""
    info = put(store)
    for _ in range(10):
        assert not store.delete("visitors/owner/none", generation=info.generation)
        store.check()
    assert server.calls == {"upload.multipart": 1, "objects.delete": 10, "objects.get": 10}


def test_a_deleted_bucket_fails_the_check(server: StrictGcs) -> None:
    store = gcs(server.url, "no-such-bucket")
    with pytest.raises(StorageMisconfigured, match="gs://no-such-bucket is missing; create it"):
        store.check()
    store.close()


def test_connections_are_used_again(server: StrictGcs, store: GcsStore) -> None:
    info = put(store, LARGE)
    sockets = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        assert store.stat(KEY) == info
        assert store.stat("visitors/owner/none") is None
        read(store, info)
    assert len(list(Path("/proc/self/fd").iterdir())) <= sockets + 1


@pytest.fixture
def service_account(server: StrictGcs, tmp_path: Path) -> Path:
    """A key file of a service account whose tokens the strict server gives out."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = tmp_path / "account.json"
    account = {
        "type": "service_account",
        "client_email": "test@example.org",
        "private_key": pem.decode(),
        "token_uri": f"{server.url}/token",
    }
    path.write_text(json.dumps(account))
    return path


def test_credentials_are_the_applications_default_ones(
    tmp_path: Path, service_account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with strict_gcs(tmp_path) as server:
        create_bucket(server.url, "files")
        account = json.loads(service_account.read_text()) | {"token_uri": f"{server.url}/token"}
        service_account.write_text(json.dumps(account))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(service_account))
        monkeypatch.setenv("API_ENDPOINT_OVERRIDE", server.url)
        monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
        server.want_tokens()
        store = GcsStore(GcsClient("files"))
        info = put(store, LARGE)
        assert read(store, info) == LARGE
        assert server.calls["token"] == 1
        server.want_tokens()  # the token is withdrawn before its time
        assert read(store, info) == LARGE
        assert server.calls["token"] == 2
        for number, data in enumerate((b"hello", LARGE), 3):  # a body that was refused is sent again
            server.want_tokens()
            assert read(store, put(store, data, key=f"visitors/owner/{number}")) == data
            assert server.calls["token"] == number
        server.fault("token", "status", status=503, times=-1)
        server.want_tokens()
        with pytest.raises(StorageError, match=r"token|credentials"):
            GcsStore(GcsClient("files", retry_budget=0)).stat(KEY)
        store.close()


def test_a_password_in_netrc_does_not_replace_the_token(
    tmp_path: Path, service_account: Path, server: StrictGcs, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password something")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(service_account))
    monkeypatch.setenv("API_ENDPOINT_OVERRIDE", server.url)
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    server.want_tokens()
    store = GcsStore(GcsClient(bucket))
    try:
        assert read(store, put(store)) == b"hello"
    finally:
        server.clear()
        store.close()


def test_without_credentials_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    store = GcsStore(GcsClient("files"))
    with pytest.raises(StorageMisconfigured, match="Workload Identity or ADC"):
        store.check()


@pytest.mark.parametrize("prefix", ["", "http://"])
def test_an_emulator_is_named_by_the_environment(
    server: StrictGcs, bucket: str, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", prefix + server.url.removeprefix("http://"))
    store = GcsStore(GcsClient(bucket))
    assert read(store, put(store)) == b"hello"
    store.close()
