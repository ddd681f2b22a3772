"""The circuit breaker: when it keeps requests away from a server, and when it lets one find out."""

import pytest

from service import breaker
from service.breaker import FAILURES, PAUSE, Breaker
from tests.support.clock import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    stopped = Clock()
    monkeypatch.setattr(breaker, "time", stopped)
    return stopped


def opened() -> Breaker:
    guard = Breaker()
    for _ in range(FAILURES):
        assert guard.admit() is None
        guard.failed("it is down")
    return guard


def test_some_failures_are_not_an_outage(clock: Clock) -> None:
    guard = Breaker()
    for _ in range(10):
        for _ in range(FAILURES - 1):
            guard.failed("hiccup")
        assert guard.admit() is None
        guard.succeeded()


def test_a_call_in_an_outage_fails_at_once_with_its_cause(clock: Clock) -> None:
    guard = opened()
    assert guard.is_open
    assert guard.admit() == "it is down"


def test_one_request_at_a_time_tries_again(clock: Clock) -> None:
    guard = opened()
    clock.now += PAUSE
    assert [guard.admit() for _ in range(3)] == [None, "it is down", "it is down"]
    guard.failed("it is still down")
    assert guard.admit() == "it is still down"
    clock.now += PAUSE
    assert guard.admit() is None


def test_one_success_ends_it(clock: Clock) -> None:
    guard = opened()
    clock.now += PAUSE
    assert guard.admit() is None
    guard.succeeded()
    assert not guard.is_open
    assert [guard.admit() for _ in range(3)] == [None, None, None]
