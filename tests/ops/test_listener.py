"""The ops listener answers the platform whatever visitors do, and the app listener tells visitors nothing of it."""

import contextlib
import os
import resource
import select
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.ops.listener import MAX_CONNECTIONS
from tests.probe import path_of
from tests.support.hold import active, holdable_service
from tests.support.http import Visitor
from tests.support.processes import accepts_connections, free_port, wait_until
from tests.support.raw import RawClient, head
from tests.support.service import Service, running_service

PATHS = ("/health", "/ready", "/metrics")
LARGE = 1_000_000  # bytes


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("ops")) as running:
        yield running


def begin_upload(service: Service) -> RawClient:
    """A PUT that holds a thread until its body comes."""
    client = RawClient(service.app_url)
    client.send(head("PUT", path_of("a"), f"Content-Length: {LARGE}") + b"x" * 100_000)
    return client


def get(service: Service, path: str) -> int:
    with Visitor(service.ops_url, timeout=20) as platform:
        return platform.get(path).status


def test_the_platform_is_served_while_every_thread_is_busy(tmp_path: Path) -> None:
    with holdable_service(tmp_path, THREADS="2") as hold:
        hold.take(2)
        for _ in range(20):
            assert get(hold.service, "/health") == get(hold.service, "/metrics") == 200
            assert get(hold.service, "/ready") in (200, 503)  # which of them: test_liveness.py
        assert active(hold.service) == 2
        assert hold.let_go() == [204, 204]


def test_slow_clients_do_not_keep_a_scrape_out(service: Service) -> None:
    """Nor do they cost more than a few threads: the oldest has to go."""
    with Visitor(service.app_url) as visitor:
        assert visitor.get("/api/instance").status == 200  # so all request threads are there
    threads = Path(f"/proc/{service.workers[0]}/task")
    before = len(list(threads.iterdir()))
    with contextlib.ExitStack() as stack:
        for number in range(50):
            client = stack.enter_context(RawClient(service.ops_url))
            client.send(b"" if number % 2 else b"GET /metrics HTTP/1.1\r\nX-Slow: ")
        for _ in range(5):
            assert [get(service, path) for path in PATHS] == [200, 200, 200]
            assert len(list(threads.iterdir())) <= before + MAX_CONNECTIONS + 2


def test_a_client_that_sends_nothing_is_not_waited_for(service: Service) -> None:
    with RawClient(service.ops_url) as client:
        client.send(b"GET /metr")
        assert client.wait_for_close() == b""


@pytest.mark.parametrize("path", ["/", "/metrics/", "/api/instance", "/openapi.json"])
def test_other_paths_are_not_there(service: Service, path: str) -> None:
    with Visitor(service.ops_url) as platform:
        answer = platform.get(path)
    assert (answer.status, answer.kind) == (404, "about:blank")
    assert answer.json["instance"] == path


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "NONSENSE"])
def test_other_methods_are_not_allowed(service: Service, method: str) -> None:
    with Visitor(service.ops_url) as platform:
        answer = platform.ask(method, "/metrics")
    assert (answer.status, answer.kind, answer.headers["Allow"]) == (405, "about:blank", "GET, HEAD")


def test_the_methods_of_the_listener_as_a_whole_are_told(service: Service) -> None:
    for target in ("*", "http://a"):
        with RawClient(service.ops_url) as client:
            client.send(f"OPTIONS {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            answer = client.answer()
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET * HTTP/1.1\r\n\r\n", 400),
        (b"GET http://a HTTP/1.1\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"GET http://[::1/health HTTP/1.1\r\n\r\n", 400),
        (b"GET /" + b"q" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
    ],
)
def test_bytes_that_are_not_a_request_get_a_problem_too(service: Service, sent: bytes, status: int) -> None:
    with RawClient(service.ops_url) as client:
        client.send(sent)
        answer = client.answer()
    assert (answer.status, answer.kind) == (status, "about:blank")


def test_head_has_the_headers_of_get_and_no_body(service: Service) -> None:
    for path in PATHS:
        with RawClient(service.ops_url) as client:
            client.send(head("HEAD", path))
            answer = client.answer(method="HEAD")
            assert client.wait_for_close() == b""
        assert answer.status == 200
        assert int(answer.headers["Content-Length"]) > 0
        assert answer.headers["Cache-Control"] == "no-store"


def test_a_query_changes_nothing(service: Service) -> None:
    assert [get(service, f"{path}?verbose=1") for path in PATHS] == [200, 200, 200]


def test_visitors_are_told_nothing_of_metrics_and_dependencies(tmp_path: Path) -> None:
    broken = f"redis://127.0.0.1:{free_port()}/0"
    with running_service(tmp_path, SESSION_URL=broken, READY_REQUIRES="sessions") as service:
        with Visitor(service.app_url) as visitor, Visitor(service.ops_url) as platform:
            wait_until("the store seen", lambda: b'"fail"' in platform.get("/ready").body)
            full, short = platform.get("/ready"), visitor.get("/ready")
            assert full.status == short.status == 503
            assert full.json["checks"].keys() == {"sessions:availability", "storage:availability"}
            assert "checks" not in short.json
            assert visitor.get("/metrics").status == 404


def test_the_platform_is_served_during_the_drain(tmp_path: Path) -> None:
    with running_service(tmp_path, SHUTDOWN_DELAY="300s", SHUTDOWN_GRACE="60s", IO_TIMEOUT="300s") as service:
        with begin_upload(service) as upload:
            wait_until("the upload in flight", lambda: active(service) == 1)
            service.process.terminate()
            wait_until("not ready", lambda: get(service, "/ready") == 503)
            assert [get(service, path) for path in PATHS] == [200, 503, 200]
            port = int(service.app_url.rpartition(":")[2])
            service.process.terminate()  # the delay ends, and the worker waits for the upload
            wait_until("no more connections", lambda: not accepts_connections(port))
            assert [get(service, path) for path in PATHS] == [200, 503, 200]
            upload.send(b"x" * (LARGE - 100_000))
            assert upload.answer().status == 201
        assert service.process.wait(30) == 0


def test_an_accept_that_fails_is_not_tried_without_a_pause(tmp_path: Path) -> None:
    """While the worker has no file descriptor left. The connection waits in the backlog."""
    with running_service(tmp_path) as service:
        with Visitor(service.app_url) as visitor:
            assert visitor.get("/health").status == 200  # so nothing is left that the worker opens at its start
        (worker,) = service.workers
        limits = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (3, limits[1]))
        with RawClient(service.ops_url) as client:
            client.send(head("GET", "/health"))
            began, used = time.monotonic(), processor_time(worker)
            assert not select.select([client.socket], [], [], 1)[0]
            assert processor_time(worker) - used < (time.monotonic() - began) / 2
            resource.prlimit(worker, resource.RLIMIT_NOFILE, limits)
            assert client.answer().status == 200


def processor_time(pid: int) -> float:
    """Seconds that the process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
