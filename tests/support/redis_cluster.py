"""A real Redis Cluster for tests: three primaries, made by redis-cli as an operator makes one."""

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import require, wait_until
from tests.support.redis import RedisServer, redis_server

NODES = 3


@dataclass(frozen=True)
class RedisCluster:
    """The nodes of a running cluster."""

    nodes: list[RedisServer]

    @property
    def url(self) -> str:
        """What SESSION_URL takes: any node will do."""
        return f"redis+cluster://127.0.0.1:{self.nodes[0].port}"

    def cli(self, *arguments: str) -> str:
        """What ``redis-cli`` says to the first node."""
        return _cli("-p", str(self.nodes[0].port), *arguments)

    def id_of(self, number: int) -> str:
        """The name that the cluster knows a node by."""
        return _cli("-p", str(self.nodes[number].port), "cluster", "myid").strip()

    def scale_in(self, number: int, target: int) -> None:
        """All slots of a node move to another, and the node leaves. It stays up, empty and alone."""
        others = [str(self.nodes[target].port), self.id_of(number), self.id_of(target)]
        address = f"127.0.0.1:{others[0]}"
        moved = ("--cluster-from", others[1], "--cluster-to", others[2], "--cluster-slots", "16384")
        _cli("--cluster", "reshard", address, *moved, "--cluster-yes", "--cluster-pipeline", "1000")
        _cli("--cluster", "del-node", address, others[1])

    def move_slot(self, slot: int, source: int, target: int) -> None:
        """A slot and its keys change nodes, by their numbers, as ``redis-cli --cluster reshard`` does it."""
        ids = [self.id_of(number) for number in range(len(self.nodes))]
        _cli("-p", str(self.nodes[target].port), "cluster", "setslot", str(slot), "importing", ids[source])
        _cli("-p", str(self.nodes[source].port), "cluster", "setslot", str(slot), "migrating", ids[target])
        with self.nodes[source].client() as client:
            for key in client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):  # type: ignore[no-untyped-call] # redis-py is typed in parts
                client.migrate("127.0.0.1", self.nodes[target].port, [key.decode()], 0, 5000)
        for node in self.nodes:
            _cli("-p", str(node.port), "cluster", "setslot", str(slot), "node", ids[target])


@contextlib.contextmanager
def redis_cluster(folder: Path) -> Iterator[RedisCluster]:
    """Three nodes that share the slots, and nothing on disk but their own configuration."""
    with contextlib.ExitStack() as stack:
        nodes = []
        for number in range(NODES):
            options = ("--cluster-enabled", "yes", "--cluster-config-file", f"nodes-{number}.conf")
            nodes.append(stack.enter_context(redis_server(folder, *options, port=_port())))
        addresses = [f"127.0.0.1:{node.port}" for node in nodes]
        _cli("--cluster", "create", *addresses, "--cluster-yes")
        cluster = RedisCluster(nodes)
        for node in nodes:
            wait_until(
                "a whole cluster",
                lambda port=node.port: "cluster_state:ok" in _cli("-p", str(port), "cluster", "info"),  # type: ignore[misc] # bound now
            )
        yield cluster


@contextlib.contextmanager
def replica(folder: Path, cluster: RedisCluster, of: int) -> Iterator[RedisServer]:
    """One node more, that copies the node ``of``."""
    options = ("--cluster-enabled", "yes", "--cluster-config-file", "nodes-replica.conf")
    with redis_server(folder, *options, port=_port()) as server:
        as_replica = ("--cluster-slave", "--cluster-master-id", cluster.id_of(of))
        _cli("--cluster", "add-node", f"127.0.0.1:{server.port}", f"127.0.0.1:{cluster.nodes[of].port}", *as_replica)

        def is_in_sync() -> bool:
            return "master_link_status:up" in _cli("-p", str(server.port), "info", "replication")

        wait_until("the replica", is_in_sync)
        yield server


def _cli(*arguments: str) -> str:
    command = [require("redis-cli", "redis-tools"), "-h", "127.0.0.1", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=60).stdout


def _port() -> int:
    """A free port whose bus port, 10000 above, is free too."""
    while True:
        with socket.socket() as one, socket.socket() as bus, contextlib.suppress(OSError, OverflowError):
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            bus.bind(("127.0.0.1", port + 10_000))
            return port
