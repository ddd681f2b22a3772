"""Servers that speak Google Cloud Storage's JSON API: fake-gcs-server, and our strict one (gcs_server)."""

import contextlib
import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.support.processes import free_port, read_line, running, stop

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class StrictGcs:
    """The strict server, and what it has seen."""

    url: str
    pid: int

    def fault(self, call: str, kind: str, **more: float) -> None:
        """Let something go wrong: see tests/support/gcs_server/faults.py."""
        _ask(self.url, "POST", "/_control/faults", {"call": call, "kind": kind, **more})

    def clear(self) -> None:
        """Forget faults and counts."""
        _ask(self.url, "DELETE", "/_control/faults")

    def want_tokens(self) -> None:
        """From now on, only with an access token of ``/token``."""
        _ask(self.url, "POST", "/_control/tokens", {})

    @property
    def state(self) -> dict[str, Any]:
        """``sessions`` (open resumable uploads), ``objects``, ``bytes``, and ``calls`` by name."""
        return dict(_ask(self.url, "GET", "/_control/state"))

    @property
    def calls(self) -> dict[str, int]:
        """How often each call arrived."""
        return dict(self.state["calls"])


@contextlib.contextmanager
def strict_gcs(folder: Path) -> Iterator[StrictGcs]:
    """The strict server in a process of its own; large bodies go to ``folder``."""
    command = [sys.executable, "-m", "tests.support.gcs_server", "--port", "0", "--folder", str(folder)]
    with (folder / "strict-gcs.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, cwd=ROOT)
    assert process.stdout is not None
    with process.stdout:
        try:
            url = read_line(process.stdout.fileno(), seconds=20).decode().strip()
            if not url:
                raise RuntimeError(f"the strict server did not start: {(folder / 'strict-gcs.log').read_text()}")
            yield StrictGcs(url, process.pid)
        finally:
            stop(process)


@contextlib.contextmanager
def fake_gcs(folder: Path) -> Iterator[str]:
    """fake-gcs-server with everything in memory; its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command: list[str | Path] = [fake_gcs_binary(), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    command += ["-backend", "memory", "-public-host", f"127.0.0.1:{port}", "-external-url", url, "-log-level", "error"]
    with running(command, port=port, log=folder / "fake-gcs-server.log"):
        yield url


def fake_gcs_binary() -> Path:
    """Where it is; built now if nobody did before."""
    script = ROOT / "scripts" / "go-tool.sh"
    done = subprocess.run([script, "fake-gcs-server"], check=True, stdout=subprocess.PIPE, text=True)
    return Path(done.stdout.strip())


def create_bucket(url: str, name: str) -> None:
    """Make a bucket on either server."""
    _ask(url, "POST", "/storage/v1/b?project=test", {"name": name})


def object_names(url: str, bucket: str) -> list[str]:
    """What is in a bucket of either server (one page)."""
    return [item["name"] for item in _ask(url, "GET", f"/storage/v1/b/{bucket}/o").get("items", [])]


def _ask(url: str, method: str, path: str, document: Any = None) -> Any:
    parts = urlsplit(url)
    assert parts.hostname
    with contextlib.closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)) as connection:
        body = None if document is None else json.dumps(document)
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        response = connection.getresponse()
        raw = response.read()
    if response.status >= 300:
        raise RuntimeError(f"{method} {path}: {response.status} {raw[:500]!r}")
    return json.loads(raw) if raw else None
