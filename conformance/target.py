"""The service under test: where it listens, and what may be done with it."""

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from conformance.http import SECONDS, Call, Client, NoResponse, Response, describe, number_in
from conformance.kept import Kept, a_document, a_file

T = TypeVar("T")

MOST_LOG = 64 * 2**20  # bytes that are read of each log
MARK = 64 * 1024  # bytes that a log ended with, by which it is known again; more than a line has
COMMAND_SECONDS = 120.0


class CommandFailed(Exception):
    """A command of the options failed. The run can't go on: the service is in no known state."""


@dataclass(frozen=True)
class Instance:
    """One instance. ``number`` counts from 1 and stands for ``{instance}`` in commands; ``ops`` is "" if unknown."""

    number: int
    base: str
    ops: str
    pid: str = ""
    log: str = ""

    @property
    def platform(self) -> str:
        """Where the platform asks for health and metrics."""
        return self.ops or self.base


@dataclass(frozen=True)
class Paths:
    """The service's routes. None: it has no such thing."""

    home: str
    health: str | None
    ready: str | None
    metrics: str | None
    visits: Call | None
    sign_in: Call | None
    files: str | None
    failing: str | None
    resource: Call | None = None
    setup: tuple[Call, ...] = ()


@dataclass(frozen=True)
class Commands:
    """What a shell runs; "" where there is none."""

    setup: str = ""
    stop: str = ""
    kill: str = ""
    start: str = ""
    store_stop: str = ""
    store_start: str = ""
    log: str = ""
    pid: str = ""
    inside: str = ""
    kubectl: str = ""
    prometheus: str = ""


@dataclass(frozen=True)
class Beside:
    """What stands beside an application that can't be changed; "" where there is nothing.

    ``exporter``: its URL. ``log``: the log agent's stdout, a file. ``ledger``: a route that logs the lines "ledger N"
    for N from {from} up to {to}. ``rotate``: a command that rotates the application's log files.
    """

    exporter: str = ""
    log: str = ""
    ledger: str = ""
    rotate: str = ""


@dataclass(frozen=True)
class Limits:
    """In seconds. ``notice``: how long the platform may take to notice that an instance ends."""

    notice: float
    grace: float
    start: float
    outage: float


@dataclass
class Target:
    """All of it, and what the trials have found so far."""

    instances: list[Instance]
    paths: Paths
    commands: Commands
    limits: Limits
    secrets: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    visits_field: str = "visits"
    beside: Beside = field(default_factory=Beside)
    progress: Callable[[str], None] = lambda _: None
    cookies: dict[str, str] = field(default_factory=dict)  # of whom the setup signed in
    _refused: dict[str, str] = field(default_factory=dict)
    _trials: dict[Callable[..., object], Any] = field(default_factory=dict)
    _marks: dict[int, tuple[int, bytes]] = field(default_factory=dict)

    def lacks(self, need: str) -> str:
        """What to give so that there is what a check needs; "" where it is there."""
        if need in self._refused:
            return self._refused[need]
        c, p, b, first = self.commands, self.paths, self.beside, self.instances[0]
        is_there, give = {
            "two instances": (len(self.instances) > 1, "give a second address in --base-url"),
            "log": (bool(first.log or c.log), "give --log or --log-command"),
            "pid": (bool(first.pid or c.pid), "give --pid, on the machine that the service runs on"),
            "inside": (bool(first.pid or c.pid or c.inside), "give --pid or --exec-command"),
            "kill": (bool(c.kill and c.start), "give --kill-command and --start-command"),
            "stop": (bool(c.stop and c.start), "give --stop-command and --start-command"),
            "store": (bool(c.store_stop and c.store_start), "give --store-stop-command and --store-start-command"),
            "health": (p.health is not None, "give --health-path"),
            "ready": (p.ready is not None, "give --ready-path"),
            "metrics": (p.metrics is not None, "give --metrics-path"),
            "visits": (p.visits is not None, "give --visits-path, a route that counts a visitor's visits"),
            "sign-in": (p.sign_in is not None, "give --session-path, a route that signs a visitor in"),
            "kept": (
                bool(p.files or p.resource),
                "give --files-path, below which files are kept, or --resource-path, which makes a JSON document",
            ),
            "failing": (p.failing is not None, "give --failing-path, a route of a test build that raises an exception"),
            "exporter": (bool(b.exporter), "give --exporter-url, where the application has an exporter beside it"),
            "ledger": (
                bool(b.log and b.ledger and b.rotate),
                "give --agent-log, --ledger-path and --rotate-command, where a log agent is beside the application",
            ),
            "cluster": (bool(c.kubectl), "give --kubectl-command, on a cluster: 'kubectl --namespace seatrial'"),
            "prometheus": (bool(c.prometheus), "give --prometheus-command, where there is a Prometheus"),
            "secrets": (bool(self.secrets), "give --secret-file, with the secrets the service was started with"),
        }[need]
        return "" if is_there else give

    def hidden(self, text: str) -> str:
        """The text without the service's secrets: what was seen is shown to more people than may know them."""
        for secret in self.secrets:
            text = text.replace(secret, "[secret]")
        return text

    def set_up(self) -> None:
        """What comes before all else. CommandFailed where it does not succeed."""
        if self.commands.setup:
            self.run(self.commands.setup)
        with self.visitor() as client:
            for call in self.paths.setup:
                try:
                    response = client.call(call)
                except NoResponse as error:
                    raise CommandFailed(f"--setup: {error}") from None
                if response.status >= 400:
                    said = f"{response.status} {response.text[:80]!r}"
                    raise CommandFailed(f"--setup: {call.method} {call.path} gets {said}")
            self.cookies = client.cookies

    def visitor(self, *, seconds: float = SECONDS) -> Client:
        """Whoever the setup signed in, at the first instance; a new visitor where it signed in nobody."""
        client = Client(self.instances[0].base, seconds=seconds)
        client.cookies |= self.cookies
        return client

    def kept(self, name: str) -> list[Kept]:
        """A file of this name and a document, of those that the service keeps."""
        files, resource = self.paths.files, self.paths.resource
        return [*([a_file(files, name)] if files else ()), *([a_document(resource)] if resource else ())]

    def survey(self) -> None:
        """Ask once for the routes that an option or a default names. One that refuses what is asked of it is left out.

        So a wrong option is told as what is to be given, and not as a broken practice.
        """
        asked: list[tuple[str, str, str, Call | None, Callable[[Response], str]]] = [
            ("visits", "visits", "--visits-path", self.paths.visits, _refusal),
            ("sign_in", "sign-in", "--session-path", self.paths.sign_in, _refusal),
        ]
        for each in self.kept("conform.txt"):
            name, option = ("files", "--files-path") if each.what == "file" else ("resource", "--resource-path")
            asked.append((name, "kept", option, each.call, each.refusal))
        left_out: dict[str, Any] = {}
        with Client(self.instances[0].base) as client:
            for name, need, option, call, refusal in asked:
                if call is None:
                    continue
                if need == "kept":  # not before: signing in ends the session that the setup has begun
                    client.cookies |= self.cookies
                try:
                    response = client.call(call)
                except NoResponse:
                    continue  # that is for the checks to say
                said = refusal(response)
                if said and (response.status < 500 or response.status == 501):  # 501: the method is known nowhere
                    sign_in = ", or sign in by --setup" if response.status in (401, 403) else ""
                    self._refused[need] = f"{call.method} {call.path} {said}: give {option}{sign_in}"
                    left_out[name] = None
        self.paths = replace(self.paths, **left_out)
        if self.paths.resource:  # then it needs no files
            self._refused.pop("kept", None)

    def trial(self, run: "Callable[[Target], T]") -> T:
        """What a trial found out. It is run once; its exception comes again too."""
        if run not in self._trials:
            try:
                self._trials[run] = run(self)
            except CommandFailed:
                raise
            except Exception as error:  # noqa: BLE001 -- raised below, and again for the next check
                self._trials[run] = error
        found: T | Exception = self._trials[run]
        if isinstance(found, Exception):
            raise found
        return found

    # What may be done

    def stop(self, instance: Instance) -> "Stopping":
        """Begin to end it as the platform does."""
        return Stopping(self.commands.stop.replace("{instance}", str(instance.number)))

    def kill(self, instance: Instance) -> bool:
        """End it without a word. Whether it was seen gone."""
        self.run(self.commands.kill, instance)
        return self.wait_until(lambda: self.is_gone(instance), 3)

    def start(self, instance: Instance) -> None:
        """Start it, and wait until it responds."""
        self.run(self.commands.start, instance)
        if not self.wait_until(lambda: self.responds(instance), self.limits.start):
            raise CommandFailed(f"{instance.base} did not respond within {self.limits.start:g} s of --start-command")

    def store(self, *, up: bool) -> None:
        """Stop or start the session store."""
        self.run(self.commands.store_start if up else self.commands.store_stop)

    # What may be asked

    def visit(self, client: Client) -> int:
        """Count a visit; the number that the service says."""
        assert self.paths.visits is not None
        response = client.call(self.paths.visits)
        if response.status >= 400:
            raise NoResponse(f"{self.paths.visits.method} {client.base_url}{self.paths.visits.path}: {response.status}")
        number = number_in(response, self.visits_field)
        if number is None:
            raise NoResponse(
                f"{client.base_url}{self.paths.visits.path}: no number in the response {response.text[:80]!r}"
            )
        return number

    def responds(self, instance: Instance) -> bool:
        """Whether it serves: ready, or where it has no readiness, anything but a server's error."""
        try:
            with Client(instance.base, seconds=2) as client:
                if self.paths.ready is None:
                    return client.get(self.paths.home).status < 500
                served = client.at(instance.platform).get(self.paths.ready).status == 200
                return served and client.at(instance.base).get(self.paths.home).status < 500
        except NoResponse:
            return False

    def is_gone(self, instance: Instance) -> bool:
        """Whether nothing listens there."""
        try:
            ask(instance.base, self.paths.home, seconds=2)
        except NoResponse:
            return True
        return False

    def log(self, instance: Instance, start: int = 0) -> bytes:
        """Its log so far from byte ``start`` on, or the last lines of a very long one."""
        if instance.log:
            return tail(Path(instance.log), start)
        return _whole_lines(self.run(self.commands.log, instance)[start:])

    def mark_logs(self) -> None:
        """The run begins here: what is in the logs now is of an earlier life."""
        for instance in self.instances:
            size = Path(instance.log).stat().st_size if instance.log else len(self.run(self.commands.log, instance))
            start = max(0, size - MARK)
            lines, newline, _ = self.log(instance, start)[: size - start].rpartition(b"\n")
            self._marks[instance.number] = start, lines + newline

    def log_of_the_run(self, instance: Instance) -> bytes:
        """Its log since mark_logs(); all of it where it is another one now, as after a pod was replaced."""
        start, mark = self._marks.get(instance.number, (0, b""))
        log = self.log(instance, start)
        return log.removeprefix(mark) if log.startswith(mark) else self.log(instance)

    def pid(self, instance: Instance) -> int:
        """Its process id on this machine."""
        text = instance.pid or self.run(self.commands.pid, instance).decode("ascii", "replace").strip()
        if not text.isdecimal():
            raise CommandFailed(f"--pid gave {text[:80]!r}, which is no process id")
        return int(text)

    def run(self, command: str, instance: Instance | None = None) -> bytes:
        """What a command prints. CommandFailed with its last words where it fails."""
        command = command.replace("{instance}", str(instance.number) if instance else "")
        try:
            done = subprocess.run(
                command, shell=True, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=COMMAND_SECONDS
            )
        except subprocess.TimeoutExpired:
            raise CommandFailed(f"took more than {COMMAND_SECONDS:g} s: {command}") from None
        if done.returncode != 0:
            words = (done.stderr or done.stdout).decode("utf-8", "replace").strip()[-300:]
            raise CommandFailed(f"exit code {done.returncode}: {command}: {words}")
        return done.stdout

    @staticmethod
    def wait_until(test: Callable[[], bool], seconds: float) -> bool:
        """Wait for something that can only be asked for again and again. Whether it came."""
        end = time.monotonic() + seconds
        while not test():
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True


class Stopping:
    """A stop command at work. It may take as long as the end, and what it began may live on."""

    def __init__(self, command: str) -> None:
        self._command = command
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 -- closed in end()
        self._process = subprocess.Popen(
            command,
            shell=True,
            stdin=subprocess.DEVNULL,
            stdout=self._words,
            stderr=self._words,
            start_new_session=True,
        )

    def check(self) -> None:
        """CommandFailed, with its last words, where it has failed already."""
        if self._process.poll():
            self._words.seek(0)
            words = self._words.read()[-300:].decode("utf-8", "replace").strip()
            raise CommandFailed(f"exit code {self._process.returncode}: {self._command}: {words}")

    def end(self, seconds: float) -> None:
        """Wait for it so long, then end it."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._words.close()


def _refusal(response: Response) -> str:
    return f"gets {response.status}" if response.status >= 400 else ""


def tail(path: Path, start: int = 0) -> bytes:
    """The lines at the end of a file, not before byte ``start``, and as many as are read of a log."""
    with path.open("rb") as file:
        file.seek(max(start, path.stat().st_size - MOST_LOG - 1))
        return _whole_lines(file.read())


def _whole_lines(log: bytes) -> bytes:
    """The last MOST_LOG bytes, without the line that they cut."""
    return log if len(log) <= MOST_LOG else log[-MOST_LOG:].partition(b"\n")[2]


def unreachable(url: str) -> str:
    """Why nobody takes a connection there; "" where somebody does."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=5).close()
    except OSError as error:
        return describe(error)
    return ""


def ask(base: str, path: str, *, seconds: float = 10.0) -> Response:
    """One question on a connection of its own."""
    with Client(base, seconds=seconds) as client:
        return client.get(path)


class Background:
    """Work in threads that is told to end. An exception of a thread is raised where it is waited for."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self._threads: list[threading.Thread] = []
        self._errors: list[Exception] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        for thread in self._threads:
            thread.join(60)

    def start(self, function: Callable[[], None]) -> None:
        def run() -> None:
            try:
                function()
            except Exception as error:  # noqa: BLE001 -- raised by join()
                self._errors.append(error)

        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()

    def join(self) -> None:
        self.done.set()
        for thread in self._threads:
            thread.join(60)
        with contextlib.suppress(IndexError):
            raise self._errors[0]
