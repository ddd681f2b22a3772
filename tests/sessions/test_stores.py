"""What a session store promises (service/sessions/store.py), on each store."""

import contextlib
import itertools
import multiprocessing
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.sessions.store import MAX_COUNTER, Applied, Change, Refusal, SessionStore
from tests.support.memcached import memcached_server
from tests.support.processes import free_port, wait_until
from tests.support.redis import redis_server
from tests.support.session_stores import ALL_NAMES, Place, at_once, place


@pytest.fixture(scope="module", params=ALL_NAMES)
def somewhere(request: pytest.FixtureRequest) -> Iterator[Place]:
    with place(request.param) as found:
        yield found


@pytest.fixture(scope="module")
def store(somewhere: Place) -> SessionStore:
    return somewhere.open(SESSION_MAX_BYTES="500")


def has_ipv6_loopback() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.fixture
def key() -> str:
    return secrets.token_hex(32)


def begin(store: SessionStore, key: str, **counters: int) -> None:
    assert isinstance(store.apply(key, Change(put=counters, create=True)), Applied)


def counter(store: SessionStore, key: str, name: str) -> int:
    record = store.read(key)
    assert record is not None
    return record.counters.get(name, 0)


def test_nothing_is_there_until_it_is_begun(store: SessionStore, key: str) -> None:
    assert store.read(key) is None
    assert store.apply(key, Change(set={"a": b"1"})) is Refusal.GONE
    assert store.read(key) is None
    assert store.apply(key, Change(set={"a": b"1"}, create=True)) == Applied({})
    record = store.read(key)
    assert record is not None
    assert record.values == {"a": b"1"}
    assert abs(record.created - time.time()) < 60
    assert 0 < record.expires - time.time() <= 7 * 86400 + 60


def test_creating_what_is_there_changes_it(store: SessionStore, key: str) -> None:
    begin(store, key, n=1)
    assert store.apply(key, Change(set={"a": b"1"}, add={"n": 1}, create=True)) == Applied({"n": 2})


def test_values_come_back_byte_for_byte(store: SessionStore, key: str) -> None:
    values = {"plain": b'{"a": 1}', "spaced": b"[1,  2]", "é\n:\x00": '"ü\u2028"'.encode(), "": b"null"}
    store.apply(key, Change(set=values, create=True))
    record = store.read(key)
    assert record is not None
    assert record.values == values


def test_only_what_a_change_names_changes(store: SessionStore, key: str) -> None:
    store.apply(key, Change(set={"a": b"1", "b": b"2", "c": b"3"}, put={"n": 7}, create=True))
    assert store.apply(key, Change(set={"a": b"9"}, delete=frozenset({"b", "x"}))) == Applied({"n": 7})
    record = store.read(key)
    assert record is not None
    assert record.values == {"a": b"9", "c": b"3"}


def test_a_counter_stays_within_its_bounds(store: SessionStore, key: str) -> None:
    begin(store, key, low=1, high=MAX_COUNTER)
    assert store.apply(key, Change(add={"low": -5, "high": 5})) == Applied({"low": 0, "high": MAX_COUNTER})


def test_a_limit_refuses_the_whole_change(store: SessionStore, key: str) -> None:
    begin(store, key, files=9, bytes=50)
    both = Change(set={"a": b"1"}, add={"files": 1, "bytes": 51}, at_most={"files": 10, "bytes": 100})
    assert store.apply(key, both) is Refusal.OVER_LIMIT
    record = store.read(key)
    assert record is not None
    assert (record.values, record.counters) == ({}, {"files": 9, "bytes": 50})
    assert store.apply(key, Change(add={"files": 1, "bytes": 50}, at_most={"files": 10, "bytes": 100})) == Applied(
        {"files": 10, "bytes": 100}
    )


def test_a_counter_that_is_not_as_expected_refuses_the_whole_change(store: SessionStore, key: str) -> None:
    begin(store, key, n=3)
    assert store.apply(key, Change(put={"n": 9}, expect={"n": 4})) is Refusal.CONFLICT
    assert store.apply(key, Change(put={"n": 9}, expect={"n": 3, "missing": 0})) == Applied({"n": 9})


def test_a_change_is_decided_by_what_is_there_now_and_not_by_what_was_read(store: SessionStore, key: str) -> None:
    begin(store, key, n=3)
    store.read(key)
    at_once(lambda: store.apply(key, Change(put={"n": 4})))  # another thread
    assert store.apply(key, Change(add={"n": 1}, expect={"n": 4})) == Applied({"n": 5})
    assert store.apply(key, Change(add={"n": 1}, expect={"n": 5}, create=True)) == Applied({"n": 6})


def test_a_session_over_its_size_is_refused_and_the_old_value_stays(store: SessionStore, key: str) -> None:
    store.apply(key, Change(set={"a": b'"' + b"x" * 400 + b'"'}, create=True))
    assert store.apply(key, Change(set={"a": b'"' + b"y" * 498 + b'"'}, add={"n": 1})) is Refusal.TOO_LARGE
    assert store.apply(key, Change(set={"b": b'"' + b"y" * 98 + b'"'})) is Refusal.TOO_LARGE
    record = store.read(key)
    assert record is not None
    assert (record.values, record.counters) == ({"a": b'"' + b"x" * 400 + b'"'}, {})
    assert store.apply(secrets.token_hex(32), Change(set={"a": b"1" * 500}, create=True)) is Refusal.TOO_LARGE


def test_a_session_that_is_too_large_already_may_shrink(somewhere: Place, store: SessionStore, key: str) -> None:
    """SESSION_MAX_BYTES was lowered: what holds more must not be stuck."""
    if somewhere.name == "memory":
        pytest.skip("memory:// does not outlive a change of settings")
    store.apply(key, Change(set={"a": b"1" * 200, "b": b"2" * 200}, create=True))
    smaller = somewhere.open(SESSION_MAX_BYTES="256")
    assert smaller.apply(key, Change(add={"n": 1})) is Refusal.TOO_LARGE
    assert smaller.apply(key, Change(set={"a": b"1" * 150})) == Applied({})
    assert smaller.apply(key, Change(delete=frozenset({"a"}))) == Applied({})


def test_a_deleted_session_is_gone_for_reads_and_writes(store: SessionStore, key: str) -> None:
    begin(store, key, n=1)
    assert store.delete(key) is None
    assert store.read(key) is None
    assert store.apply(key, Change(add={"n": 1})) is Refusal.GONE
    assert store.delete(key) is None


def test_a_new_key_takes_everything_along_and_the_old_one_opens_nothing(store: SessionStore, key: str) -> None:
    new = secrets.token_hex(32)
    store.apply(key, Change(set={"a": b"1", "b": b"2"}, put={"n": 5}, create=True))
    before = store.read(key)
    change = Change(set={"a": b"3"}, delete=frozenset({"b"}), add={"n": 1}, new_key=new)
    assert store.apply(key, change) == Applied({"n": 6})
    assert store.read(key) is None
    assert store.apply(key, Change(add={"n": 1})) is Refusal.MOVED
    assert store.apply(key, Change(add={"n": 1}, create=True)) is Refusal.MOVED
    assert store.apply(key, Change(new_key=secrets.token_hex(32))) is Refusal.MOVED
    after = store.read(new)
    assert before is not None
    assert after is not None
    assert (after.values, after.counters) == ({"a": b"3"}, {"n": 6})
    assert after.created == before.created, "the absolute lifetime goes on"
    assert store.apply(new, Change(add={"n": 1})) == Applied({"n": 7})


def test_deleting_the_key_from_before_a_move_deletes_nothing_and_goes_on_saying_so(
    store: SessionStore, key: str
) -> None:
    new = secrets.token_hex(32)
    begin(store, key, n=1)
    store.apply(key, Change(new_key=new))
    assert store.delete(key) is Refusal.MOVED
    assert store.delete(key) is Refusal.MOVED
    assert store.apply(key, Change(add={"n": 1}, create=True)) is Refusal.MOVED
    assert store.delete(new) is None
    assert store.read(new) is None


NOTE = bytes(range(32))


def test_a_move_leaves_a_note_at_the_old_key_and_nowhere_else(store: SessionStore, key: str) -> None:
    new, newest = secrets.token_hex(32), secrets.token_hex(32)
    assert store.read_note(key) is None, "there is no session"
    begin(store, key, n=1)
    assert store.read_note(key) is None, "it has not moved"
    assert store.apply(key, Change(add={"n": 1}, new_key=new, note=NOTE)) == Applied({"n": 2})
    assert store.read_note(key) == NOTE
    assert store.read(key) is None
    assert store.delete(key) is Refusal.MOVED
    assert store.apply(key, Change(new_key=newest, note=b"another")) is Refusal.MOVED
    assert store.read_note(key) == NOTE
    assert store.read_note(new) is None
    record = store.read(new)
    assert record is not None
    assert (record.values, record.counters) == ({}, {"n": 2})
    assert isinstance(store.apply(new, Change(new_key=newest)), Applied)
    assert store.read_note(new) == b""


def test_of_moves_at_once_the_note_is_that_of_the_one_that_wins(store: SessionStore, key: str) -> None:
    begin(store, key)
    keys = [secrets.token_hex(32) for _ in range(8)]

    def move(new: str) -> None:
        if isinstance(store.apply(key, Change(new_key=new, note=new.encode())), Applied):
            return
        note = store.read_note(key)
        assert note is not None
        assert store.read(note.decode()) is not None, "what the note names is there already"

    at_once(*[lambda new=new: move(new) for new in keys])
    assert [new.encode() for new in keys if store.read(new) is not None] == [store.read_note(key)]


def test_a_refused_move_leaves_everything_where_it_was(store: SessionStore, key: str) -> None:
    new = secrets.token_hex(32)
    assert store.apply(key, Change(new_key=new)) is Refusal.GONE
    begin(store, key, n=1)
    assert store.apply(key, Change(add={"n": 9}, at_most={"n": 5}, new_key=new)) is Refusal.OVER_LIMIT
    assert store.read(new) is None
    assert counter(store, key, "n") == 1


def test_a_session_lives_while_it_is_used_and_ends_when_it_is_not(somewhere: Place, key: str) -> None:
    store = somewhere.open(SESSION_IDLE_LIFETIME="1s")
    read, written = secrets.token_hex(32), key
    begin(store, read)
    begin(store, written)
    end = time.monotonic() + 2.2
    while time.monotonic() < end:
        assert store.read(read) is not None
        assert store.apply(written, Change(add={"n": 1})) != Refusal.GONE
        time.sleep(0.2)
    # To ask is to use, so the end can't be polled for. Memcached counts in whole seconds, and one more to be safe.
    time.sleep(3.1 if somewhere.name == "memcached" else 1.1)
    assert store.read(read) is None
    assert store.apply(written, Change(add={"n": 1})) is Refusal.GONE


def test_the_absolute_lifetime_ends_a_session_that_is_used_all_the_time(somewhere: Place, key: str) -> None:
    store = somewhere.open(SESSION_IDLE_LIFETIME="1500ms", SESSION_ABSOLUTE_LIFETIME="2500ms")
    started = time.monotonic()
    begin(store, key, n=1)
    new = secrets.token_hex(32)
    assert store.apply(key, Change(new_key=new)) == Applied({"n": 1}), "a new id is no new life"
    wait_until("the session's end", lambda: store.read(new) is None)
    assert time.monotonic() - started >= 2.4
    assert store.apply(new, Change(add={"n": 1})) is Refusal.GONE


def test_a_session_never_shows_an_end_after_its_absolute_lifetime(somewhere: Place, key: str) -> None:
    store = somewhere.open(SESSION_IDLE_LIFETIME="10s", SESSION_ABSOLUTE_LIFETIME="10s")
    begin(store, key)
    time.sleep(0.05)
    record = store.read(key)
    assert record is not None
    assert record.expires - record.created <= 10.001


def test_a_shorter_lifetime_counts_for_sessions_that_are_there(somewhere: Place, key: str) -> None:
    """The server would keep them longer. What is begun anew under such a key has nothing of the old."""
    if somewhere.name == "memory":
        pytest.skip("memory:// does not outlive a change of settings")
    somewhere.open().apply(key, Change(set={"a": b"1"}, put={"n": 5}, create=True))
    store = somewhere.open(SESSION_IDLE_LIFETIME="1s", SESSION_ABSOLUTE_LIFETIME="1s")
    wait_until("the session's end", lambda: store.read(key) is None)
    assert store.apply(key, Change(new_key=secrets.token_hex(32))) is Refusal.GONE
    assert store.apply(key, Change(add={"n": 1})) is Refusal.GONE
    assert store.apply(key, Change(add={"n": 1}, create=True)) == Applied({"n": 1})
    record = store.read(key)
    assert record is not None
    assert record.values == {}


def test_64_threads_lose_no_visit(store: SessionStore, key: str) -> None:
    begin(store, key)
    seen: list[int] = []

    def visit() -> None:
        for _ in range(5):
            outcome = store.apply(key, Change(add={"visits": 1}))
            assert isinstance(outcome, Applied)
            seen.append(outcome.counters["visits"])

    at_once(*[visit] * 64)
    assert sorted(seen) == list(range(1, 321))


def _visit_from_a_process(url: str, key: str) -> None:
    found = Place("", url, lambda: 0)
    store = found.open()
    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(lambda _: store.apply(key, Change(add={"visits": 1})), range(160)))
    found.close()
    assert all(isinstance(outcome, Applied) for outcome in outcomes)


def test_4_processes_of_16_threads_lose_no_visit(somewhere: Place, store: SessionStore, key: str) -> None:
    if somewhere.name == "memory":
        pytest.skip("memory:// is not shared by processes, and says so")
    begin(store, key)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_visit_from_a_process, args=(somewhere.url, key)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert counter(store, key, "visits") == 640


def test_two_at_once_that_change_different_names_both_win(store: SessionStore, key: str) -> None:
    begin(store, key)
    for number in range(20):
        content = b"%d" % number
        at_once(
            lambda content=content: store.apply(key, Change(set={"left": content})),  # type: ignore[misc] # bound now
            lambda content=content: store.apply(key, Change(set={"right": content})),  # type: ignore[misc] # bound now
        )
        record = store.read(key)
        assert record is not None
        assert record.values == {"left": content, "right": content}


def test_a_session_that_ends_while_others_write_stays_ended(store: SessionStore, key: str) -> None:
    """Each of the others has read it before: that must not help to bring it back."""
    begin(store, key)
    has_ended = threading.Event()
    late: list[object] = []

    def write() -> None:
        for _ in itertools.count():
            over = has_ended.is_set()
            if not over:
                store.read(key)
            outcome = store.apply(key, Change(set={"a": b"1"}, add={"n": 1}))
            if over:
                late.append(outcome)
                return

    def end() -> None:
        wait_until("some writes", lambda: counter(store, key, "n") > 20)
        store.delete(key)
        has_ended.set()

    at_once(end, *[write] * 8)
    assert late == [Refusal.GONE] * 8
    assert store.read(key) is None


def test_a_move_loses_no_write_and_lets_none_in_after(store: SessionStore, key: str) -> None:
    """What the old key accepted is found under the new one, to the unit; after the move it accepts nothing."""
    begin(store, key)
    new = secrets.token_hex(32)
    accepted: list[int] = []

    def write() -> None:
        for count in itertools.count():
            store.read(key)
            outcome = store.apply(key, Change(add={"n": 1}))
            if not isinstance(outcome, Applied):
                assert outcome is Refusal.MOVED
                accepted.append(count)
                return

    def move() -> None:
        wait_until("some writes", lambda: counter(store, key, "n") > 20)
        assert isinstance(store.apply(key, Change(new_key=new)), Applied)

    at_once(move, *[write] * 4)
    assert counter(store, new, "n") == sum(accepted) > 20


def test_of_moves_at_once_exactly_one_wins(store: SessionStore, key: str) -> None:
    begin(store, key, n=1)
    keys = [secrets.token_hex(32) for _ in range(8)]
    outcomes: dict[str, object] = {}
    at_once(*[lambda new=new: outcomes.update({new: store.apply(key, Change(new_key=new))}) for new in keys])
    winners = [new for new, outcome in outcomes.items() if isinstance(outcome, Applied)]
    assert len(winners) == 1
    assert [outcome for new, outcome in outcomes.items() if new not in winners] == [Refusal.MOVED] * 7
    assert [new for new in keys if store.read(new) is not None] == winners


@pytest.mark.skipif(not has_ipv6_loopback(), reason="this machine has no ::1")
@pytest.mark.parametrize("scheme", ["memcached", "redis", "redis+cluster"])
def test_a_server_at_an_ipv6_address(tmp_path: Path, key: str, scheme: str) -> None:
    on_both = ("--bind", "127.0.0.1", "::1")
    with contextlib.ExitStack() as stack:
        match scheme:
            case "memcached":
                port = stack.enter_context(memcached_server(tmp_path, "-l", "::1")).port
            case "redis":
                port = stack.enter_context(redis_server(tmp_path, *on_both)).port
            case _:
                cluster = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
                node = stack.enter_context(redis_server(tmp_path, *on_both, *cluster))
                port = node.port
                with node.client() as admin:
                    admin.execute_command("CLUSTER", "ADDSLOTS", *range(16384))  # type: ignore[no-untyped-call] # redis-py is typed in parts only
                    wait_until("the cluster up", lambda: admin.cluster("INFO")["cluster_state"] == "ok")
        found = Place(scheme, f"{scheme}://[::1]:{port}", lambda: 0)
        stack.callback(found.close)
        store = found.open()
        begin(store, key, n=1)
        assert counter(store, key, "n") == 1


def test_check_says_nothing_where_all_is_well(store: SessionStore) -> None:
    store.check()


@pytest.mark.parametrize(
    "change",
    [
        {"create": True, "new_key": "a"},
        {"note": b"of no move"},
        {"add": {"n": 2**53}},
        {"put": {"n": -(2**53)}},
        {"expect": {"n": 2**60}},
        {"set": {"half a character: \ud800": b"1"}},
    ],
)
def test_a_change_that_no_store_could_carry_out_can_not_be_made(change: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Change(**change)  # type: ignore[arg-type] # wrong on purpose
