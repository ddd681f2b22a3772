"""Sessions in one Redis or Valkey (5 or later), one hash a session. The rules run in the server: redis_scripts.py."""

from service.sessions.redis_connection import connection_options
from service.sessions.redis_sessions import RedisServer, RedisSessions
from service.sessions.rules import Limits


class RedisStore(RedisSessions):
    """A SessionStore. ``timeout`` is in seconds; ``login`` and errors: see connection_options()."""

    name = "redis"

    def __init__(self, *, url: str, timeout: float, limits: Limits, **login: str) -> None:
        server = RedisServer(timeout=timeout, **connection_options(url, **login))
        super().__init__(limits, server.run)
        self.close = server.close
