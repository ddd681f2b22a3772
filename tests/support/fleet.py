"""Processes that are started, stopped and killed by a shell's commands, as a container engine's are.

``python -m tests.support.fleet start|stop|kill FOLDER NAME``. A process is FOLDER/NAME.json: its command, environment
and port; what it writes goes to NAME.log, its process id to NAME.pid.
"""

import contextlib
import json
import os
import random
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.support.processes import accepts_connections, wait_until
from tests.support.service import PROJECT


class Fleet:
    """Processes with their files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, name: str, command: Sequence[str], *, port: int, environ: Mapping[str, str]) -> None:
        """Make it known, and start it."""
        document = {"command": list(command), "environ": dict(environ), "port": port}
        (self.folder / f"{name}.json").write_text(json.dumps(document))
        self.log(name).touch()
        self.start(name)

    def log(self, name: str) -> Path:
        """What it wrote, in all its lives."""
        return self.folder / f"{name}.log"

    def pid(self, name: str) -> int:
        """Its process id in this life or the last one."""
        return int((self.folder / f"{name}.pid").read_text())

    def command(self, verb: str, name: str) -> str:
        """The shell's command for it; ``name`` may hold a placeholder."""
        program = shlex.join([sys.executable, "-m", "tests.support.fleet", verb, str(self.folder)])
        return f"cd {shlex.quote(str(PROJECT))} && {program} {name}"

    def start(self, name: str) -> None:
        """Start it, and wait until it listens."""
        document = json.loads((self.folder / f"{name}.json").read_text())
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(
                document["command"],
                cwd=PROJECT,
                env=document["environ"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # so that all of it can be ended, whatever it has begun
            )
        (self.folder / f"{name}.pid").write_text(str(process.pid))

        def is_up() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended with {process.returncode}: {self.log(name).read_text()[-2000:]}")
            return accepts_connections(document["port"])

        wait_until(f"{name} on port {document['port']}", is_up)
        process.returncode = 0  # it outlives us: nobody is to warn of that

    def stop(self, name: str) -> None:
        """SIGTERM to the process, as an engine sends it, and wait until it is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid(name), signal.SIGTERM)
        wait_until(f"the end of {name}", lambda: not _has_processes(self.pid(name)), seconds=60)

    def kill(self, name: str) -> None:
        """SIGKILL to all of it, and wait until it is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid(name), signal.SIGKILL)
        wait_until(f"the end of {name}", lambda: not _has_processes(self.pid(name)))

    def kill_all(self) -> None:
        for file in self.folder.glob("*.pid"):
            self.kill(file.stem)


def _has_processes(group: int) -> bool:
    """Whether a process group has a process that is not dead; who started it may not have asked for its end yet."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                return True
    return False


def steady_port(*, low: bool = False) -> int:
    """A free port for a server that comes and goes: none of those that the system gives to whoever asks for any."""
    while True:
        port = random.randrange(300, 1024) if low else random.randrange(12_000, 30_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port


@contextlib.contextmanager
def fleet(folder: Path) -> Iterator[Fleet]:
    """A fleet whose processes are gone when it is left."""
    running = Fleet(folder)
    try:
        yield running
    finally:
        running.kill_all()


if __name__ == "__main__":
    verb, where, who = sys.argv[1:]
    {"start": Fleet.start, "stop": Fleet.stop, "kill": Fleet.kill}[verb](Fleet(Path(where)), who)
