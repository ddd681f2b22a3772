"""Connections to one Redis, as many as threads ask for at once.

redis-py's own pool counts, locks and reports at each use, which costs more than the command does.
"""

from collections import deque
from collections.abc import Callable
from typing import Any


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
            # What has something to read before anything was asked was closed by the server, or has another's answer.
            if sock is not None and not sock.is_readable():
                return connection
            connection.disconnect()

    def give_back(self, connection: Any) -> None:
        """It is not used any more. One that was disconnected is forgotten."""
        if connection._sock is None:
            return
        if connection._parser._reader.has_data():  # more than was asked: the next one would take it for its answer
            connection.disconnect()
            return
        self._idle.append(connection)

    def drop_idle(self) -> None:
        """Those that nobody uses are closed."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return
            connection.disconnect()
