"""The middleware: ids, time, metrics and one record for each request; a response for each exception."""

import contextlib
import io
import json
import logging
import random
import re
import string
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, request
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from service.http.middleware import instrument
from service.logs.context import current_request
from service.logs.formatter import SafeJsonFormatter, TextFormatter
from service.metrics.registry import Metrics
from service.settings import load
from tests.support.raw import RawClient, head
from tests.support.service import PROJECT, running_service

SETTINGS = load({"SESSION_URL": "memory://", "STORAGE_URL": "file:///tmp", "GOOGLE_CLOUD_PROJECT": "project-1"})
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CANARY = "c4n4ry-Zx81-value"
App = Callable[[dict[str, Any], Any], Iterable[bytes]]


@dataclass
class Flight:
    """Keeps the requests in flight."""

    going_on: list[tuple[str, str]] = field(default_factory=list)
    most: int = 0

    def begin(self, method: str, path: str) -> tuple[str, str]:
        self.going_on.append((method, path))
        self.most = max(self.most, len(self.going_on))
        return (method, path)

    def end(self, token: tuple[str, str]) -> None:
        self.going_on.remove(token)


class Lines(logging.Handler):
    """Collects lines as they would be written."""

    def __init__(self) -> None:
        super().__init__()
        self.raw: list[str] = []
        self.text: list[str] = []
        self._json, self._text = SafeJsonFormatter(project="project-1", version="1"), TextFormatter()

    def emit(self, record: logging.LogRecord) -> None:
        self.raw.append(self._json.format(record))
        self.text.append(self._text.format(record))

    @property
    def records(self) -> list[dict[str, Any]]:
        assert all(len(line) < 16 * 1024 - 1 and line.isascii() for line in self.raw)
        return [json.loads(line) for line in self.raw]

    @property
    def access(self) -> list[dict[str, Any]]:
        return [record for record in self.records if record["logger"] == "service.access"]


@contextlib.contextmanager
def collected() -> Iterator[Lines]:
    handler, root = Lines(), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield handler
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


@pytest.fixture
def lines() -> Iterator[Lines]:
    with collected() as handler:
        yield handler


class Server:
    """Calls a WSGI application as a server does."""

    def __init__(self, app: App) -> None:
        self.metrics = Metrics(SETTINGS)
        self.flight = Flight()
        self._app = instrument(app, metrics=self.metrics, in_flight=self.flight)
        self.status = ""
        self.headers: list[tuple[str, str]] = []
        self.body = b""

    def ask(
        self, method: str = "GET", path: str = "/", *, chunks: int | None = None, body: bytes = b"", **environ: Any
    ) -> bytes:
        """The body of the response, or as many chunks of it as are wanted before the client hangs up."""
        self.status, self.headers, self.body = "", [], b""
        response = self._app(make_environ(method, path, body, **environ), self._start_response)
        try:
            for number, chunk in enumerate(response):
                assert self.status, "the body came before the headers"
                self.body += chunk
                if number + 1 == chunks:
                    break
        finally:
            getattr(response, "close")()  # noqa: B009 -- of WSGI, not of Iterable
        return self.body

    def header(self, name: str) -> str:
        [value] = [value for key, value in self.headers if key.lower() == name.lower()]
        return value

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        assert not self.status or exc_info, "headers are set already"
        self.status, self.headers = status, headers

        def write(data: bytes) -> None:
            self.body += data

        return write

    def samples(self) -> list[Sample]:
        text = self.metrics.render()[1].decode()
        return [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def value(self, name: str, **labels: str) -> float:
        return sum(s.value for s in self.samples() if s.name == name and labels.items() <= s.labels.items())


def make_environ(method: str, path: str, body: bytes, **more: Any) -> dict[str, Any]:
    query = more.pop("query", "")
    return {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "SCRIPT_NAME": "",
        "QUERY_STRING": query,
        "RAW_URI": path + (f"?{query}" if query else ""),
        "SERVER_NAME": "host",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "example.org",
        "REMOTE_ADDR": "192.0.2.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    } | more


def hello(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    environ["service.route"] = "/hello/<name>"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello ", b"world"]


def with_status(status: str) -> App:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response(status, [])
        return [b""]

    return app


def test_a_request_is_one_record_as_cloud_logging_has_it(lines: Lines) -> None:
    Server(hello).ask(
        "GET",
        "/hello/bob",
        query="a=1",
        HTTP_USER_AGENT='curl/8 "quoted"',
        HTTP_REFERER=f"https://other/?token={CANARY}",
        HTTP_X_REQUEST_ID="request-0001",
        HTTP_TRACEPARENT=f"00-{TRACE}-{SPAN}-01",
    )
    [record] = lines.access
    latency = record["httpRequest"].pop("latency")
    assert re.fullmatch(r"\d+\.\d+s", latency)
    assert re.fullmatch(r"[0-9a-f]{16}", record.pop("span_id"))
    assert re.fullmatch(r"[0-9a-f]{16}", record.pop("logging.googleapis.com/spanId"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", record.pop("time"))
    assert record == {
        "severity": "INFO",
        "message": "GET /hello/bob 200",
        "logger": "service.access",
        "httpRequest": {
            "requestMethod": "GET",
            "requestUrl": "https://example.org/hello/bob?a=1",
            "requestSize": "0",
            "status": 200,
            "responseSize": "11",
            "remoteIp": "192.0.2.1",
            "protocol": "HTTP/1.1",
            "userAgent": 'curl/8 "quoted"',
            "referer": "https://other/?token=[redacted]",
        },
        "logging.googleapis.com/trace": f"projects/project-1/traces/{TRACE}",
        "logging.googleapis.com/trace_sampled": True,
        "trace_id": TRACE,
        "request_id": "request-0001",
    }


def test_the_request_id_goes_back_to_the_client_and_into_the_environment() -> None:
    seen = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        context = current_request.get()
        assert context is not None
        seen.append((environ["service.request_id"], context.request_id))
        return hello(environ, start_response)

    server = Server(app)
    server.ask()
    assert {server.header("X-Request-Id")} == set(seen[0])
    server.ask(HTTP_X_REQUEST_ID="request-0002")
    assert server.header("X-Request-Id") == "request-0002"
    assert current_request.get() is None


@pytest.mark.parametrize(
    ("status", "severity"),
    [
        ("200 OK", "INFO"),
        ("304 Not Modified", "INFO"),
        ("404 Not Found", "INFO"),
        ("500 Internal Server Error", "ERROR"),
        ("502 Bad Gateway", "ERROR"),
        ("503 Service Unavailable", "WARNING"),
        ("507 Insufficient Storage", "WARNING"),
        ("501 Not Implemented", "INFO"),
    ],
)
def test_only_the_servers_own_errors_are_errors_in_the_log(lines: Lines, status: str, severity: str) -> None:
    Server(with_status(status)).ask()
    [record] = lines.access
    assert (record["severity"], record["httpRequest"]["status"]) == (severity, int(status[:3]))
    assert ("serviceContext" in record) == (severity == "ERROR")


def test_the_visitors_address_is_the_one_that_the_guards_found(lines: Lines) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["service.client_ip"] = "2001:db8::1"
        return hello(environ, start_response)

    Server(app).ask()
    assert lines.access[0]["httpRequest"]["remoteIp"] == "2001:db8::1"


def test_a_body_that_is_not_read_to_its_end_is_aborted(lines: Lines) -> None:
    server = Server(hello)
    server.ask(chunks=1)
    server.ask(chunks=2)
    server.ask()
    assert [record.get("aborted") for record in lines.access] == [True, True, None]
    assert [record["httpRequest"]["responseSize"] for record in lines.access] == ["6", "11", "11"]
    assert server.flight.going_on == []


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", "200 OK"), ("GET", "304 Not Modified"), ("GET", "204 No Content")]
)
def test_a_response_without_a_body_is_complete(lines: Lines, method: str, status: str) -> None:
    def app(_: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response(status, [])
        return ()

    server = Server(app)
    server.ask(method)
    assert server.status == status
    assert server.header("X-Request-Id")
    assert "aborted" not in lines.access[0]


def test_bodies_are_counted_as_they_are_read_and_not_as_they_are_declared(lines: Lines) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"]
        read = body.read(3) + body.readline() + b"".join(body.readlines(1)) + b"".join(body)
        start_response("200 OK", [])
        return [read]

    server = Server(app)
    data = b"0123456\nabc\nde\nf"
    assert server.ask("PUT", CONTENT_LENGTH="100", body=data) == data
    server.ask("PUT", HTTP_TRANSFER_ENCODING="chunked", body=data)
    assert [record["httpRequest"]["requestSize"] for record in lines.access] == [str(len(data))] * 2
    assert server.value("http_server_request_body_bytes_total") == 2 * len(data)
    assert server.value("http_server_response_body_bytes_total") == 2 * len(data)


def test_a_body_that_nobody_reads_has_the_size_that_was_declared(lines: Lines) -> None:
    def app(_: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("404 Not Found", [])
        return [b""]

    server = Server(app)
    server.ask("PUT", CONTENT_LENGTH="5", body=b"hello")
    server.ask("PUT", HTTP_TRANSFER_ENCODING="chunked", body=b"hello")
    for length in (f"{5:030}", "9" * 18, "9" * 30, "\u0665", "5 ", "five", ""):
        server.ask("PUT", CONTENT_LENGTH=length)
    sizes = [record["httpRequest"]["requestSize"] for record in lines.access]
    assert sizes == ["5", "0", "5", "9" * 18, "0", "0", "0", "0", "0"]
    assert server.value("http_server_request_body_bytes_total") == 0


def test_the_old_write_callable_works(lines: Lines) -> None:
    def app(_: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        write(b"one ")
        write(b"two ")
        return [b"three"]

    server = Server(app)
    assert server.ask() == b"one two three"
    assert lines.access[0]["httpRequest"]["responseSize"] == "13"


def assert_problem(server: Server, body: bytes) -> None:
    assert server.status == "500 Internal Server Error"
    assert server.header("Content-Type") == "application/problem+json"
    document = json.loads(body)
    assert document["request_id"] == server.header("X-Request-Id")
    assert CANARY not in body.decode()


def test_an_exception_out_of_the_application_is_logged_and_becomes_a_response(lines: Lines) -> None:
    def app(_environ: dict[str, Any], _start: Any) -> list[bytes]:
        raise ValueError(f"password={CANARY}")

    server = Server(app)
    assert_problem(server, server.ask())
    error, access = lines.records
    assert error["severity"] == access["severity"] == "ERROR"
    assert error["request_id"] == access["request_id"] == server.header("X-Request-Id")
    assert error["stack_trace"].endswith("ValueError: password=[redacted]")
    assert access["httpRequest"]["status"] == 500
    assert server.flight.going_on == []


def test_an_exception_before_the_first_bytes_gets_a_response_with_headers_of_its_own(lines: Lines) -> None:
    def app(_: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "image/png"), ("Content-Length", "1000")])
        raise ValueError
        yield b""

    server = Server(app)
    assert_problem(server, server.ask())
    assert lines.access[0]["httpRequest"]["status"] == 500
    assert "aborted" not in lines.access[0]


def test_an_exception_after_the_first_bytes_ends_the_response(lines: Lines) -> None:
    def app(_: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"begun"
        raise ValueError("too late")

    server = Server(app)
    with pytest.raises(ValueError, match="too late") as caught:
        server.ask()
    assert getattr(caught.value, "already_logged")  # noqa: B009 -- an attribute that mypy does not know
    error, access = lines.records
    assert error["stack_trace"].endswith("ValueError: too late")
    assert (access["severity"], access["aborted"], access["httpRequest"]["responseSize"]) == ("ERROR", True, "5")
    assert server.flight.going_on == []


# Imported when Python starts, before the service. A space is not allowed in a header's name.
BAD_HEADER = """
import service

create_app = service.create_app

def with_bad_header(*arguments, **named):
    app = create_app(*arguments, **named)
    app.add_url_rule("/bad-header", view_func=lambda: ("some text", {"X Bad": "a value"}))
    return app

service.create_app = with_bad_header
"""


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_headers_that_the_server_refuses_are_one_error_in_the_log_and_a_500(tmp_path: Path, method: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(BAD_HEADER)
    with running_service(tmp_path, PYTHONPATH=f"{tmp_path}:{PROJECT}") as service:
        with RawClient(service.app_url) as client:
            client.send(head(method, "/bad-header", "X-Request-Id: request-0001"))
            status_line, _, rest = client.wait_for_close().partition(b"\r\n")
        access = service.wait_for(lambda record: record["logger"] == "service.access")
        assert service.terminate() == 0
    assert status_line == b"HTTP/1.1 500 Internal Server Error"
    assert rest.count(b"Content-Type: ") == rest.count(b"application/problem+json") == 1
    assert rest.count(b"Content-Length: ") == 1
    assert access["httpRequest"]["status"] == 500
    [error] = [record for record in service.log if "stack_trace" in record]
    assert (error["request_id"], error["severity"]) == ("request-0001", "ERROR")
    assert error["stack_trace"].endswith("'X Bad'")


def test_an_exception_while_the_application_closes_is_logged_and_harms_no_response(lines: Lines) -> None:
    class Body(list[bytes]):
        def close(self) -> None:
            raise ValueError("in close")

    def app(_: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return Body([b"x"])

    server = Server(app)
    assert server.ask() == b"x"
    assert lines.records[0]["stack_trace"].endswith("ValueError: in close")
    assert len(lines.access) == 1
    assert server.flight.going_on == []


def test_what_ends_the_process_goes_through_and_leaves_nothing_behind(lines: Lines) -> None:
    def app(_environ: dict[str, Any], _start: Any) -> list[bytes]:
        raise SystemExit(1)

    server = Server(app)
    with pytest.raises(SystemExit):
        server.ask()
    assert len(lines.access) == 1
    assert server.flight.going_on == []
    assert server.value("http_server_active_requests") == 0


def test_start_response_for_an_error_is_too_late_after_the_first_bytes() -> None:
    def app(_: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"begun"
        error = ValueError("the application's own")
        start_response("500 Oops", [], (ValueError, error, None))

    with pytest.raises(ValueError, match="the application's own"):
        Server(app).ask()


def test_a_probe_is_logged_the_first_time_and_when_its_status_changes(lines: Lines) -> None:
    statuses = iter(["200 OK", "200 OK", "503 Draining", "503 Draining", "200 OK", "200 OK"])

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ["service.route"] = environ["PATH_INFO"]
        if environ["PATH_INFO"] == "/other":
            return hello(environ, start_response)
        environ["service.is_probe"] = True
        return with_status(next(statuses))(environ, start_response)

    server = Server(app)
    for _ in range(6):
        server.ask(path="/ready")
        server.ask(path="/other")
    shown = [record["httpRequest"] for record in lines.access]
    assert [request["status"] for request in shown if "/ready" in request["requestUrl"]] == [200, 503, 503, 200]
    assert sum("/other" in request["requestUrl"] for request in shown) == 6
    assert server.value("http_server_request_duration_seconds_count") == 12


def test_requests_in_flight_are_kept_and_counted() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        assert environ["service.in_flight"] == ("GET", "/x")
        yield str(server.value("http_server_active_requests")).encode()
        yield str(server.value("server_threads_busy")).encode()

    server = Server(app)
    assert server.ask(path="/x") == b"1.01.0"
    assert server.flight.most == 1
    assert server.value("http_server_active_requests") == 0
    assert server.value("server_threads") == SETTINGS.threads


def test_counts_are_exact() -> None:
    server = Server(hello)
    for _ in range(7):
        server.ask()
    for _ in range(3):
        server.ask("POST")
    name = "http_server_request_duration_seconds_count"
    labels = {"http_route": "/hello/<name>", "http_response_status_code": "200"}
    assert server.value(name, http_request_method="GET", **labels) == 7
    assert server.value(name, http_request_method="POST", **labels) == 3


def test_random_paths_methods_and_hosts_add_no_series() -> None:
    app = Flask("test")
    app.add_url_rule("/hello/<name>", view_func=lambda name: name)

    @app.before_request
    def note() -> None:
        if request.url_rule:
            request.environ["service.route"] = request.url_rule.rule

    server = Server(app.wsgi_app)
    dice = random.Random(5)

    def word() -> str:
        return "".join(dice.choices(string.ascii_letters, k=8))

    def visit() -> None:
        method = dice.choice(["GET", "get", word()])
        path = dice.choice([f"/hello/{word()}", f"/{word()}", f"/hello/{word()}/{word()}"])
        server.ask(method, path, query=word(), HTTP_HOST=word(), HTTP_USER_AGENT=word(), HTTP_TRACEPARENT=word())

    for _ in range(100):
        visit()
    before = len(server.samples())
    for _ in range(5_000):
        visit()
    assert len(server.samples()) == before
    assert server.value("http_server_request_duration_seconds_count") == 5_100


@pytest.mark.parametrize(
    "environ",
    [
        {"query": f"token={CANARY}"},
        {"query": f"p%61ssword={CANARY}&X-Goog-Signature={CANARY}"},
        {"HTTP_REFERER": f"https://user:{CANARY}@host/?sig={CANARY}"},
        {"HTTP_USER_AGENT": f"Bearer {CANARY}"},
        {"HTTP_COOKIE": f"session={CANARY}"},
        {"HTTP_AUTHORIZATION": f"Bearer {CANARY}"},
        {"HTTP_HOST": f"user:{CANARY}@host"},
        {"RAW_URI": f"http://user:{CANARY}@host/"},
        {"RAW_URI": f"/reset/password={CANARY}"},
        {"RAW_URI": None, "QUERY_STRING": f"token={CANARY}"},
    ],
    ids=lambda environ: next(iter(environ)),
)
def test_a_secret_of_the_visitor_is_in_no_line(lines: Lines, environ: dict[str, Any]) -> None:
    Server(hello).ask(**environ)
    assert len(lines.raw) == 1
    assert CANARY not in lines.raw[0] + lines.text[0]


anything = st.text(alphabet=st.characters(codec=None), max_size=400) | st.text().map(lambda text: text * 300)


@settings(max_examples=150, deadline=None)
@given(anything, anything, anything, anything, anything)
def test_nothing_that_a_client_sends_forges_a_field_or_a_line(
    path: str, query: str, agent: str, host: str, method: str
) -> None:
    server = Server(hello)
    with collected() as lines:
        server.ask(
            method,
            path,
            query=query,
            SERVER_PROTOCOL=method,
            REMOTE_ADDR=host,
            HTTP_HOST=host,
            HTTP_TRACEPARENT=host,
            HTTP_USER_AGENT=agent,
            HTTP_REFERER=agent,
            HTTP_X_REQUEST_ID=agent,
        )
    [record] = lines.records
    assert set(record) == {
        "severity", "time", "message", "logger", "httpRequest", "trace_id", "span_id", "request_id",
        "logging.googleapis.com/trace", "logging.googleapis.com/spanId", "logging.googleapis.com/trace_sampled",
    }  # fmt: skip
    assert record["httpRequest"]["status"] == 200
    assert re.fullmatch("[A-Za-z0-9._-]{8,64}", record["request_id"])
    assert len(lines.text[0].splitlines()) == 1
    [status_line] = [server.status]
    assert status_line == "200 OK"
    assert re.fullmatch("[A-Za-z0-9._-]{8,64}", server.header("X-Request-Id"))


@pytest.mark.parametrize("character", ["\U000ffffd", "\u00ff", '"', "\\", "\x1b", "\n", "%", "a"])
def test_a_line_holds_the_most_that_a_client_can_send(lines: Lines, character: str) -> None:
    flood = character * 9000
    names = ("HTTP_HOST", "HTTP_USER_AGENT", "HTTP_REFERER", "HTTP_TRACEPARENT", "REMOTE_ADDR", "SERVER_PROTOCOL")
    headers: dict[str, Any] = dict.fromkeys(names, flood)
    Server(hello).ask(flood, "/" + flood, query=flood, **headers)
    assert lines.records[0]["httpRequest"]["userAgent"].startswith(lines.records[0]["httpRequest"]["referer"][:8])


def test_text_has_the_time_and_the_size_of_a_request(lines: Lines) -> None:
    Server(hello).ask(path="/hello/bob", HTTP_X_REQUEST_ID="request-0001")
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d INFO     GET /hello/bob 200  \[logger=service.access "
        r"request_id=request-0001 seconds=\d\.\d{3} bytes=11\]",
        lines.text[0],
    )
