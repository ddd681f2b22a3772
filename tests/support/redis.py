"""Real Redis servers for tests."""

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from tests.support.processes import free_port, require, running


@dataclass(frozen=True)
class RedisServer:
    """A running server. ``url`` is what SESSION_URL takes."""

    url: str
    port: int
    process: subprocess.Popen[bytes]

    @contextlib.contextmanager
    def client(self, **options: Any) -> Iterator["redis.Redis"]:
        """A plain client of one's own, to look at the server and to change its settings."""
        with redis.Redis(host="127.0.0.1", port=self.port, **options) as client:
            yield client


@contextlib.contextmanager
def redis_server(folder: Path, *options: str, port: int = 0) -> Iterator[RedisServer]:
    """A Redis on a free port that keeps nothing on disk. ``options`` are redis-server's, such as ``--maxmemory``."""
    port = port or free_port()
    own = Path(tempfile.mkdtemp(prefix="redis-", dir=folder))
    command = [
        require("redis-server", "redis-server"),
        *("--port", str(port), "--bind", "127.0.0.1", "--dir", str(own), "--save", "", "--appendonly", "no"),
        *options,
    ]
    with running(command, port=_open_port(port, options), log=own / "log") as process:
        yield RedisServer(f"redis://127.0.0.1:{port}/0", port, process)


def _open_port(port: int, options: tuple[str, ...]) -> int:
    """The port that shows when the server is up: a TLS-only server has no other."""
    return int(options[options.index("--tls-port") + 1]) if "--tls-port" in options else port
