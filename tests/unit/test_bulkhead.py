"""A bulkhead: who gets a slot, who is refused, and for how long a peak is waited out."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.bulkhead import PATIENCE, Bulkhead


class Refused(Exception):
    pass


def test_more_threads_than_the_limit_are_refused_at_once_while_nothing_moves() -> None:
    guard = Bulkhead(2, Refused)
    threads = [ThreadPoolExecutor(1) for _ in range(3)]
    slots = [thread.submit(guard.hold).result() for thread in threads[:2]]
    time.sleep(PATIENCE)
    begin = time.monotonic()
    with pytest.raises(Refused):
        threads[2].submit(guard.hold).result()
    assert time.monotonic() - begin < PATIENCE
    for slot, thread in zip(slots, threads, strict=False):
        slot.close()
        thread.shutdown()


def test_a_thread_that_holds_a_slot_gets_another_that_counts_no_more() -> None:
    guard = Bulkhead(1, Refused)
    with guard.hold(), guard.hold():
        with ThreadPoolExecutor(1) as pool, pytest.raises(Refused):
            pool.submit(guard.hold).result()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(guard.hold).result().close()


def test_a_slot_is_given_back_once_and_in_any_thread() -> None:
    guard = Bulkhead(1, Refused)
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
    guard = Bulkhead(1, Refused)

    def call() -> None:
        with guard.hold():
            time.sleep(0.02)

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(call) for _ in range(16)]:
            done.result()
