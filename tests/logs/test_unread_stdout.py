"""stdout that nobody reads: requests go on, records are dropped and counted, and the shutdown keeps its times."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.http import Visitor
from tests.support.processes import accepts_connections, free_port, read_line, stop, wait_until
from tests.support.service import DEFAULTS, PROJECT

ENOUGH = 400  # requests: a pipe takes some 110 of their records


class Unread:
    """The service, with a pipe as its stdout that is read only if a test does so."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, ops_port: int) -> None:
        self.process = process
        self.app_url, self.ops_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{ops_port}"

    def dropped(self) -> float:
        with Visitor(self.ops_url) as platform:
            text = platform.get("/metrics").body.decode()
        return sum(float(number) for number in re.findall(r"^log_records_dropped_total{.*} (.*)$", text, re.MULTILINE))


@contextlib.contextmanager
def unread(folder: Path, **settings: str) -> Iterator[Unread]:
    port, ops_port = free_port(), free_port()
    environ = {"PATH": os.environ["PATH"], "STORAGE_URL": f"file://{folder}", **DEFAULTS}
    environ |= {"PORT": str(port), "OPS_PORT": str(ops_port), **settings}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.probe"],
        cwd=PROJECT,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        wait_until("the service to listen", lambda: accepts_connections(port))
        yield Unread(process, port, ops_port)
    finally:
        stop(process)
        process.stdout.close()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_requests_go_on_and_what_was_dropped_is_counted_and_reported(tmp_path: Path, workers: str) -> None:
    with unread(tmp_path, WEB_CONCURRENCY=workers) as service, Visitor(service.app_url) as visitor:
        for _ in range(ENOUGH):
            assert visitor.get("/api/instance").status == 200
        with Visitor(service.ops_url) as platform:
            assert platform.get("/health").status == 200
        assert service.dropped() >= ENOUGH / 2
        assert service.process.stdout is not None
        descriptor = service.process.stdout.fileno()
        reported = 0
        end = time.monotonic() + 60
        while not reported:
            assert time.monotonic() < end, "nothing was reported"
            record = json.loads(read_line(descriptor, seconds=10) or b"{}")  # whole lines, each of them JSON
            reported = sum(record.get("dropped", {}).values())
            visitor.get("/api/instance")
        assert record["severity"] == "WARNING"
        assert reported <= service.dropped()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_shutdown_keeps_its_times(tmp_path: Path, number: int) -> None:
    with unread(tmp_path, SHUTDOWN_GRACE="5s") as service, Visitor(service.app_url) as visitor:
        for _ in range(ENOUGH):
            visitor.get("/api/instance")
        service.process.send_signal(number)
        assert service.process.wait(30) == 0


def test_a_reader_that_is_gone_is_not_an_error(tmp_path: Path) -> None:
    with unread(tmp_path) as service, Visitor(service.app_url) as visitor:
        assert service.process.stdout is not None
        service.process.stdout.close()
        for _ in range(20):
            assert visitor.get("/api/instance").status == 200
        assert service.dropped() > 0
        service.process.terminate()
        assert service.process.wait(30) == 0
