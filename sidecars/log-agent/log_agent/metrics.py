"""What the agent counts, and where it is asked for it: /metrics and /health on a port of its own."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

STUCK = 60.0  # seconds without a turn: something hangs, and a restart may help
FORMAT = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counters to be changed by whoever knows."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.lines = Counter("log_agent_lines", "Lines that were sent.", registry=registry)
        self.records = Counter("log_agent_records", "Records that were sent.", registry=registry)
        self.bytes = Counter("log_agent_read_bytes", "Bytes of the files that were sent.", registry=registry)
        self.rotations = Counter("log_agent_rotations", "Rotations by kind.", ("kind",), registry=registry)
        for kind in ("rename", "truncate", "copy", "unlink"):
            self.rotations.labels(kind)
        self.unparsed = Counter("log_agent_unparsed_records", "Records that fit no format.", registry=registry)
        self.clipped = Counter("log_agent_clipped_records", "Records that were too large.", registry=registry)
        self.holes = Counter("log_agent_hole_bytes", "Bytes of holes that were passed over.", registry=registry)
        self.lost_files = Counter(
            "log_agent_deleted_unread_files",
            "Files that were gone before they were read to their end.",
            registry=registry,
        )
        self.lost_bytes = Counter(
            "log_agent_deleted_unread_bytes", "Bytes of them that are known to be missing.", registry=registry
        )
        self.unsaved = Counter("log_agent_checkpoint_failures", "Checkpoints that were not written.", registry=registry)
        self.files = Gauge("log_agent_files", "Files that are read.", registry=registry)
        self.lag_bytes = Gauge("log_agent_lag_bytes", "Bytes that are there and not sent.", registry=registry)
        self.lag_seconds = Gauge("log_agent_lag_seconds", "For how long there have been some.", registry=registry)
        self.turned = time.monotonic()  # when the last turn began
        self.is_blocked = False  # stdout takes nothing just now: the agent can do nothing about it

    def healthy(self) -> bool:
        """Whether it works, or waits for whoever reads its stdout."""
        return self.is_blocked or time.monotonic() - self.turned < STUCK


def serve(metrics: Metrics, host: str, port: int) -> ThreadingHTTPServer:
    """Respond from now on, in threads. OSError where the port can't be had."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._send(200, FORMAT, generate_latest(metrics.registry))
            elif path == "/health":
                is_well = metrics.healthy()
                body = b'{"status":"pass"}' if is_well else b'{"status":"fail"}'
                self._send(200 if is_well else 503, "application/health+json", body)
            else:
                self._send(404, "text/plain; charset=utf-8", b"Here are /metrics and /health.\n")

        do_HEAD = do_GET  # noqa: N815 -- http.server's name

        def _send(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response_only(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- http.server's name
            """Nothing: the platform asks every few seconds."""

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server
