"""Clients that are slow, silent or many do not take the service down: requests are answered meanwhile, and who waits
too long is sent away."""

import contextlib
import os
import resource
import select
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.http.transfer_slots import SMALL
from tests.probe import path_of
from tests.support.hold import active, metric
from tests.support.http import Visitor
from tests.support.processes import freeze, wait_until
from tests.support.raw import RawClient, head
from tests.support.service import Service, running_service

BEGINNINGS = {
    "half a request line": b"GET /api/inst",
    "half a head": b"GET /api/instance HTTP/1.1\r\nHost: a\r\nX-More: ",
    "half a body": head("PUT", "/session", "Content-Type: application/json", "Content-Length: 20") + b'{"name',
    "half a body, zeros before its length": head(
        "PUT", "/session", "Content-Type: application/json", f"Content-Length: {20:020}"
    )
    + b'{"name',
    "expects, then nothing": head("PUT", path_of("a"), "Content-Length: 20", "Expect: 100-continue"),
    "nothing": b"",
}
LARGE = 1_000_000  # bytes


@contextlib.contextmanager
def slow_clients(service: Service, number: int) -> Iterator[list[RawClient]]:
    """So many connections, each with the beginning of a request."""
    with contextlib.ExitStack() as stack:
        clients = []
        for index in range(number):
            client = stack.enter_context(RawClient(service.app_url))
            client.send(list(BEGINNINGS.values())[index % len(BEGINNINGS)])
            clients.append(client)
        yield clients


def begin_upload(service: Service, name: str) -> RawClient:
    """A PUT that holds a thread: too large to be waited for, and only begun."""
    client = RawClient(service.app_url)
    client.send(head("PUT", path_of(name), f"Content-Length: {LARGE}") + b"x" * 100_000)
    return client


def test_slow_request_heads_and_bodies_cost_no_thread(tmp_path: Path) -> None:
    """Two threads, 300 connections that never finish what they say."""
    with running_service(tmp_path, THREADS="2", HEAD_TIMEOUT="300s") as service:
        with slow_clients(service, 300):
            for _ in range(20):
                with Visitor(service.app_url) as visitor:
                    assert visitor.get("/api/instance").status == 200
                    assert visitor.ask("POST", "/visits").status == 200
            wait_until("no thread held", lambda: active(service) == 0)


@pytest.mark.parametrize("beginning", BEGINNINGS.values(), ids=BEGINNINGS.keys())
def test_a_request_that_does_not_come_is_not_waited_for(tmp_path: Path, beginning: bytes) -> None:
    with running_service(tmp_path, HEAD_TIMEOUT="500ms") as service, RawClient(service.app_url) as client:
        client.send(beginning)
        if b"Expect" in beginning:
            assert client.answer().status == 100
        if beginning:
            answer = client.answer()
            assert (answer.status, answer.headers["Connection"]) == (408, "close")
            assert answer.headers["Content-Type"] == "application/problem+json"
        assert client.wait_for_close() == b""


def test_dripping_does_not_buy_time(tmp_path: Path) -> None:
    """The time is for the whole head, not for each byte."""
    with running_service(tmp_path, HEAD_TIMEOUT="500ms") as service, RawClient(service.app_url) as client:
        closed = threading.Event()

        def drip() -> None:
            with contextlib.suppress(OSError):
                client.send(b"GET / HTTP/1.1\r\nX-Drip: ")
                while not closed.wait(0.05):
                    client.send(b"x")

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            assert client.answer().status == 408
        finally:
            closed.set()
            dripping.join()


def test_a_second_request_that_does_not_come_whole_is_not_waited_for(tmp_path: Path) -> None:
    """KEEP_ALIVE is for silence between requests; a head that has begun has HEAD_TIMEOUT."""
    with running_service(tmp_path, HEAD_TIMEOUT="500ms") as service, RawClient(service.app_url) as client:
        client.send(head("GET", "/api/instance"))
        assert client.answer().headers["Connection"] == "keep-alive"
        client.send(b"GET /api/inst")
        assert client.answer().status == 408
        assert client.wait_for_close() == b""


def test_idle_connections_make_room_for_new_visitors(tmp_path: Path) -> None:
    with running_service(tmp_path, MAX_CONNECTIONS="20", HEAD_TIMEOUT="300s") as service:
        with slow_clients(service, 60) as clients:
            for _ in range(3):
                with Visitor(service.app_url) as visitor:
                    assert visitor.get("/api/instance").status == 200
            clients[4].wait_for_close()  # one of the oldest had to go


def test_a_connection_that_makes_room_may_speak_at_that_moment(tmp_path: Path) -> None:
    """The worker sees the new visitor and the old one's request at one look, and lives on."""
    with running_service(tmp_path, MAX_CONNECTIONS="10") as service, contextlib.ExitStack() as stack:
        old = [stack.enter_context(RawClient(service.app_url)) for _ in range(10)]
        for client in old:
            client.send(head("GET", "/api/instance"))
            assert client.answer().status == 200
        (worker,) = service.workers
        freeze(worker)
        newest = stack.enter_context(RawClient(service.app_url))
        for client in old:
            client.send(head("GET", "/api/instance"))
        os.kill(worker, signal.SIGCONT)
        newest.send(head("GET", "/api/instance"))
        assert newest.answer().status == 200
        assert service.workers == [worker]


def test_a_request_on_its_way_is_not_lost_where_room_is_made(tmp_path: Path) -> None:
    """The longest idle connections have sent a request that the worker has not seen yet, whole or in part, when new
    visitors come: others are closed."""
    request = head("POST", "/visits")
    with running_service(tmp_path, MAX_CONNECTIONS="20") as service, contextlib.ExitStack() as stack:
        old = [stack.enter_context(RawClient(service.app_url)) for _ in range(20)]
        for client in old:
            client.send(request)
            assert client.answer().status == 200
        (worker,) = service.workers
        freeze(worker)
        new = [stack.enter_context(RawClient(service.app_url)) for _ in range(5)]
        for client in old[:5]:
            client.send(request)
        for client in old[5:10]:
            client.send(request[:20])
        os.kill(worker, signal.SIGCONT)
        for client in new:
            client.send(request)
        assert [client.answer().status for client in (*old[:5], *new)] == [200] * 10
        for client in old[5:10]:
            client.send(request[20:])
        assert [client.answer().status for client in old[5:10]] == [200] * 5


def test_more_connections_than_the_system_allows_make_room_too(tmp_path: Path) -> None:
    """The worker has no file descriptor left, and lives on."""
    with running_service(tmp_path, HEAD_TIMEOUT="300s") as service:
        (worker,) = service.workers
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (100, 100))
        with slow_clients(service, 150):
            with Visitor(service.app_url) as visitor:
                assert visitor.get("/api/instance").status == 200
        assert service.workers == [worker]


def test_the_system_is_asked_for_as_many_connections_as_it_allows(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard - 1), hard))
    try:
        with running_service(tmp_path) as service:
            (worker,) = service.workers
            assert resource.prlimit(worker, resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_an_upload_that_stalls_is_ended(tmp_path: Path) -> None:
    with running_service(tmp_path, IO_TIMEOUT="500ms") as service, begin_upload(service, "a") as client:
        answer = client.answer()
        assert (answer.status, answer.headers["Connection"]) == (408, "close")
        assert answer.kind == "about:blank"
        assert client.wait_for_close() == b""
        wait_until("the thread free", lambda: active(service) == 0)
        assert not [path for path in (tmp_path / "files").rglob("*") if path.is_file()]


def test_an_upload_below_the_least_rate_is_ended(tmp_path: Path) -> None:
    """A byte every 50 ms is no stall, but it is too slow."""
    with running_service(tmp_path, IO_TIMEOUT="2s", MIN_TRANSFER_RATE="100KiB") as service:
        with RawClient(service.app_url) as client:
            client.send(head("PUT", path_of("a"), f"Content-Length: {LARGE}"))
            over = threading.Event()

            def drip() -> None:
                with contextlib.suppress(OSError):
                    while not over.wait(0.05):
                        client.send(b"x")

            dripping = threading.Thread(target=drip)
            dripping.start()
            try:
                answer = client.answer()
            finally:
                over.set()
                dripping.join()
        assert (answer.status, answer.headers["Connection"]) == (408, "close")


def test_a_download_that_nobody_reads_is_ended(tmp_path: Path) -> None:
    with running_service(tmp_path, IO_TIMEOUT="500ms", THREADS="3") as service, Visitor(service.app_url) as visitor:
        assert visitor.put("a", b"x" * 20_000_000).status == 201
        with RawClient(service.app_url, receive_buffer=4096) as client:
            client.send(head("GET", path_of("a")))
            gone = service.wait_for(
                lambda r: (
                    r.get("httpRequest", {}).get("requestMethod") == "GET"
                    and r["httpRequest"]["requestUrl"].endswith(path_of("a"))
                )
            )
            assert int(gone["httpRequest"]["responseSize"]) < 20_000_000
            wait_until("the thread free", lambda: active(service) == 0)
            # The only place for a transfer is free again too.
            assert visitor.get(path_of("a")).body == b"x" * 20_000_000


def test_clients_that_ask_on_and_read_nothing_hold_no_thread(tmp_path: Path) -> None:
    """Two threads, eight clients. Who reads in the end gets every answer."""
    asked = 400
    with running_service(tmp_path, THREADS="2", IO_TIMEOUT="300s") as service, contextlib.ExitStack() as stack:
        deaf = [stack.enter_context(RawClient(service.app_url, receive_buffer=4096)) for _ in range(8)]
        for client in deaf:
            client.send(head("GET", "/openapi.json") * asked)
        wait_until("nothing more is answered", lambda: active(service) == 0)
        for _ in range(50):
            with Visitor(service.app_url) as visitor:
                assert visitor.get("/api/instance").status == 200
        wait_until("no thread held", lambda: active(service) == 0)
        for _ in range(asked):
            assert deaf[0].answer().status == 200


def test_a_client_that_asks_on_and_reads_nothing_is_sent_away(tmp_path: Path) -> None:
    with running_service(tmp_path, IO_TIMEOUT="500ms") as service:
        with RawClient(service.app_url, receive_buffer=4096) as client:
            client.socket.settimeout(None)
            client.send(head("GET", "/openapi.json") * 500)
            broken = select.poll()
            broken.register(client.socket, 0)  # tells of the reset; reading would be what the server waits for
            assert broken.poll(60_000)


def test_a_download_below_the_least_rate_is_ended(tmp_path: Path) -> None:
    """64 KiB every 50 ms are no stall, but too slow."""
    settings = {"IO_TIMEOUT": "3s", "MIN_TRANSFER_RATE": "10MiB"}
    with running_service(tmp_path, settings) as service, Visitor(service.app_url) as visitor:
        assert visitor.put("a", b"x" * 20_000_000).status == 201
        with RawClient(service.app_url, receive_buffer=128 * 1024) as client:
            client.send(head("GET", path_of("a")))
            over = threading.Event()

            def sip() -> None:
                with contextlib.suppress(OSError):
                    while not over.wait(0.05):
                        client.socket.recv(65536)

            sipping = threading.Thread(target=sip)
            sipping.start()
            try:
                gone = service.wait_for(lambda r: r.get("httpRequest", {}).get("requestMethod") == "GET")
            finally:
                over.set()
                sipping.join()
            assert int(gone["httpRequest"]["responseSize"]) < 20_000_000


@pytest.mark.parametrize("segment", [88, 536, 1460])
def test_small_responses_that_nobody_reads_hold_no_thread(tmp_path: Path, segment: int) -> None:
    """Over a network the system's buffer begins small, and who connects chooses how small."""
    with running_service(tmp_path, THREADS="3", IO_TIMEOUT="300s", SHUTDOWN_GRACE="0s") as service:
        with Visitor(service.app_url) as visitor, contextlib.ExitStack() as stack:
            assert visitor.put("small", b"x" * SMALL).status == 201
            for _ in range(6):
                client = stack.enter_context(RawClient(service.app_url, receive_buffer=2048, segment=segment))
                client.send(head("GET", path_of("small")))
            wait_until("all served", lambda: answers(service, "/small", 200) == 6)
            wait_until("no thread held", lambda: active(service) == 0)


def test_large_responses_that_nobody_reads_leave_threads_for_the_rest(tmp_path: Path) -> None:
    """A listing is as long as its names: it is a transfer, too."""
    path = "/bytes"
    with running_service(tmp_path, THREADS="3", IO_TIMEOUT="300s", SHUTDOWN_GRACE="0s") as service:
        with Visitor(service.app_url) as visitor, contextlib.ExitStack() as stack:
            for number in range(1000):
                assert visitor.put(f"{number:03}".ljust(255, "n"), b"x").status == 201
            for _ in range(2):
                client = stack.enter_context(RawClient(service.app_url, receive_buffer=2048, segment=88))
                client.send(head("GET", path))
            wait_until("one has no place", lambda: answers(service, path, 503) == 1)
            wait_until("the other holds its thread", lambda: active(service) == 1)
            assert visitor.get("/api/instance").status == 200
            assert visitor.get(path).kind == "busy"


def answers(service: Service, ending: str, status: int) -> int:
    """How many requests were answered so, by the log."""
    found = [record.get("httpRequest", {}) for record in service.log]
    return sum(r.get("requestUrl", "").endswith(ending) and r["status"] == status for r in found)


def test_stalled_uploads_leave_threads_for_the_rest(tmp_path: Path) -> None:
    """Five threads, so two places for transfers."""
    with running_service(tmp_path, THREADS="5", IO_TIMEOUT="300s") as service:
        with begin_upload(service, "a") as first, begin_upload(service, "b") as second:
            wait_until("both places taken", lambda: metric(service, "server_transfers_busy") == 2)
            for name in ("c", "d", "e"):
                with begin_upload(service, name) as refused:
                    answer = refused.answer()
                    assert (answer.status, answer.kind, answer.headers["Retry-After"]) == (503, "busy", "1")
                    assert answer.headers["Connection"] == "close"  # its body was not read
                with Visitor(service.app_url) as visitor:
                    assert visitor.get("/api/instance").status == 200
                    assert visitor.ask("POST", "/visits").status == 200
            for client in (first, second):
                client.send(b"x" * (LARGE - 100_000))
                assert client.answer().status == 201
        wait_until("both places free", lambda: metric(service, "server_transfers_busy") == 0)
        with Visitor(service.app_url) as visitor:
            assert visitor.put("f", b"x").status == 201
