"""Two instances of the service, or of a twin, on real stores, and the suite run against them."""

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.conformance.twins import Twin
from tests.conformance.twins.ours import FAILING
from tests.support.fleet import Fleet, fleet, steady_port
from tests.support.processes import require
from tests.support.service import PROJECT

PASSWORD = "the-word-of-the-session-store"
NOTICE, DELAY, GRACE, OUTAGE = 0.8, 1.4, 6.0, 1.5  # seconds
OURS = Twin("ours", breaks="", says="")


@dataclass(frozen=True)
class Run:
    """What the suite said."""

    code: int
    table: str
    progress: str
    checks: list[dict[str, Any]]

    def rows(self, status: str) -> set[str]:
        return {check["row"] for check in self.checks if check["status"] == status}

    @property
    def red(self) -> set[str]:
        """The names of the checks that are broken."""
        return {check["check"] for check in self.checks if check["status"] == "broken"}

    def broken(self, row: str) -> str:
        """Everything that is said of what is broken there."""
        return "\n".join(f"{c['saw']} {c['do']}" for c in self.checks if c["row"] == row and c["status"] == "broken")


@dataclass(frozen=True)
class Scene:
    """Running instances, and the options with which the suite may do everything to them."""

    fleet: Fleet
    ports: list[int]
    options: list[str]

    def conform(self, *more: str) -> Run:
        """Run the suite as a user does."""
        report = self.fleet.folder / "report.json"
        command = [sys.executable, "-m", "conformance", "--details", *self.options, "--json", str(report), *more]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=170)
        if done.returncode == 2:
            raise AssertionError(done.stderr)
        return Run(done.returncode, done.stdout, done.stderr, json.loads(report.read_text())["checks"])


@contextlib.contextmanager
def scene(
    folder: Path,
    object_store: str,
    twin: Twin = OURS,
    *,
    second: dict[str, str] | None = None,
    isolated: bool = True,
) -> Iterator[Scene]:
    """Two instances on a Redis of their own and on ``object_store`` (its URL, with a bucket "files").

    ``second``: more settings of the second instance. ``isolated``: as in a container, where that can be had.
    """
    with fleet(folder) as processes, contextlib.ExitStack() as stack:
        store = _start_store(processes)
        ports = [steady_port(low=twin.low_port) for _ in range(2)]
        ops_ports = [steady_port() for _ in range(2)]
        for number, (port, ops_port) in enumerate(zip(ports, ops_ports, strict=True), 1):
            own = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm")))  # as an emptyDir in memory
            own.chmod(0o777)
            environ = {
                "PATH": os.environ["PATH"],
                "PYTHONDONTWRITEBYTECODE": "1",
                "HOST": "127.0.0.1",
                "PORT": str(port),
                "OPS_PORT": str(ops_port),
                "INSTANCE": f"instance-{number}",
                "SESSION_URL": f"redis://127.0.0.1:{store}/0",
                "SESSION_PASSWORD": PASSWORD,
                "SESSION_TIMEOUT": "1s",  # tests share their machine
                "STORAGE_URL": f"gs://files/{folder.name}",
                "STORAGE_EMULATOR_HOST": object_store,
                "SHUTDOWN_DELAY": f"{DELAY}s",
                "DEPENDENCY_CHECK_INTERVAL": "200ms",
            }
            settings = twin.settings | (second or {} if number == 2 else {})
            environ |= {name: value.format(folder=own) for name, value in settings.items()}
            processes.add(str(number), _command(twin, isolated=isolated), port=port, environ=environ)
        yield Scene(processes, ports, _options(processes, ports, ops_ports))


def _start_store(processes: Fleet) -> int:
    port = steady_port()
    command = [require("redis-server", "redis-server"), "--port", str(port), "--bind", "127.0.0.1"]
    command += ["--dir", str(processes.folder), "--save", "", "--appendonly", "no", "--requirepass", PASSWORD]
    processes.add("store", command, port=port, environ={"PATH": os.environ["PATH"]})
    return port


def _command(twin: Twin, *, isolated: bool) -> list[str]:
    command = [sys.executable, "-m", f"tests.conformance.twins.{twin.module}"]
    if twin.shell:
        command = ["sh", "-c", twin.shell.format(command=shlex.join(command))]
    if isolated and can_isolate():
        unshare = ["unshare", "--mount", "--propagation", "private"]
        command = [*unshare, sys.executable, "-m", "tests.support.isolated", *twin.isolation, "--", *command]
    return command


def _options(processes: Fleet, ports: list[int], ops_ports: list[int]) -> list[str]:
    secret = processes.folder / "secret"
    secret.write_text(PASSWORD)
    options = {
        "base-url": ",".join(f"http://127.0.0.1:{port}" for port in ports),
        "ops-url": ",".join(f"http://127.0.0.1:{port}" for port in ops_ports),
        "stop-command": processes.command("stop", "{instance}"),
        "kill-command": processes.command("kill", "{instance}"),
        "start-command": processes.command("start", "{instance}"),
        "store-stop-command": processes.command("kill", "store"),
        "store-start-command": processes.command("start", "store"),
        "log": f"{processes.log('1')},{processes.log('2')}",
        "secret-file": str(secret),
        "failing-path": FAILING,
        "notice": str(NOTICE),
        "grace": str(GRACE),
        "outage": str(OUTAGE),
    }
    if can_isolate():
        options["pid-command"] = f"cat {processes.folder}/{{instance}}.pid"
    return [part for name, value in options.items() for part in (f"--{name}", value)]


@cache
def can_isolate() -> bool:
    """Whether processes can be given mounts of their own here, and another user."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "setpriv", "mount"))):
        return False
    try:
        command = ["unshare", "--mount", "--propagation", "private", "mount", "-o", "remount,bind,ro", "/"]
        return subprocess.run(command, capture_output=True, check=False, timeout=20).returncode == 0
    except OSError:
        return False
