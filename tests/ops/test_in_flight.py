"""The requests that a worker is serving: which are in flight, and whether threads are stuck."""

import time

from service.ops.in_flight import InFlight


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
