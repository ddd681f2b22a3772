"""The rules of a Change mean the same everywhere: in Lua on Redis, by compare-and-swap on Memcached, and in memory.

rules.py is the reference. Whatever is done to a session, in whatever order, each store answers and holds the same.
"""

import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.sessions.rules import Limits, changed
from service.sessions.store import MAX_COUNTER, Applied, Change, Record, Refusal, SessionStore
from tests.support.session_stores import ALL_NAMES, place

MAX_BYTES = 256
LIMITS = Limits(idle_lifetime=3600, absolute_lifetime=7200, max_bytes=MAX_BYTES)

# Few names, so that changes meet; some that a careless format would trip over.
names = st.sampled_from(["a", "b", "c", "v:a", "n:a", "created", "version", "moved", "é \n\r\x00", ""])
values = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=30), st.lists, max_leaves=5)
contents = values.map(lambda value: json.dumps(value, ensure_ascii=False).encode(errors="replace")) | st.binary(
    min_size=100, max_size=180
)
near = st.integers(-3, 6)
numbers = near | near.map(lambda n: n * 1000) | st.sampled_from([MAX_COUNTER, -MAX_COUNTER, MAX_COUNTER - 1, 2**52])
changes = st.builds(
    Change,
    set=st.dictionaries(names, contents, max_size=2),
    delete=st.frozensets(names, max_size=2),
    add=st.dictionaries(names, numbers, max_size=2),
    put=st.dictionaries(names, numbers, max_size=1),
    at_most=st.dictionaries(names, numbers, max_size=1),
    expect=st.dictionaries(names, near, max_size=1),
    create=st.booleans(),
)
steps = st.lists(st.tuples(changes, st.booleans(), st.booleans()), min_size=1, max_size=8)


@pytest.fixture(scope="module", params=ALL_NAMES)
def store(request: pytest.FixtureRequest) -> Iterator[SessionStore]:
    with place(request.param) as found:
        yield found.open(SESSION_MAX_BYTES=str(MAX_BYTES))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=steps)
def test_every_store_decides_as_the_reference_does(store: SessionStore, steps: list[tuple[Change, bool, bool]]) -> None:
    key = secrets.token_hex(32)
    expected: Record | None = None
    for change, moves, reads in steps:
        new_key = secrets.token_hex(32) if moves and not change.create else None
        wanted = changed(expected, change, LIMITS, now=time.time())
        outcome = store.apply(key, replace(change, new_key=new_key))
        if isinstance(wanted, Refusal):
            assert outcome is wanted
        else:
            assert outcome == Applied(wanted.counters)
            expected = wanted
            if new_key is not None:
                assert store.apply(key, change) is Refusal.MOVED
                key = new_key
        if reads or isinstance(wanted, Refusal):
            found = store.read(key)
            assert (found is None) == (expected is None)
            if found is not None and expected is not None:
                assert (found.values, found.counters) == (expected.values, expected.counters)
