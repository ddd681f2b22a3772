"""The connections of a worker: in one selector those that wait, and beside it those that are with a request thread.

Everything here is called in the worker's main thread.
"""

import errno
import logging
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from service.server import error_responses
from service.server.client_socket import ClientSocket
from service.server.request_reader import READ, VisitorConnection
from service.settings import Settings

ACCEPT_PAUSE = 0.1  # seconds at least without another try, after an accept that failed
BACKLOG = 2048  # connections that the system holds until they are accepted
LINGER = 2.0  # seconds in which the client may close its side after us (RFC 9112 §9.6)
SPARE = 32  # file descriptors for files and stores, where the system has too few

_TOO_MANY = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

log = logging.getLogger(__name__)


class ConnectionSet:
    """Accepts connections, waits for their requests, and closes them.

    What the system refuses for a connection ends that connection, and nothing else.
    """

    def __init__(
        self, listeners: Sequence[socket.socket], settings: Settings, start: Callable[[VisitorConnection], object]
    ) -> None:
        """``start`` is called with a connection whose request is complete; ``finish`` is to be called after it."""
        self.selector: selectors.BaseSelector
        self.waiting: dict[VisitorConnection, Callable[[VisitorConnection], None]] = {}  # see make_room for the order
        self.working: set[VisitorConnection] = set()  # in a thread, or waiting for one
        self._listeners = listeners
        self._settings = settings
        self._start_request = start
        self._most = settings.max_connections
        self._watched: set[socket.socket] = set()  # the listeners that are in the selector
        self._accept_error: int | None = None  # the errno of the last accept
        self._accept_after = 0.0  # monotonic: not before that

    def open(self) -> None:
        """Call this first, in the worker's process: a selector must not be shared with the parent."""
        self.selector = selectors.DefaultSelector()

    def wait_for_events(self, seconds: float) -> None:
        """Wait so long at most, and call what is registered for each connection that is ready."""
        for key, _ in self.selector.select(seconds):
            key.data()

    def accept_while_there_is_room(self) -> None:
        """Leave new connections in the backlog while so many are working that none can be closed for a new one."""
        has_room = len(self.working) < self._most and time.monotonic() >= self._accept_after
        for listener in self._listeners:
            if has_room == (listener in self._watched):
                continue
            if has_room:
                self._watch(listener)
            else:
                self._unwatch(listener)

    def take_backlog(self) -> None:
        """Accept all connections that the system has in its backlogs, and no more after that."""
        for listener in self._listeners:
            for _ in range(BACKLOG):  # not for ever: an error may last
                if not self._accept(listener):
                    break
            if listener in self._watched:
                self._unwatch(listener)
            listener.close()

    def finish(self, conn: VisitorConnection, keep_alive: float | None) -> None:
        """A request is over. The connection waits ``keep_alive`` seconds for the next one; None: it ends."""
        self.working.discard(conn)
        if keep_alive is None:
            self.attempt(self._linger, conn)
        else:
            self.attempt(self._expect_next_request, conn, keep_alive)

    def attempt(self, step: Callable[..., None], conn: VisitorConnection, *more: Any) -> None:
        """Take a step with a connection. An error ends the connection, and not the worker with all the others."""
        try:
            step(conn, *more)
        except Exception as error:
            log.warning("a connection was closed: %s", error, exc_info=not isinstance(error, OSError))
            self.working.discard(conn)
            if conn in self.waiting:
                self._forget(conn)
            conn.socket.close()

    def close_late(self) -> None:
        """Close connections that are past their deadline."""
        now = time.monotonic()
        for conn in [conn for conn in self.waiting if conn.deadline < now]:
            if conn.began is not None and self.waiting[conn] == self._read:
                self._forget(conn)
                error_responses.send(conn.socket, 408, "The request took too long to arrive.")
                self.attempt(self._linger, conn)
            else:
                self._close(conn)

    def _watch(self, listener: socket.socket) -> None:
        try:
            self.selector.register(listener, selectors.EVENT_READ, partial(self._accept, listener))
        except OSError as error:
            self._pause(error)
        else:
            self._watched.add(listener)

    def _unwatch(self, listener: socket.socket) -> None:
        self._watched.discard(listener)
        self.selector.unregister(listener)

    def _accept(self, listener: socket.socket) -> bool:
        """Take one connection from the backlog. False where there is none."""
        try:
            plain, address = listener.accept()
        except BlockingIOError:  # another worker has taken it
            return False
        except OSError as error:
            self._pause(error)
            return True
        self._accept_error = None
        self.make_room(self._most - 1)
        client = ClientSocket(plain.family, plain.type, plain.proto, plain.detach())
        conn = VisitorConnection(client, address, listener.getsockname(), max_body=self._settings.max_upload_bytes)
        self.attempt(self._expect_first_request, conn)
        return True

    def _pause(self, error: OSError) -> None:
        """After an error, accept nothing for a moment: it may last, and the loop would turn at full speed.

        accept(2) says of most errors that they are of one connection, and are to be passed over. But a firewall or a
        security module may refuse each of them. Whatever it is, it must not cost the requests in flight.
        """
        if error.errno != self._accept_error:
            log.warning("a connection can't be accepted: %s", error.strerror)
        self._accept_error = error.errno
        self._accept_after = time.monotonic() + ACCEPT_PAUSE
        if error.errno in _TOO_MANY:
            most = max(SPARE, len(self.waiting) + len(self.working) - SPARE)
            if error.errno == errno.EMFILE and most < self._most:  # the others are of the whole system, and pass
                self._most = most
                log.warning("from now on at most %d connections are kept open", most)
            self.make_room(most)

    def make_room(self, most: int) -> None:
        """Close connections that wait, until there are at most so many, working ones included.

        First the one whose last request ended, or whose next one began, longest ago.
        """
        while self.waiting and len(self.waiting) + len(self.working) > most:
            conn = next(iter(self.waiting))
            if conn.began is None and self.waiting[conn] == self._read:
                # Its next request may have arrived: an idle connection is closed, not that.
                self.attempt(self._read, conn)
            if next(iter(self.waiting), None) is conn:
                self._close(conn)

    def close_waiting(self) -> None:
        """Close all connections but those that are working."""
        for conn in list(self.waiting):
            self._close(conn)

    def _expect_first_request(self, conn: VisitorConnection) -> None:
        conn.socket.make_room()
        self._expect_request(conn, self._settings.head_timeout)

    def _expect_next_request(self, conn: VisitorConnection, seconds: float) -> None:
        conn.start_over()
        self._expect_request(conn, seconds)

    def _expect_request(self, conn: VisitorConnection, seconds: float) -> None:
        conn.socket.setblocking(False)
        conn.deadline = time.monotonic() + seconds
        if conn.receive():
            self._take(conn)
        else:
            self._limit_head(conn)
            self._wait(conn, self._read)

    def _read(self, conn: VisitorConnection) -> None:
        was_idle = conn.began is None
        if conn.receive():
            self._forget(conn)
            self._take(conn)
            return
        if was_idle and conn.began is not None:
            self.waiting[conn] = self.waiting.pop(conn)  # now the last one to be closed to make room
        self._limit_head(conn)

    def _limit_head(self, conn: VisitorConnection) -> None:
        """Once its first byte has arrived, a request must be complete within HEAD_TIMEOUT."""
        if conn.began is not None:
            conn.deadline = min(conn.deadline, conn.began + self._settings.head_timeout)

    def _take(self, conn: VisitorConnection) -> None:
        """A request has arrived, or the connection is over."""
        if not conn.has_request:
            self._linger(conn)
        elif conn.socket.unsent():  # a client that reads no responses would block the thread of its next request
            conn.socket.tell_when_sent(wanted=True)
            conn.deadline = time.monotonic() + self._settings.io_timeout
            self._wait(conn, self._sent, selectors.EVENT_WRITE)
        else:
            self._start(conn)

    def _sent(self, conn: VisitorConnection) -> None:
        self._forget(conn)
        conn.socket.tell_when_sent(wanted=False)
        self._start(conn)

    def _start(self, conn: VisitorConnection) -> None:
        self.working.add(conn)
        conn.socket.wait_in_thread(self._settings.io_timeout, self._settings.min_transfer_rate)
        self._start_request(conn)

    def _linger(self, conn: VisitorConnection) -> None:
        """Close our side, and read until the client closes its own. Else it could lose the end of the response."""
        try:
            conn.socket.shutdown(socket.SHUT_WR)
        except OSError:
            conn.socket.close()
            return
        conn.socket.setblocking(False)
        conn.deadline = time.monotonic() + LINGER
        self._wait(conn, self._discard)

    def _discard(self, conn: VisitorConnection) -> None:
        try:
            if conn.socket.recv(READ):
                return
        except BlockingIOError:
            return
        except OSError:
            pass  # the client has reset it
        self._close(conn)

    def _wait(
        self, conn: VisitorConnection, then: Callable[[VisitorConnection], None], event: int = selectors.EVENT_READ
    ) -> None:
        self.selector.register(conn.socket, event, partial(self._call, conn, then))
        self.waiting[conn] = then

    def _call(self, conn: VisitorConnection, then: Callable[[VisitorConnection], None]) -> None:
        if self.waiting.get(conn) == then:  # else another event of the same round has closed it to make room
            self.attempt(then, conn)

    def _forget(self, conn: VisitorConnection) -> None:
        del self.waiting[conn]
        self.selector.unregister(conn.socket)

    def _close(self, conn: VisitorConnection) -> None:
        self._forget(conn)
        conn.socket.close()
