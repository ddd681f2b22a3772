"""Sessions in one Redis or Valkey (5 or later), one hash a session. The rules run in the server: redis_scripts.py."""

from collections.abc import Callable
from typing import Any, TypeVar

from service.sessions.redis_connection import RedisServer, connection_options, evaluate
from service.sessions.redis_scripts import Script
from service.sessions.redis_sessions import PREFIX, RedisSessions
from service.sessions.rules import Limits

T = TypeVar("T")


class RedisStore(RedisSessions):
    """A SessionStore. Times are in seconds; ``login`` and what is raised: see connection_options()."""

    name = "redis"

    def __init__(
        self, *, url: str, timeout: float, idle_lifetime: float, absolute_lifetime: float, max_bytes: int, **login: str
    ) -> None:
        super().__init__(Limits(idle_lifetime, absolute_lifetime, max_bytes))
        self._server = RedisServer(timeout=timeout, **connection_options(url, **login))

    def close(self) -> None:
        self._server.close()

    def _run(
        self, script: Script, keys: list[str], *arguments: Any, understand: Callable[[Any], T], probe: bool = False
    ) -> T:
        names = [PREFIX + key for key in keys]
        return self._server.call(
            lambda connection: understand(evaluate(connection, script, names, *arguments)), probe=probe
        )
