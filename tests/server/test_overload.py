"""More requests than can be served: a peak is waited out, the rest is refused early, and the platform is answered."""

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.server import error_responses
from tests.support.hold import Hold, holdable_service, metric
from tests.support.http import Visitor
from tests.support.processes import freeze, wait_until
from tests.support.raw import RawClient, head
from tests.support.service import Service, running_service

THREADS = 2


@contextlib.contextmanager
def waiting(service: Service, number: int, request: bytes) -> Iterator[list[RawClient]]:
    """So many requests of clients of their own, for which no thread is free."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(RawClient(service.app_url)) for _ in range(number)]
        for client in clients:
            client.send(request)
        yield clients


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[Hold]:
    """A service that waits out peaks of two seconds, with all its threads held."""
    with holdable_service(tmp_path, THREADS=str(THREADS), QUEUE_TIMEOUT="2s") as hold:
        hold.take(THREADS)
        yield hold


def test_a_peak_is_waited_out(tmp_path: Path) -> None:
    with holdable_service(tmp_path, THREADS=str(THREADS), QUEUE_TIMEOUT="300s") as hold:
        hold.take(THREADS)
        with waiting(hold.service, 20, head("GET", "/api/instance")) as clients:
            assert hold.let_go() == [204] * THREADS
            assert [client.answer().status for client in clients] == [200] * 20
        assert metric(hold.service, "server_requests_refused_total") == 0


def test_no_request_is_too_many_while_a_thread_is_free(tmp_path: Path) -> None:
    """All visitors ask at once, and the worker sees it at one look, before any of its threads runs."""
    request = head("GET", "/api/instance")
    with running_service(tmp_path, THREADS="10", MAX_CONNECTIONS="10") as service:
        with waiting(service, 10, request) as clients:
            for _ in range(20):
                assert [client.answer().status for client in clients] == [200] * 10
                freeze(service.workers[0])
                for client in clients:
                    client.send(request)
                os.kill(service.workers[0], signal.SIGCONT)
            assert [client.answer().status for client in clients] == [200] * 10


@pytest.mark.parametrize(
    "request_",
    [
        head("HEAD", "/"),
        head("PUT", "/session", "Content-Length: 2") + b"{}",
        head("GET", "/api/instance", "Content-Length: 2") + b"{}",
        head("GET", "/api/instance", "Connection: TE, Close"),
        b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
        head("GET", "/api/instance", "Expect: another"),
    ],
    ids=["HEAD", "PUT", "a body", "wants to close", "HTTP/1.0", "a malformed one"],
)
def test_what_no_thread_is_free_for_is_refused(busy: Hold, request_: bytes) -> None:
    service = busy.service
    with waiting(service, 5, request_) as clients:
        for client in clients:
            refusal = client.answer()
            assert (refusal.status, refusal.kind) == (503, "busy")
            assert (refusal.headers["Retry-After"], refusal.headers["Connection"]) == ("1", "close")
            assert client.wait_for_close() == b""
    wait_until("the refusals counted", lambda: metric(service, "server_requests_refused_total") == 5)
    service.wait_for(lambda record: "requests were refused" in record["message"] and record["severity"] == "WARNING")


def test_a_client_that_is_refused_keeps_its_connection(busy: Hold) -> None:
    """Also where it has sent more than one request. A new connection would cost more than the refusal."""
    with waiting(busy.service, 2, head("GET", "/api/instance") * 3) as clients:
        for client in clients:
            for _ in range(3):
                refusal = client.answer()
                assert (refusal.status, refusal.headers["Connection"]) == (503, None)
        assert busy.let_go() == [204] * THREADS
        for client in clients:
            client.send(head("GET", "/api/instance"))
            assert client.answer().status == 200


def test_a_refusal_leaves_nothing_behind(tmp_path: Path) -> None:
    """An overload may last for hours."""
    request, times = head("GET", "/api/instance"), 400
    with holdable_service(tmp_path, THREADS="2", QUEUE_TIMEOUT="50ms", MAX_CONNECTIONS="10") as hold:
        hold.take(2)
        with waiting(hold.service, 8, request * times) as clients:
            assert {client.answer().status for client in clients} == {503}
            before = hold.service.memory
            assert {client.answer().status for client in clients for _ in range(times - 1)} == {503}
        grown = hold.service.memory - before
    print(f"3200 refusals left {grown / 2**20:.1f} MiB")
    assert grown < 3 * 2**20


def test_the_platform_is_answered_meanwhile(busy: Hold) -> None:
    with waiting(busy.service, 5, head("GET", "/api/instance")), Visitor(busy.service.ops_url) as platform:
        assert platform.get("/health").status == 200
        assert platform.get("/metrics").status == 200


def test_requests_are_served_again_afterwards(busy: Hold) -> None:
    with waiting(busy.service, 5, head("GET", "/api/instance")) as clients:
        assert {client.answer().status for client in clients} == {503}
        assert busy.let_go() == [204] * THREADS
        with Visitor(busy.service.app_url) as visitor:
            assert [visitor.get("/api/instance").status for _ in range(20)] == [200] * 20


def test_what_still_waits_for_a_thread_when_the_grace_is_over_is_refused(tmp_path: Path) -> None:
    """And not reset: nothing was done for it, so the client may send it elsewhere."""
    with holdable_service(tmp_path, THREADS=str(THREADS), SHUTDOWN_GRACE="500ms") as hold:
        hold.take(THREADS)
        with waiting(hold.service, 5, head("POST", "/visits")) as clients:
            assert hold.service.terminate() == 0
            for client in clients:
                refusal = client.answer()
                assert (refusal.status, refusal.headers["Connection"]) == (503, "close")
        cut = [r for r in hold.service.log if r["message"].startswith("cut after SHUTDOWN_GRACE")]
        assert len(cut) == THREADS


def test_a_refusal_that_does_not_fit_is_told_to_the_worker() -> None:
    """A client that reads nothing: its connection must end, or it would wait for the response for ever."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        assert error_responses.send_busy(ours, is_kept=True)
        with contextlib.suppress(BlockingIOError):
            while ours.send(b"x" * 65536):
                pass
        assert not error_responses.send_busy(ours, is_kept=True)
