"""The service while its bucket hangs: what needs no bucket goes on, what needs it says so, and it is back by itself."""

import contextlib
import os
import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from tests.support.gcs import StrictGcs, create_bucket, strict_gcs
from tests.support.http import Answer, Visitor
from tests.support.processes import freeze, wait_until
from tests.support.proxy import Proxy, proxy
from tests.support.raw import RawClient, head
from tests.support.redis import redis_server
from tests.support.service import Service, running_service

THREADS = 4
PATIENT = 8  # seconds that a client waits for what needs no bucket: less than one deadline of the bucket's
LARGE = bytes(300_000)
HUGE = bytes(20_000_000)  # more than all buffers on its way hold


@contextlib.contextmanager
def service_with_bucket(folder: Path, **more: str) -> Iterator[tuple[Service, StrictGcs, Proxy]]:
    with strict_gcs(folder) as gcs, proxy(int(gcs.url.rpartition(":")[2])) as between:
        create_bucket(gcs.url, "files")
        settings = {
            "STORAGE_URL": "gs://files",
            "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{between.port}",
            "THREADS": str(THREADS),
        }
        with running_service(folder, settings | more) as service:
            with Visitor(service.app_url) as visitor:
                assert visitor.put("small", b"hello").status == 201
                assert visitor.put("large", LARGE).status == 201
            yield service, gcs, between


def ask(service: Service, path: str) -> Answer:
    with Visitor(service.app_url, timeout=60) as visitor:
        return visitor.get(path)


def visit(service: Service) -> Answer:
    with Visitor(service.app_url, timeout=60) as visitor:
        return visitor.ask("POST", "/visits")


def is_refusal(answer: Answer) -> bool:
    return (answer.status, answer.headers["Retry-After"]) == (503, "1")


def assert_the_rest_goes_on(service: Service, asked: list[Future[Answer]]) -> int:
    """Until all that was asked of the bucket has ended. How often it was looked."""
    looked = 0
    with Visitor(service.app_url, timeout=PATIENT) as visitor, Visitor(service.ops_url) as platform:
        while not looked or not all(one.done() for one in asked):
            looked += 1
            assert visitor.get("/api/instance").status == 200
            assert visitor.ask("POST", "/visits").json == {"visits": looked}
            assert visitor.get("/health").status == 200
            assert platform.get("/ready").status == 200
    return looked


def assert_what_needs_no_store_goes_on(service: Service, asked: list[Future[Answer]]) -> None:
    """Until all that was asked of stores has ended."""
    with Visitor(service.app_url, timeout=PATIENT) as visitor:
        while not all(one.done() for one in asked):
            assert [visitor.get(path).status for path in ("/api/instance", "/health")] == [200, 200]


def busy_threads(service: Service) -> int:
    with Visitor(service.ops_url) as platform:
        text = platform.get("/metrics").body.decode()
    found = re.search(r"^server_threads_busy ([0-9.]+)$", text, re.MULTILINE)
    assert found, text
    return int(float(found[1]))


def test_a_frozen_bucket_is_felt_only_by_what_needs_it(tmp_path: Path) -> None:
    paths = ["/bytes", "/bytes/small", "/bytes/large"] * THREADS
    with service_with_bucket(tmp_path, STORAGE_TIMEOUT="12s") as (service, gcs, _):
        with ThreadPoolExecutor(len(paths)) as pool:
            freeze(gcs.pid)
            asked = [pool.submit(ask, service, path) for path in paths]
            assert_the_rest_goes_on(service, asked)
            assert [one.result().status for one in asked if not is_refusal(one.result())] == []
            os.kill(gcs.pid, signal.SIGCONT)
            wait_until("the bucket is back", lambda: ask(service, "/bytes").status == 200)
            assert ask(service, "/bytes/small").body == b"hello"
            assert ask(service, "/bytes/large").body == LARGE


def test_a_bucket_that_sends_byte_by_byte_gives_the_threads_back(tmp_path: Path) -> None:
    paths = ["/bytes", "/bytes/small", "/bytes/large"] * THREADS
    with service_with_bucket(tmp_path, STORAGE_TIMEOUT="2s") as (service, _, between):
        with ThreadPoolExecutor(len(paths)) as pool:
            between.drip = 0.2
            asked = [pool.submit(ask, service, path) for path in paths]
            assert_the_rest_goes_on(service, asked)
            assert [one.result().status for one in asked if not is_refusal(one.result())] == []
            wait_until("no thread is busy", lambda: busy_threads(service) == 0)
            between.drip = 0
            wait_until("the bucket is back", lambda: ask(service, "/bytes").status == 200)


def test_a_peak_of_a_bucket_that_works_is_served(tmp_path: Path) -> None:
    with service_with_bucket(tmp_path) as (service, _, between), ThreadPoolExecutor(4 * THREADS) as pool:
        between.delay = 0.02  # far less than the patience with a bucket that gives no slot back, also on a busy machine
        asked = [pool.submit(ask, service, path) for path in ["/bytes", "/bytes/small"] * 2 * THREADS]
        assert [one.result().status for one in asked] == [200] * len(asked)


def test_a_peak_of_uploads_to_a_bucket_that_works_is_served(tmp_path: Path) -> None:
    """More at once than there are slots for transfers."""

    def upload(number: int) -> int:
        with Visitor(service.app_url, timeout=60) as visitor:
            return visitor.put(f"file-{number}", b"hello").status

    with service_with_bucket(tmp_path) as (service, _, between), ThreadPoolExecutor(2 * THREADS) as pool:
        between.delay = 0.02
        assert [*pool.map(upload, range(4 * THREADS))] == [201] * 4 * THREADS


def test_a_frozen_redis_is_felt_only_by_what_needs_it(tmp_path: Path) -> None:
    with redis_server(tmp_path) as redis:
        settings = {"SESSION_URL": redis.url, "SESSION_TIMEOUT": "10s", "THREADS": str(THREADS)}
        with running_service(tmp_path, settings) as service, ThreadPoolExecutor(3 * THREADS) as pool:
            freeze(redis.process.pid)
            asked = [pool.submit(visit, service) for _ in range(3 * THREADS)]
            assert_what_needs_no_store_goes_on(service, asked)
            assert [one.result().status for one in asked if not is_refusal(one.result())] == []
            assert "busy" in {one.result().kind for one in asked}
            redis.process.send_signal(signal.SIGCONT)
            wait_until("Redis is back", lambda: visit(service).status == 200)


def test_redis_and_the_bucket_frozen_leave_a_thread(tmp_path: Path) -> None:
    with redis_server(tmp_path) as redis, ThreadPoolExecutor(6 * THREADS) as pool:
        settings = {"SESSION_URL": redis.url, "SESSION_TIMEOUT": "10s", "STORAGE_TIMEOUT": "12s"}
        with service_with_bucket(tmp_path, **settings) as (service, gcs, _):
            freeze(gcs.pid)
            asked = [pool.submit(ask, service, "/bytes") for _ in range(3 * THREADS)]
            wait_until("as many as may wait for the bucket do", lambda: busy_threads(service) >= THREADS - 2)
            freeze(redis.process.pid)
            asked += [pool.submit(visit, service) for _ in range(3 * THREADS)]
            assert_what_needs_no_store_goes_on(service, asked)
            assert [one.result().status for one in asked if not is_refusal(one.result())] == []


def leave_in_mid_download(service: Service, break_off: Callable[[], None]) -> None:
    """A client that leaves when all that came before ``break_off`` has arrived, and the thread waits for the store."""
    with RawClient(service.app_url) as client:
        client.send(head("GET", "/bytes/huge"))
        assert len(client.socket.recv(100_000)) > 1  # the headers, at least: the store has begun to send
        break_off()
        client.socket.settimeout(1)
        with contextlib.suppress(TimeoutError):
            while len(client.socket.recv(100_000)) > 1:
                pass
        assert busy_threads(service) == 1


def test_a_client_that_leaves_is_noticed_when_the_next_bytes_come(tmp_path: Path) -> None:
    with service_with_bucket(tmp_path, STORAGE_TIMEOUT="300s") as (service, _, between):
        with Visitor(service.app_url) as visitor:
            assert visitor.put("huge", HUGE).status == 201
        leave_in_mid_download(service, lambda: setattr(between, "drip", 0.2))
        wait_until("no thread is busy", lambda: busy_threads(service) == 0)


def test_a_client_that_leaves_while_nothing_comes_holds_its_thread_for_the_time_outs_only(tmp_path: Path) -> None:
    with service_with_bucket(tmp_path, STORAGE_TIMEOUT="6s", STORAGE_RETRY_BUDGET="1s") as (service, _, between):
        with Visitor(service.app_url) as visitor:
            assert visitor.put("huge", HUGE).status == 201
        leave_in_mid_download(service, lambda: setattr(between, "swallow", True))
        wait_until("no thread is busy", lambda: busy_threads(service) == 0, seconds=60)
