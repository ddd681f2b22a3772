"""What every object store promises, on fake-gcs-server, on the strict server and in a folder.

Where fake-gcs-server differs from Google's documentation (the head of tests/support/gcs_server names how), it is
left out.
"""

import contextlib
import functools
import itertools
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import google_crc32c
import pytest
from google.auth.credentials import AnonymousCredentials

from service.storage.file import FileStore
from service.storage.gcs import GcsClient, GcsStore
from service.storage.store import (
    ObjectInfo,
    ObjectNotFound,
    ObjectStore,
    PreconditionFailed,
    StorageMisconfigured,
)
from tests.support.gcs import StrictGcs, create_bucket, fake_gcs, strict_gcs

MIB = 2**20
SEED = secrets.token_bytes(MIB)


@dataclass
class Case:
    """A store, and how to open another: on the same objects, or on what is missing (None: it needs no such thing)."""

    name: str
    store: ObjectStore
    open: Callable[[], ObjectStore]
    open_missing: Callable[[], ObjectStore] | None
    strict: StrictGcs | None = None

    def put(self, key: str, data: bytes, generation: int | None = None, piece: int = 256 * 1024) -> ObjectInfo:
        pieces = (data[at : at + piece] for at in range(0, len(data), piece))
        return self.store.put(key, pieces, content_type="text/plain", generation=generation)

    def read(self, info: ObjectInfo, start: int = 0, end: int | None = None) -> bytes:
        return b"".join(self.store.get(info, start, info.size if end is None else end))

    def opened(self, key: str) -> tuple[ObjectInfo, bytes] | None:
        """What open() gives, with the time that the store knows: open() may have it cut to the second."""
        found = self.store.open(key)
        if found is None:
            return None
        info, data = found[0], b"".join(found[1])
        known = self.store.stat(key)
        assert known is not None
        assert 0 <= known.updated - info.updated < 1
        return replace(info, updated=known.updated), data


@pytest.fixture(scope="module", params=["fake", "strict", "file"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    folder = tmp_path_factory.mktemp(request.param)
    with contextlib.ExitStack() as stack:
        if request.param == "file":
            (folder / "files").mkdir()
            there, missing = (functools.partial(FileStore, str(folder / name)) for name in ("files", "missing"))
            yield Case("file", there(), there, missing)
            return
        strict = stack.enter_context(strict_gcs(folder)) if request.param == "strict" else None
        url = strict.url if strict else stack.enter_context(fake_gcs(folder))
        create_bucket(url, "files")
        nobody = AnonymousCredentials()  # type: ignore[no-untyped-call] # google-auth is typed in parts

        def gcs(bucket: str) -> ObjectStore:
            store = GcsStore(GcsClient(bucket, connections=40, endpoint=url, credentials=nobody), prefix="some/prefix")
            stack.callback(store.close)
            return store

        yield Case(request.param, gcs("files"), lambda: gcs("files"), lambda: gcs("missing-bucket"), strict)


@pytest.fixture
def folder() -> str:
    """A prefix that no other test uses."""
    return f"visitors/{secrets.token_hex(16)}/"


def some(size: int) -> bytes:
    return (SEED * (size // MIB + 1))[:size]


def interrupted(data: bytes) -> Iterator[bytes]:
    """A body whose visitor goes away at its end."""
    yield from (data[at : at + 65536] for at in range(0, len(data), 65536))
    raise ConnectionAbortedError("the visitor went away")


@pytest.mark.parametrize("piece", [256 * 1024, 100_001, 40 * MIB], ids=["blocks", "odd", "all-at-once"])
@pytest.mark.parametrize(
    "size", [0, 1, 256 * 1024, 2 * MIB, 2 * MIB + 1, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 17 * MIB + 5]
)
def test_what_was_put_is_read_back(case: Case, folder: str, size: int, piece: int) -> None:
    data = some(size)
    info = case.put(folder + "name", data, 0, piece)
    assert (info.key, info.size, info.content_type) == (folder + "name", size, "text/plain")
    assert info.crc32c == google_crc32c.value(data)
    assert info.generation > 0
    assert case.store.stat(info.key) == info
    assert case.open().stat(info.key) == info
    assert case.read(info) == data
    assert case.opened(info.key) == (info, data)


def test_empty_pieces_end_nothing(case: Case, folder: str) -> None:
    pieces = iter([b"", b"a", b"", b"b", b""])
    info = case.store.put(folder + "x", pieces, content_type="a/b", generation=None)
    assert case.read(info) == b"ab"


@pytest.mark.parametrize(
    ("start", "end"), [(0, 1), (1, 2), (5, 5), (0, 300_000), (299_999, 300_001), (599_999, 600_000)]
)
def test_a_range_is_just_those_bytes(case: Case, folder: str, start: int, end: int) -> None:
    data = some(600_000)
    info = case.put(folder + "x", data)
    assert case.read(info, start, end) == data[start:end]


def test_a_large_body_comes_in_chunks(case: Case, folder: str) -> None:
    info = case.put(folder + "x", some(3 * MIB))
    assert max(map(len, case.store.get(info, 0, info.size))) <= MIB


def test_a_write_makes_another_generation(case: Case, folder: str) -> None:
    infos = [case.put(folder + "x", b"same") for _ in range(5)]
    assert len({info.generation for info in infos}) == 5


def test_only_the_generation_that_was_asked_for_is_read(case: Case, folder: str) -> None:
    old = case.put(folder + "x", b"old")
    new = case.put(folder + "x", b"new")
    with pytest.raises(ObjectNotFound):
        case.store.get(old, 0, 3)
    case.store.delete(new.key, generation=None)
    with pytest.raises(ObjectNotFound):
        case.store.get(new, 0, 3)


def test_what_is_there_now_is_opened(case: Case, folder: str) -> None:
    case.put(folder + "x", b"old")
    new = case.put(folder + "x", b"new")
    assert case.opened(new.key) == (new, b"new")
    case.store.delete(new.key, generation=None)
    assert case.opened(new.key) is None


def test_a_download_that_began_is_never_a_mixture(case: Case, folder: str) -> None:
    data = some(4 * MIB)
    info = case.put(folder + "x", data)
    download = case.store.get(info, 0, info.size)
    first = next(download)
    case.put(folder + "x", bytes(4 * MIB))
    assert first + b"".join(download) == data


def test_a_download_may_be_left_early(case: Case, folder: str) -> None:
    info = case.put(folder + "x", some(4 * MIB))
    for _ in range(50):
        download = case.store.get(info, 0, info.size)
        next(download)
        download.close()  # type: ignore[attr-defined] # promised by get()
    assert len(case.read(info)) == info.size


def test_nothing_is_none(case: Case, folder: str) -> None:
    assert case.store.stat(folder + "x") is None
    assert not case.store.delete(folder + "x", generation=None)
    assert not case.store.delete(folder + "x", generation=12345)
    case.put(folder + "neighbour", b"")
    assert not case.store.delete(folder + "x", generation=12345)
    case.store.delete(folder + "neighbour", generation=None)
    assert case.store.list(folder, page_token=None, limit=10).objects == []


@pytest.mark.parametrize("size", [10, 9 * MIB], ids=["small", "large"])
def test_a_write_replaces_only_the_generation_it_names(case: Case, folder: str, size: int) -> None:
    key = folder + "x"
    with pytest.raises(PreconditionFailed):
        case.put(key, some(size), 12345)
    assert case.store.stat(key) is None
    first = case.put(key, some(size), 0)
    for generation in (0, first.generation + 1, first.generation - 1):
        with pytest.raises(PreconditionFailed):
            case.put(key, b"other" + some(size), generation)
    assert case.store.stat(key) == first
    second = case.put(key, b"other" + some(size), first.generation)
    assert case.store.stat(key) == second
    assert case.read(second) == b"other" + some(size)


def test_a_delete_takes_only_the_generation_it_names(case: Case, folder: str) -> None:
    if case.name == "fake":
        pytest.skip("fake-gcs-server ignores preconditions on deletes")
    old = case.put(folder + "x", b"old")
    new = case.put(folder + "x", b"new")
    with pytest.raises(PreconditionFailed):
        case.store.delete(new.key, generation=old.generation)
    assert case.store.stat(new.key) == new
    assert case.store.delete(new.key, generation=new.generation)
    assert case.store.stat(new.key) is None


def test_a_delete_without_a_generation_takes_what_is_there(case: Case, folder: str) -> None:
    info = case.put(folder + "x", b"old")
    assert case.store.delete(info.key, generation=None)
    assert case.store.stat(info.key) is None
    assert case.put(folder + "x", b"new", 0).generation != info.generation


@pytest.mark.parametrize(("size", "racers"), [(10, 32), (9 * MIB, 4)], ids=["small", "large"])
def test_of_racing_creators_exactly_one_wins(case: Case, folder: str, size: int, racers: int) -> None:
    key = folder + "x"
    start = threading.Barrier(racers)
    stores = itertools.cycle([case.store, case.open()])

    def create(number: int, store: ObjectStore) -> ObjectInfo | None:
        data = bytes([number]) * size
        start.wait(20)
        try:
            return store.put(key, iter([data]), content_type="text/plain", generation=0)
        except PreconditionFailed:
            return None

    with ThreadPoolExecutor(racers) as pool:
        results = list(pool.map(create, range(racers), stores))
    winners = [number for number, info in enumerate(results) if info]
    assert len(winners) == 1
    assert case.store.stat(key) == results[winners[0]]
    assert set(case.read(results[winners[0]] or pytest.fail("no winner"))) == {winners[0]}


def test_racing_writers_each_see_what_they_replace(case: Case, folder: str) -> None:
    """A counter kept in an object loses no step: a lost update would make it too small."""
    key = folder + "counter"
    case.put(key, b"0", 0)

    def add(_: int) -> None:
        while True:
            info = case.store.stat(key)
            assert info is not None
            try:
                case.put(key, str(int(case.read(info)) + 1).encode(), info.generation)
            except (PreconditionFailed, ObjectNotFound):
                continue
            return

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(40)))
    info = case.store.stat(key)
    assert info is not None
    assert case.read(info) == b"40"


@pytest.mark.parametrize("size", [0, 100_000, 8 * MIB + 65536, 17 * MIB], ids=str)
def test_a_body_that_breaks_off_leaves_nothing(case: Case, folder: str, size: int) -> None:
    with pytest.raises(ConnectionAbortedError):
        case.store.put(folder + "new", interrupted(some(size)), content_type="text/plain", generation=0)
    kept = case.put(folder + "old", b"kept")
    with pytest.raises(ConnectionAbortedError):
        case.store.put(folder + "old", interrupted(some(size)), content_type="text/plain", generation=kept.generation)
    assert case.store.list(folder, page_token=None, limit=10).objects == [kept]
    if case.strict:
        assert case.strict.state["sessions"] == 0


ODD_NAMES = [
    "plain.txt", "CON", "nul.txt", "a b", "%2e%2e", "%2F", "..a", "...", "~", "-rf", "a\\b", "a:b", "a?b#c&d=e", "*",
    "é", "e\u0301", "É", "ß", "ẞ", "\u017f", "İ", "\u0131", "\u212a", "ﬁ", "日本語", "\U0001d49c", "🏴‍☠️",
    "\u202ereversed", "\u200b", "\ufeffx", "\u2028", "\x7f", "\x85", "a.object", "=a",
    "a" * 255, "é" * 127, "🏴" * 63, "A", "a", "x" * 100, "x" * 101, ".hidden",
    "trailing.", "trailing ", " leading", ".uploads", ".locks", "'\"", "\t",
]  # fmt: skip


def test_odd_names_stay_what_they_are(case: Case, folder: str) -> None:
    infos = {name: case.put(folder + name, name.encode(), 0) for name in ODD_NAMES}
    for name, info in infos.items():
        assert info.key == folder + name
        assert case.store.stat(folder + name) == info
        assert case.read(info) == name.encode()
        assert case.opened(info.key) == (info, name.encode())
    listed = case.store.list(folder, page_token=None, limit=1000)
    assert listed.next_token is None
    assert listed.objects == [infos[name] for name in sorted(ODD_NAMES, key=str.encode)]
    for info in infos.values():
        assert case.store.delete(info.key, generation=info.generation)
    assert case.store.list(folder, page_token=None, limit=1000).objects == []


@pytest.mark.parametrize("key", ["visitors/x/\ud800", "visitors/x/" + "é" * 600 + "\ud800"])
def test_a_key_that_is_not_utf8_is_refused(case: Case, key: str) -> None:
    with pytest.raises(ValueError, match=r"surrogates|UTF-8"):
        case.put(key, b"")
    with pytest.raises(ValueError, match=r"surrogates|UTF-8"):
        case.store.stat(key)


@pytest.mark.parametrize("limit", [1, 2, 5, 100])
def test_pages_put_together_are_the_listing(case: Case, folder: str, limit: int) -> None:
    names = sorted(["a", "aa", "ab", "b", "é", "\uffff", "\U00010000", "Z", "0", "a b", "a.b"], key=str.encode)
    for name in names:
        case.put(folder + name, b"")
    case.put(folder[:-1] + "0/neighbour", b"")
    found: list[str] = []
    token = None
    while True:
        page = case.store.list(folder, page_token=token, limit=limit)
        assert len(page.objects) <= limit
        found += [info.key.removeprefix(folder) for info in page.objects]
        token = page.next_token
        if token is None:
            break
    assert found == names
    with_a = case.store.list(folder + "a", page_token=None, limit=100)
    assert [info.key.removeprefix(folder) for info in with_a.objects] == ["a", "a b", "a.b", "aa", "ab"]


def test_what_does_not_change_is_listed_once_while_the_rest_does(case: Case, folder: str) -> None:
    stay = [f"{number:03}" for number in range(0, 60, 2)]
    for name in stay:
        case.put(folder + name, b"")
    stop = threading.Event()

    def change() -> None:
        for number in itertools.cycle(range(1, 60, 2)):
            if stop.is_set():
                return
            case.put(f"{folder}{number:03}", b"")
            case.store.delete(f"{folder}{number:03}", generation=None)

    changer = threading.Thread(target=change)
    changer.start()
    try:
        for _ in range(5):
            found: list[str] = []
            token = None
            while True:
                page = case.store.list(folder, page_token=token, limit=7)
                found += [info.key.removeprefix(folder) for info in page.objects]
                if (token := page.next_token) is None:
                    break
            assert found == sorted(set(found))
            assert [name for name in found if name in stay] == stay
    finally:
        stop.set()
        changer.join(20)


@pytest.mark.parametrize("token", ["?", "zzz", "", "é", "e30=", "bm9uZQ==", "x" * 5000, "../.."])
def test_a_page_token_that_nobody_gave_out_is_refused(case: Case, folder: str, token: str) -> None:
    if case.name == "fake":
        pytest.skip("fake-gcs-server takes any text as a page token")
    with pytest.raises(ValueError):
        case.store.list(folder, page_token=token, limit=10)


def test_a_store_that_is_well_passes_its_check(case: Case) -> None:
    case.store.check()


@pytest.mark.parametrize("call", ["put", "large put", "list", "check", "stat", "get", "open", "delete"])
def test_a_missing_bucket_or_folder_is_named(case: Case, folder: str, call: str) -> None:
    if case.name == "fake" and call in ("stat", "get", "open", "delete"):
        pytest.skip("fake-gcs-server does not tell a missing bucket from a missing object")
    if case.open_missing is None:
        pytest.skip("it needs nothing that can be missing")
    store = case.open_missing()
    info = ObjectInfo(folder + "x", 3, "text/plain", 12345, 0, 0.0)
    calls: dict[str, Callable[[], object]] = {
        "put": lambda: store.put(info.key, iter([b"x"]), content_type="a/b", generation=0),
        "large put": lambda: store.put(info.key, iter([bytes(9 * MIB)]), content_type="a/b", generation=0),
        "list": lambda: store.list(folder, page_token=None, limit=10),
        "check": store.check,
        "stat": lambda: store.stat(info.key),
        "get": lambda: store.get(info, 0, 3),
        "open": lambda: store.open(info.key),
        "delete": lambda: store.delete(info.key, generation=12345),
    }
    with pytest.raises(StorageMisconfigured, match=r"missing.*(create|mount)"):
        calls[call]()


def test_a_content_type_can_not_smuggle_anything(case: Case, folder: str) -> None:
    if case.name == "file":
        pytest.skip("it goes into JSON, and into no header that is sent to a server")
    with pytest.raises(ValueError, match="printable"):
        case.store.put(folder + "x", iter([b"x"]), content_type="a/b\r\nX-Evil: 1", generation=0)


def test_many_threads_share_a_store(case: Case, folder: str) -> None:
    def work(number: int) -> None:
        for turn in range(5):
            data = f"{number} {turn}".encode() * 1000
            info = case.put(f"{folder}{number}", data)
            assert case.read(info) == data
            assert case.store.delete(info.key, generation=info.generation)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))
    assert case.store.list(folder, page_token=None, limit=10).objects == []


def test_no_upload_is_left_on_the_disk(case: Case, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Last in the file: after all of the above, the folder holds no half an upload."""
    if case.name == "file":
        assert list(tmp_path_factory.getbasetemp().glob("file*/files/.uploads/*")) == []
