"""An application that does wrong what a fork's may do wrong: it costs its own request, and no other."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hold import active
from tests.support.processes import wait_until
from tests.support.raw import RawClient, head
from tests.support.service import PROJECT, Service, running_service

# Imported when Python starts, before the service. Around everything of ours, which would put some of it right.
MORE_PATHS = """
import time

import service

TEN = [("Content-Length", "10")]
RESPONSES = {
    "/short": ("200 OK", TEN, [b"abc"]),
    "/empty": ("200 OK", TEN, [b""]),
    "/nothing": ("200 OK", TEN, []),
    "/whole": ("200 OK", TEN, [b"01234", b"56789"]),
    "/long": ("200 OK", TEN, [b"0123456789 and more"]),
    "/not-modified": ("304 Not Modified", TEN, []),
    "/line-break": ("200 OK", [("X-A", "a\\r\\nX-B: b")], [b"abc"]),
    "/bad-name": ("200 OK", [("X A", "a")], [b"abc"]),
}
create_app = service.create_app

def with_more_paths(*arguments, **named):
    app = create_app(*arguments, **named)
    inner = app.wsgi_app

    def outer(environ, start_response):
        if environ["PATH_INFO"] not in RESPONSES:
            return inner(environ, start_response)
        status, headers, body = RESPONSES[environ["PATH_INFO"]]
        start_response(status, headers)
        return body

    app.wsgi_app = outer
    app.add_url_rule("/hang", view_func=lambda: time.sleep(300))
    return app

service.create_app = with_more_paths
"""


def python_path(folder: Path) -> str:
    """A PYTHONPATH on which Python finds the paths above."""
    (folder / "sitecustomize.py").write_text(MORE_PATHS)
    return f"{folder}:{PROJECT}"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("faulty")
    with running_service(folder, PYTHONPATH=python_path(folder)) as running:
        yield running


@pytest.mark.parametrize(
    ("method", "path", "body", "closes"),
    [
        ("GET", "/short", b"abc", True),
        ("GET", "/empty", b"", True),
        ("GET", "/nothing", b"", True),
        ("GET", "/whole", b"0123456789", False),
        ("GET", "/long", b"0123456789", False),
        ("HEAD", "/whole", b"", False),
        ("GET", "/not-modified", b"", False),
    ],
)
def test_a_body_that_is_shorter_than_promised_is_the_last_of_its_connection(
    service: Service, method: str, path: str, body: bytes, *, closes: bool
) -> None:
    """Or the client would take the next response for the rest of this one."""
    with RawClient(service.app_url) as client:
        client.send(head(method, path) + head("GET", "/api/instance", "Connection: close"))
        received = client.wait_for_close()
    first, _, rest = received.partition(b"\r\n\r\n")
    assert b"Content-Length: 10" in first
    assert rest[: len(body)] == body
    assert (rest[len(body) :] == b"") is closes
    assert rest[len(body) :].startswith(b"" if closes else b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("path", ["/line-break", "/bad-name"])
def test_a_response_header_that_is_not_valid_is_not_the_client_s_error(service: Service, path: str) -> None:
    with RawClient(service.app_url) as client:
        client.send(head("GET", path))
        answer = client.answer()
        assert (answer.status, answer.headers["Connection"]) == (500, "close")
        assert answer.headers.get_content_type() == "application/problem+json"
        assert client.wait_for_close() == b""


@pytest.mark.parametrize("told", ["SIGTERM", "SIGQUIT"])
def test_a_request_that_hangs_does_not_hold_up_the_end(tmp_path: Path, told: str) -> None:
    """Its thread can't be ended. SIGTERM: after SHUTDOWN_GRACE; SIGQUIT: at once."""
    grace = {"SIGTERM": "500ms", "SIGQUIT": "300s"}[told]
    with running_service(tmp_path, PYTHONPATH=python_path(tmp_path), SHUTDOWN_GRACE=grace) as service:
        with RawClient(service.app_url) as client:
            client.send(head("GET", "/hang"))
            wait_until("the request in flight", lambda: active(service) == 1)
            started = time.monotonic()
            service.process.send_signal(signal.Signals[told])
            assert service.process.wait(20) == 0
        print(f"ended {time.monotonic() - started:.1f} s after {told}")
