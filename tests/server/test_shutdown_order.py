"""The order of a shutdown: not ready, serving on, no more connections, what is in flight, the end."""

import http.client
import os
import signal
import socket
import time
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.probe import path_of
from tests.support.http import Visitor
from tests.support.processes import accepts_connections, wait_until
from tests.support.service import Record, Service, running_service


def connect(service: Service) -> socket.socket:
    parts = urlsplit(service.app_url)
    return socket.create_connection((parts.hostname, parts.port), timeout=30)


def begin_upload(service: Service, name: str, length: int, first: bytes) -> socket.socket:
    """A PUT whose body has only begun."""
    client = connect(service)
    client.sendall(f"PUT {path_of(name)} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n".encode() + first)
    return client


def answer(client: socket.socket) -> http.client.HTTPResponse:
    response = http.client.HTTPResponse(client)
    response.begin()
    response.read()
    return response


def says(message: str, record: Record) -> bool:
    return bool(record["message"] == message)


def in_flight(service: Service) -> float:
    with Visitor(service.ops_url) as platform:
        text = platform.get("/metrics").body.decode()
    return float(next(line for line in text.splitlines() if line.startswith("http_server_active_requests ")).split()[1])


def test_not_ready_is_said_at_once_and_requests_are_served_on(tmp_path: Path) -> None:
    with running_service(tmp_path, SHUTDOWN_DELAY="30s") as service:
        with Visitor(service.app_url) as visitor, Visitor(service.ops_url) as platform:
            assert visitor.get("/ready").headers["Connection"] == "keep-alive"
            service.process.terminate()
            wait_until("not ready", lambda: platform.get("/ready").status == 503)
            ready = visitor.get("/ready")
            assert (ready.status, ready.headers["Connection"]) == (503, "close")
            assert visitor.get("/health").status == 200
            assert visitor.get("/api/instance").status == 200  # on a new connection: they are still accepted
        service.process.terminate()  # the second ends the delay
        service.process.wait(20)
        assert service.exit_code == 0


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_told_again_the_delay_ends_but_not_the_grace(tmp_path: Path, second: signal.Signals) -> None:
    with running_service(tmp_path, SHUTDOWN_DELAY="300s") as service:
        client = begin_upload(service, "a", 200_000, b"x" * 100_000)
        wait_until("the upload in flight", lambda: in_flight(service) >= 1)
        service.process.terminate()
        service.wait_for(lambda r: r["message"].startswith("draining"))
        service.process.send_signal(second)
        port = int(service.app_url.rpartition(":")[2])
        wait_until("no more connections", lambda: not accepts_connections(port))
        client.sendall(b"x" * 100_000)
        response = answer(client)
        assert (response.status, response.headers["Connection"]) == (201, "close")
        client.close()
        assert service.process.wait(20) == 0


def test_sigint_ends_without_a_delay(tmp_path: Path) -> None:
    with running_service(tmp_path, SHUTDOWN_DELAY="300s") as service:
        service.process.send_signal(signal.SIGINT)
        assert service.process.wait(20) == 0


def test_a_signal_to_the_whole_group_is_handled_once_by_the_parent(tmp_path: Path) -> None:
    """As a terminal's Ctrl-C sends it, and some init systems their SIGTERM."""
    with running_service(tmp_path, SHUTDOWN_DELAY="1s") as service:
        workers = service.workers
        for pid in [*workers, service.process.pid]:
            os.kill(pid, signal.SIGTERM)
        service.wait_for(lambda r: r["message"].startswith("draining"))
        with Visitor(service.app_url) as visitor:
            assert visitor.get("/api/instance").status == 200
        assert service.process.wait(20) == 0
        service.wait_for_end()
    assert sum(r["message"].startswith("Booting worker") for r in service.log) == 1


def test_a_request_that_outlives_the_grace_is_cut_and_logged(tmp_path: Path) -> None:
    with running_service(tmp_path, SHUTDOWN_GRACE="500ms") as service:
        client = begin_upload(service, "slow", 1_000_000, b"x" * 100_000)
        wait_until("the upload in flight", lambda: in_flight(service) >= 1)
        assert service.terminate() == 0
        client.close()
        record = service.wait_for(lambda r: r["message"].startswith("cut after SHUTDOWN_GRACE"))
    assert record["severity"] == "ERROR"
    assert path_of("slow") in record["message"]
    assert service.stderr == b""
    assert not list((tmp_path / "files").rglob("*slow*"))


def test_idle_connections_do_not_hold_up_the_end(tmp_path: Path) -> None:
    with running_service(tmp_path, SHUTDOWN_GRACE="60s") as service:
        with Visitor(service.app_url) as idle, connect(service) as silent, connect(service) as half:
            idle.get("/api/instance")
            half.sendall(b"GET / HT")
            started = time.monotonic()
            assert service.terminate(seconds=40) == 0
            print(f"ended {time.monotonic() - started:.1f} s after SIGTERM")
            assert silent.recv(10) == b""


def test_connections_in_the_backlog_are_served(tmp_path: Path) -> None:
    """While every thread is busy, more connect; then the end comes."""
    with running_service(tmp_path, THREADS="2") as service:
        uploads = [begin_upload(service, "a", 200_000, b"x" * 100_000)]
        wait_until("the upload in flight", lambda: in_flight(service) >= 1)
        waiting = []
        for _ in range(20):
            client = connect(service)
            client.sendall(b"GET /api/instance HTTP/1.1\r\nHost: a\r\n\r\n")
            waiting.append(client)
        service.process.terminate()
        for client in uploads:
            client.sendall(b"x" * 100_000)
        assert [answer(client).status for client in waiting] == [200] * 20
        assert [answer(client).status for client in uploads] == [201]
        assert service.process.wait(20) == 0
        for client in [*waiting, *uploads]:
            client.close()


def test_a_killed_worker_costs_only_what_it_held(tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        held = begin_upload(service, "a", 200_000, b"x" * 100_000)
        wait_until("the upload in flight", lambda: in_flight(service) >= 1)
        os.kill(service.workers[0], signal.SIGKILL)
        with Visitor(service.app_url) as visitor:
            assert visitor.get("/api/instance").status == 200  # it waited in the backlog for the next worker
        held.close()


def test_signals_that_have_no_meaning_here_change_nothing(tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        before = service.workers
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU, signal.SIGWINCH):
            service.process.send_signal(number)
            service.wait_for(partial(says, f"Ignoring unknown signal: {number:d}"))
        assert service.workers == before
        with Visitor(service.app_url) as visitor:
            assert visitor.get("/api/instance").status == 200


def test_only_the_service_s_own_alarm_ends_the_delay(tmp_path: Path) -> None:
    """SIGALRM from outside changes nothing, in the parent process and in a worker, before SIGTERM and after it."""
    with running_service(tmp_path, SHUTDOWN_DELAY="300s") as service:
        before = service.workers
        for pid in (service.process.pid, *before):
            os.kill(pid, signal.SIGALRM)
        service.wait_for(partial(says, "SIGALRM is passed over: no delay is over"))
        with Visitor(service.app_url) as visitor:
            assert visitor.get("/ready").status == 200
        service.process.terminate()
        service.wait_for(lambda r: r["message"].startswith("draining"))
        passed_over = service.stdout.count(b"SIGALRM is passed over")
        service.process.send_signal(signal.SIGALRM)
        wait_until("the second alarm", lambda: service.stdout.count(b"SIGALRM is passed over") > passed_over)
        with Visitor(service.app_url) as visitor:
            assert visitor.get("/api/instance").status == 200
        assert service.workers == before
        service.process.terminate()
        assert service.process.wait(20) == 0


def test_a_signal_that_the_parent_passes_over_ends_no_worker_either(tmp_path: Path) -> None:
    """As a terminal that is closed sends SIGHUP to the whole group."""
    with running_service(tmp_path) as service:
        upload = begin_upload(service, "a", 200_000, b"x" * 100_000)
        wait_until("the upload in flight", lambda: in_flight(service) >= 1)
        before = service.workers
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGWINCH):
            os.kill(before[0], number)
        upload.sendall(b"x" * 100_000)
        assert answer(upload).status == 201
        upload.close()
        assert service.workers == before
