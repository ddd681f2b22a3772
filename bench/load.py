"""Load by wrk, on the core that is not the server's, and the proof that wrk is not what is measured."""

import contextlib
import json
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.machine import cores, on_core
from bench.servers import Server
from tests.support.processes import free_port, require, running, stop

CONNECTIONS = 16  # twice as many as the server has threads: it never waits for the generator
ROOM = 2.0  # the generator must be able to do so many times more than what is measured

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


@dataclass(frozen=True)
class Load:
    """What came of a load: requests, by the clock and by the server's processor time."""

    requests: int
    seconds: float
    cpu_seconds: float
    failed: int
    p99: float  # seconds

    @property
    def rate(self) -> float:
        """Requests a second, by the clock."""
        return self.requests / self.seconds

    @property
    def rate_of_core(self) -> float:
        """Requests a second of the server's processor time: what else runs on the machine has no part in it."""
        return self.requests / self.cpu_seconds

    @property
    def share(self) -> float:
        """How much of its core the server had, 0 to 1."""
        return self.cpu_seconds / self.seconds


class LoadFailed(Exception):
    """Responses were missing or were errors: what was measured is not what was meant."""


def load(
    server: Server,
    path: str,
    *,
    seconds: float,
    connections: int = CONNECTIONS,
    cookies: Sequence[str] = (),
    close: bool = False,
) -> Load:
    """Ask for ``path`` as fast as the server responds. LoadFailed where not every response was a 2xx or 3xx.

    Each request has the next of the ``cookies``: many visitors, as a service has them. With ``close`` each has a
    connection of its own.
    """
    before = server.cpu_seconds()
    found = _wrk(f"{server.url}{path}", seconds, connections, cookies, close=close)
    cpu_seconds = server.cpu_seconds() - before
    requests, took, failed, p99 = found
    if failed:
        raise LoadFailed(f"{failed} of {requests} requests for {path} failed")
    return Load(requests, took, cpu_seconds, failed, p99)


@contextlib.contextmanager
def background(server: Server, path: str, *, connections: int = CONNECTIONS) -> Iterator[None]:
    """As much load as the server takes, while something else is measured."""
    command = [require("wrk", "wrk"), "-t", "1", "-c", str(connections), "-d", "600s", f"{server.url}{path}"]
    with on_core(cores()[1]):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        time.sleep(0.5)  # until it runs at full speed
        yield
    finally:
        stop(process)


def _wrk(
    url: str, seconds: float, connections: int, cookies: Sequence[str] = (), *, close: bool = False
) -> tuple[int, float, int, float]:
    """Requests, seconds, failures, p99 in seconds."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_SUMMARY)
        if cookies:
            script.write(f"local cookies = {{{', '.join(map(json.dumps, cookies))}}}\n{_COOKIES}")
        script.flush()
        command = [require("wrk", "wrk"), "-t", "1", "-c", str(connections), "-d", f"{max(1, round(seconds))}s"]
        command += ["-s", script.name, *(["-H", "Connection: close"] if close else [])]
        with on_core(cores()[1]):
            done = subprocess.run([*command, url], capture_output=True, text=True, check=True)
    match = re.search(r"^FIGURES (\d+) (\d+) (\d+) (\d+)$", done.stdout, re.MULTILINE)
    if not match:
        raise LoadFailed(f"wrk said: {done.stdout[-500:]} {done.stderr[-500:]}")
    requests, microseconds, failed, p99 = map(int, match.groups())
    return requests, microseconds / 1e6, failed, p99 / 1e6


_SUMMARY = """
done = function(summary, latency)
  local e = summary.errors
  local failed = e.connect + e.read + e.write + e.status + e.timeout
  print(string.format("FIGURES %d %d %d %d", summary.requests, summary.duration, failed, latency:percentile(99)))
end
"""


_COOKIES = """
local requests, turn = {}, 0
init = function()
  for i, cookie in ipairs(cookies) do requests[i] = wrk.format("GET", nil, {Cookie = cookie}) end
end
request = function()
  turn = turn % #requests + 1
  return requests[turn]
end
"""


def generator_rate(folder: Path) -> float:
    """What wrk can do: requests a second against nginx, which serves from memory, on the server's core."""
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(
        f"worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log /dev/null;\n"
        "events { worker_connections 256; }\n"
        f"http {{ access_log off; keepalive_requests 1000000000; server {{ listen 127.0.0.1:{port};\n"
        'location / { return 200 "hello"; } } }\n'
    )
    command = [require("nginx", "nginx"), "-c", str(config), "-p", str(folder)]
    with on_core(cores()[0]), running(command, port=port, log=folder / "nginx.log"):
        requests, seconds, _, _ = _wrk(f"http://127.0.0.1:{port}/", 2, CONNECTIONS)
    return requests / seconds
