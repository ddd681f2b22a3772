"""Servers for tests: started on a free port, waited for by an event, stopped by their own process id."""

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago. Prefer a server that picks its own where it can say which."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def require(program: str, package: str) -> str:
    """The path of a program, or an error that names the one command that installs it."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin:/usr/local/bin")
    if not found:
        raise RuntimeError(f"{program} is missing: run 'make test' as root, or 'sudo apt-get install {package}'")
    return found


def wait_until(what: str, test: Callable[[], bool], *, seconds: float = 20) -> None:
    """Wait for something that can only be asked for again and again. RuntimeError when it does not come."""
    end = time.monotonic() + seconds
    while not test():
        if time.monotonic() > end:
            raise RuntimeError(f"{what} did not happen within {seconds:g} s")
        time.sleep(0.01)


def accepts_connections(port: int, host: str = "127.0.0.1") -> bool:
    try:
        with socket.create_connection((host, port), timeout=0.5):
            return True
    except OSError:
        return False


@contextlib.contextmanager
def running(
    command: Sequence[str | Path], *, port: int, log: Path, **kwargs: object
) -> Iterator[subprocess.Popen[bytes]]:
    """A server that is up when this is entered and gone when it is left; its output goes to ``log``."""
    with log.open("ab") as output:
        process = subprocess.Popen([str(part) for part in command], stdout=output, stderr=output, **kwargs)  # type: ignore[call-overload] # passed through as given

    def is_up() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"{command[0]} ended with {process.returncode}: {log.read_text()[-2000:]}")
        return accepts_connections(port)

    try:
        wait_until(f"{command[0]} on port {port}", is_up)
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes], *, seconds: float = 10) -> int:
    """End a process that we started: SIGTERM (after SIGCONT, in case it is frozen), then SIGKILL. Its exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


def freeze(pid: int) -> None:
    """SIGSTOP to a process that we started, and wait until all of its threads have stopped: they run on a little."""
    os.kill(pid, signal.SIGSTOP)

    def is_frozen() -> bool:
        stats = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
        return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)

    wait_until(f"the freezing of {pid}", is_frozen)


def read_line(stream: int, *, seconds: float) -> bytes:
    """One line of a pipe, or what there is when the time is over."""
    line = b""
    end = time.monotonic() + seconds
    with open(stream, "rb", buffering=0, closefd=False) as pipe:
        while not line.endswith(b"\n") and (left := end - time.monotonic()) > 0:
            if select.select([pipe], [], [], left)[0]:
                byte = pipe.read(1)
                if not byte:
                    break
                line += byte
    return line
