"""Liveness and readiness of the whole service: what threads that are held, stores that are down, and room for a
request mean for the platform."""

import contextlib
import os
import signal
import threading
from pathlib import Path
from typing import Any

from tests.probe import path_of
from tests.support.gcs import create_bucket, strict_gcs
from tests.support.hold import active, holdable_service
from tests.support.http import Answer, Visitor
from tests.support.processes import freeze, wait_until
from tests.support.raw import RawClient, head
from tests.support.redis import redis_server
from tests.support.service import Service, running_service


def ops(service: Service, path: str) -> Answer:
    with Visitor(service.ops_url, timeout=20) as platform:
        return platform.get(path)


def waits_until(service: Service, path: str, status: int) -> dict[str, Any]:
    """The document, when it says so."""
    wait_until(f"{path} {status}", lambda: ops(service, path).status == status)
    document: dict[str, Any] = ops(service, path).json
    return document


def test_liveness_fails_while_every_thread_is_stuck(tmp_path: Path) -> None:
    with holdable_service(tmp_path, THREADS="2", STUCK_AFTER="1s") as hold:
        hold.take(2)
        said = waits_until(hold.service, "/health", 503)
        assert said["status"] == "fail"
        assert said["output"].startswith("no request thread has made progress for ")
        hold.let_go()
        assert waits_until(hold.service, "/health", 200)["status"] == "pass"


def test_liveness_stays_while_one_thread_is_free(tmp_path: Path) -> None:
    """All threads but one are held for longer than STUCK_AFTER."""
    with holdable_service(tmp_path, THREADS="3", STUCK_AFTER="1s") as hold:
        hold.take(2)
        outlast(hold.service, 1.5)
        with Visitor(hold.service.app_url) as visitor:
            assert visitor.get("/health").status == 200
        wait_until("only those in flight", lambda: active(hold.service) == 2)
        hold.let_go()


def test_liveness_stays_while_there_is_progress(tmp_path: Path) -> None:
    """One of two threads waits for a frozen store, the other takes a body that comes slowly."""
    with redis_server(tmp_path) as redis, contextlib.ExitStack() as stack:
        # A busy machine may let the sender wait for a second.
        settings = {"THREADS": "2", "STUCK_AFTER": "3s", "SESSION_TIMEOUT": "10s", "SHUTDOWN_GRACE": "0s"}
        service = stack.enter_context(running_service(tmp_path, settings, SESSION_URL=redis.url))
        with Visitor(service.app_url) as visitor:
            visitor.ask("POST", "/visits")
        wait_until("no other request", lambda: active(service) == 0)
        upload = stack.enter_context(RawClient(service.app_url))
        upload.send(head("PUT", path_of("slow"), "Content-Length: 1000000000") + b"x" * 1_000_000)
        stored = tmp_path / "files" / ".uploads"
        wait_until("its body on the way", lambda: any(path.stat().st_size for path in stored.glob("*")))
        over = threading.Event()

        def go_on() -> None:
            with contextlib.suppress(OSError):
                while not over.wait(0.01):
                    upload.send(b"x" * 50_000)

        sender = threading.Thread(target=go_on)
        sender.start()
        try:
            freeze(redis.process.pid)
            held = stack.enter_context(RawClient(service.app_url))
            held.send(head("POST", "/visits"))
            wait_until("both threads busy", lambda: active(service) == 2)
            outlast(service, 4.5)
            assert active(service) == 2
        finally:
            over.set()
            sender.join()
            redis.process.send_signal(signal.SIGCONT)


def outlast(service: Service, seconds: float) -> None:
    """/health says yes again and again, until the oldest request is so old."""
    end = threading.Event()
    timer = threading.Timer(seconds, end.set)
    timer.start()
    while not end.is_set():
        assert ops(service, "/health").status == 200
    timer.join()


def test_a_store_that_is_down_is_not_a_reason_to_restart(tmp_path: Path) -> None:
    with redis_server(tmp_path) as redis:
        with running_service(tmp_path, SESSION_URL=redis.url, READY_REQUIRES="sessions") as service:
            waits_until(service, "/ready", 200)
            freeze(redis.process.pid)
            try:
                account = waits_until(service, "/ready", 503)
                assert account["output"] == "not available: sessions"
                assert account["checks"]["sessions:availability"][0]["status"] == "fail"
                assert account["checks"]["storage:availability"][0]["status"] == "pass"
                assert ops(service, "/health").status == 200
                with Visitor(service.app_url) as visitor:
                    assert visitor.get("/health").status == 200
                    assert visitor.get("/ready").status == 503
            finally:
                redis.process.send_signal(signal.SIGCONT)
            waits_until(service, "/ready", 200)
            redis.process.terminate()
            redis.process.wait(20)
            waits_until(service, "/ready", 503)
            assert ops(service, "/health").status == 200


def test_the_object_store_is_followed_down_and_up_with_since_when_and_why(tmp_path: Path) -> None:
    def account() -> dict[str, Any]:
        entry: dict[str, Any] = ops(service, "/ready").json["checks"]["storage:availability"][0]
        return entry

    with strict_gcs(tmp_path) as gcs:
        create_bucket(gcs.url, "files")
        stores = {"STORAGE_URL": "gs://files", "STORAGE_EMULATOR_HOST": gcs.url, "STORAGE_TIMEOUT": "1s"}
        with running_service(tmp_path, stores, STORAGE_RETRY_BUDGET="0s", READY_REQUIRES="storage") as service:
            waits_until(service, "/ready", 200)
            up = account()
            assert (up["status"], up.get("output")) == ("pass", None)
            freeze(gcs.pid)
            try:
                assert waits_until(service, "/ready", 503)["output"] == "not available: storage"
                down = account()
                assert down["status"] == "fail"
                assert down["since"] > up["since"]
                assert down["output"]
                assert ops(service, "/health").status == 200
                with Visitor(service.app_url) as visitor:
                    assert visitor.ask("POST", "/visits").status == 200
            finally:
                os.kill(gcs.pid, signal.SIGCONT)
            waits_until(service, "/ready", 200)
            again = account()
            assert (again["status"], again.get("output")) == ("pass", None)
            assert again["since"] > down["since"]


def sessions(service: Service) -> dict[str, Any]:
    """What the full account says of the session store."""
    entry: dict[str, Any] = ops(service, "/ready").json["checks"]["sessions:availability"][0]
    return entry


def test_a_store_that_is_not_required_is_told_but_does_not_count(tmp_path: Path) -> None:
    with redis_server(tmp_path) as redis:
        with running_service(tmp_path, SESSION_URL=redis.url) as service:
            wait_until("the store seen up", lambda: sessions(service)["status"] == "pass")
            redis.process.terminate()
            redis.process.wait(20)
            wait_until("the account to say so", lambda: ops(service, "/ready").json["status"] == "warn")
            assert ops(service, "/ready").status == 200
            assert sessions(service)["output"]


def test_without_room_it_is_not_ready_and_with_room_it_is_again(tmp_path: Path) -> None:
    with holdable_service(tmp_path, THREADS="2") as hold:
        waits_until(hold.service, "/ready", 200)
        hold.take(2)
        assert waits_until(hold.service, "/ready", 503)["output"] == "every request thread is busy"
        assert ops(hold.service, "/health").status == 200  # STUCK_AFTER is long
        hold.let_go()
        waits_until(hold.service, "/ready", 200)
