"""The ops listener: metrics and full health, for the platform, on a port that visitors do not reach.

It has threads of its own, so that it responds while every request thread is busy. The parent process opens its socket,
which therefore stays open when a worker ends.
"""

import contextlib
import logging
import socket
import socketserver
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from service.http import problem_details
from service.metrics.registry import Metrics
from service.ops.health import Health

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 16  # where there are more, the oldest is closed; a legitimate scrape is never that slow
PAUSE = 0.1  # seconds after an accept that failed: the error may last, and the thread would turn at full speed
TIMEOUT = 5  # seconds without a byte

OpsResponse = tuple[int, str, bytes]  # status, Content-Type, body


class OpsServer(socketserver.ThreadingTCPServer):
    """Accepts in one thread, serves each connection in a thread of its own."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, listener: socket.socket, health: Health, metrics: Metrics) -> None:
        super().__init__(("", 0), OpsHandler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        listener.setblocking(False)  # several workers wait for it; only one gets the connection
        self._open: dict[socket.socket, None] = {}
        self._lock = threading.Lock()
        self.routes: dict[str, Callable[[str], OpsResponse]] = {
            "/health": lambda _: _health(health.live()),
            "/ready": lambda _: _health(health.ready(full=True)),
            "/metrics": lambda accept: (200, *metrics.render(accept)),
        }

    def start(self) -> None:
        """Serve from now on, until the process ends."""
        threading.Thread(target=self.serve_forever, name="ops", daemon=True).start()

    def get_request(self) -> tuple[socket.socket, Any]:
        """As socketserver's."""
        try:
            return super().get_request()
        except BlockingIOError:  # another worker has taken it
            raise
        except OSError:
            time.sleep(PAUSE)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a connection's thread, after closing the oldest connection if there are too many."""
        with self._lock:
            oldest = next(iter(self._open)) if len(self._open) >= MAX_CONNECTIONS else None
            if oldest is not None:
                del self._open[oldest]
            self._open[request] = None
        if oldest is not None:
            with contextlib.suppress(OSError):  # it may be closed already
                oldest.shutdown(socket.SHUT_RDWR)
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # the system allows no more threads; without a response, it would end the instance
            self.process_request_thread(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """A connection is over."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 -- socketserver's signature
        """A client that closes its connection early is not an error of the service."""
        log.debug("ops connection broke: %s", sys.exc_info()[1])


class OpsHandler(BaseHTTPRequestHandler):
    """GET and HEAD of the routes."""

    server: OpsServer
    timeout = TIMEOUT
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Send the response with its body."""
        path = _path(self.path)
        if not path.startswith("/"):
            self.send_error(400, "The request's target has no path.")
            return
        route = self.server.routes.get(path)
        if route is None:
            self.send_error(404)
            return
        try:
            status, content_type, body = route(",".join(self.headers.get_all("Accept", [])))
        except Exception:
            log.exception("the ops listener could not serve %s", path)
            self.send_error(500)
            return
        self._send(status, content_type, body)

    do_HEAD = do_GET  # noqa: N815 -- http.server's name

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Errors as problem documents, also those that http.server finds itself."""
        more = {}
        if code == 501:  # http.server says so for an unknown method
            code, more = 405, {"allow": "GET, HEAD"}
        detail = message or explain or "The ops listener serves only /health, /ready and /metrics."
        body = problem_details.problem(code, detail, instance=_path(getattr(self, "path", "")))
        self._send(code, problem_details.CONTENT_TYPE, body, **more)

    def _send(self, status: int, content_type: str, body: bytes, **more: str) -> None:
        self.request_version = self.protocol_version  # else HTTP/0.9 would get no status line
        self.close_connection = True  # no thread waits seconds for the next scrape
        self.send_response_only(status)
        headers = {
            "Content-Type": content_type,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Connection": "close",
        }
        for name, value in (headers | more).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- http.server's name
        """Nothing: the platform asks every few seconds."""


def _health(result: tuple[int, bytes]) -> OpsResponse:
    status, body = result
    return status, Health.content_type, body


def _path(target: str) -> str:
    """The request target's path; "" where it has none or is not a URL."""
    try:
        return urlsplit(target).path
    except ValueError:
        return ""
