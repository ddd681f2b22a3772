"""Connections to one Redis, as many as threads ask for at once.

redis-py's own pool counts, locks and reports at each use, which costs more than the command does.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Any

# What has something to read before anything was asked was closed by the server. One that was used a moment ago is not
# looked at: no server restarts so fast, and it is a call of the system for each command.
FRESH = 0.05  # seconds


class Pool:
    """``make`` gives a connection that is not connected yet. May be used from many threads at once."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._idle: deque[Any] = deque()  # its methods are atomic

    def take(self) -> Any:
        """A connected one; the one that was used last comes first, so that those too many go idle, and are closed."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._make()
                connection.connect()
                return connection
            sock = connection._sock
            if sock is not None and (time.monotonic() - connection.last_used < FRESH or not sock.is_readable()):
                return connection
            connection.disconnect()

    def give_back(self, connection: Any) -> None:
        """It is not used any more. One that was disconnected is forgotten."""
        if connection._sock is None:
            return
        if connection._parser._reader.has_data():  # more than was asked: the next one would take it for its answer
            connection.disconnect()
            return
        connection.last_used = time.monotonic()
        self._idle.append(connection)

    def drop_idle(self) -> None:
        """Those that nobody uses are closed."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return
            connection.disconnect()
