"""The service's life, seen by all its processes, and the requests that are going on."""

import os
import time

from service.lifecycle import InFlight, Lifecycle


def in_a_child(lifecycle: Lifecycle) -> tuple[bool, bool]:
    """What a forked process sees of it."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(theirs, bytes([lifecycle.draining, lifecycle.ending]))
        os._exit(0)
    os.waitpid(pid, 0)
    draining, ending = os.read(ours, 2)
    os.close(ours)
    os.close(theirs)
    return bool(draining), bool(ending)


def test_every_process_sees_each_step() -> None:
    lifecycle = Lifecycle()
    assert in_a_child(lifecycle) == (False, False)
    lifecycle.drain()
    assert (lifecycle.draining, lifecycle.ending) == (True, False)
    assert in_a_child(lifecycle) == (True, False)
    lifecycle.end()
    assert in_a_child(lifecycle) == (True, True)


def test_a_process_that_was_forked_before_sees_it_too() -> None:
    lifecycle = Lifecycle()
    to_child, from_parent = os.pipe()
    to_parent, from_child = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(to_child, 1)
        os.write(from_child, bytes([lifecycle.draining]))
        os._exit(0)
    lifecycle.drain()
    os.write(from_parent, b"!")
    assert os.read(to_parent, 1) == b"\x01"
    os.waitpid(pid, 0)
    for end in (to_child, from_parent, to_parent, from_child):
        os.close(end)


def test_to_end_without_a_drain_is_to_drain_too() -> None:
    lifecycle = Lifecycle()
    lifecycle.end()
    assert (lifecycle.draining, lifecycle.ending) == (True, True)


def test_requests_are_listed_oldest_first() -> None:
    in_flight = InFlight(4)
    first, second, third = (in_flight.begin("GET", f"/{n}") for n in range(3))
    first.began, second.began, third.began = 2.0, 1.0, 3.0
    assert in_flight.requests() == [second, first, third]
    in_flight.end(second)
    assert [request.path for request in in_flight.requests()] == ["/0", "/2"]


def test_the_end_of_a_request_may_be_told_twice() -> None:
    in_flight = InFlight(1)
    request = in_flight.begin("GET", "/")
    in_flight.end(request)
    in_flight.end(request)
    assert in_flight.requests() == []


def test_saturated_is_to_have_no_free_thread_since() -> None:
    in_flight = InFlight(2)
    assert in_flight.saturated_for() == 0
    first = in_flight.begin("GET", "/")
    assert in_flight.saturated_for() == 0
    began = time.monotonic()
    second = in_flight.begin("GET", "/")
    assert 0 < in_flight.saturated_for() <= time.monotonic() - began + 0.001
    assert in_flight._saturated_since is not None
    in_flight._saturated_since -= 100
    assert in_flight.saturated_for() >= 100
    in_flight.end(first)
    assert in_flight.saturated_for() == 0
    in_flight.begin("GET", "/")
    assert in_flight.saturated_for() < 50  # counted anew
    assert second in in_flight.requests()


def test_stuck_is_counted_from_the_last_progress_of_any_thread() -> None:
    in_flight = InFlight(2)
    first = in_flight.begin("PUT", "/a")
    first.touched -= 1000
    assert in_flight.stuck_for() == 0  # a thread is free
    second = in_flight.begin("PUT", "/b")
    assert in_flight.stuck_for() < 500
    second.touched -= 600
    assert 600 <= in_flight.stuck_for() < 700
    first.progress()
    assert in_flight.stuck_for() < 500
    in_flight.end(second)
    assert in_flight.stuck_for() == 0
