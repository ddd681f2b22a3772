"""The reference of the rules of a Change, where examples say it better than properties do."""

from service.sessions.rules import Limits, changed, size_of
from service.sessions.store import Change, Record, Refusal

LIMITS = Limits(idle_lifetime=10, absolute_lifetime=100, max_bytes=20)


def test_a_session_begins_now() -> None:
    assert changed(None, Change(create=True), LIMITS, now=5) == Record({}, {}, created=5, expires=15)


def test_use_slides_the_end_but_not_past_the_absolute_lifetime() -> None:
    assert LIMITS.expires(created=0, now=50) == 60
    assert LIMITS.expires(created=0, now=95) == 100
    assert LIMITS.expires(created=0, now=120) == 100


def test_delete_comes_before_set_and_put_before_add() -> None:
    record = changed(
        None,
        Change(set={"a": b"1"}, delete=frozenset("a"), put={"n": 5}, add={"n": 2}, expect={"n": 0}, create=True),
        LIMITS,
        now=0,
    )
    assert isinstance(record, Record)
    assert (record.values, record.counters) == ({"a": b"1"}, {"n": 7})


def test_the_first_reason_counts() -> None:
    record = Record({}, {"n": 5}, created=0, expires=10)
    everything = Change(set={"a": b"1" * 50}, add={"n": 1}, at_most={"n": 5}, expect={"n": 4})
    assert changed(None, everything, LIMITS, now=0) is Refusal.GONE
    assert changed(record, everything, LIMITS, now=0) is Refusal.CONFLICT
    assert changed(record, Change(set=everything.set, add={"n": 1}, at_most={"n": 5}), LIMITS, now=0) is (
        Refusal.OVER_LIMIT
    )
    assert changed(record, Change(set=everything.set), LIMITS, now=0) is Refusal.TOO_LARGE


def test_a_limit_counts_for_added_counters_only() -> None:
    record = Record({}, {"n": 9}, created=0, expires=10)
    assert isinstance(changed(record, Change(add={"m": 1}, at_most={"n": 5}), LIMITS, now=0), Record)


def test_the_old_record_is_left_alone() -> None:
    record = Record({"a": b"1"}, {"n": 1}, created=0, expires=10)
    changed(record, Change(set={"b": b"2"}, delete=frozenset("a"), add={"n": 1}), LIMITS, now=0)
    assert record == Record({"a": b"1"}, {"n": 1}, created=0, expires=10)


def test_names_values_and_digits_make_the_size() -> None:
    assert size_of({"é": b"123"}, {"nn": 1000}) == 2 + 3 + 2 + 4
