"""How long a request may wait for a thread. The time is the test's own, so that nothing is waited for."""

from math import inf

import pytest

from service.server import request_queue
from service.server.request_queue import RequestQueue
from tests.support.clock import Clock

TIMEOUT = 1.0
BRIEFLY = TIMEOUT / 4


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(request_queue, "time", clock)
    return clock


def queue_of(*requests: str) -> RequestQueue[str]:
    queue: RequestQueue[str] = RequestQueue(TIMEOUT, most=3)
    for request in requests:
        queue.put(request)
    return queue


def test_first_in_first_out(clock: Clock) -> None:
    queue = queue_of("a", "b")
    assert [queue.take(), queue.take()] == ["a", "b"]
    assert queue.patience() == inf


def test_until_the_timeout_nothing_is_late(clock: Clock) -> None:
    queue = queue_of("a", "b")
    assert queue.patience() == TIMEOUT
    clock.now += TIMEOUT - 0.01
    assert queue.late() == []
    clock.now += 0.01
    assert queue.late() == ["a", "b"]
    assert queue.patience() == inf


def test_once_the_queue_has_stood_a_request_waits_briefly(clock: Clock) -> None:
    queue = queue_of("a")
    clock.now += TIMEOUT - 0.01
    for request in ("b", "c"):
        queue.put(request)
    assert queue.take() == "a"  # the queue does not get empty
    clock.now += 0.01
    assert queue.late() == []
    assert queue.patience() == pytest.approx(BRIEFLY - 0.01)
    clock.now += BRIEFLY
    assert queue.late() == ["b", "c"]


def test_a_queue_that_was_empty_once_waits_out_another_peak(clock: Clock) -> None:
    queue = queue_of("a")
    clock.now += 2 * TIMEOUT
    assert queue.late() == ["a"]
    queue.put("b")
    clock.now += 2 * BRIEFLY
    assert queue.late() == []


def test_where_too_many_wait_those_that_have_waited_longest_are_late(clock: Clock) -> None:
    queue = queue_of("a", "b", "c", "d", "e")
    assert queue.late() == ["a", "b"]
    assert queue.take() == "c"
