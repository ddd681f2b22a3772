"""Sessions in a real Redis Cluster of three nodes: the same keys and scripts, each on its node."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis.crc import key_slot

from service.breaker import FAILURES
from service.sessions import open_store
from service.sessions.redis_sessions import PREFIX
from service.sessions.store import Applied, Change, Refusal, SessionStore, StoreUnavailable
from service.settings import load
from tests.support.http import Visitor
from tests.support.processes import freeze, wait_until
from tests.support.redis_cluster import RedisCluster, redis_cluster
from tests.support.service import running_service


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    with redis_cluster(tmp_path_factory.mktemp("cluster")) as found:
        yield found


@contextmanager
def opened(cluster: RedisCluster, *, timeout: str = "10s") -> Iterator[SessionStore]:
    settings = {"SESSION_URL": cluster.url, "STORAGE_URL": "file:///nowhere", "SESSION_TIMEOUT": timeout}
    store = open_store(load(settings))
    yield store
    store.close()


def keys(cluster: RedisCluster) -> list[int]:
    """How many sessions each node has."""
    counts = []
    for node in cluster.nodes:
        with node.client() as client:
            counts.append(sum(1 for _ in client.scan_iter(f"{PREFIX}*")))
    return counts


def calls(cluster: RedisCluster, command: str) -> int:
    """How often clients sent a command, to any node."""
    total = 0
    for node in cluster.nodes:
        with node.client() as client:
            total += client.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"]
    return total


def test_every_step_works_on_every_node(cluster: RedisCluster) -> None:
    with opened(cluster) as store:
        for number in range(60):
            key, moved = f"{number:064x}", f"{number + 1000:064x}"
            begun = store.apply(key, Change(set={"name": b'"Ada"'}, add={"visits": 1}, create=True))
            assert begun == Applied({"visits": 1})
            assert store.apply(key, Change(set={"cart": b"[1]"}, new_key=moved)) == Applied({"visits": 1})
            assert store.apply(key, Change()) is Refusal.MOVED
            record = store.read(moved)
            assert record is not None
            assert record.values == {"name": b'"Ada"', "cart": b"[1]"}
            if number % 2:
                assert store.delete(moved) is None
                assert store.read(moved) is None
        store.check()
    assert all(count > 5 for count in keys(cluster)), "the keys are spread over the nodes"


def test_a_known_cluster_costs_one_command_a_step(cluster: RedisCluster) -> None:
    with opened(cluster) as store:
        names = [f"{number:064x}" for number in range(2000, 2030)]
        for name in names:
            store.apply(name, Change(add={"n": 1}, create=True))
            store.read(name)
        before, maps = calls(cluster, "evalsha"), calls(cluster, "cluster|slots")
        for name in names:
            store.read(name)
        assert calls(cluster, "evalsha") - before == len(names)
        assert calls(cluster, "cluster|slots") == maps, "the map is known"


def test_a_cluster_under_the_url_of_one_redis_is_told(cluster: RedisCluster) -> None:
    settings = {"SESSION_URL": cluster.nodes[0].url, "STORAGE_URL": "file:///nowhere", "SESSION_TIMEOUT": "5s"}
    store = open_store(load(settings))
    with pytest.raises(StoreUnavailable, match=r"must begin with redis\+cluster: MOVED"):
        for number in range(60):
            store.read(f"{number:064x}")
    store.close()


def test_a_slot_that_moves_takes_its_sessions_along(cluster: RedisCluster) -> None:
    with opened(cluster) as store:
        key = f"{3000:064x}"
        store.apply(key, Change(add={"n": 1}, create=True))
        slot = key_slot((PREFIX + key).encode())
        source = next(i for i, node in enumerate(cluster.nodes) if has(cluster, i, key))
        target = (source + 1) % len(cluster.nodes)
        cluster.move_slot(slot, source, target)
        assert has(cluster, target, key)
        assert store.apply(key, Change(add={"n": 1})) == Applied({"n": 2})
        cluster.move_slot(slot, target, source)
        assert store.apply(key, Change(add={"n": 1})) == Applied({"n": 3})


def test_a_session_in_a_slot_on_its_way_is_found_by_asking(cluster: RedisCluster) -> None:
    with opened(cluster) as store:
        key = f"{3100:064x}"
        slot = key_slot((PREFIX + key).encode())
        store.apply(key, Change(add={"n": 1}, create=True))
        source = next(i for i in range(3) if has(cluster, i, key))
        target = (source + 1) % 3
        assert store.read(key) is not None  # the map is known
        ids = [_id(cluster, number) for number in range(3)]
        with cluster.nodes[target].client() as admin, cluster.nodes[source].client() as old:
            admin.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])  # type: ignore[no-untyped-call] # typed in parts
            old.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])  # type: ignore[no-untyped-call] # as above
            old.migrate("127.0.0.1", cluster.nodes[target].port, [PREFIX + key], 0, 5000)
            assert store.apply(key, Change(add={"n": 1})) == Applied({"n": 2})
        cluster.move_slot(slot, source, target)
        cluster.move_slot(slot, target, source)
        assert store.apply(key, Change(add={"n": 1})) == Applied({"n": 3})


def test_the_service_serves_visitors_from_a_cluster(cluster: RedisCluster, tmp_path: Path) -> None:
    with running_service(tmp_path, SESSION_URL=cluster.url, SESSION_TIMEOUT="5s") as service:
        visitors = [Visitor(service.app_url) for _ in range(12)]
        for visitor in visitors:
            assert visitor.ask("POST", "/visits").json == {"visits": 1}
            assert visitor.ask("PUT", "/session", name="Ada").status == 200
            assert visitor.ask("POST", "/visits").json == {"visits": 2}
            assert visitor.get("/session").json["name"] == "Ada"
            visitor.close()
        assert not [record for record in service.log if record["severity"] in ("WARNING", "ERROR")]


def test_a_node_that_is_down_takes_its_sessions_only(tmp_path: Path) -> None:
    with redis_cluster(tmp_path) as cluster, opened(cluster) as store:
        for node in cluster.nodes:
            with node.client() as client:
                client.config_set("cluster-require-full-coverage", "no")
        names = [f"{number:064x}" for number in range(30)]
        for name in names:
            store.apply(name, Change(add={"n": 1}, create=True))
        lost = [name for name in names if has(cluster, 0, name)]
        assert 0 < len(lost) < len(names)
        cluster.nodes[0].process.kill()  # the one that SESSION_URL names
        cluster.nodes[0].process.wait()
        failed = []
        for _ in range(3):  # the breaker opens
            failed = [name for name in names if not reachable(store, name)]
        assert failed == lost

        def all_but_lost() -> bool:
            return [name for name in names if not reachable(store, name)] == lost

        wait_until("the rest", all_but_lost)


def test_a_check_lets_requests_through_to_every_node_that_is_back(tmp_path: Path) -> None:
    names = [f"{number:064x}" for number in range(30)]
    with redis_cluster(tmp_path) as cluster, opened(cluster) as patient, opened(cluster, timeout="500ms") as store:
        for name in names:
            patient.apply(name, Change(add={"n": 1}, create=True))
        wait_until("the map is known", lambda: reachable(store, names[0]))
        one_of_each = [next(name for name in names if has(cluster, number, name)) for number in range(3)]
        for node in cluster.nodes:
            freeze(node.process.pid)
        for name in one_of_each * FAILURES:
            assert not reachable(store, name)
        for node in cluster.nodes:
            node.process.send_signal(signal.SIGCONT)
        wait_until("the check", lambda: serves(store))
        assert [name for name in names if not reachable(store, name)] == []  # sooner than their breakers let one try


def serves(store: SessionStore) -> bool:
    try:
        store.check()
    except StoreUnavailable:
        return False
    return True


def has(cluster: RedisCluster, number: int, key: str) -> bool:
    """Whether this node has the session."""
    with cluster.nodes[number].client() as client:
        return any(name == (PREFIX + key).encode() for name in client.scan_iter(f"{PREFIX}*"))


def reachable(store: SessionStore, key: str) -> bool:
    try:
        return store.read(key) is not None
    except StoreUnavailable:
        return False


def _id(cluster: RedisCluster, number: int) -> str:
    with cluster.nodes[number].client() as client:
        return str(client.execute_command("CLUSTER", "MYID").decode())  # type: ignore[no-untyped-call] # typed in parts
