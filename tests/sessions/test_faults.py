"""A session store that is down, frozen, slow, silent, or talks nonsense: an answer in time, with its cause, and back by
itself. The times are printed (pytest -s); what is asserted of them is only that nothing hangs."""

import contextlib
import secrets
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis.connection

from service.breaker import FAILURES, PAUSE
from service.sessions.deadline import within
from service.sessions.memcached import MemcachedStore
from service.sessions.redis import RedisStore
from service.sessions.rules import Limits
from service.sessions.session import Session
from service.sessions.store import Applied, Change, Refusal, SessionStore, StoreUnavailable
from tests.support.memcached import MemcachedServer, memcached_server
from tests.support.processes import free_port, freeze, stop, wait_until
from tests.support.proxy import Proxy, black_hole, proxy
from tests.support.redis import RedisServer, redis_server
from tests.support.session_stores import at_once

TIMEOUT = 0.25
LONG = 4.0  # seconds, much longer than the breaker's pause
PATIENT = 5.0  # seconds, where what is said counts and not how soon: tests share their machine
GENEROUS = 3.0  # seconds; a thread that hangs would hang much longer
KINDS = ("redis", "memcached")

Server = RedisServer | MemcachedServer


@contextlib.contextmanager
def server(kind: str, folder: Path, *, port: int = 0) -> Iterator[Server]:
    with redis_server(folder, port=port) if kind == "redis" else memcached_server(folder, port=port) as running:
        yield running


def redis_at(url: str, *, timeout: float = PATIENT, password: str = "") -> SessionStore:
    return RedisStore(url=url, timeout=timeout, limits=Limits(600, 600, 1_000_000), password=password)


def memcached_at(
    url: str, *, timeout: float = PATIENT, lifetime: float = 600, max_bytes: int = 1_000_000
) -> SessionStore:
    return MemcachedStore(url=url, timeout=timeout, limits=Limits(lifetime, lifetime * 2, max_bytes))


@contextlib.contextmanager
def store_at(kind: str, port: int, *, timeout: float = TIMEOUT) -> Iterator[SessionStore]:
    if kind == "redis":
        store = redis_at(f"redis://127.0.0.1:{port}/0", timeout=timeout)
    else:
        store = memcached_at(f"memcached://127.0.0.1:{port}", timeout=timeout)
    try:
        yield store
    finally:
        store.close()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def running(kind: str, tmp_path: Path) -> Iterator[Server]:
    with server(kind, tmp_path) as found:
        yield found


@pytest.fixture
def between(running: Server) -> Iterator[Proxy]:
    with proxy(running.port) as found:
        yield found


@pytest.fixture
def store(kind: str, between: Proxy) -> Iterator[SessionStore]:
    with store_at(kind, between.port) as found:
        yield found


def begun(store: SessionStore) -> str:
    """The key of a session."""
    key = secrets.token_hex(32)
    assert isinstance(store.apply(key, Change(set={"a": b"1"}, put={"n": 1}, create=True)), Applied)
    return key


def assert_unavailable(store: SessionStore, key: str, what: str, *causes: str, calls: int = FAILURES + 3) -> None:
    """Reads and writes fail in time, with one of the causes in the message; and soon at once."""
    took = []
    for number in range(calls):
        started = time.monotonic()
        with pytest.raises(StoreUnavailable) as caught:
            if number % 2:
                store.apply(key, Change(add={"n": 1}))
            else:
                store.read(key)
        took.append(time.monotonic() - started)
        assert any(cause in str(caught.value) for cause in causes), str(caught.value)
    print(f"{store.name} {what}: answered after {', '.join(f'{t * 1000:.0f}' for t in took)} ms")
    assert max(took) < GENEROUS


def assert_back(store: SessionStore, key: str, what: str, *, kept: bool = True) -> None:
    started = time.monotonic()

    def answers() -> bool:
        with contextlib.suppress(StoreUnavailable):
            is_there = store.read(key) is not None
            return is_there == kept and isinstance(store.apply(begun(store), Change(add={"n": 1})), Applied)
        return False

    wait_until("the store's return", answers)
    print(f"{store.name} {what}: back after {(time.monotonic() - started) * 1000:.0f} ms")


def test_stopped_and_restarted_empty(kind: str, tmp_path: Path) -> None:
    """Redis has lost the scripts too. What was pooled before is noticed to be dead: no request fails for it."""
    port = free_port()
    with contextlib.ExitStack() as first:
        first.enter_context(server(kind, tmp_path, port=port))
        with store_at(kind, port) as store:
            key = begun(store)
            first.close()
            assert_unavailable(store, key, "stopped", "refused", "closed")
            with server(kind, tmp_path, port=port):
                assert_back(store, key, "started again", kept=False)
                assert store.apply(key, Change(add={"n": 1})) is Refusal.GONE


def test_a_restart_between_two_requests_costs_none(kind: str, tmp_path: Path) -> None:
    port = free_port()
    with store_at(kind, port, timeout=PATIENT) as store:
        for _ in range(3):
            with server(kind, tmp_path, port=port):
                at_once(*[lambda: begun(store)] * 8)


def test_frozen_and_thawed(running: Server, store: SessionStore) -> None:
    key = begun(store)
    freeze(running.process.pid)
    assert_unavailable(store, key, "frozen", "did not respond in time")
    running.process.send_signal(signal.SIGCONT)
    assert_back(store, key, "thawed")


def test_slow(between: Proxy, store: SessionStore) -> None:
    key = begun(store)
    between.delay = TIMEOUT * 2
    assert_unavailable(store, key, "slow", "did not respond in time")
    between.delay = 0
    assert_back(store, key, "fast again")


def test_a_byte_at_a_time(between: Proxy, store: SessionStore) -> None:
    """Each byte comes within any socket's timeout; the answer does not."""
    key = begun(store)
    between.drip = TIMEOUT / 5
    assert_unavailable(store, key, "dripping", "did not respond in time")
    between.drip = 0
    assert_back(store, key, "flowing again")


def test_swallowing_what_is_sent(between: Proxy, store: SessionStore) -> None:
    key = begun(store)
    between.swallow = True
    assert_unavailable(store, key, "swallowing", "did not respond in time")
    between.swallow = False
    assert_back(store, key, "answering again")


def test_a_black_hole(kind: str) -> None:
    """Not even a connection is refused."""
    with black_hole() as port, store_at(kind, port) as store:
        assert_unavailable(store, "k", "a black hole", "did not respond in time")


@pytest.mark.parametrize(
    "nonsense",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00\xff" * 50,
        b"+OK\r\n",
        b":7\r\n",
        b"*2\r\n:1\r\n:2\r\n",
        b"*3\r\n$4\r\nv:\xff\xfe\r\n$1\r\n1\r\n$0\r\n\r\n",
        b"*-1\r\n*-1\r\n",
        b"$-5\r\n",
        b"*99999999999\r\n",
        b"-\r\n",
        b"-ERR \x1b[31m made up\r\n",
        b"VALUE x y z\r\n",
        b"VALUE other 0 1 1\r\nx\r\nEND\r\n",
        b"SERVER_ERROR made up\r\n",
        b"STORED\r\n",
        b"\r\n" * 20,
    ],
    ids=lambda nonsense: repr(nonsense[:12]),
)
def test_nonsense(between: Proxy, store: SessionStore, nonsense: bytes) -> None:
    key = begun(store)
    between.answer = nonsense
    outcomes = Counter[str]()
    messages: list[str] = []
    for number in range(4):
        started = time.monotonic()
        try:
            if number % 2:
                outcomes[str(store.apply(key, Change(add={"n": 1})))] += 1
            else:
                outcomes[str(store.read(key))] += 1
        except StoreUnavailable as error:
            outcomes["unavailable"] += 1
            messages.append(str(error))
        assert time.monotonic() - started < GENEROUS
    assert all(message.isprintable() for message in messages)
    # A lone nil is how Redis says that there is none: that is no nonsense to a read.
    assert outcomes["unavailable"] == 4 or set(outcomes) == {"unavailable", "None"}
    between.answer = b""
    store.check()
    assert store.read(key) is not None


def test_many_threads_hold_no_thread_long(running: Server, store: SessionStore) -> None:
    """While it is frozen, most requests fail at once instead of holding their thread for the timeout."""
    key = begun(store)
    freeze(running.process.pid)
    took: list[float] = []

    def ask() -> None:
        for _ in range(20):
            started = time.monotonic()
            with contextlib.suppress(StoreUnavailable):
                store.read(key)
            took.append(time.monotonic() - started)

    at_once(*[ask] * 8)
    running.process.send_signal(signal.SIGCONT)
    slow = sum(1 for t in took if t > TIMEOUT / 2)
    print(f"{store.name} frozen, 8 threads: {slow} of {len(took)} requests waited, {max(took) * 1000:.0f} ms at most")
    assert slow < len(took) / 2
    assert max(took) < GENEROUS
    assert_back(store, key, "thawed, with 8 threads")


def test_no_storm_of_connections_while_it_is_down(between: Proxy, store: SessionStore) -> None:
    key = begun(store)
    between.swallow = True
    with pytest.raises(StoreUnavailable):
        store.read(key)
    before = between.connections
    end = time.monotonic() + 2
    tries = 0
    while time.monotonic() < end:
        with contextlib.suppress(StoreUnavailable):
            store.read(key)
        tries += 1
        time.sleep(0.005)
    print(f"{store.name} down: {between.connections - before} connections for {tries} requests in 2 s")
    assert between.connections - before < 15
    between.swallow = False
    assert_back(store, key, "after the storm that was none")


def test_while_it_is_down_one_request_at_a_time_waits_as_long_as_the_timeout_is(kind: str, running: Server) -> None:
    with store_at(kind, running.port, timeout=LONG) as store, ThreadPoolExecutor(FAILURES + 4) as pool:
        key = begun(store)
        freeze(running.process.pid)
        opening = [pool.submit(store.read, key) for _ in range(FAILURES)]
        assert all(isinstance(failed.exception(), StoreUnavailable) for failed in opening)
        attempts = []
        for _ in range(4):
            time.sleep(1.1 * PAUSE)  # or it would be too soon for an attempt, whoever else makes one
            attempts.append(pool.submit(store.read, key))
        refused = [attempt for attempt in attempts if "not tried again yet" in str(attempt.exception())]
        assert len(refused) == len(attempts) - 1
        running.process.send_signal(signal.SIGCONT)
        assert_back(store, key, "thawed")


def test_a_request_waits_no_longer_for_several_steps_than_for_one(between: Proxy, store: SessionStore) -> None:
    """Each step would be within the timeout; a request must not wait for all of them."""
    begun(store)
    between.delay = TIMEOUT * 0.4
    session = Session(store, secrets.token_bytes(32), timeout=TIMEOUT, max_bytes=1000)
    started = time.monotonic()
    with pytest.raises(StoreUnavailable):
        for _ in range(10):
            session.step(Change(add={"n": 1}))
            session._id = session._id or secrets.token_bytes(32)
    took = time.monotonic() - started
    print(f"{store.name}: ten slow steps were cut off after {took * 1000:.0f} ms")
    assert took < GENEROUS


def test_a_request_without_time_left_is_told_so(store: SessionStore) -> None:
    key = begun(store)
    for call in (lambda: store.read(key), lambda: store.apply(key, Change(add={"n": 1})), lambda: store.delete(key)):
        with pytest.raises(StoreUnavailable, match="in time"), within(0):
            call()


def test_a_request_that_does_other_things_between_its_steps_may_take_many(store: SessionStore) -> None:
    """As an upload does, which accounts for what comes in as it comes in."""
    session = Session(store, None, timeout=0.25, max_bytes=1000)
    waited = 0.0
    while waited < 0.5:
        started = time.monotonic()
        session.increment("n")
        took = time.monotonic() - started
        waited += took
        time.sleep(took)


def test_a_check_tells_what_is_wrong(running: Server, store: SessionStore) -> None:
    store.check()
    stop(running.process)
    with pytest.raises(StoreUnavailable, match=r"refused|closed|made no sense|can't be used"):
        store.check()


def test_a_check_finds_a_store_that_is_back(kind: str, tmp_path: Path) -> None:
    port = free_port()
    with store_at(kind, port) as store:
        for _ in range(FAILURES):
            with pytest.raises(StoreUnavailable, match="refused"):
                store.read("k")
        with server(kind, tmp_path, port=port):
            store.check()
            assert store.read("k") is None, "the check's success counts for everybody"


# Redis only


@contextlib.contextmanager
def redis_and_store(folder: Path) -> Iterator[tuple["redis.Redis", SessionStore]]:
    """A server, seen by its administrator, and the store in it."""
    with redis_server(folder) as running, running.client() as admin:
        with store_at("redis", running.port, timeout=PATIENT) as store:
            yield admin, store


def test_redis_full(tmp_path: Path) -> None:
    """What is there can be read, changed to something smaller is not; a move loses nothing."""
    with redis_and_store(tmp_path) as (admin, store):
        key = begun(store)
        admin.config_set("maxmemory", "1")
        with pytest.raises(StoreUnavailable, match="full"):
            store.apply(key, Change(add={"n": 1}))
        with pytest.raises(StoreUnavailable, match="full"):
            store.apply(secrets.token_hex(32), Change(create=True))
        with pytest.raises(StoreUnavailable, match="full"):
            store.apply(key, Change(new_key=secrets.token_hex(32)))
        with pytest.raises(StoreUnavailable, match="full"):
            store.check()
        for _ in range(FAILURES):
            with pytest.raises(StoreUnavailable):
                store.apply(key, Change(add={"n": 1}))
        record = store.read(key)
        assert record is not None, "a full store can still be read, whatever else failed"
        assert (record.values, record.counters) == ({"a": b"1"}, {"n": 1})
        store.delete(key)
        admin.config_set("maxmemory", "0")
        begun(store)


def test_redis_a_read_only_replica(tmp_path: Path) -> None:
    """And once it is a primary (again), by itself."""
    with redis_and_store(tmp_path) as (admin, store):
        key = begun(store)
        admin.replicaof("127.0.0.1", admin.connection_pool.connection_kwargs["port"])
        for call in (lambda: store.read(key), lambda: store.apply(key, Change(add={"n": 1})), store.check):
            with pytest.raises(StoreUnavailable, match="read-only replica"):
                call()
        admin.replicaof("NO", "ONE")
        assert_back(store, key, "a primary again")


def test_redis_wants_a_password(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--requirepass", "canary-secret") as redis:
        with store_at("redis", redis.port, timeout=PATIENT) as store:
            assert_unavailable(store, "k", "without a password", "wants another password")
        wrong = redis_at(f"redis://:canary-wrong@127.0.0.1:{redis.port}/0")
        with pytest.raises(StoreUnavailable, match="WRONGPASS") as caught:
            wrong.check()
        wrong.close()
        assert "canary" not in str(caught.value)
        right = redis_at(redis.url, password="canary-secret")
        right.check()
        right.close()


def test_redis_loading(between_loading: tuple[Proxy, SessionStore]) -> None:
    """As after a restart with a large dump, and the other answers of a server that is not ready."""
    between, store = between_loading
    for answer, cause in (
        (b"-LOADING Redis is loading the dataset in memory\r\n", "LOADING"),
        (b"-BUSY Redis is busy running a script\r\n", "BUSY"),
        (b"-CLUSTERDOWN Hash slot not served\r\n", "CLUSTERDOWN"),
        (b"-MOVED 3999 127.0.0.1:6381\r\n", "MOVED"),
        (b"-NOPERM this user has no permissions\r\n", "NOPERM"),
    ):
        between.answer = answer
        with pytest.raises(StoreUnavailable, match=cause):
            store.read("k")
        between.answer = b""
        assert_back(store, begun(store), cause)


@pytest.fixture
def between_loading(tmp_path: Path) -> Iterator[tuple[Proxy, SessionStore]]:
    with redis_server(tmp_path) as redis, proxy(redis.port) as between:
        with store_at("redis", between.port, timeout=PATIENT) as store:
            yield between, store


def test_redis_loses_its_scripts_between_two_requests(tmp_path: Path) -> None:
    with redis_and_store(tmp_path) as (admin, store):
        key = begun(store)
        for _ in range(3):
            admin.script_flush()
            assert store.read(key) is not None
            admin.script_flush()
            assert isinstance(store.apply(key, Change(add={"n": 1})), Applied)
            admin.script_flush()
            new = secrets.token_hex(32)
            assert isinstance(store.apply(key, Change(new_key=new, note=b"a")), Applied)
            admin.script_flush()
            assert store.read_note(key) == b"a"
            key = new


def test_redis_gives_a_new_id_in_one_command(tmp_path: Path) -> None:
    with redis_and_store(tmp_path) as (admin, store):
        keys = [begun(store) for _ in range(10)]
        admin.config_resetstat()
        for key in keys:
            assert store.apply(key, Change(new_key=secrets.token_hex(32))) == Applied({"n": 1})
        calls = admin.info("commandstats")
        assert calls["cmdstat_evalsha"]["calls"] == len(keys)


def test_redis_a_connection_begins_with_no_round_trip(tmp_path: Path) -> None:
    with redis_and_store(tmp_path) as (admin, store):
        admin.config_resetstat()
        store.read("k")
        sent = {name.removeprefix("cmdstat_") for name in admin.info("commandstats")}
        assert not sent & {"hello", "auth", "select", "ping", "client|setinfo", "client|setname", "client|tracking"}
        # What this version of Redis does not know is counted as an error only.
        assert set(admin.info("errorstats")) <= {"errorstat_NOSCRIPT"}


def test_redis_a_reply_that_was_not_read_is_nobody_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever comes between a command and its answer: the next visitor must not get this one's session."""
    with redis_server(tmp_path) as server, store_at("redis", server.port, timeout=PATIENT) as store:
        mine, other = begun(store), begun(store)
        assert isinstance(store.apply(other, Change(set={"a": b"2"})), Applied)
        assert store.read(mine) is not None  # the server knows the script now

        def interrupted(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        for _ in range(100):  # the reply may come before or after the next command
            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr(redis.connection.Connection, "read_response", interrupted)
                store.read(mine)
            found = store.read(other)
            assert found is not None
            assert found.values == {"a": b"2"}


def test_redis_two_replies_to_one_command_are_not_shifted_to_the_next(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server, proxy(server.port) as between:
        with store_at("redis", between.port, timeout=PATIENT) as store:
            key = begun(store)
            between.answer = b"*-1\r\n" * 2  # two times that there is no such session
            assert store.read("0" * 64) is None
            between.answer = b""
            assert store.read(key) is not None


def listens(path: Path) -> bool:
    """Whether somebody does, on a Unix socket; its file is there a little before."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def test_redis_over_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    with redis_server(tmp_path, "--unixsocket", str(path)):
        wait_until("the socket", lambda: listens(path))
        store = redis_at(f"unix://{path}?db=3")
        assert store.read(begun(store)) is not None
        store.close()
    gone = redis_at(f"unix://{path}")
    with pytest.raises(StoreUnavailable, match=r"redis\.sock"):
        gone.read("k")
    gone.close()


# Memcached only


def test_memcached_full_without_eviction(tmp_path: Path) -> None:
    """With -M it says so; without, it drops what was used least lately (docs/decisions/0003-one-memcached-item.md)."""
    with (
        memcached_server(tmp_path, "-M", "-m", "2") as memcached,
        store_at("memcached", memcached.port, timeout=PATIENT) as store,
    ):
        key = begun(store)
        content = b'"' + b"x" * 400_000 + b'"'
        with pytest.raises(StoreUnavailable, match="out of memory"):
            for _ in range(50):
                store.apply(secrets.token_hex(32), Change(set={"a": content}, create=True))
        assert store.read(key) is not None


def test_memcached_an_item_over_the_servers_limit_is_too_large_and_the_old_one_stays(tmp_path: Path) -> None:
    with memcached_server(tmp_path) as memcached:
        store = memcached_at(memcached.url, timeout=10, max_bytes=5_000_000)
        key = begun(store)
        large = Change(set={"a": b'"' + b"x" * 1_100_000 + b'"'})
        assert store.apply(key, large) is Refusal.TOO_LARGE
        assert store.apply(key, Change(set=large.set, new_key="b" * 64)) is Refusal.TOO_LARGE
        assert store.apply("c" * 64, Change(set=large.set, create=True)) is Refusal.TOO_LARGE
        record = store.read(key)
        store.close()
        assert record is not None
        assert record.values == {"a": b"1"}


def test_memcached_holds_something_else_under_the_key(tmp_path: Path) -> None:
    with memcached_server(tmp_path) as memcached, store_at("memcached", memcached.port, timeout=PATIENT) as store:
        key = begun(store)
        for junk in (b"", b"{}\n", b"[]\n", b'{"created":1,"counters":{},"values":[["a",9]]}\n1', b"\xff\n"):
            with socket.create_connection(("127.0.0.1", memcached.port)) as plain:
                plain.sendall(b"set session:1:%s 0 0 %d\r\n%s\r\n" % (key.encode(), len(junk), junk))
                assert plain.recv(100) == b"STORED\r\n"
            for call in (lambda: store.read(key), lambda: store.apply(key, Change(add={"n": 1}))):
                with pytest.raises(StoreUnavailable, match="no sense"):
                    call()


def test_memcached_lives_longer_than_30_days(tmp_path: Path) -> None:
    """Memcached takes what is longer for a date; the session would be gone at once."""
    with memcached_server(tmp_path) as memcached:
        store = memcached_at(memcached.url, lifetime=90 * 86400)
        key = begun(store)
        record = store.read(key)
        assert record is not None
        assert isinstance(store.apply(key, Change(add={"n": 1})), Applied)
        assert store.read(key) is not None
        store.close()


def test_memcached_threads_take_turns_at_a_session(tmp_path: Path) -> None:
    """In one process few swaps are in vain, so many visitors' requests at once do not run out of time."""
    with memcached_server(tmp_path) as memcached, store_at("memcached", memcached.port, timeout=10) as store:
        key = begun(store)
        at_once(*[lambda: store.apply(key, Change(add={"n": 1}))] * 32)
        assert memcached.stats()["cas_badval"] == 0


def test_memcached_what_was_read_serves_for_one_write_only(tmp_path: Path) -> None:
    with memcached_server(tmp_path) as memcached, store_at("memcached", memcached.port, timeout=10) as store:
        key = begun(store)
        store.read(key)
        for _ in range(3):
            store.apply(key, Change(add={"n": 1}))
        stats = memcached.stats()
        assert (stats["cmd_touch"], stats["cmd_get"], stats["cas_hits"], stats["cas_badval"]) == (1, 2, 3, 0)


def test_memcached_a_thread_that_waits_for_its_turn_keeps_to_the_deadline(tmp_path: Path) -> None:
    with memcached_server(tmp_path) as memcached, store_at("memcached", memcached.port) as store:
        key = begun(store)
        freeze(memcached.process.pid)
        started = time.monotonic()
        errors: list[str] = []

        def write() -> None:
            with pytest.raises(StoreUnavailable) as caught:
                store.apply(key, Change(add={"n": 1}))
            errors.append(str(caught.value))

        threads = [threading.Thread(target=write) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        took = time.monotonic() - started
        print(f"16 threads that wait for one session of a frozen server: answered after {took * 1000:.0f} ms")
        assert took < GENEROUS
        assert len(errors) == 16
