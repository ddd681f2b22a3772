"""Two instances behind nginx, one killed with SIGKILL each second: no visit and no file is lost."""

import contextlib
import hashlib
import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.conformance.scene import Scene, scene
from tests.conftest import FIGURE
from tests.support.gcs import create_bucket, fake_gcs
from tests.support.http import Answer, Visitor
from tests.support.nginx import nginx
from tests.support.processes import wait_until

SECONDS = 15.0
VISITORS = 3
UPLOADERS = 2
PATIENCE = 20.0  # seconds that a client tries a request again and again


@dataclass
class Ledger:
    """What one client was told, and what it then knows."""

    answered: int = 0
    retried: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Client:
    """A visitor who tries again where the connection is lost, or the proxy says that the instance's was."""

    def __init__(self, url: str, over: threading.Event) -> None:
        self.visitor = Visitor(url, timeout=10)
        self.over = over
        self.ledger = Ledger()

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[Answer, int]:
        """The answer, and how often the request was sent in vain before: each may have been carried out or not."""
        end = time.monotonic() + PATIENCE
        tries = 0
        while True:
            try:
                answer = self.visitor.ask(method, path, body)
            except (OSError, http.client.HTTPException) as error:
                why = type(error).__name__
            else:
                if answer.status not in (502, 504):
                    self.ledger.answered += 1
                    return answer, tries
                why = str(answer.status)
            assert time.monotonic() < end, f"{method} {path} was never answered: {why}"
            self.ledger.retried[why] += 1
            tries += 1
            time.sleep(0.02)


class Counting(Client):
    """Counts its visits. Each number is above the last by one, and by at most one more for each try in vain."""

    def run(self) -> None:
        count, _ = self.ask("POST", "/api/session/visits")
        self.last = count.json["visits"]
        while not self.over.is_set():
            answer, tries = self.ask("POST", "/api/session/visits")
            number = answer.json["visits"] if answer.status == 200 else None
            if number is None or not self.last + 1 <= number <= self.last + 1 + tries:
                self.ledger.wrong.append(f"{answer.status} {number} after {self.last} and {tries} tries in vain")
            self.last = number or self.last
            time.sleep(0.005)

    def check(self) -> None:
        """At the end the session says the last number."""
        answer, _ = self.ask("GET", "/api/session")
        if answer.json["visits"] != self.last:
            self.ledger.wrong.append(f"at the end {answer.json['visits']} visits, {self.last} were told")


class Uploading(Client):
    """Keeps files under new names, and reads the last one back each time."""

    def run(self) -> None:
        self.kept: dict[str, str] = {}
        self.ask("POST", "/api/session/visits")  # a session first: its files are to belong to one owner
        while not self.over.is_set():
            number = len(self.kept)
            body = hashlib.sha256(str(number).encode()).digest() * (200 + 97 * (number % 40))
            path = f"/api/files/file-{number}"
            answer, _ = self.ask("PUT", path, body)
            while answer.status == 409:  # a try in vain has kept it, while this one was on its way
                answer, _ = self.ask("PUT", path, body)
            if answer.status not in (200, 201):
                self.ledger.wrong.append(f"PUT {answer.status} {answer.body[:100]!r}")
            self.kept[path] = hashlib.sha256(body).hexdigest()
            self.look(path)
            time.sleep(0.01)

    def look(self, path: str) -> None:
        answer, _ = self.ask("GET", path)
        if answer.status != 200 or hashlib.sha256(answer.body).hexdigest() != self.kept[path]:
            self.ledger.wrong.append(f"GET {path}: {answer.status}, {len(answer.body)} bytes")

    def check(self) -> None:
        """At the end every file is there, and no other."""
        for path in self.kept:
            self.look(path)
        answer, _ = self.ask("GET", "/api/files?limit=1000")
        listed = {f"/api/files/{file['name']}" for file in answer.json["files"]}
        if listed != self.kept.keys():
            self.ledger.wrong.append(f"listed {sorted(listed ^ self.kept.keys())[:5]} otherwise than kept")


def kill_in_turn(instances: Scene) -> int:
    """Each second one, but never the last that serves; it is started again. How many kills it were."""
    fleet = instances.fleet
    began = time.monotonic()
    kills = 0
    while time.monotonic() - began < SECONDS:
        name = str(1 + kills % 2)
        fleet.kill(name)
        kills += 1
        fleet.start(name)
        wait_until("it serves again", lambda now=name: serves(instances, now))  # type: ignore[misc] # bound now
        time.sleep(max(0.0, began + kills - time.monotonic()))
    return kills


def serves(instances: Scene, name: str) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        with Visitor(f"http://127.0.0.1:{instances.ports[int(name) - 1]}", timeout=2) as visitor:
            return visitor.get("/ready").status == 200
    return False


def test_killed_each_second_nothing_is_lost(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    with contextlib.ExitStack() as stack:
        emulator = stack.enter_context(fake_gcs(tmp_path))
        create_bucket(emulator, "files")
        instances = stack.enter_context(scene(tmp_path, emulator, isolated=False))
        url = stack.enter_context(nginx(tmp_path, instances.ports))
        over = threading.Event()
        counting = [Counting(url, over) for _ in range(VISITORS)]
        uploading = [Uploading(url, over) for _ in range(UPLOADERS)]
        clients: list[Counting | Uploading] = [*counting, *uploading]
        failures: list[str] = []

        def guarded(client: Counting | Uploading) -> None:
            try:
                client.run()
            except Exception as error:  # noqa: BLE001 -- told below, in the test's own thread
                failures.append(repr(error))

        threads = [threading.Thread(target=guarded, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        kills = kill_in_turn(instances)
        over.set()
        for thread in threads:
            thread.join(PATIENCE + 10)
            assert not thread.is_alive()
        assert failures == []
        for client in clients:
            client.check()
            client.visitor.close()
    answered = sum(client.ledger.answered for client in clients)
    retried = sum((client.ledger.retried for client in clients), Counter[str]())
    visits, files = sum(client.last for client in counting), sum(len(client.kept) for client in uploading)
    assert [wrong for client in clients for wrong in client.ledger.wrong] == []
    assert kills >= SECONDS / 3
    assert sum(retried.values()) > 0, "no kill was felt: nothing is proved"
    told = ", ".join(f"{number} for {why}" for why, number in sorted(retried.items()))
    record_property(
        FIGURE,
        f"{kills} kills in {SECONDS:g} s, {answered} answers, tried again {told}; "
        f"{visits} visits and {files} files, none lost",
    )
