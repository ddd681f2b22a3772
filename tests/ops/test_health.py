"""Liveness, readiness, and the checks behind them, driven step by step: a check says what the test tells it to say."""

import json
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from service.lifecycle import Lifecycle
from service.ops.health import WATCHED, Health, HealthCheck
from service.ops.in_flight import InFlight
from service.settings import Settings, load
from tests.support.processes import wait_until

UP = ""


class Scripted:
    """A check that waits for the test: ``says`` gives it one answer and returns when the next look has begun."""

    def __init__(self) -> None:
        self._answers: queue.Queue[str | None] = queue.Queue()
        self._asked: queue.Queue[None] = queue.Queue()
        self.looks = 0

    def __call__(self) -> None:
        self.looks += 1
        self._asked.put(None)
        error = self._answers.get(timeout=60)
        if error:
            raise OSError(error)

    def begun(self) -> None:
        """A look has begun, so the last one is done with."""
        self._asked.get(timeout=60)

    def answer(self, error: str) -> None:
        """The look that has begun comes out so; another is waited for by ``begun()``."""
        self._answers.put(error)

    def says(self, *errors: str) -> None:
        for error in errors:
            self.answer(error)
            self.begun()


class Bench:
    """A Health with two dependencies, of which ``sessions`` is scripted."""

    def __init__(self, **settings: str) -> None:
        self.settings = settings_of(**settings)
        self.lifecycle = Lifecycle()
        self.in_flight = InFlight(self.settings.threads)
        self.check = Scripted()
        self.changes: list[tuple[str, bool]] = []
        self.health = Health(
            self.settings,
            self.in_flight,
            self.lifecycle,
            {
                "sessions": HealthCheck(self.check, "datastore"),
                "storage": HealthCheck(lambda: None, "datastore"),
            },
            on_change=lambda name, up: self.changes.append((name, up)),
        )

    def start(self) -> None:
        """Begun, with the scripted check at its first look."""
        self.health.start()
        self.check.begun()

    def entry(self) -> dict[str, Any]:
        """What the full account says of ``sessions``."""
        entry: dict[str, Any] = document(self.health.ready(full=True))["checks"]["sessions:availability"][0]
        return entry

    def of_sessions(self) -> list[bool]:
        return [up for name, up in self.changes if name == "sessions"]

    def status(self) -> int:
        return self.health.ready(full=False)[0]


def settings_of(**given: str) -> Settings:
    base = {"SESSION_URL": "memory://", "STORAGE_URL": "file:///tmp", "DEPENDENCY_CHECK_INTERVAL": "100ms"}
    return load(base | given)


def document(answer: tuple[int, bytes]) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(answer[1])
    return parsed


@pytest.fixture
def make() -> Iterator[Callable[..., Bench]]:
    """Benches whose threads end with the test."""
    made: list[Bench] = []

    def bench(**settings: str) -> Bench:
        made.append(Bench(**settings))
        return made[-1]

    yield bench
    for each in made:
        each.health.stop()
        each.check.answer(UP)


def test_before_the_start_it_is_alive_and_not_ready(make: Callable[..., Bench]) -> None:
    bench = make()
    assert bench.health.live()[0] == 200
    status, body = bench.health.ready(full=False)
    assert (status, json.loads(body)["output"]) == (503, "starting")


def test_what_was_never_seen_is_neither_up_nor_down(make: Callable[..., Bench]) -> None:
    bench = make()
    bench.start()
    assert bench.entry()["status"] == "warn"
    assert bench.status() == 200  # nothing is required
    assert document(bench.health.ready(full=True))["status"] == "pass"


def test_what_is_required_must_have_been_seen_up(make: Callable[..., Bench]) -> None:
    bench = make(READY_REQUIRES="sessions")
    bench.start()
    assert document(bench.health.ready(full=False))["output"] == "not available: sessions"
    bench.check.says(UP)
    assert bench.status() == 200


@pytest.mark.parametrize(("error", "status"), [(UP, "pass"), ("no route", "fail")])
def test_the_first_look_counts(make: Callable[..., Bench], error: str, status: str) -> None:
    bench = make()
    bench.start()
    bench.check.says(error)
    assert bench.entry()["status"] == status
    assert bench.of_sessions() == [not error]


def test_one_failure_changes_nothing_and_two_do(make: Callable[..., Bench]) -> None:
    bench = make(READY_REQUIRES="sessions")
    bench.start()
    bench.check.says(UP, "refused")
    assert (bench.entry()["status"], bench.status()) == ("pass", 200)
    bench.check.says("refused")
    assert (bench.entry()["status"], bench.status()) == ("fail", 503)
    assert bench.entry()["output"] == "refused"
    bench.check.says(UP)
    assert (bench.entry()["status"], bench.status()) == ("fail", 503)
    bench.check.says(UP)
    assert (bench.entry()["status"], bench.status()) == ("pass", 200)
    assert "output" not in bench.entry()
    assert bench.of_sessions() == [True, False, True]


def test_flapping_changes_nothing(make: Callable[..., Bench]) -> None:
    bench = make(READY_REQUIRES="sessions")
    bench.start()
    bench.check.says(UP, *(["refused", UP] * 5), "refused")
    assert (bench.entry()["status"], bench.status()) == ("pass", 200)
    assert bench.of_sessions() == [True]


def test_a_dependency_that_is_not_required_is_told_and_does_not_count(make: Callable[..., Bench]) -> None:
    bench = make(READY_REQUIRES="storage")
    bench.start()
    bench.check.says("refused")
    wait_until("storage seen", lambda: ("storage", True) in bench.changes)
    status, body = bench.health.ready(full=True)
    assert (status, json.loads(body)["status"]) == (200, "warn")
    assert document(bench.health.ready(full=False))["status"] == "pass"


def test_every_required_dependency_that_is_missing_is_named(make: Callable[..., Bench]) -> None:
    bench = make(READY_REQUIRES="sessions,storage")
    assert bench.status() == 503
    bench.start()
    bench.check.says("refused")
    wait_until("storage seen", lambda: ("storage", True) in bench.changes)
    assert document(bench.health.ready(full=False))["output"] == "not available: sessions"


def test_since_is_the_last_change_and_not_the_last_look(make: Callable[..., Bench]) -> None:
    bench = make()
    bench.start()
    bench.check.says(UP)
    first = bench.entry()
    bench.check.says(UP, UP)
    later = bench.entry()
    assert later["since"] == first["since"]
    assert later["time"] > first["time"]
    bench.check.says("refused", "refused")
    assert bench.entry()["since"] > first["since"]


def test_the_last_error_is_the_one_that_is_told(make: Callable[..., Bench]) -> None:
    bench = make()
    bench.start()
    bench.check.says("refused", "no route")
    assert bench.entry()["output"] == "no route"


def test_an_error_without_words_is_told_by_its_name() -> None:
    def check() -> None:
        raise TimeoutError

    settings = settings_of()
    health = Health(settings, InFlight(8), Lifecycle(), {"sessions": HealthCheck(check, "datastore")})
    health.start()
    try:
        wait_until("the check's end", lambda: b"TimeoutError" in health.ready(full=True)[1])
    finally:
        health.stop()


def test_errors_show_no_secret(make: Callable[..., Bench]) -> None:
    bench = make()
    bench.start()
    bench.check.says("can't reach redis://visitor:correct-horse@example.org:6379/0?token=battery-staple")
    body = bench.health.ready(full=True)[1]
    assert b"can't reach" in body
    assert b"correct-horse" not in body
    assert b"battery-staple" not in body


def test_what_traffic_sees_makes_the_check_come_sooner(make: Callable[..., Bench]) -> None:
    """The interval is five minutes: only the hint can be why it looks again."""
    bench = make(DEPENDENCY_CHECK_INTERVAL="300s")
    bench.start()
    bench.check.answer(UP)
    wait_until("sessions seen", lambda: bench.of_sessions() == [True])
    bench.health.observe("sessions", OSError("refused"))
    bench.check.begun()
    bench.check.says("refused")  # the second look comes by itself, soon
    bench.check.answer("refused")
    wait_until("sessions down", lambda: bench.of_sessions() == [True, False])
    bench.health.observe("sessions", None)
    bench.check.begun()
    assert bench.entry()["status"] == "fail"  # the hint alone changes nothing


@pytest.mark.parametrize("up", [True, False])
def test_what_traffic_sees_as_before_is_not_news(make: Callable[..., Bench], up: bool) -> None:
    bench = make()  # not started, so that nobody takes the hint away
    sessions = bench.health._dependencies["sessions"]
    sessions.up = up
    seen = {True: None, False: OSError("refused")}
    bench.health.observe("sessions", seen[up])
    bench.health.observe("storage", seen[not up])  # another's news is not ours
    assert not sessions._wake.is_set()
    bench.health.observe("sessions", seen[not up])
    assert sessions._wake.is_set()


def test_a_look_makes_the_check_come_sooner_but_not_often(make: Callable[..., Bench]) -> None:
    bench = make(DEPENDENCY_CHECK_INTERVAL="300s")
    bench.start()
    bench.check.answer(UP)
    wait_until("the first result", lambda: bench.entry()["status"] == "pass")
    sessions = bench.health._dependencies["sessions"]
    bench.health.summary()
    assert not sessions._wake.is_set(), "it has just looked"

    sessions._looked -= 2 * WATCHED
    bench.health.summary()
    bench.check.begun()
    bench.health.summary()
    assert not sessions._wake.is_set(), "it is looking: who asks now gets what it finds"


def test_a_check_that_hangs_holds_up_no_response(make: Callable[..., Bench]) -> None:
    bench = make(READY_REQUIRES="storage")
    bench.start()
    done = threading.Event()

    def ask() -> None:
        for _ in range(50):
            bench.health.live()
            bench.health.ready(full=True)
            bench.health.observe("sessions", OSError("refused"))
        done.set()

    threading.Thread(target=ask, daemon=True).start()
    assert done.wait(30)
    assert bench.check.looks == 1  # never twice at once
    wait_until("the other one checked", lambda: ("storage", True) in bench.changes)
    assert bench.status() == 200


def test_an_instance_that_drains_is_alive_and_not_ready(make: Callable[..., Bench]) -> None:
    bench = make()
    bench.start()
    assert bench.status() == 200
    bench.lifecycle.drain()
    assert document(bench.health.ready(full=True))["output"] == "shutting down"
    assert (bench.status(), bench.health.live()[0]) == (503, 200)


def test_no_free_thread_for_long_is_not_ready(make: Callable[..., Bench]) -> None:
    bench = make(THREADS="2")
    bench.start()
    first = bench.in_flight.begin("GET", "/")
    bench.in_flight.begin("GET", "/")
    assert bench.status() == 200  # a short peak is what the queue is for
    assert bench.in_flight._saturated_since is not None
    bench.in_flight._saturated_since -= 5
    assert document(bench.health.ready(full=False))["output"] == "every request thread is busy"
    assert bench.health.live()[0] == 200
    bench.in_flight.end(first)
    assert bench.status() == 200


def test_alive_is_to_make_progress(make: Callable[..., Bench]) -> None:
    bench = make(THREADS="2", STUCK_AFTER="10s")
    requests = [bench.in_flight.begin("PUT", "/") for _ in range(2)]
    for request in requests:
        request.touched -= 9
    assert bench.health.live()[0] == 200
    for request in requests:
        request.touched -= 9
    status, body = bench.health.live()
    assert (status, json.loads(body)["status"]) == (503, "fail")
    assert json.loads(body)["output"] == "no request thread has made progress for 18 s"
    requests[0].progress()
    assert bench.health.live()[0] == 200


def test_documents_say_which_release_it_is(make: Callable[..., Bench]) -> None:
    bench = make(VERSION="1.2.3", REVISION="abc")
    for said in (document(bench.health.live()), document(bench.health.ready(full=True))):
        assert (said["version"], said["releaseId"]) == ("1.2.3", "abc")


def test_a_stopped_check_looks_no_more(make: Callable[..., Bench]) -> None:
    bench = make()
    bench.start()
    before = {thread.name for thread in threading.enumerate()}
    assert "check-sessions" in before
    bench.health.stop()
    bench.check.answer(UP)
    wait_until("the end of the thread", lambda: not any(t.name == "check-sessions" for t in threading.enumerate()))
    assert bench.check.looks == 1
