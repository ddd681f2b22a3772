"""The whole service as a process on free ports, its log read while it runs."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.support.processes import stop

Record = dict[str, Any]
PROJECT = Path(__file__).parents[2]

# What a test wants unless it says otherwise: this machine only, which may be busy, and no waiting at the end.
DEFAULTS = {
    "HOST": "127.0.0.1",
    "PORT": "0",
    "OPS_PORT": "0",
    "SESSION_URL": "memory://",
    "COOKIE_SECURE": "false",
    "QUEUE_TIMEOUT": "60s",
    "SHUTDOWN_DELAY": "0s",
    "DEPENDENCY_CHECK_INTERVAL": "300ms",
}


class Service:
    """A running service. ``log`` grows while it runs; lines that are no JSON objects are in ``stdout`` only."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.stdout = b""
        self.stderr = b""
        self.log: list[Record] = []
        self.app_url = self.ops_url = ""
        self._news = threading.Condition()
        self._readers = [threading.Thread(target=self._read_log), threading.Thread(target=self._read_errors)]
        for reader in self._readers:
            reader.start()

    def wait_for(self, fits: Callable[[Record], bool], *, seconds: float = 30) -> Record:
        """The first record that fits, of those that came and those to come."""
        seen = 0
        end = time.monotonic() + seconds
        with self._news:
            while True:
                for record in self.log[seen:]:
                    if fits(record):
                        return record
                seen = len(self.log)
                ended = not self._readers[0].is_alive()
                if ended or not self._news.wait(max(0.0, end - time.monotonic())):
                    raise AssertionError(f"no such record; the last lines were {self.stdout[-3000:].decode()}")

    def wait_until_listening(self) -> None:
        """The ports are known, and a worker serves."""
        record = self.wait_for(lambda r: "app_url" in r)
        self.app_url, self.ops_url = record["app_url"], record["ops_url"]
        self.wait_for(lambda r: r["message"] == "serving")

    def terminate(self, *, seconds: float = 60) -> int:
        """SIGTERM, and wait until it has ended and its last line is read. The exit code."""
        self.process.terminate()
        self.process.wait(seconds)
        self.wait_for_end()
        return self.exit_code

    def wait_for_end(self) -> None:
        """Wait until everything that the process wrote is read."""
        for reader in self._readers:
            reader.join(30)

    @property
    def exit_code(self) -> int:
        assert self.process.returncode is not None, "it still runs"
        return self.process.returncode

    @property
    def workers(self) -> list[int]:
        """The process ids of the workers."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    @property
    def memory(self) -> int:
        """The only worker's resident memory in bytes."""
        (worker,) = self.workers
        status = Path(f"/proc/{worker}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    def _read_log(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.stdout += line
                with contextlib.suppress(ValueError):
                    record = json.loads(line)
                    if isinstance(record, dict):
                        self.log.append(record)
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.stderr += line


@contextlib.contextmanager
def running_service(
    folder: Path,
    settings: Mapping[str, str] | None = None,
    /,
    *,
    module: str = "tests.probe",
    wait: bool = True,
    arguments: tuple[str, ...] = (),
    project: Path = PROJECT,
    **more: str,
) -> Iterator[Service]:
    """The service with these settings (and ``more`` of them), its files in ``folder``; gone when this is left.

    It has the probe's routes; the ``module`` ``service`` is the service as it comes, with its own.
    ``wait=False`` is for one that is not expected to listen. ``project`` is the folder that has the code.
    """
    (folder / "files").mkdir(exist_ok=True)
    environ = {name: os.environ[name] for name in ("PATH", "HOME", "COVERAGE_PROCESS_CONFIG") if name in os.environ}
    environ |= DEFAULTS | {"STORAGE_URL": f"file://{folder / 'files'}"} | dict(settings or {}) | more
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=project,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    service = Service(process)
    try:
        if wait:
            service.wait_until_listening()
        yield service
    finally:
        stop(process, seconds=30)
        service.wait_for_end()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
