"""Real Memcached servers for tests."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pymemcache.client.base import Client

from tests.support.processes import free_port, require, running


@dataclass(frozen=True)
class MemcachedServer:
    """A running server. ``url`` is what SESSION_URL takes, ``address`` is what stands in it."""

    url: str
    address: str
    port: int
    process: subprocess.Popen[bytes]

    def stats(self) -> dict[str, int]:
        """The server's counters, such as ``cmd_touch``."""
        client = Client(("127.0.0.1", self.port), timeout=5)
        try:
            return {name.decode(): value for name, value in client.stats().items() if isinstance(value, int)}
        finally:
            client.close()


@contextlib.contextmanager
def memcached_server(folder: Path, *options: str, port: int = 0) -> Iterator[MemcachedServer]:
    """A Memcached on a free port. ``options`` are memcached's own, such as ``-M``."""
    port = port or free_port()
    own = Path(tempfile.mkdtemp(prefix="memcached-", dir=folder))
    user = ("-u", "nobody") if os.getuid() == 0 else ()
    command = [
        require("memcached", "memcached"),
        *("-l", "127.0.0.1", "-p", str(port), "-U", "0", "-m", "64", "-t", "2", *user, *options),
    ]
    with running(command, port=port, log=own / "log") as process:
        try:
            yield MemcachedServer(f"memcached://127.0.0.1:{port}", f"127.0.0.1:{port}", port, process)
        finally:
            process.kill()  # it has nothing to save, and takes a second to end otherwise
