"""A bulkhead: who gets a slot, who is refused, and for how long a peak is waited out."""

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from service import bulkhead
from service.bulkhead import Bulkhead, WaitingThreads

VERY_LONG = 10_000.0  # seconds: a test that waits for it fails


class Refused(Exception):
    pass


def test_more_threads_than_the_limit_are_refused_at_once_while_nothing_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(bulkhead, "monotonic", lambda: now)
    guard = Bulkhead(WaitingThreads(4), Refused, patience=VERY_LONG)
    threads = [ThreadPoolExecutor(1) for _ in range(3)]
    slots = [thread.submit(guard.hold).result() for thread in threads[:2]]
    now += VERY_LONG
    with pytest.raises(Refused):
        threads[2].submit(guard.hold).result()
    for slot, thread in zip(slots, threads, strict=False):
        slot.close()
        thread.shutdown()


def test_a_thread_that_holds_a_slot_gets_another_that_counts_no_more() -> None:
    guard = Bulkhead(WaitingThreads(3), Refused)
    with guard.hold(), guard.hold():
        with ThreadPoolExecutor(1) as pool, pytest.raises(Refused):
            pool.submit(guard.hold).result()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(guard.hold).result().close()


def test_a_slot_is_given_back_once_and_in_any_thread() -> None:
    guard = Bulkhead(WaitingThreads(3), Refused)
    slot = guard.hold()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(slot.close).result()
        slot.close()
        other = pool.submit(guard.hold).result()
        with pytest.raises(Refused):
            guard.hold()
        other.close()
    guard.hold().close()


def test_a_peak_after_a_rest_is_waited_out() -> None:
    guard = Bulkhead(WaitingThreads(3), Refused, patience=VERY_LONG)

    def call() -> None:
        with guard.hold():
            time.sleep(0.02)

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(call) for _ in range(16)]:
            done.result()


def slots_of(guards: list[Bulkhead]) -> list[int]:
    """How many threads get a slot of each, one guard after the other, where none is given back."""
    counts = []
    with contextlib.ExitStack() as threads:  # another thread might get the ident of one that has ended
        for guard in guards:
            counts.append(0)
            with contextlib.suppress(Refused):
                while True:
                    threads.enter_context(ThreadPoolExecutor(1)).submit(guard.hold).result()
                    counts[-1] += 1
    return counts


@pytest.mark.parametrize(
    ("threads", "expected"), [(1, [1, 1]), (2, [1, 1]), (3, [1, 1]), (4, [2, 1]), (8, [6, 1])], ids=str
)
def test_what_hangs_first_leaves_a_thread_to_the_other_and_both_leave_one(threads: int, expected: list[int]) -> None:
    waiting = WaitingThreads(threads)
    assert slots_of([Bulkhead(waiting, Refused, patience=0) for _ in range(2)]) == expected


def test_a_thread_that_waits_for_both_counts_once() -> None:
    waiting = WaitingThreads(4)
    first, second = (Bulkhead(waiting, Refused, patience=0) for _ in range(2))
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        for thread in (one, other):
            thread.submit(first.hold).result()
            thread.submit(second.hold).result()
