"""Metrics of one process: formats by negotiation, exemplars, facts, and nothing that grows with what visitors send."""

import gzip
import logging
import os
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import Counter
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from service.logs.stdout_handler import LineHandler
from service.metrics.registry import Metrics
from service.settings import load

OPENMETRICS = "application/openmetrics-text"
PROMETHEUS_ASKS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;"
    "q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def metrics() -> Metrics:
    values = {"SESSION_URL": "memory://", "STORAGE_URL": "file:///tmp", "VERSION": '1.2"3', "REVISION": "abc"}
    return Metrics(load(values))


def visit(metrics: Metrics, method: str = "GET", trace_id: str | None = None, seconds: float = 0.01) -> None:
    metrics.request(method, "/x/<name>", 200, is_transfer=False, seconds=seconds, received=3, sent=5, trace_id=trace_id)


@pytest.mark.parametrize("accept", [OPENMETRICS, f"{OPENMETRICS}; version=1.0.0", PROMETHEUS_ASKS])
def test_openmetrics_is_sent_where_accept_names_it(metrics: Metrics, accept: str) -> None:
    visit(metrics)
    content_type, body = metrics.render(accept)
    assert content_type.startswith(f"{OPENMETRICS}; version=1.0.0; charset=utf-8")
    assert body.endswith(b"# EOF\n")
    assert list(parse_openmetrics(body.decode()))  # type: ignore[no-untyped-call] # of prometheus_client


@pytest.mark.parametrize("accept", ["", "*/*", "text/html", "text/plain; version=0.0.4", f"{OPENMETRICS};version=x.y"])
def test_everybody_else_gets_prometheus_text(metrics: Metrics, accept: str) -> None:
    content_type, body = metrics.render(accept)
    assert content_type.startswith("text/plain; version=")
    assert list(parse_text(body.decode()))


@settings(deadline=None)
@given(st.text() | st.builds("application/openmetrics-text;version={}".format, st.text()))
def test_no_accept_header_breaks_the_response(accept: str) -> None:
    content_type, body = METRICS.render(accept)
    assert re.fullmatch("[ -~]+", content_type)
    assert body


METRICS = Metrics(load({"SESSION_URL": "memory://", "STORAGE_URL": "file:///tmp"}))


def samples(metrics: Metrics) -> dict[str, float]:
    text = metrics.render()[1].decode()
    return {
        s.name + "".join(f"|{value}" for _, value in sorted(s.labels.items())): s.value
        for family in parse_text(text)
        for s in family.samples
    }


def test_the_facts_about_the_process_are_there(metrics: Metrics) -> None:
    metrics.serving()
    metrics.set_dependency("sessions", up=True)
    metrics.set_dependency("storage", up=False)
    metrics.log_records("ERROR", 2)
    metrics.log_records("ERROR", 1)
    found = samples(metrics)
    [build] = [name for name in found if name.startswith("build_info")]
    assert '1.2"3' in build
    assert "abc" in build
    assert found["server_threads"] == 8
    assert found["server_threads_busy"] == 0
    assert found["server_transfers"] == 5
    assert found["server_transfers_busy"] == 0
    assert found["dependency_up|sessions"] == 1
    assert found["dependency_up|storage"] == 0
    assert found["log_records_total|ERROR"] == 3
    assert found["process_start_time_seconds"] > 1_600_000_000
    assert found["process_open_fds"] <= len(os.listdir("/proc/self/fd")) + 1  # noqa: PTH208 -- names are enough
    assert any(name.startswith("python_info") for name in found)
    assert [name for name in found if name.endswith("_created")] == []


def test_methods_that_nobody_knows_are_one(metrics: Metrics) -> None:
    for method in ("GET", "get", "BREW", "X" * 1000, ""):
        visit(metrics, method)
    found = samples(metrics)
    assert found["http_server_request_duration_seconds_count|GET|200|/x/<name>|false"] == 1
    assert found["http_server_request_duration_seconds_count|_OTHER|200|/x/<name>|false"] == 4
    assert found["http_server_request_body_bytes_total|/x/<name>"] == 15
    assert found["http_server_response_body_bytes_total|/x/<name>"] == 25


def test_an_exemplar_names_the_trace_of_a_request_that_is_kept(metrics: Metrics) -> None:
    visit(metrics, seconds=0.007)
    visit(metrics, trace_id=TRACE, seconds=0.2)
    text = metrics.render(OPENMETRICS)[1].decode()
    [line] = [line for line in text.splitlines() if " # {" in line]
    assert 'le="0.25"' in line
    assert f'# {{trace_id="{TRACE}"}} 0.2' in line
    assert "trace_id" not in metrics.render()[1].decode()


def test_metrics_of_two_applications_do_not_meet(metrics: Metrics) -> None:
    visit(metrics)
    assert "http_server_request_duration_seconds_count|GET|200|/x/<name>|false" not in samples(METRICS)


def test_a_part_of_the_service_adds_a_metric_of_its_own(metrics: Metrics) -> None:
    Counter("listings", "Listings of files.", registry=metrics.registry).inc(2)
    assert samples(metrics)["listings_total"] == 2


def test_the_whole_is_small_enough_to_be_fetched_often(metrics: Metrics) -> None:
    visit(metrics)
    body = metrics.render()[1]
    assert len(body) < 20_000
    assert len(gzip.compress(body)) < 5_000


def test_records_are_counted_from_the_first_one_on() -> None:
    """Also those that were written before anybody could count them, and each of them once."""
    handler = LineHandler(os.open(os.devnull, os.O_WRONLY))
    counted: dict[str, int] = {}

    def count(severity: str, how_many: int) -> None:
        counted[severity] = counted.get(severity, 0) + how_many

    def say(level: int) -> None:
        handler.handle(logging.LogRecord("x", level, "", 0, "m", (), None))

    say(20)
    say(20)
    say(40)
    handler.count(count, count)
    assert counted == {"INFO": 2, "ERROR": 1}
    say(50)
    handler.count(count, count)
    assert counted == {"INFO": 2, "ERROR": 1, "CRITICAL": 1}
