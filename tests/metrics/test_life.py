"""Metrics of the whole service: right to the unit with one worker and with four, also when workers are killed."""

import os
import random
import signal
import string
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.support.http import Visitor
from tests.support.processes import require, wait_until
from tests.support.redis import redis_server
from tests.support.service import Service, running_service

COUNT = "http_server_request_duration_seconds_count"


def samples(service: Service) -> list[Sample]:
    with Visitor(service.ops_url) as prometheus:
        text = prometheus.get("/metrics").body.decode()
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def total(service: Service, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels."""
    return sum(s.value for s in samples(service) if s.name == name and labels.items() <= s.labels.items())


def visit(url: str, times: int, path: str = "/api/instance") -> None:
    with Visitor(url) as visitor:
        for _ in range(times):
            visitor.get(path)


def in_parallel(what: Callable[[], None], times: int) -> None:
    with ThreadPoolExecutor(times) as pool:
        for done in [pool.submit(what) for _ in range(times)]:
            done.result()


@pytest.mark.parametrize("workers", [1, 4])
def test_counts_are_right_to_the_unit(tmp_path: Path, workers: int) -> None:
    with running_service(tmp_path, WEB_CONCURRENCY=str(workers)) as service:
        in_parallel(lambda: visit(service.app_url, 25), 8)
        in_parallel(lambda: visit(service.app_url, 10, "/nowhere"), 8)
        route = {"http_route": "/api/instance", "http_request_method": "GET", "http_response_status_code": "200"}
        wait_until("200 requests counted", lambda: total(service, COUNT, **route) == 200)
        assert total(service, COUNT, http_response_status_code="404") == 80


def test_counts_survive_workers_that_are_killed(tmp_path: Path) -> None:
    with running_service(tmp_path, WEB_CONCURRENCY="4") as service:
        children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children")
        for round_number in range(1, 4):
            in_parallel(lambda: visit(service.app_url, 10), 8)
            wait_until("requests counted", lambda n=round_number: total(service, COUNT) == 80 * n)  # type: ignore[misc] # bound per round
            before = children.read_text().split()
            for pid in before[:2]:
                os.kill(int(pid), signal.SIGKILL)
            wait_until(
                "four new workers",
                lambda old=before: len(set(children.read_text().split()) - set(old[:2])) == 4,  # type: ignore[misc] # bound per round
            )
            assert total(service, COUNT) == 80 * round_number


def test_random_paths_methods_and_hosts_add_no_series(tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        dice = random.Random(7)

        def word() -> str:
            return "".join(dice.choices(string.ascii_uppercase, k=8))

        def ask(visitor: Visitor) -> None:
            visitor.ask(dice.choice(["GET", word()]), f"/{word()}/{word()}", headers={"Host": word()})
            visitor.get(f"/bytes/{word()}")

        with Visitor(service.app_url) as visitor:
            for _ in range(20):
                ask(visitor)
            before = len(samples(service))
            for _ in range(2_500):
                ask(visitor)
        assert len(samples(service)) == before


def test_the_text_is_clean(tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        with Visitor(service.app_url) as visitor, Visitor(service.ops_url) as prometheus:
            visitor.ask("POST", "/visits")
            visitor.put("a", b"x")
            text = prometheus.get("/metrics").body
            openmetrics = prometheus.get("/metrics", accept="application/openmetrics-text; version=1.0.0")
        assert openmetrics.headers.get_content_type() == "application/openmetrics-text"
        assert openmetrics.body.endswith(b"# EOF\n")
    promtool = require("promtool", "prometheus")
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


NO_ROUTE = ""
OBJECT = "/bytes/<name>"
JSON = {"Content-Type": "application/json"}
# Method, path, route, headers, body, status.
Kind = tuple[str, str, str, dict[str, str], bytes | None, int]
KINDS: list[Kind] = [
    ("GET", "/", "/", {}, None, 200),
    ("HEAD", "/", "/", {}, None, 200),
    ("GET", "/health", "/health", {}, None, 200),
    ("GET", "/session", "/session", {}, None, 200),
    ("PUT", "/session", "/session", JSON, b'{"name": "Ada"}', 200),
    ("PUT", "/session", "/session", JSON, b"{", 400),
    ("POST", "/visits", "/visits", {}, None, 200),
    ("POST", "/visits", "/visits", {"Origin": "http://evil"}, None, 403),
    ("GET", "/bytes", "/bytes", {}, None, 200),
    ("PUT", "/bytes/known", OBJECT, {}, b"x" * 1000, 201),
    ("PUT", "/bytes/known", OBJECT, {"Content-Encoding": "gzip"}, b"x" * 1000, 415),
    ("GET", "/bytes/known", OBJECT, {}, None, 200),
    ("DELETE", "/bytes/unknown", OBJECT, {}, None, 404),
    ("GET", "/fail", "/fail", {}, None, 500),
    ("GET", "/nowhere", NO_ROUTE, {}, None, 404),
    ("DELETE", "/", NO_ROUTE, {}, None, 405),
]


def ask_each(visitor: Visitor, kinds: list[Kind]) -> dict[tuple[str, str, str], float]:
    """Ask each kind another number of times, so that no two can be mistaken for one another. What is to be counted."""
    expected = {}
    for times, (method, path, route, headers, body, status) in enumerate(kinds, 1):
        for _ in range(times):
            assert visitor.ask(method, path, body, headers).status == status
            visitor.close()  # the next request may go to another worker
        expected[method, route, str(status)] = float(times)
    return expected


def assert_counted(service: Service, expected: dict[tuple[str, str, str], float]) -> None:
    """So many requests of each method, route and status are counted, and no others."""
    labels = ("http_request_method", "http_route", "http_response_status_code")
    wait_until("all requests counted", lambda: total(service, COUNT) == sum(expected.values()))
    counted = {tuple(s.labels[label] for label in labels): s.value for s in samples(service) if s.name == COUNT}
    assert counted == expected


@pytest.mark.parametrize("workers", [1, 4])
def test_each_kind_of_request_is_counted_and_what_it_did(tmp_path: Path, workers: int) -> None:
    settings = {"WEB_CONCURRENCY": str(workers), "SESSION_TIMEOUT": "5s"}
    with redis_server(tmp_path) as redis, running_service(tmp_path, settings, SESSION_URL=redis.url) as service:
        with Visitor(service.app_url) as visitor:
            expected = ask_each(visitor, KINDS)
        assert_counted(service, expected)
        stored, read = expected["PUT", OBJECT, "201"], expected["GET", OBJECT, "200"]
        assert total(service, "storage_transferred_bytes_total", direction="in") == stored * 1000
        assert total(service, "storage_transferred_bytes_total", direction="out") == read * 1000
        assert total(service, "sessions_created_total") == 1
        assert total(service, "dependency_operation_duration_seconds_count", operation="put", outcome="ok") == stored
        assert total(service, "server_threads") == 8 * workers
        wait_until("no thread busy", lambda: total(service, "server_threads_busy") == 0)
        assert total(service, "dependency_up", dependency="sessions") == 1


def test_transfers_are_told_from_other_requests(tmp_path: Path) -> None:
    """By what a request did, whatever its route: how long a transfer takes says nothing about the service."""
    with running_service(tmp_path) as service:
        with Visitor(service.app_url) as visitor:
            for name, size in (("large", 100_000), ("small", 1000)):
                visitor.put(name, b"x" * size)
                for _ in range(3):
                    assert len(visitor.get(f"/bytes/{name}").body) == size
        wait_until("all requests counted", lambda: total(service, COUNT) == 8)
        assert total(service, COUNT, http_request_method="PUT", transfer="true") == 2
        assert total(service, COUNT, http_request_method="GET", transfer="true") == 3
        assert total(service, COUNT, http_request_method="GET", transfer="false") == 3


def test_sessions_that_are_found_and_not_found_are_counted(tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        with Visitor(service.app_url) as visitor:
            visitor.ask("POST", "/visits")
            for _ in range(3):
                visitor.get("/session")
            visitor.cookies = {"session": "A" * 43}
            for _ in range(2):
                visitor.get("/session")
        wait_until("all counted", lambda: total(service, COUNT) == 6)
        assert total(service, "session_reads_total", result="hit") == 3
        assert total(service, "session_reads_total", result="miss") == 2


def test_the_facts_about_the_process_are_there(tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        with Visitor(service.app_url) as visitor:
            visitor.ask("POST", "/visits")
            visitor.put("a", b"x" * 50_000)
            visitor.get("/bytes/a")
        found = {sample.name for sample in samples(service)}
        for name in ("process_start_time_seconds", "process_resident_memory_bytes", "python_info"):
            assert name in found
        assert {"build_info", "log_records_total", "http_server_request_body_bytes_total"} <= found
