"""Which server has a key: one for all, or the nodes of a Redis Cluster, as they themselves tell.

A cluster is noticed by its own answer (MOVED), and its map is asked for then; nothing has to be set. Where a node can't
be reached the map is forgotten, and the next one that answers is asked: so a replica that took over is found.
https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
"""

from collections.abc import Callable, Sequence
from typing import Any

from redis.crc import key_slot

from service.sessions.breaker import Breaker
from service.sessions.redis_pool import Pool

Open = Callable[[str, int], Any]  # a connection to a host and port, not connected yet


class Node:
    """One server: its connections, and whether it is down."""

    def __init__(self, where: str, make: Callable[[], Any]) -> None:
        self.where = where  # for people
        self.pool = Pool(make)
        self.breaker = Breaker()


class Nodes:
    """The servers. ``seed`` is the one that SESSION_URL names."""

    def __init__(self, seed: Node, open_connection: Open) -> None:
        self._seed = seed
        self._open = open_connection
        self._known: dict[tuple[str, int], Node] = {}
        self._ranges: Sequence[tuple[int, int, Node]] = ()  # first and last slot; empty where there is no map

    def of(self, key: str) -> Node:
        """Where the key is, as far as is known: else any that is not down, which knows where it is."""
        if self._ranges:
            slot = key_slot(key.encode())
            for first, last, node in self._ranges:
                if first <= slot <= last:
                    return node
        if self._known and self._seed.breaker.is_open:
            return next((node for node in self._known.values() if not node.breaker.is_open), self._seed)
        return self._seed

    def at(self, host: str, port: int) -> Node:
        """The node at an address."""
        node = self._known.get((host, port))
        if node is None:
            node = Node(f"Redis at {host}:{port}", lambda: self._open(host, port))
            node = self._known.setdefault((host, port), node)  # another thread may have been faster
        return node

    def learn(self, reply: Sequence[Sequence[Any]], asked: str) -> None:
        """The answer to CLUSTER SLOTS. A node that knows no address of its own is the one that was ``asked``."""
        self._ranges = [
            (int(first), int(last), self.at(_text(at[0]) or asked, int(at[1]))) for first, last, at, *_ in reply
        ]

    def forget(self) -> None:
        """The map may be wrong: the next answer will tell."""
        self._ranges = ()

    def close(self) -> None:
        """Close what nobody uses."""
        for node in (self._seed, *self._known.values()):
            node.pool.drop_idle()


def _text(value: bytes | None) -> str:
    return value.decode() if value else ""
