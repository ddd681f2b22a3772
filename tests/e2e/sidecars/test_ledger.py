"""The ledger, through a real Tomcat: numbered lines go in, its files are rotated in every way that there is, and six
agents beside it come to grief, each in its own way. Every line comes out of each."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from log_agent.config import Config
from log_agent.formats import FORMATS
from tests.e2e.sidecars.path_only import PathOnly
from tests.support.agent import LogAgent, log_agent
from tests.support.disk import Disk, small_disk
from tests.support.processes import freeze, wait_until
from tests.support.tomcat import Tomcat, ask, tomcat

# One worker, which starts Tomcat once: with the clock moved, its start costs eight times as much.
pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("ledger")]

FATES = ("runs on", "stopped", "killed", "frozen", "state lost", "disk full, killed")
ENDS = ("stopped", "killed", "state lost", "disk full, killed")  # what it holds open is closed
SENDS_TWICE = ("killed", "state lost", "disk full, killed")
ROUNDS, LINES = 2, 50


class Reader:
    """An agent with a fate. What it has said is in one file, however often it was started."""

    def __init__(self, folder: Path, logs: Path, fate: str, disk: Disk | None) -> None:
        self.fate, self._disk = fate, disk
        self._files = f"tomcat={logs}/catalina.*.log"
        self._out = folder / "out"
        self._state = (disk.folder if disk else folder) / "checkpoint.json"
        self._stack = contextlib.ExitStack()
        self._failures = 0  # that it has told of, before this one
        self.start()

    def start(self) -> None:
        self.agent: LogAgent = self._stack.enter_context(log_agent(self._out, self._files, self._state))

    def leave(self) -> None:
        """Come to grief."""
        match self.fate:
            case "stopped":
                assert self.agent.terminate() == 0
            case "killed" | "state lost":
                self.agent.process.kill()
                self.agent.process.wait()
            case "frozen":
                freeze(self.agent.process.pid)
            case "disk full, killed":
                assert self._disk is not None
                self._failures = self._told_failures()
                self._disk.fill()

    def _told_failures(self) -> int:
        return sum("the checkpoint can't be written" in said for said in self.agent.said)

    def back(self) -> None:
        """And be well again."""
        match self.fate:
            case "stopped" | "killed":
                self.start()
            case "state lost":
                self._state.unlink(missing_ok=True)
                self.start()
            case "frozen":
                os.kill(self.agent.process.pid, signal.SIGCONT)
            case "disk full, killed":
                assert self._disk is not None
                wait_until("a failure", lambda: self._told_failures() > self._failures)
                self.agent.process.kill()
                self.agent.process.wait()
                self._disk.free()
                self.start()

    @property
    def ledger(self) -> list[tuple[int, str]]:
        """Number and insertId of each line, in their order."""
        return [
            (int(record["message"].split()[1]), record["logging.googleapis.com/insertId"])
            for record in self.agent.records
            if record["message"].startswith("ledger ")
        ]

    def wait_for(self, number: int) -> None:
        line = f'"ledger {number}"'.encode()
        wait_until(f"line {number} from the agent ({self.fate})", lambda: line in self._out.read_bytes(), seconds=60)

    def close(self) -> None:
        self._stack.close()


class Application:
    """A Tomcat whose lines are numbered, and whose days begin when we say so."""

    def __init__(self, running: Tomcat, clock: Path) -> None:
        self._running, self._clock = running, clock
        self._days = self.written = 0
        self.doubtful: set[int] = set()  # lines that may have been logged or not

    def begin(self) -> int:
        """Forget all files but a new one. The number of the next line."""
        if self.written:
            self.next_day()
            self.write()  # behind the line that began the day, which may be on its way
            for file in set(self.log.parent.glob("catalina.*.log")) - {self.log}:
                file.unlink()
        os.truncate(self.log, 0)
        return self.written

    def write(self) -> None:
        """Some lines. They are in Tomcat's file when this returns."""
        end = self.written + LINES
        assert ask(self._running, f"/log.jsp?from={self.written}&to={end}") == 200
        self.written = end
        wait_until("the lines in Tomcat's file", lambda: f"ledger {end - 1}\n" in self._open_file().read_text())

    def _open_file(self) -> Path:
        """What Tomcat has open, even where it has no name any more. For a moment between two days it has none."""
        found: list[Path] = []

        def look() -> bool:
            for link in Path(f"/proc/{self._running.process.pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    name = link.readlink().name
                    if name.startswith("catalina.") and name != "catalina.out":
                        found.append(link)
            return bool(found)

        wait_until("Tomcat's file", look)
        return found[0]

    @property
    def log(self) -> Path:
        """Today's file."""
        return Path(str(self._open_file().readlink()).removesuffix(" (deleted)"))

    def next_day(self) -> None:
        """Tomcat begins another file with the next line."""
        before = self._open_file().readlink()
        self._days += 1
        self._clock.write_text(f"+{self._days}d\n")

        def has_begun() -> bool:
            time.sleep(0.1)  # it looks at its clock once a second
            try:
                assert ask(self._running, f"/log.jsp?from={self.written}&to={self.written + 1}") == 200
            except (OSError, http.client.HTTPException):  # to Tomcat's eyes it took a day
                self.doubtful.add(self.written)
            self.written += 1
            return self._open_file().readlink() != before

        wait_until("another day's file", has_begun)

    def rotate(self, mode: str) -> None:
        """What a rotation does to today's file. Tomcat writes on into the same one, but for the dated names."""
        match mode:
            case "rename":
                self.log.rename(self.log.with_name(f"catalina.{time.monotonic_ns()}.log"))
            case "copytruncate":
                shutil.copy(self.log, self.log.with_name(f"catalina.{time.monotonic_ns()}.log"))
                os.truncate(self.log, 0)
            case "delete and create":
                self.log.unlink()
            case "dated names":
                self.next_day()


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """One for all modes: its start takes long."""
    folder = tmp_path_factory.mktemp("application")
    clock = folder / "clock"
    clock.write_text("+0\n")
    with tomcat(folder, clock=clock) as running:
        yield Application(running, clock)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "disk") as made:
        yield made


@pytest.mark.parametrize("mode", ["rename", "dated names", "copytruncate", "delete and create"])
def test_every_line_of_tomcat_comes_out_whatever_becomes_of_the_agent(
    application: Application, tmp_path: Path, disk: Disk, mode: str
) -> None:
    with contextlib.ExitStack() as stack:
        first = application.begin()
        application.write()
        seen_by_twin: list[bytes] = []
        path = ((str(application.log), FORMATS["tomcat"]),)
        twin = PathOnly(Config(path, None, "127.0.0.1", 0, 0.0), seen_by_twin.append)
        readers = []
        for fate in FATES:
            folder = tmp_path / fate
            folder.mkdir()
            reader = Reader(folder, application.log.parent, fate, disk if "disk" in fate else None)
            readers.append(stack.enter_context(contextlib.closing(reader)))
        for reader in readers:
            reader.wait_for(application.written - 1)
        for _ in range(ROUNDS):
            application.write()
            twin.turn()
            # A file without a name ends with the agent that holds it: then it must have been read.
            away = [reader for reader in readers if mode != "delete and create" or reader.fate not in ENDS]
            for reader in away:
                reader.leave()
            application.write()
            application.rotate(mode)
            application.write()
            if mode != "copytruncate":
                application.next_day()
            for reader in set(readers) - set(away):
                reader.wait_for(application.written - 1)
                reader.leave()
            application.write()
            for reader in readers:
                reader.back()
            application.write()  # that these come shows that it is back
            for reader in readers:
                reader.wait_for(application.written - 1)
        for reader in readers:
            assert reader.agent.terminate() == 0
    written = set(range(first, application.written)) - application.doubtful
    for reader in readers:
        came = Counter(number for number, _ in reader.ledger if number not in application.doubtful)
        twins = sum(came.values()) - len(came)
        strangers = len({pair for pair in reader.ledger if pair[0] in came}) - len(came)
        missing = len(written - came.keys())
        print(f"| {mode} | {reader.fate} | {len(written)} | {missing} | {twins} | {strangers} |")
        assert missing == 0
        assert came.keys() <= written
        assert twins == 0 or reader.fate in SENDS_TWICE
        # What the checkpoint lacks, the agent can't know: how often a file was truncated, and of which one another is
        # the copy.
        assert strangers == 0 or (reader.fate in ("state lost", "disk full, killed") and mode == "copytruncate")
        in_files: dict[str, list[int]] = {}
        for number, name in dict.fromkeys(reader.ledger):
            in_files.setdefault(name.split("-")[0], []).append(number)
        assert all(numbers == sorted(numbers) for numbers in in_files.values()), "the order within a file"
    lines = (json.loads(line)["message"] for line in seen_by_twin)
    numbers = {int(line.split()[1]) for line in lines if line.startswith("ledger ")}
    print(f"| {mode} | follows the path only | {len(written)} | {len(written - numbers)} | | |")
    assert written - numbers
