"""A Redis Cluster whose nodes leave, fail, or are replaced: the store follows, in time and without a restart."""

import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis.crc import key_slot

from service.sessions import open_store
from service.sessions.redis_sessions import PREFIX
from service.sessions.store import Applied, Change, SessionStore, StoreUnavailable
from service.settings import load
from tests.support.processes import freeze, wait_until
from tests.support.redis_cluster import RedisCluster, redis_cluster, replica

GENEROUS = 3.0  # seconds; a thread that hangs would hang much longer


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RedisCluster]:
    with redis_cluster(tmp_path) as found:
        yield found


@contextmanager
def opened(cluster: RedisCluster, timeout: str = "250ms") -> Iterator[SessionStore]:
    store = open_store(load({"SESSION_URL": cluster.url, "STORAGE_URL": "file:///nowhere", "SESSION_TIMEOUT": timeout}))
    yield store
    store.close()


def slot_of(key: str) -> int:
    return key_slot((PREFIX + key).encode())


def key_on(number: int) -> str:
    """A key that one of the three nodes has, by how redis-cli shares the slots out."""
    return next(key for key in iter(lambda: secrets.token_hex(32), "") if slot_of(key) * 3 // 16384 == number)


def begun(store: SessionStore) -> list[str]:
    """The keys of a session on each node."""
    keys = [key_on(number) for number in range(3)]
    for key in keys:
        assert isinstance(store.apply(key, Change(put={"n": 1}, create=True)), Applied)
    return keys


def asked(store: SessionStore, key: str) -> str:
    """Why the session can't be read, or nothing. It is said in time."""
    started = time.monotonic()
    try:
        assert store.read(key) is not None
    except StoreUnavailable as error:
        return str(error)
    finally:
        assert time.monotonic() - started < GENEROUS
    return ""


def wait_for(store: SessionStore, *keys: str) -> None:
    """Until all those sessions can be read, and new ones be begun on every node."""

    def is_back() -> bool:
        if any(asked(store, key) for key in keys):
            return False
        begun(store)
        return True

    def is_back_or_not() -> bool:
        try:
            return is_back()
        except StoreUnavailable:
            return False

    started = time.monotonic()
    wait_until("the sessions", is_back_or_not)
    print(f"back after {(time.monotonic() - started) * 1000:.0f} ms")


def test_a_node_that_left_is_not_believed_though_it_is_the_one_in_the_url(cluster: RedisCluster) -> None:
    """It is up and empty. A short hang of another node must not make the store ask it for ever."""
    with opened(cluster) as store:
        keys = begun(store)
        cluster.scale_in(0, target=1)
        wait_for(store, *keys)
        with cluster.nodes[2].client() as admin:
            admin.client_pause(400)
            assert "in time" in asked(store, keys[2])
        wait_for(store, *keys)
        cluster.nodes[0].process.kill()
        cluster.nodes[0].process.wait()
        with cluster.nodes[2].client() as admin:
            admin.client_pause(400)
            assert "in time" in asked(store, keys[2])
        wait_for(store, *keys)


def test_another_node_that_left_and_was_ended(cluster: RedisCluster) -> None:
    with opened(cluster) as store:
        keys = begun(store)
        cluster.scale_in(2, target=1)
        cluster.nodes[2].process.kill()
        wait_for(store, *keys)


@pytest.mark.parametrize("hangs", [True, False], ids=["frozen", "killed"])
def test_a_replica_that_took_over_is_found(cluster: RedisCluster, tmp_path: Path, *, hangs: bool) -> None:
    """The old primary hangs, or refuses connections; the one in the URL, so that no other way leads to the map."""
    with replica(tmp_path, cluster, of=0) as second, opened(cluster) as store:
        keys = begun(store)
        with second.client() as admin:
            wait_until("the copy", lambda: admin.dbsize() > 0)
            if hangs:
                freeze(cluster.nodes[0].process.pid)
            else:
                cluster.nodes[0].process.kill()
                cluster.nodes[0].process.wait()
            assert asked(store, keys[0])
            assert not asked(store, keys[1])
            admin.execute_command("CLUSTER", "FAILOVER", "TAKEOVER")  # type: ignore[no-untyped-call] # typed in parts
        wait_for(store, *keys)


def test_slots_that_nobody_has_are_an_error_until_somebody_has_them(cluster: RedisCluster) -> None:
    with opened(cluster) as store:
        keys = begun(store)
        with cluster.nodes[0].client() as admin:
            admin.execute_command("CLUSTER", "DELSLOTS", slot_of(keys[0]))  # type: ignore[no-untyped-call] # typed in parts
            wait_until("CLUSTERDOWN", lambda: "CLUSTERDOWN" in asked(store, keys[0]))
            admin.execute_command("CLUSTER", "ADDSLOTS", slot_of(keys[0]))  # type: ignore[no-untyped-call] # typed in parts
        wait_for(store, *keys[1:])
        assert store.apply(keys[0], Change(put={"n": 1}, create=True)) == Applied({"n": 1})


@pytest.mark.parametrize("announced", ["hostname", "unknown-endpoint"])
def test_nodes_that_announce_no_name_are_where_the_response_came_from(cluster: RedisCluster, announced: str) -> None:
    """They say "?", or nothing, in the map and in a redirection."""
    for node in cluster.nodes:
        with node.client() as admin:
            admin.config_set("cluster-preferred-endpoint-type", announced)
    with opened(cluster, "5s") as store:
        keys = begun(store)
        assert [asked(store, key) for key in keys] == [""] * 3
        cluster.move_slot(slot_of(keys[0]), 0, 1)
        assert [asked(store, key) for key in keys] == [""] * 3


def test_while_all_nodes_hang_nobody_waits_long(cluster: RedisCluster) -> None:
    with opened(cluster) as store:
        keys = begun(store)
        for node in cluster.nodes:
            freeze(node.process.pid)
        took = []
        for number in range(30):
            started = time.monotonic()
            assert asked(store, keys[number % 3])
            took.append(time.monotonic() - started)
        slow = sum(seconds > 0.1 for seconds in took)
        print(f"{slow} of {len(took)} requests waited, {max(took) * 1000:.0f} ms at most")
        assert slow < len(took) / 2
        for node in cluster.nodes:
            node.process.send_signal(signal.SIGCONT)
        wait_for(store, *keys)


def test_a_new_id_is_given_from_one_node_to_another_while_others_write(cluster: RedisCluster) -> None:
    with opened(cluster, "10s") as store:
        for _ in range(20):
            old, new = key_on(0), key_on(2)
            store.apply(old, Change(set={"a": b"1"}, put={"n": 1}, create=True))
            assert store.apply(old, Change(add={"n": 1}, new_key=new)) == Applied({"n": 2})
            record = store.read(new)
            assert record is not None
            assert (record.values, record.counters) == ({"a": b"1"}, {"n": 2})
            assert store.read(old) is None
