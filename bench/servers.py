"""The servers that are measured: each on the server's core, its log read by ``tail`` on the other one."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.machine import cores, on_core
from tests.support.processes import accepts_connections, free_port, stop, wait_until
from tests.support.service import DEFAULTS, PROJECT

THREADS = 8  # of the service's settings, and of every rival
KEEP_ALIVE = 620  # seconds, as above


@dataclass(frozen=True)
class Server:
    """A running server: its process and where it is."""

    process: subprocess.Popen[bytes]
    url: str
    ops_url: str = ""

    @property
    def pids(self) -> list[int]:
        """The parent process and its workers."""
        return [self.process.pid, *_children(self.process.pid)]

    def cpu_seconds(self) -> float:
        """Processor time of all its threads that live. The pool's do, from the first requests on."""
        return sum(_cpu_seconds(pid) for pid in self.pids)

    def memory(self) -> int:
        """Bytes of all its processes; a page that several share counts once (proc_pid_smaps(5), Pss)."""
        return sum(_proportional_bytes(pid) for pid in self.pids)


@contextlib.contextmanager
def service(
    folder: Path, settings: Mapping[str, str] | None = None, /, *, module: str = "service", **more: str
) -> Iterator[Server]:
    """Our service as a container runs it: JSON log to a pipe, metrics, limits, headers; no setting is switched off."""
    (folder / "files").mkdir(exist_ok=True)
    port, ops_port = free_port(), free_port()
    environ = DEFAULTS | {"DEPENDENCY_CHECK_INTERVAL": "2s", "QUEUE_TIMEOUT": "1s"}
    environ |= {"STORAGE_URL": f"file://{folder / 'files'}"}
    environ |= {"PORT": str(port), "OPS_PORT": str(ops_port)} | dict(settings or {}) | more
    with started([sys.executable, "-m", module], environ, port=port, ops_port=ops_port) as server:
        yield server


@contextlib.contextmanager
def gunicorn(
    app: str, environ: Mapping[str, str] | None = None, *, options: Sequence[str] = (), worker: str = "gthread"
) -> Iterator[Server]:
    """A rival on gunicorn, with as many threads and as long a keep-alive as ours."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--worker-class", worker]
    command += ["--threads", str(THREADS), "--keep-alive", str(KEEP_ALIVE), "--worker-tmp-dir", "/dev/shm"]  # noqa: S108 -- as ours
    with started([*command, *options, app], environ or {}, port=port) as server:
        yield server


@contextlib.contextmanager
def started(command: Sequence[str], environ: Mapping[str, str], *, port: int, ops_port: int = 0) -> Iterator[Server]:
    """Any server, from the moment that it listens until this is left."""
    own = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    with contextlib.ExitStack() as stack:
        with on_core(cores()[1]):
            reader = subprocess.Popen(["tail", "-c", "2000"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        stack.enter_context(reader)
        assert reader.stdin is not None  # noqa: S101 -- it is a pipe
        with reader.stdin as log, on_core(cores()[0]):
            process = subprocess.Popen(
                command,
                cwd=PROJECT,
                env=own | dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us; we end it
            )
        stack.callback(stop, process, seconds=30)

        def is_up() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {_rest(reader)}")
            return accepts_connections(port) and bool(_children(process.pid))

        wait_until(f"{command[1:4]} on port {port}", is_up)
        yield Server(process, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{ops_port}" if ops_port else "")


def _rest(reader: subprocess.Popen[str]) -> str:
    """The last lines of a server that has ended."""
    return reader.stdout.read() if reader.stdout else ""


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def _cpu_seconds(pid: int) -> float:
    """proc_pid_schedstat(5): the first number is nanoseconds on a processor."""
    nanoseconds = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            nanoseconds += int((task / "schedstat").read_text(encoding="ascii").split()[0])
    return nanoseconds / 1e9


def _proportional_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    (line,) = (line for line in lines if line.startswith("Pss:"))
    return int(line.split()[1]) * 1024
