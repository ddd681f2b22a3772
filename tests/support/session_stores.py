"""Each session store on its real server, and how many commands that server was sent."""

import contextlib
import re
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from service.sessions import open_store
from service.sessions.store import SessionStore
from service.settings import Settings, load
from tests.support.memcached import memcached_server
from tests.support.redis import redis_server
from tests.support.redis_cluster import redis_cluster

NAMES = ("redis", "memcached", "memory")
ALL_NAMES = (*NAMES, "redis-cluster")  # whose commands are not counted

# What is sent, not what a script does inside; INFO and CONFIG are the tests' own.
_REDIS_COMMANDS = "evalsha|eval|del|get|set|hello|auth|select|client\\|.*|ping|exists|expire|multi|watch"
_MEMCACHED_COMMANDS = ("cmd_get", "cmd_touch", "cmd_set", "delete_hits", "delete_misses", "incr_hits", "incr_misses")


@dataclass
class Place:
    """Where sessions can be kept. ``commands()``: how many its server was sent up to now."""

    name: str
    url: str
    commands: Callable[[], int]
    _opened: list[SessionStore] = field(default_factory=list)

    def settings(self, **settings: str) -> Settings:
        """Settings that name this store, with time for a busy machine."""
        return load(
            {
                "SESSION_URL": self.url,
                "STORAGE_URL": "file:///nowhere",
                "SESSION_TIMEOUT": "10s",
                "COOKIE_SECURE": "false",
                **settings,
            }
        )

    def open(self, **settings: str) -> SessionStore:
        """The store, closed when the place is left."""
        store = open_store(self.settings(**settings))
        self._opened.append(store)
        return store

    def close(self) -> None:
        """Close what was opened."""
        for store in self._opened:
            store.close()


@contextlib.contextmanager
def place(name: str) -> Iterator[Place]:
    """A place of this name, with nothing in it."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        match name:
            case "redis":
                redis = redis_server(folder)
                running_redis = stack.enter_context(redis)
                admin = stack.enter_context(running_redis.client())

                def commands() -> int:
                    stats = admin.info("commandstats")
                    pattern = re.compile(f"cmdstat_({_REDIS_COMMANDS})")
                    return sum(int(stat["calls"]) for key, stat in stats.items() if pattern.fullmatch(key))

                found = Place(name, running_redis.url, commands)
            case "memcached":
                memcached = stack.enter_context(memcached_server(folder))

                def commands() -> int:
                    stats = memcached.stats()  # where a "gats" is a touch
                    return sum(stats[key] for key in _MEMCACHED_COMMANDS)

                found = Place(name, memcached.url, commands)
            case "redis-cluster":
                cluster = stack.enter_context(redis_cluster(folder))
                found = Place(name, cluster.url, lambda: 0)
            case _:
                found = Place(name, "memory://", lambda: 0)
        yield found
        found.close()


def at_once(*functions: Callable[[], object]) -> None:
    """Run each in a thread of its own, all begun together. The first error is raised here."""
    barrier = threading.Barrier(len(functions))
    errors: list[BaseException] = []

    def run(function: Callable[[], object]) -> None:
        try:
            barrier.wait(30)
            function()
        except BaseException as error:  # noqa: BLE001 -- raised below, in the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a thread hangs"
    if errors:
        raise errors[0]
