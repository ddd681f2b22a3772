"""What the suite does before all else: a command and requests of the service's own."""

import contextlib
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator

from conformance.kept import CONTENT
from tests.support.service import PROJECT


@contextlib.contextmanager
def recorder() -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """A server that signs in whoever posts, and knows no other route: its URL, and what it was asked.

    Each is the method and path, the cookie, and the body.
    """
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.answer(201)

        def do_PUT(self) -> None:
            self.answer(404)

        def answer(self, status: int) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            asked.append((f"{self.command} {self.path}", self.headers.get("Cookie", ""), body))
            self.send_response(status)
            self.send_header("Set-Cookie", f"user={self.path.strip('/')}")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 -- its name in the class above
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()
            thread.join(10)


def conform(url: str, *options: str) -> subprocess.CompletedProcess[str]:
    routes = ("--visits-path=", "--session-path=", "--files-path=/files", "--only=2a")
    command = [sys.executable, "-m", "conformance", "--base-url", url, *routes, *options]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=60)


def test_what_is_set_up_comes_first_and_whoever_was_signed_in_keeps_the_files() -> None:
    with recorder() as (url, asked):
        conform(
            url,
            '--setup=POST /tenants {"name": "a, b; c"}\n/Ada',
            f"--setup-command=curl -s -d by=command {url}/tenant",
        )
    assert asked == [
        ("POST /tenant", "", "by=command"),
        ("POST /tenants", "", '{"name": "a, b; c"}'),
        ("POST /Ada", "user=tenants", ""),
        ("PUT /files/conform.txt", "user=Ada", CONTENT.decode()),
    ]


def test_what_can_not_be_set_up_ends_the_run() -> None:
    with recorder() as (url, asked):
        refused = conform(url, "--setup=POST /tenants\nPUT /nothing\nPOST /never")
        failed = conform(url, "--setup-command=echo the tenant is there >&2; exit 3", "--setup=POST /never")
        wrong = conform(url, "--setup=tenants")
    assert [request for request, _, _ in asked] == ["POST /tenants", "PUT /nothing"]
    for done, words in (
        (refused, "--setup: PUT /nothing gets 404"),
        (failed, "exit code 3: echo the tenant is there >&2; exit 3: the tenant is there"),
        (wrong, "--setup: 'tenants' is not like"),
    ):
        assert (done.returncode, words in done.stderr) == (2, True), done.stderr
