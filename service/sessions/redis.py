"""Sessions in one Redis or Valkey (5 or later), one hash a session. The rules run in the server: redis_scripts.py."""

from service.sessions.redis_connection import connection_options
from service.sessions.redis_sessions import RedisServer, RedisSessions
from service.sessions.rules import Limits


class RedisStore(RedisSessions):
    """A SessionStore. Times are in seconds; ``login`` and what is raised: see connection_options()."""

    name = "redis"

    def __init__(
        self, *, url: str, timeout: float, idle_lifetime: float, absolute_lifetime: float, max_bytes: int, **login: str
    ) -> None:
        server = RedisServer(timeout=timeout, **connection_options(url, **login))
        super().__init__(Limits(idle_lifetime, absolute_lifetime, max_bytes), server.run)
        self.close = server.close
