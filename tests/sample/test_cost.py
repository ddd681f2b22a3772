"""What a request costs, in counts that are the same on every machine: commands, bytes, system calls, allocations."""

import contextlib
import gc
import io
import re
import resource
import shutil
import signal
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials

from service import create_app, feature_settings
from service.http.transfer_slots import SMALL
from service.settings import load
from service.storage.gcs import GcsClient, GcsStore
from service.storage.store import StorageUnavailable
from tests.support.gcs import StrictGcs, create_bucket, strict_gcs
from tests.support.hold import metric
from tests.support.processes import wait_until
from tests.support.product import Visitor, file_path, running_product
from tests.support.raw import RawClient, head
from tests.support.redis import RedisServer, redis_server
from tests.support.service import Service

REQUESTS = 50
COMMANDS = ("evalsha", "eval", "del", "get", "set", "hello", "select", "auth", "ping", "cluster|slots")


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def service(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    # One thread's worth of requests at a time; no background check falls into what is counted.
    with running_product(folder, SESSION_URL=redis.url, DEPENDENCY_CHECK_INTERVAL="300s") as running:
        yield running


def cost(redis: RedisServer, do: Callable[[], object]) -> tuple[float, float, float]:
    """Commands, bytes to Redis and bytes from Redis, for each of REQUESTS calls."""
    with redis.client() as admin:

        def counts() -> tuple[int, int, int]:
            stats, commands = admin.info("stats"), admin.info("commandstats")
            calls = sum(commands.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in COMMANDS)
            return calls, stats["total_net_input_bytes"], stats["total_net_output_bytes"]

        counts()
        first = counts()
        second = counts()  # what asking costs
        for _ in range(REQUESTS):
            do()
        third = counts()
    return tuple((c - b - (b - a)) / REQUESTS for a, b, c in zip(first, second, third, strict=True))  # type: ignore[return-value] # three


@pytest.mark.parametrize(
    ("method", "path", "most"),
    [
        pytest.param("GET", "/api/instance", (0, 1, 1), id="untouched"),
        pytest.param("GET", "/api/session", (1, 230, 130), id="read"),
        pytest.param("POST", "/api/session/visits", (1, 300, 40), id="a counter"),
    ],
)
def test_a_request_costs_redis(
    redis: RedisServer, service: Service, method: str, path: str, most: tuple[int, int, int]
) -> None:
    """``most``: commands, which are round trips, bytes to Redis and bytes from it (1: what asks has longer numbers)."""
    with Visitor(service.app_url) as visitor:
        for _ in range(20):  # every thread may take a turn, and connects
            visitor.ask("POST", "/api/session/visits")
            visitor.get("/api/session")
        found = cost(redis, lambda: visitor.ask(method, path))
    print(f"{method} {path}: {found}")
    assert found[0] == most[0]
    assert found[1] <= most[1]
    assert found[2] <= most[2]


@pytest.mark.parametrize(("size", "most"), [(10, 3), (64 * 1024, 3), (1_000_000, 4)])
def test_an_upload_asks_redis(redis: RedisServer, service: Service, size: int, most: int) -> None:
    """Whose files, a reservation, what became of it; and of a large one whether the session is there at its end."""
    with Visitor(service.app_url) as visitor:
        for _ in range(20):
            visitor.put("a", b"first")
        found = cost(redis, lambda: visitor.put("a", b"x" * size))
    print(f"an upload of {size} bytes: {found}")
    assert found[0] == most


def test_a_delete_asks_redis(redis: RedisServer, service: Service) -> None:
    """Whose file, and that it leaves the account: two, besides the three of the upload before it."""
    with Visitor(service.app_url) as visitor:
        for _ in range(20):
            visitor.put("b", b"first")
        found = cost(redis, lambda: (visitor.put("a", b"x"), visitor.ask("DELETE", file_path("a"))))
    print(f"an upload and a delete: {found}")
    assert found[0] == 5


@pytest.mark.parametrize("size", [64 * 1024, 1_000_000])
def test_a_file_costs_the_object_store_few_requests(tmp_path: Path, size: int) -> None:
    """A whole file is one request, small and new or read; where the answer depends on what is there, that is asked."""
    with strict_gcs(tmp_path) as store, contextlib.ExitStack() as stack:
        create_bucket(store.url, "files")
        settings = {"STORAGE_URL": "gs://files", "STORAGE_EMULATOR_HOST": store.url, "THREADS": "4"}
        settings |= {"READY_REQUIRES": "sessions,storage", "DEPENDENCY_CHECK_INTERVAL": "300s"}
        service = stack.enter_context(running_product(tmp_path, settings))
        visitor = stack.enter_context(Visitor(service.app_url))
        path, head_request = file_path("a"), {"objects.get": 1}
        is_small = size <= SMALL
        written = {"objects.get": 1, "upload.multipart": 1}
        made = {"upload.multipart": 1} if is_small else written
        with Visitor(service.ops_url) as platform:
            wait_until("the first check of the store", lambda: platform.get("/ready").status == 200)
        assert requests_for(store, lambda: visitor.put("a", b"x" * size, if_none_match="*")) == made
        assert requests_for(store, lambda: visitor.put("a", b"x" * size)) == written
        assert requests_for(store, lambda: visitor.get(path)) == {"objects.media": 1}
        assert requests_for(store, lambda: visitor.ask("HEAD", path)) == head_request
        etag = visitor.ask("HEAD", path).headers["ETag"]
        assert requests_for(store, lambda: visitor.get(path, if_none_match=etag)) == head_request
        # While no slot is free, a small file is read all the same, and a large one is refused after one request.
        with RawClient(service.app_url) as slow:
            store.clear()
            slow.send(head("PUT", file_path("slow"), "Content-Length: 1000000") + b"x")
            wait_until("the slot taken", lambda: metric(service, "server_transfers_busy") == 1)
            wait_until("what it asks first", lambda: store.calls == head_request)
            assert requests_for(store, lambda: visitor.get(path)) == {"objects.media": 1}
            assert visitor.get(path).status == (200 if is_small else 503)


def requests_for(store: StrictGcs, do: Callable[[], object]) -> dict[str, int]:
    """How often each call of the object store is made."""
    store.clear()
    do()
    return dict(store.calls)


@contextlib.contextmanager
def traced(pid: int, calls: Counter[str]) -> Iterator[None]:
    """The system calls of a process and its threads, by name, added to ``calls`` when this is left."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not here: apt-get install strace")
    command = [strace, "-f", "-qq", "-c", "-U", "calls,name", "-p", str(pid)]
    process = subprocess.Popen([*command, "-o", "/dev/stdout"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    try:
        wait_until_traced(pid)
        yield
        process.send_signal(signal.SIGINT)
        text = process.communicate(timeout=30)[0].decode()
    finally:
        process.kill()
        process.wait()
    calls.update({name: int(count) for count, name in re.findall(r"^\s*(\d+)\s+(\w+)$", text, re.MULTILINE)})
    calls.pop("total", None)


def wait_until_traced(pid: int) -> None:
    def is_traced() -> bool:
        tasks = Path(f"/proc/{pid}/task").glob("*/status")
        return all(re.search(r"TracerPid:\s+[1-9]", status.read_text()) for status in tasks)

    wait_until("the tracing of every thread", is_traced)


def test_a_health_check_makes_few_system_calls(service: Service) -> None:
    calls: Counter[str] = Counter()
    (worker,) = service.workers
    with Visitor(service.ops_url) as platform:
        platform.get("/health")
    with traced(worker, calls):
        for _ in range(REQUESTS):
            with Visitor(service.ops_url) as platform:
                assert platform.get("/health").status == 200
    each = {name: count / REQUESTS for name, count in calls.items() if count >= REQUESTS / 2}
    print(f"a health check: {each}")
    assert not calls.keys() & {"connect", "openat", "fork", "execve"}, "it asks nobody and reads no file"
    assert each["accept4"] == 1
    assert each["sendto"] <= 2


def in_process(folder: Path) -> Callable[[], None]:
    """``GET /api/instance`` without a socket."""
    environ = {"SESSION_URL": "memory://", "STORAGE_URL": f"file://{folder}", "COOKIE_SECURE": "false"}
    app = create_app(load(environ, *feature_settings()))

    def ask() -> None:
        environ: dict[str, Any] = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": "/api/instance",
            "RAW_URI": "/api/instance",
            "SCRIPT_NAME": "",
            "QUERY_STRING": "",
            "SERVER_NAME": "a",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": "a",
            "REMOTE_ADDR": "127.0.0.1",
            "wsgi.url_scheme": "http",
            "wsgi.version": (1, 0),
            "wsgi.input": io.BytesIO(),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        answer: Any = app(environ, lambda *_: lambda _: None)
        assert b"".join(answer)
        answer.close()

    return ask


def test_requests_leave_nothing_in_memory(tmp_path: Path) -> None:
    ask = in_process(tmp_path)
    for _ in range(200):
        ask()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(1000):
        ask()
    gc.collect()
    left = sys.getallocatedblocks() - before
    print(f"blocks left by 1000 requests: {left}")
    assert left < 200  # a block for each would be 1000


def test_a_request_takes_little_memory(tmp_path: Path) -> None:
    ask = in_process(tmp_path)
    for _ in range(50):
        ask()
    tracemalloc.start()
    try:
        ask()
        gc.collect()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        ask()
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    print(f"at most {peak} bytes at once")
    assert peak < 32 * 1024


@contextlib.contextmanager
def gcs(folder: Path) -> Iterator[tuple[StrictGcs, GcsStore]]:
    """The strict server, and a store in it that does not try again for long."""
    nobody = AnonymousCredentials()  # type: ignore[no-untyped-call] # google-auth is typed in parts
    with strict_gcs(folder) as server:
        create_bucket(server.url, "files")
        store = GcsStore(GcsClient("files", endpoint=server.url, credentials=nobody, retry_budget=0.2))
        yield server, store
        store.close()


def upload(store: GcsStore, key: str, mebibytes: int) -> None:
    body = iter([bytes(256 * 1024)] * 4 * mebibytes)
    store.put(f"visitors/owner/{key}", body, content_type="text/plain", generation=0)


def resident() -> int:
    """This process's memory, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@pytest.mark.parametrize("size", [2, 8, 40], ids="{} MiB".format)
def test_an_upload_takes_the_memory_of_one_chunk(tmp_path: Path, size: int) -> None:
    """On the heap; the chunk itself is outside of it (tests/storage/test_large.py)."""
    with gcs(tmp_path) as (_, store):
        upload(store, "first", size)
        tracemalloc.start()
        try:
            upload(store, "second", size)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    print(f"at most {peak} bytes at once")
    assert peak < 8 * 2**20


@pytest.mark.parametrize("fault", ["status", "drop"])
@pytest.mark.parametrize(("size", "call"), [(2, "upload.multipart"), (20, "upload.chunk")])
def test_the_memory_of_an_upload_is_back_also_when_it_fails(tmp_path: Path, size: int, call: str, fault: str) -> None:
    """At once, and not when the garbage collector comes to the exceptions."""
    with gcs(tmp_path) as (server, store):
        upload(store, "first", size)
        server.fault(call, fault, status=503, times=-1)
        gc.collect()
        gc.disable()
        try:
            before = resident()
            for _ in range(6):
                with pytest.raises(StorageUnavailable):
                    upload(store, "second", size)
            grown = resident() - before
        finally:
            gc.enable()
    print(f"grown by {grown} bytes")
    assert grown < 16 * 2**20


def test_the_memory_of_an_upload_is_back_also_when_it_broke_on_its_way(tmp_path: Path) -> None:
    with gcs(tmp_path) as (server, store):
        upload(store, "first", 20)
        server.fault("upload.chunk", "drop", after=2**20, times=-1)
        gc.collect()
        gc.disable()
        try:
            before = resident()
            upload(store, "second", 20)
            grown = resident() - before
        finally:
            gc.enable()
    print(f"grown by {grown} bytes")
    assert grown < 16 * 2**20
