"""The service while its stores are down, frozen, misconfigured, and back again: what needs them says so, the rest
goes on, liveness stays, and nothing has to be restarted."""

import contextlib
import json
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.support.gcs import create_bucket, strict_gcs
from tests.support.http import Answer, Visitor
from tests.support.memcached import MemcachedServer, memcached_server
from tests.support.processes import free_port, freeze, wait_until
from tests.support.redis import RedisServer, redis_server
from tests.support.service import Service, running_service


def ask_all(visitor: Visitor) -> dict[str, Answer]:
    asked = {"instance": visitor.get("/api/instance"), "health": visitor.get("/health"), "page": visitor.get("/")}
    started = time.monotonic()
    asked["session"] = visitor.get("/session")
    print(f"a session's answer took {time.monotonic() - started:.3f} s")
    return asked


def assert_only_sessions_fail(visitor: Visitor) -> None:
    for _ in range(5):
        answers = ask_all(visitor)
        assert [answers[name].status for name in ("instance", "health", "page")] == [200, 200, 200]
        session = answers["session"]
        assert (session.status, session.kind) == (503, "session-store-unavailable")
        assert session.headers["Retry-After"] == "1"
        assert "Set-Cookie" not in session.headers


def visit(service: Service) -> Answer:
    with Visitor(service.app_url) as visitor:
        return visitor.ask("POST", "/visits")


def dependency(service: Service, name: str) -> str:
    with Visitor(service.ops_url) as platform:
        checks = platform.get("/ready").json["checks"]
    return str(next(entry[0]["status"] for key, entry in checks.items() if key.partition(":")[0] == name))


def test_redis_frozen_and_thawed(tmp_path: Path) -> None:
    with redis_server(tmp_path) as redis, running_service(tmp_path, SESSION_URL=redis.url) as service:
        with Visitor(service.app_url) as visitor:
            assert visitor.ask("POST", "/visits").json == {"visits": 1}
            freeze(redis.process.pid)
            assert_only_sessions_fail(visitor)
            wait_until("the dependency down", lambda: dependency(service, "sessions") == "fail")
            assert visitor.get("/ready").status == 200  # READY_REQUIRES names none
            redis.process.send_signal(signal.SIGCONT)
            wait_until("sessions again", lambda: visitor.get("/session").status == 200)
            wait_until("the dependency up", lambda: dependency(service, "sessions") == "pass")
            assert visitor.ask("POST", "/visits").json == {"visits": 2}


@pytest.mark.parametrize("start", [redis_server, memcached_server])
def test_a_store_that_is_back_is_used_by_all_requests_at_once_though_none_has_tried_it(
    tmp_path: Path, start: Callable[[Path], AbstractContextManager[RedisServer | MemcachedServer]]
) -> None:
    """The background check finds out. Without it one request would, and those beside it would be refused."""
    with start(tmp_path) as store, running_service(tmp_path, SESSION_URL=store.url, SESSION_TIMEOUT="5s") as service:
        with ThreadPoolExecutor(8) as pool:
            freeze(store.process.pid)
            failed = [pool.submit(visit, service) for _ in range(8)]
            assert [one.result().status for one in failed] == [503] * 8
            wait_until("the dependency down", lambda: dependency(service, "sessions") == "fail")
            store.process.send_signal(signal.SIGCONT)
            wait_until("the dependency up", lambda: dependency(service, "sessions") == "pass")
            served = [pool.submit(visit, service) for _ in range(8)]
            assert [one.result().status for one in served] == [200] * 8


def test_redis_restarted_empty(tmp_path: Path) -> None:
    """Sessions are gone with it: the visitor begins anew, under an id that was not the old one."""
    port = free_port()
    with contextlib.ExitStack() as first:
        first.enter_context(redis_server(tmp_path, port=port))
        with running_service(tmp_path, SESSION_URL=f"redis://127.0.0.1:{port}/0") as service:
            with Visitor(service.app_url) as visitor:
                assert visitor.ask("POST", "/visits").json == {"visits": 1}
                before = dict(visitor.cookies)
                first.close()
                assert_only_sessions_fail(visitor)
                with redis_server(tmp_path, port=port):
                    wait_until("sessions again", lambda: visitor.get("/session").status == 200)
                    assert visitor.ask("POST", "/visits").json == {"visits": 1}
                    assert visitor.cookies != before


def test_a_ready_that_requires_sessions_follows_them(tmp_path: Path) -> None:
    with redis_server(tmp_path) as redis:
        with running_service(tmp_path, SESSION_URL=redis.url, READY_REQUIRES="sessions") as service:
            with Visitor(service.app_url) as visitor:
                wait_until("ready", lambda: visitor.get("/ready").status == 200)
                freeze(redis.process.pid)
                wait_until("not ready", lambda: visitor.get("/ready").status == 503)
                assert visitor.get("/health").status == 200
                redis.process.send_signal(signal.SIGCONT)
                wait_until("ready again", lambda: visitor.get("/ready").status == 200)


def test_a_missing_bucket_says_what_to_do_in_the_log_only(tmp_path: Path) -> None:
    with strict_gcs(tmp_path) as gcs:
        gs = {"STORAGE_URL": "gs://no-such-bucket", "STORAGE_EMULATOR_HOST": gcs.url}
        with running_service(tmp_path, gs) as service, Visitor(service.app_url) as visitor:
            answer = visitor.put("a", b"x")
            assert (answer.status, answer.kind) == (503, "object-store-misconfigured")
            assert "no-such-bucket" not in answer.body.decode()
            record = service.wait_for(lambda r: "no-such-bucket" in r["message"] and r["severity"] == "ERROR")
            assert "bucket" in record["message"]
            assert visitor.ask("POST", "/visits").status == 200
            assert visitor.get("/health").status == 200
            create_bucket(gcs.url, "no-such-bucket")
            assert visitor.put("a", b"x").status == 201


def test_the_ops_listener_accounts_for_each_dependency_without_secrets(tmp_path: Path) -> None:
    with running_service(tmp_path, SESSION_URL="redis://:canary-77@127.0.0.1:1/0") as service:
        wait_until("sessions known to be down", lambda: dependency(service, "sessions") == "fail")
        with Visitor(service.ops_url) as platform, Visitor(service.app_url) as visitor:
            full = platform.get("/ready")
            assert full.headers.get_content_type() == "application/health+json"
            text = json.dumps(full.json)
            assert "canary-77" not in text
            assert "refused" in text
            assert "checks" not in visitor.get("/ready").json
