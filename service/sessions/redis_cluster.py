"""Sessions in a Redis Cluster (or Valkey's): the same hashes and scripts as in one Redis, on the node that has the key.

Which node that is we learn ourselves: redis-py's RedisCluster can't keep what is promised
(docs/decisions/0002-sessions-of-our-own.md).
https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
"""

import contextlib
import random
import time
from binascii import crc_hqx
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from redis.exceptions import AskError, MovedError

from service.sessions.deadline import remaining, within
from service.sessions.redis_connection import connection_options
from service.sessions.redis_scripts import DELETE, READ, Script
from service.sessions.redis_sessions import PREFIX, RedisServer, RedisSessions, Step, ask, fields_of, record_of, refusal
from service.sessions.rules import Limits, changed
from service.sessions.store import Applied, Change, Record, Refusal, StoreUnavailable

T = TypeVar("T")
Address = tuple[str, int]

REDIRECTS = 5  # in one call; a cluster at rest needs none
REFRESH_PAUSE = 0.5  # seconds from one question for the map to the next, while there is an old one

# A session with another key's content. ARGV: idle and absolute lifetime (ms), then its fields, "created" among them.
COPY = Script("""
redis.call('HSET', key, 'moved', '1')
redis.call('DEL', key)
local created
for i = 3, #ARGV, 2 do
  redis.call('HSET', key, ARGV[i], ARGV[i + 1])
  if ARGV[i] == 'created' then created = ARGV[i + 1] end
end
slide(key, created)
return 'ok'
""")

# The session has another key now, if no request wrote to it since. ARGV: idle and absolute lifetime (ms), the version
# that was copied, the note. "ok", "gone", "moved", or "conflict" where one did.
MARK = Script("""
if fields.moved then return 'moved' end
if not fields.created then return 'gone' end
if fields.version ~= ARGV[3] then return 'conflict' end
leave_mark(ARGV[4])
return 'ok'
""")


class RedisClusterStore(RedisSessions):
    """A SessionStore. ``url`` is redis+cluster:// or rediss+cluster:// and names any node; the others are found.

    ``timeout`` is in seconds; ``login`` and errors: see connection_options().
    """

    name = "redis-cluster"

    def __init__(self, *, url: str, timeout: float, limits: Limits, **login: str) -> None:
        super().__init__(limits, self._find_and_run)
        self._timeout = timeout
        options = connection_options(url.replace("+cluster", "", 1), **login)
        self._nodes = _Nodes(
            (options["host"], options["port"]),
            lambda host, port: RedisServer(timeout=timeout, **options | {"host": host, "port": port}),
        )
        self.close = self._nodes.close

    def apply(self, key: str, change: Change) -> Applied | Refusal:
        """A new key costs three round trips: it is in another slot, and no script can write to both."""
        if change.new_key is None:
            return super().apply(key, change)
        with within(self._timeout):
            return self._move(key, change.new_key, change)

    def check(self) -> None:
        """As of one Redis; and each node that was taken to be down is used again if it responds."""
        with within(self._timeout):
            super().check()
            self._nodes.look_at_those_down()

    def _move(self, key: str, new_key: str, change: Change) -> Applied | Refusal:
        """Copy, then leave a mark at the old key if no other request wrote there meanwhile; else again.

        A crash between the two leaves the old session as it was, and a copy under a key that no visitor has.
        """

        def understand(reply: Any) -> tuple[dict[bytes, bytes], Record | None] | None:
            return None if reply is None else (fields_of(reply), record_of(reply))

        old_keys, new_keys = [PREFIX + key], [PREFIX + new_key]
        while True:
            found = self._run(Step(READ, old_keys, self._lifetimes, understand))
            if found is None:
                # A change of nothing tells whether it was moved or is gone.
                result = self.apply(key, Change())
                if isinstance(result, Refusal):
                    return result
                continue
            fields, old = found
            new = changed(old, change, self._limits, now=0)
            if isinstance(new, Refusal):
                return new
            copy: dict[str, Any] = {"created": fields[b"created"], "version": 1}
            copy |= {f"v:{name}": value for name, value in new.values.items()}
            copy |= {f"n:{name}": number for name, number in new.counters.items()}
            flat = [part for field in copy.items() for part in field]
            self._run(Step(COPY, new_keys, [*self._lifetimes, *flat], refusal))
            why_not = self._run(Step(MARK, old_keys, [*self._lifetimes, fields[b"version"], change.note], refusal))
            if why_not is None:
                return Applied(new.counters)
            if why_not is not Refusal.CONFLICT:
                self._run(Step(DELETE, new_keys, self._lifetimes, refusal))
                return why_not

    def _find_and_run(self, step: Step[T], *, probe: bool = False) -> T:
        try:
            with within(self._timeout):
                return self._follow(step, probe=probe)
        except StoreUnavailable:
            self._nodes.is_in_doubt = True
            raise
        except TimeoutError as error:
            raise StoreUnavailable("the Redis Cluster did not respond in time") from error

    def _follow(self, step: Step[T], *, probe: bool) -> T:
        run = step.run
        server = self._nodes.of(step.keys[0])
        for _ in range(REDIRECTS):
            try:
                return server.call(run, probe=probe)
            except StoreUnavailable as error:
                redirect = error.__cause__
                if not isinstance(redirect, AskError):  # MovedError is one, too
                    raise
            if isinstance(redirect, MovedError):
                self._nodes.is_in_doubt = True
                run = step.run
            else:  # this key only, while its slot is moved
                run = partial(_run_asking, step)
            server = self._nodes.at(_host(redirect.host, server.host), redirect.port)
        raise StoreUnavailable(f"{server.where} redirects in circles")


class _Nodes:
    """The nodes, and which of them has a key. ``seed`` is the one that SESSION_URL names.

    ``is_in_doubt``: the map may be wrong, and a next call asks for another.
    """

    def __init__(self, seed: Address, open_server: Callable[[str, int], RedisServer]) -> None:
        self._seed = seed
        self._open = open_server
        self._servers = {seed: open_server(*seed)}
        self._slots: Sequence[tuple[int, int, Address]] = ()  # first and last slot, and the primary that has them
        self._next_refresh = 0.0
        self.is_in_doubt = False

    def of(self, key: str) -> RedisServer:
        """The node that has the key, as far as is known. StoreUnavailable where no node has it; TimeoutError."""
        if not self._slots or (self.is_in_doubt and time.monotonic() >= self._next_refresh):
            self._refresh()
        slot = crc_hqx(key.encode(), 0) % 16384  # our keys have no {hash tag}
        for first, last, address in self._slots:
            if first <= slot <= last:
                return self.at(*address)
        raise StoreUnavailable(f"no node of the Redis Cluster has slot {slot}")

    def at(self, host: str, port: int) -> RedisServer:
        """The node at an address."""
        server = self._servers.get((host, port))
        return server or self._servers.setdefault((host, port), self._open(host, port))

    def look_at_those_down(self) -> None:
        """Ask each of them whether it is back, so that no visitor has to find out."""
        down = [server for server in self._servers.values() if server.breaker.is_open]
        for index, server in enumerate(down):
            with contextlib.suppress(StoreUnavailable, TimeoutError), within(remaining() / (len(down) - index)):
                server.call(lambda connection: ask(connection, "PING"), probe=True)

    def close(self) -> None:
        for server in self._servers.values():
            server.close()

    def _refresh(self) -> None:
        """Ask one node after another, those that are down last, until one has a map: a node that left has none."""
        self.is_in_doubt = False
        self._next_refresh = time.monotonic() + REFRESH_PAUSE
        servers = random.sample([*self._servers.values()], len(self._servers))
        servers.sort(key=lambda server: server.breaker.is_open)
        causes = []
        # With an old map the command itself must have most of the time, or its time-out would prove nothing.
        with within(remaining() / (3 if self._slots else 1)):
            for index, server in enumerate(servers):
                try:
                    # A node that hangs must leave time for the next ones.
                    with within(remaining() / min(len(servers) - index, 3)):
                        reply = server.call(lambda connection: ask(connection, "CLUSTER", "SLOTS"))
                        found = [(int(a), int(b), [_address(node, server) for node in nodes]) for a, b, *nodes in reply]
                except (StoreUnavailable, TimeoutError) as error:
                    causes.append(str(error))
                    continue
                if found:
                    # Replicas are known, too: one of them may be all that is left.
                    known = {self._seed, *(address for _, _, addresses in found for address in addresses)}
                    self._servers = {address: self.at(*address) for address in known}
                    self._slots = [(first, last, addresses[0]) for first, last, addresses in found]
                    return
                causes.append(f"{server.where} has no part in a Redis Cluster")
        self.is_in_doubt = True
        if not self._slots:
            raise StoreUnavailable("; ".join(causes))


def _address(node: Sequence[Any], asked: RedisServer) -> Address:
    """Where a node is, of which ``asked`` told: [host, port, id, and from Redis 7 on ["ip", its IP address, ...]]."""
    host = node[0]
    if host == b"?" and len(node) > 3:
        host = dict(zip(node[3][::2], node[3][1::2], strict=True)).get(b"ip")
    return _host(host.decode() if host else "", asked.host), int(node[1])


def _host(announced: str, asked: str) -> str:
    """A node that announces no host is where the response came from."""
    return asked if announced in ("", "?") else announced


def _run_asking(step: Step[T], connection: Any) -> T:
    """Run a step where ASK sent us, which has to be said before each command."""
    ask(connection, "ASKING")
    return step.understand(ask(connection, "EVAL", step.script.text, *step.inputs))
