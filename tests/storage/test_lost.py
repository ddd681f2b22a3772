"""Google Cloud Storage when it does not confirm a write: what is told is what happened, or that it is not known."""

import threading
import time
from collections.abc import Iterator

import pytest
from google.auth.credentials import AnonymousCredentials

from service.storage.gcs import GcsClient, GcsStore
from service.storage.store import (
    DamagedDownload,
    ObjectInfo,
    OutcomeUnknown,
    PreconditionFailed,
    StorageMisconfigured,
    StorageUnavailable,
)
from tests.support.gcs import StrictGcs, create_bucket, strict_gcs
from tests.support.processes import free_port, wait_until

KEY = "visitors/owner/name"
LARGE = b"0123456789abcdef" * 2**17 * 5  # 10 MiB: two chunks
SIZES = pytest.mark.parametrize("data", [b"hello", LARGE], ids=["small", "large"])
# A response that does not confirm what was done.
UNCLEAR = pytest.mark.parametrize("kind", ["empty", "garbage", "foreign", "cut", "lost"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StrictGcs]:
    with strict_gcs(tmp_path_factory.mktemp("strict")) as running:
        yield running


@pytest.fixture
def bucket(server: StrictGcs) -> Iterator[str]:
    name = f"bucket-{time.monotonic_ns()}"
    create_bucket(server.url, name)
    server.clear()
    yield name
    server.clear()


@pytest.fixture
def store(server: StrictGcs, bucket: str) -> Iterator[GcsStore]:
    opened = gcs(server.url, bucket)
    yield opened
    opened.close()


@pytest.fixture
def hasty(server: StrictGcs, bucket: str) -> Iterator[GcsStore]:
    """The same store, tried once only."""
    opened = gcs(server.url, bucket, timeout=2, retry_budget=0)
    yield opened
    opened.close()


def gcs(url: str, bucket: str, *, timeout: float = 10, retry_budget: float = 10) -> GcsStore:
    nobody = AnonymousCredentials()  # type: ignore[no-untyped-call] # google-auth is typed in parts
    return GcsStore(GcsClient(bucket, endpoint=url, timeout=timeout, retry_budget=retry_budget, credentials=nobody))


def put(store: GcsStore, data: bytes = b"hello", generation: int | None = 0) -> ObjectInfo:
    return store.put(KEY, iter([data]), content_type="text/plain", generation=generation)


def last_request(data: bytes) -> tuple[str, int]:
    """The call that makes the object, and how many calls of its name come before."""
    return ("upload.multipart", 0) if data == b"hello" else ("upload.chunk", 1)


@UNCLEAR
@SIZES
def test_what_is_stored_is_told_as_stored(server: StrictGcs, hasty: GcsStore, data: bytes, kind: str) -> None:
    """Nothing is tried again here: the write's mark shows it."""
    old = put(hasty, b"old")
    call, skip = last_request(data)
    server.fault(call, kind, skip=skip)
    info = put(hasty, data, old.generation)
    assert hasty.stat(KEY) == info
    assert info.size == len(data)


@UNCLEAR
@SIZES
def test_what_is_stored_and_cannot_be_looked_at_is_told_as_unknown(
    server: StrictGcs, hasty: GcsStore, data: bytes, kind: str
) -> None:
    call, skip = last_request(data)
    server.fault(call, kind, skip=skip)
    server.fault("objects.get", "status", times=-1)
    with pytest.raises(OutcomeUnknown, match="may have been stored"):
        put(hasty, data)
    server.clear()
    assert hasty.stat(KEY) is not None


def test_an_upload_that_comes_after_all_was_told_as_unknown(server: StrictGcs, hasty: GcsStore) -> None:
    server.fault("upload.multipart", "latency", seconds=4)
    with pytest.raises(OutcomeUnknown, match="did not respond"):
        put(hasty)
    wait_until("the object is there", lambda: hasty.stat(KEY) is not None)


@pytest.mark.parametrize("status", [403, 429, 500, 503])
@SIZES
def test_an_error_of_the_store_leaves_no_doubt(server: StrictGcs, hasty: GcsStore, data: bytes, status: int) -> None:
    """The store says that it did not do it; so the reservation may be given back."""
    call, skip = last_request(data)
    server.fault(call, "status", status=status, skip=skip)
    with pytest.raises((StorageUnavailable, StorageMisconfigured)) as raised:
        put(hasty, data)
    assert not isinstance(raised.value, OutcomeUnknown)


def test_a_store_that_is_not_there_leaves_no_doubt() -> None:
    store = gcs(f"http://127.0.0.1:{free_port()}", "files", retry_budget=0.2)
    with pytest.raises(StorageUnavailable) as raised:
        put(store)
    assert not isinstance(raised.value, OutcomeUnknown)
    store.close()


def test_an_upload_that_was_replaced_before_it_was_confirmed_is_unknown(
    server: StrictGcs, store: GcsStore, hasty: GcsStore
) -> None:
    """It was there, and whoever replaced it has seen it."""
    server.fault("upload.multipart", "lost", seconds=1)
    errors: list[BaseException] = []

    def first() -> None:
        with pytest.raises(OutcomeUnknown) as raised:
            put(store)
        errors.append(raised.value)

    thread = threading.Thread(target=first)
    thread.start()
    wait_until("the first is stored", lambda: hasty.stat(KEY) is not None)
    info = hasty.stat(KEY)
    assert info is not None
    put(hasty, b"second", info.generation)
    thread.join(30)
    assert len(errors) == 1


def test_a_new_object_that_was_sent_again_may_have_been_stored_twice(server: StrictGcs, store: GcsStore) -> None:
    server.fault("upload.multipart", "drop")
    info = put(store)
    assert info.maybe_twice
    server.fault("upload.multipart", "drop")
    assert not put(store, b"other", info.generation).maybe_twice  # its precondition held, so nothing was stored before
    assert store.delete(KEY, generation=None)
    server.fault("upload.multipart", "status", status=503)
    assert not put(store).maybe_twice
    assert store.delete(KEY, generation=None)
    server.fault("upload.multipart", "lost")
    assert not put(store).maybe_twice  # it was found by its mark, and sent once


@pytest.mark.parametrize("status", [404, 412, 503])
def test_a_wrong_object_that_cannot_be_deleted_is_unknown(server: StrictGcs, hasty: GcsStore, status: int) -> None:
    """It is still there, or another request has seen it and replaced or deleted it."""
    server.fault("upload.multipart", "corrupt")
    server.fault("objects.delete", "status", status=status)
    with pytest.raises(OutcomeUnknown, match="stored wrong"):
        put(hasty)


def test_another_write_is_told_after_an_error_of_the_store(server: StrictGcs, store: GcsStore) -> None:
    put(store)
    server.fault("upload.multipart", "status", status=503)
    with pytest.raises(PreconditionFailed):
        put(store, b"other")


def test_no_bytes_with_the_checksum_of_some_are_not_believed(server: StrictGcs, hasty: GcsStore) -> None:
    put(hasty)
    server.fault("objects.media", "nothing", times=-1)
    with pytest.raises(StorageUnavailable):
        gcs_open(hasty)
    server.clear()
    server.fault("objects.media", "nothing")
    assert gcs_open(hasty) == b"hello"


def gcs_open(store: GcsStore) -> bytes:
    found = store.open(KEY)
    assert found is not None
    return b"".join(found[1])


def test_bytes_that_changed_on_their_way_out_are_told_as_that(server: StrictGcs, store: GcsStore) -> None:
    put(store)
    server.fault("objects.media", "corrupt")
    with pytest.raises(DamagedDownload):
        gcs_open(store)


@pytest.mark.parametrize("kind", ["empty", "garbage", "foreign"])
def test_a_listing_that_is_none_is_not_an_empty_one(server: StrictGcs, store: GcsStore, kind: str) -> None:
    put(store)
    server.fault("objects.list", kind)
    with pytest.raises(StorageMisconfigured, match="not an object store"):
        store.list("", page_token=None, limit=10)
