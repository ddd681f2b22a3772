"""Visitors who come again and again, retry nothing unless told to, and remember what they were promised.

``python load.py URL FOLDER THINK``: half of the visitors keep their connection, half make a new one for each request.
What is written into FOLDER/phase ("NAME RETRIES") names the part that requests are counted under from then on, and how
often a lost connection is tried again; "end" ends it. FOLDER/status says how far it is, and how many requests of
earlier parts wait for their answer. At its end it asks for everything that was promised, and prints one JSON document.
It needs nothing but Python, so it runs in the image under test.
"""

import contextlib
import http.client
import itertools
import json
import random
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

VISITORS = 8
PATIENCE = 10.0  # seconds for an answer
RECHECK = 60.0  # seconds within which everything promised must be there at the end
SIZES = (200, 200, 4_000, 200_000)  # bytes of files
FILES = 8  # of each visitor


@dataclass
class Phase:
    """What came of the requests of one part. ``away``: 503 with Retry-After, the answer while a store is away; ``why``
    is what was away."""

    requests: int = 0
    open: int = 0  # not answered yet
    retried: int = 0
    away: int = 0
    why: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    slowest: float = 0.0  # seconds
    slow: list[str] = field(default_factory=list)  # that took more than a second
    seconds: float = 0.0
    instances: Counter[str] = field(default_factory=Counter)


@dataclass
class Promises:
    """``lost``: acknowledged, and then not there. ``doubled``: there, and never asked for."""

    visits: int = 0
    visits_lost: int = 0
    visits_doubled: int = 0
    files: int = 0
    files_lost: int = 0


class Load:
    """What all visitors share: where to go, and the books."""

    def __init__(self, url: str, folder: Path, think: float) -> None:
        self.url = urlsplit(url)
        self.folder = folder
        self.think = think  # seconds between two requests of one visitor
        self.over = threading.Event()
        self.phases: dict[str, Phase] = {"start": Phase()}
        self.promises = Promises()
        self.lock = threading.Lock()
        self.name, self.retries = "start", 0

    @property
    def phase(self) -> Phase:
        return self.phases[self.name]

    def follow(self) -> None:
        """Go where the file ``phase`` says, and write ``status``, until the end."""
        since = time.monotonic()
        while not self.over.wait(0.1):
            now = time.monotonic()
            self.phase.seconds += now - since
            since = now
            with contextlib.suppress(OSError, ValueError):
                name, retries = (self.folder / "phase").read_text().rsplit(maxsplit=1)
                if name == "end":
                    self.over.set()
                elif name != self.name:
                    self.phases.setdefault(name, Phase())
                    with self.lock:
                        self.name, self.retries = name, int(retries)
            self.write_status()

    def write_status(self) -> None:
        new = self.folder / "status.new"
        failed = sum(self.phase.failed.values())
        status = {
            "phase": self.name,
            "requests": self.phase.requests,
            "failed": failed,
            "away": self.phase.away,
            "earlier": sum(phase.open for phase in self.phases.values()) - self.phase.open,
        }
        new.write_text(json.dumps(status))
        new.rename(self.folder / "status")

    def report(self) -> str:
        return json.dumps({"phases": {n: vars(p) for n, p in self.phases.items()}, "promises": vars(self.promises)})


class Lost(Exception):
    """There was no whole response. The message is its kind."""


class Visitor:
    """One visitor: a cookie, a connection, and what was promised."""

    def __init__(self, load: Load, number: int) -> None:
        self.load = load
        self.keeps = number % 2 == 0
        self.random = random.Random(number)
        self.cookie = ""
        self.connection: http.client.HTTPConnection | None = None
        self.least = self.most = 0  # visits that were acknowledged; and those that may have been counted
        self.files: dict[str, set[bytes | None]] = {}

    def stroll(self) -> None:
        """Go on until it is over."""
        steps: tuple[Callable[[], object], ...] = (self.page, self.visit, self.instance, self.put, self.visit, self.get)
        for step in itertools.cycle(steps):
            if self.load.over.wait(self.load.think * self.random.uniform(0.5, 1.5)):
                return
            step()

    def page(self) -> None:
        self.ask("GET", "/")

    def instance(self) -> None:
        answer = self.ask("GET", "/api/instance")
        if answer:
            with self.load.lock:
                self.load.phase.instances[str(json.loads(answer[1])["revision"])] += 1

    def visit(self) -> None:
        self.most += 1  # until an answer says otherwise
        answer = self.ask("POST", "/api/session/visits", b"", again=self.may_have_counted)
        if answer:
            self.counted(int(json.loads(answer[1])["visits"]), self.least + 1)
            with self.load.lock:
                self.load.promises.visits += 1

    def may_have_counted(self) -> None:
        self.most += 1

    def counted(self, said: int, least: int) -> None:
        with self.load.lock:
            self.load.promises.visits_lost += max(0, least - said)
            self.load.promises.visits_doubled += max(0, said - self.most)
        self.least = self.most = said

    def put(self) -> None:
        name = f"file-{self.random.randrange(FILES)}"
        body = self.random.randbytes(self.random.choice(SIZES))
        self.files.setdefault(name, {None}).add(body)  # until an answer says otherwise
        if self.ask("PUT", f"/api/files/{name}", body):
            self.files[name] = {body}
            with self.load.lock:
                self.load.promises.files += 1

    def get(self, name: str = "") -> bool:
        """Whether there was an answer at all."""
        if not self.files:
            return True
        name = name or self.random.choice(list(self.files))
        answer = self.ask("GET", f"/api/files/{name}", fine=(200, 404))
        if answer is None:
            return False
        found = answer[1] if answer[0] == 200 else None
        if found not in self.files[name]:
            with self.load.lock:
                self.load.promises.files_lost += 1
        self.files[name] = {found}
        return True

    def recheck(self) -> None:
        """Ask for everything that was promised, as long as it may take for a store to be back."""
        end = time.monotonic() + RECHECK
        while time.monotonic() < end:
            answer = self.ask("GET", "/api/session")
            if answer:
                self.counted(int(json.loads(answer[1]).get("visits", 0)), self.least)
                break
            time.sleep(0.5)
        else:
            with self.load.lock:
                self.load.promises.visits_lost += self.least
        for name in list(self.files):
            while not self.get(name) and time.monotonic() < end:
                time.sleep(0.5)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        fine: tuple[int, ...] = (200, 201, 204),
        again: Callable[[], None] = lambda: None,
    ) -> tuple[int, bytes] | None:
        """The answer, or None where it is none of those that were hoped for; it is in the books then."""
        load, started = self.load, time.monotonic()
        with load.lock:
            phase, retries = load.phase, load.retries
            phase.open += 1
        kind = ""
        status, retry_after, content = 0, False, b""
        for attempt in range(retries + 1):
            try:
                status, retry_after, content = self.exchange(method, path, body)
            except Lost as error:
                kind = str(error)
                if attempt < retries:
                    with load.lock:
                        phase.retried += 1
                    again()
                    time.sleep(0.1 * 2**attempt)
            else:
                kind = ""
                break
        is_away = status == 503 and retry_after
        if not kind and not is_away and status not in fine:
            kind = f"status {status}"
        with load.lock:
            phase.requests += 1
            phase.open -= 1
            seconds = time.monotonic() - started
            phase.slowest = max(phase.slowest, seconds)
            if seconds > 1 and len(phase.slow) < 20:
                phase.slow.append(f"{phase.seconds:.1f} s: {method} {path}: {seconds:.2f} s, {kind or status}")
            if kind:
                phase.failed[kind] += 1
                if len(phase.examples) < 20:
                    kept = "kept" if self.keeps else "new"
                    phase.examples.append(f"{phase.seconds:.1f} s: {method} {path}, {kept} connection: {kind}")
            elif is_away:
                phase.away += 1
                phase.why[f"{method} {path}: {detail_of(content)}"] += 1
        return None if kind or is_away else (status, content)

    def exchange(self, method: str, path: str, body: bytes | None) -> tuple[int, bool, bytes]:
        """Status, whether it says when to come again, and the body. Lost where there is no whole answer."""
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection(
                    self.load.url.hostname or "", self.load.url.port or 80, timeout=PATIENCE
                )
                self.connection.connect()
            headers = {"Cookie": self.cookie} if self.cookie else {}
            self.connection.request(method, path, body=body, headers=headers)
            response = self.connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Lost(kind_of(error)) from None
        if not self.keeps or response.will_close:
            self.close()
        cookie = response.getheader("Set-Cookie", "")
        if cookie:
            self.cookie = cookie.partition(";")[0]
        return response.status, response.getheader("Retry-After") is not None, content

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def detail_of(content: bytes) -> str:
    """What an answer says in words, if it is a problem document."""
    try:
        return str(json.loads(content)["detail"])
    except (ValueError, LookupError, TypeError):
        return "no problem document"


def kind_of(error: Exception) -> str:
    """A lost exchange in a word or two."""
    kinds = {
        http.client.RemoteDisconnected: "closed without a response",  # before ConnectionResetError, which it is, too
        ConnectionRefusedError: "refused",
        ConnectionResetError: "reset",
        BrokenPipeError: "reset",
        http.client.IncompleteRead: "cut off",
        TimeoutError: "timeout",
        socket.gaierror: "no such name",
    }
    return next((word for kind, word in kinds.items() if isinstance(error, kind)), type(error).__name__)


def main(url: str, folder: str, think: str) -> None:
    load = Load(url, Path(folder), float(think))
    signal.signal(signal.SIGTERM, lambda *_: load.over.set())
    visitors = [Visitor(load, number) for number in range(VISITORS)]

    def together(*functions: Callable[[], None]) -> None:
        threads = [threading.Thread(target=function) for function in functions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    together(load.follow, *[visitor.stroll for visitor in visitors])
    load.phases["end"] = Phase()
    load.name, load.retries = "end", 3
    together(*[visitor.recheck for visitor in visitors])
    print(load.report(), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
