"""Restarts under constant load: keep-alive and new connections, uploads and slow clients among them, and no request
fails. RESTARTS says how many restarts; the figures are printed."""

import contextlib
import http.client
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.probe import path_of
from tests.support.http import Visitor
from tests.support.processes import wait_until
from tests.support.redis import redis_server
from tests.support.service import Service, running_service

RESTARTS = int(os.environ.get("RESTARTS", "20"))
DELAY = 1.0  # SHUTDOWN_DELAY, seconds
UPLOAD = 3_000_000  # bytes

Client = Callable[[], Iterator[int]]


class Load:
    """Clients that retry nothing. Each begins no request once ``stop`` is set; failures are kept with their reason."""

    def __init__(self, service: Service) -> None:
        self.url = service.app_url
        self.stop = threading.Event()
        self.done: Counter[str] = Counter()
        self.failed: list[str] = []
        clients = {
            "keep-alive": self.keep_alive,
            "keep-alive 2": self.keep_alive,
            "new connection": self.new_connection,
            "upload": self.upload,
            "slow": self.slow,
        }
        self.threads = [threading.Thread(target=self.guarded, args=(name, client)) for name, client in clients.items()]
        for thread in self.threads:
            thread.start()

    def finish(self) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive()

    def guarded(self, name: str, client: Client) -> None:
        try:
            for status in client():
                self.done[name] += 1
                if status >= 400:
                    self.failed.append(f"{name}: status {status}")
                if self.stop.is_set():
                    return
        except (OSError, http.client.HTTPException) as error:
            self.failed.append(f"{name}: {error!r} after {self.done[name]}")

    def keep_alive(self) -> Iterator[int]:
        with Visitor(self.url) as visitor:
            while True:
                yield visitor.ask("POST", "/visits").status

    def new_connection(self) -> Iterator[int]:
        while True:
            with Visitor(self.url) as visitor:
                yield visitor.get("/api/instance").status

    def upload(self) -> Iterator[int]:
        def body() -> Iterator[bytes]:
            for _ in range(30):
                yield b"x" * (UPLOAD // 30)
                time.sleep(0.01)

        with Visitor(self.url) as visitor:
            while True:
                yield visitor.ask("PUT", path_of("a"), body(), {"Content-Length": str(UPLOAD)}).status

    def slow(self) -> Iterator[int]:
        """A head that comes in pieces."""
        while True:
            with socket.create_connection((urlsplit(self.url).hostname, urlsplit(self.url).port), timeout=30) as client:
                for piece in (b"GET /api/inst", b"ance HTTP/1.1\r\nHo", b"st: a\r\n\r\n"):
                    client.sendall(piece)
                    time.sleep(0.1)
                response = http.client.HTTPResponse(client)
                response.begin()
                response.read()
                yield response.status


@pytest.mark.parametrize("number", range(RESTARTS))
def test_no_request_fails_in_a_restart_under_load(tmp_path: Path, number: int) -> None:
    settings = {
        "SHUTDOWN_DELAY": f"{DELAY}s",
        "WEB_CONCURRENCY": "2" if number % 2 else "1",
        "SESSION_TIMEOUT": "10s",  # a busy machine is no fault of the shutdown
    }
    with redis_server(tmp_path) as redis, running_service(tmp_path, settings, SESSION_URL=redis.url) as service:
        load = Load(service)
        wait_until("every client at work", lambda: len(load.done) == 5)
        with Visitor(service.app_url) as probe:
            assert probe.get("/ready").status == 200
        service.process.terminate()
        wait_until("not ready", lambda: not_ready(service))
        time.sleep(DELAY / 2)  # the load is to go on well into the delay, and to end within it
        load.finish()
        service.process.wait(60)
        service.wait_for_end()
        assert load.failed == []
        assert service.exit_code == 0
        assert service.stderr == b""
        logged = sum(r.get("httpRequest", {}).get("requestUrl", "").endswith("/visits") for r in service.log)
        assert logged == load.done["keep-alive"] + load.done["keep-alive 2"]
    print(f"requests {dict(load.done)}, failed 0")


def not_ready(service: Service) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException), Visitor(service.ops_url) as platform:
        return platform.get("/ready").status == 503
    return False
