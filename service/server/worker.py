"""The worker process: a loop in the main thread that waits for all connections, and threads that serve requests.

- A request takes a thread only when its head has arrived, and its body too where that is small. Until then it costs a
  slot in the selector, so slow clients don't take the service down.
- A client that does not read its responses is not given a thread for its next request.
- A connection is closed by waiting in the selector until the client closes, too; nobody else waits for that.
- At the end, connections in the listen backlog are taken, then the listeners are closed. Idle connections are closed
  soon, requests in flight have SHUTDOWN_GRACE, and those that are not complete then are cut and logged.
"""

import contextlib
import errno
import os
import queue
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from gunicorn.workers.base import Worker  # type: ignore[import-untyped] # gunicorn ships no types

from service.server import error_responses
from service.server.client_socket import ClientSocket
from service.server.request_handler import RequestHandler
from service.server.request_reader import READ, VisitorConnection

if TYPE_CHECKING:
    from service.settings import Settings

LINGER = 2.0  # seconds until a closed connection is given up (RFC 9112 §9.6)
IDLE_AT_END = 1.0  # seconds that an idle connection lives on when the worker ends: a request may be on its way
LOOK_EVERY = 0.5  # seconds from one look at late connections, and at the parent process, to the next
CUT_WAIT = 1.0  # seconds for a cut request's thread to notice and log
SPARE = 32  # file descriptors for files and stores, where the system has too few

_TOO_MANY = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_LOST_BEFORE_ACCEPT = frozenset({  # accept(2): the connection's own errors, to be passed over
    errno.ECONNABORTED, errno.ENETDOWN, errno.EPROTO, errno.ENOPROTOOPT, errno.EHOSTDOWN, errno.ENONET,
    errno.EHOSTUNREACH, errno.EOPNOTSUPP, errno.ENETUNREACH, errno.EPERM,
})  # fmt: skip


class HttpWorker(Worker):  # type: ignore[misc] # of gunicorn
    """gunicorn's ``worker_class``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._settings: Settings = self.app.settings
        self._waiting: dict[
            VisitorConnection, Callable[[VisitorConnection], None]
        ] = {}  # in the selector, oldest first
        self._working: set[VisitorConnection] = set()  # in a thread, or waiting for one
        self._finished: queue.SimpleQueue[tuple[VisitorConnection, bool]] = queue.SimpleQueue()
        self._most = self._settings.max_connections
        self._is_accepting = self._is_ending = False

    @property
    def has_requests(self) -> bool:
        """Whether threads work on requests: then Python's own end would wait for them."""
        return bool(self._working)

    def run(self) -> None:
        """Serve until told to end, then end."""
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake, selectors.EVENT_READ, self._take_finished)
        self._handler = RequestHandler(self.wsgi, self.app.lifecycle, self.cfg, self.log)
        self._executor = ThreadPoolExecutor(self._settings.threads, thread_name_prefix="request")
        signal.signal(signal.SIGTERM, self._handle_sigterm)
        signal.signal(signal.SIGQUIT, self._handle_sigquit)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the parent to answer
        self._is_ending = self.app.lifecycle.ending  # a SIGTERM may have come before
        looked = 0.0
        while not self._is_ending:
            self._accept_while_there_is_room()
            self._wait_for_events(LOOK_EVERY)
            if time.monotonic() - looked < LOOK_EVERY:
                continue  # under load this loop turns thousands of times a second
            looked = time.monotonic()
            self.notify()
            self._close_late()
            if os.getppid() != self.ppid:
                break
        self._end()

    def _handle_sigterm(self, *_: object) -> None:
        """End, if the parent says so. A SIGTERM that went to the whole process group is for the parent to answer."""
        if self.app.lifecycle.ending:
            self._is_ending = True
            os.eventfd_write(self._wake, 1)

    def _handle_sigquit(self, *_: object) -> None:
        sys.exit(0)

    def _wait_for_events(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            key.data()

    # New connections.

    def _accept_while_there_is_room(self) -> None:
        has_room = len(self._working) < self._most
        if has_room != self._is_accepting:
            self._is_accepting = has_room
            for listener in self.sockets:
                if has_room:
                    self._selector.register(listener, selectors.EVENT_READ, partial(self._accept, listener))
                else:
                    self._selector.unregister(listener)

    def _accept(self, listener: socket.socket) -> bool:
        """Take one connection from the backlog; False where there is none."""
        try:
            plain, address = listener.accept()
        except OSError as error:
            if error.errno in _TOO_MANY:
                self._most = max(1, len(self._waiting) + len(self._working) - SPARE)
                self.log.warning("%s: from now on at most %d connections are kept open", error.strerror, self._most)
                self._make_room(self._most)
            elif error.errno in _LOST_BEFORE_ACCEPT:
                return True
            elif error.errno != errno.EAGAIN:  # another worker has taken it
                raise
            return False
        client = ClientSocket(fileno=plain.detach())
        client.make_room()
        self._make_room(self._most - 1)
        max_body = self._settings.max_upload_bytes
        conn = VisitorConnection(client, address, listener.getsockname(), max_body=max_body)
        self._expect_request(conn, self._settings.head_timeout)
        return True

    def _make_room(self, most: int) -> None:
        """Close connections that wait, oldest first, until there are at most so many."""
        while self._waiting and len(self._waiting) + len(self._working) > most:
            self._close(next(iter(self._waiting)))

    # Connections that wait.

    def _expect_request(self, conn: VisitorConnection, seconds: float) -> None:
        conn.socket.setblocking(False)
        conn.deadline = time.monotonic() + seconds
        self._wait(conn, self._read)
        self._read(conn)

    def _read(self, conn: VisitorConnection) -> None:
        if not conn.receive():
            if conn.began is not None:
                # Once its first byte has arrived, a request must be complete within HEAD_TIMEOUT.
                conn.deadline = min(conn.deadline, conn.began + self._settings.head_timeout)
            return
        self._forget(conn)
        if not conn.has_request:
            self._linger(conn)
        elif conn.socket.unsent():  # or a client that reads no responses would block the thread of its next request
            conn.socket.tell_when_sent(wanted=True)
            conn.deadline = time.monotonic() + self._settings.io_timeout
            self._wait(conn, self._sent, selectors.EVENT_WRITE)
        else:
            self._start(conn)

    def _sent(self, conn: VisitorConnection) -> None:
        self._forget(conn)
        conn.socket.tell_when_sent(wanted=False)
        self._start(conn)

    def _linger(self, conn: VisitorConnection) -> None:
        """Close our side, and read until the client closes its own, or it could lose the end of the response."""
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
        self._selector.register(conn.socket, event, partial(self._call, conn, then))
        self._waiting[conn] = then

    def _call(self, conn: VisitorConnection, then: Callable[[VisitorConnection], None]) -> None:
        if self._waiting.get(conn) == then:  # else an event of the same look has closed it to make room
            then(conn)

    def _forget(self, conn: VisitorConnection) -> None:
        del self._waiting[conn]
        self._selector.unregister(conn.socket)

    def _close(self, conn: VisitorConnection) -> None:
        self._forget(conn)
        conn.socket.close()

    def _close_late(self) -> None:
        now = time.monotonic()
        for conn in [conn for conn in self._waiting if conn.deadline < now]:
            if conn.began is not None and self._waiting[conn] == self._read:
                self._forget(conn)
                error_responses.send(conn.socket, 408, "The request took too long to arrive.")
                self._linger(conn)
            else:
                self._close(conn)

    # Requests.

    def _start(self, conn: VisitorConnection) -> None:
        self._working.add(conn)
        conn.socket.wait_in_thread(self._settings.io_timeout, self._settings.min_transfer_rate)
        self._executor.submit(self._serve, conn)

    def _serve(self, conn: VisitorConnection) -> None:
        """Called in a thread."""
        lives = False
        try:
            lives = self._handler.serve(conn)
        except BaseException:  # nobody else would log it
            self.log.exception("a request ended in an unexpected way")
        finally:
            self._finished.put((conn, lives))
            os.eventfd_write(self._wake, 1)

    def _take_finished(self) -> None:
        os.eventfd_read(self._wake)
        for _ in range(self._finished.qsize()):
            conn, lives = self._finished.get()
            self._working.discard(conn)
            if lives:
                conn.start_over()
                self._expect_request(conn, IDLE_AT_END if self._is_ending else self._settings.keep_alive)
            else:
                self._linger(conn)

    # The end.

    def _end(self) -> None:
        self._is_ending = True
        for listener in self.sockets:
            while self._accept(listener):
                pass
            if self._is_accepting:
                self._selector.unregister(listener)
            listener.close()
        deadline = time.monotonic() + self._settings.shutdown_grace
        idle = time.monotonic() + min(IDLE_AT_END, self._settings.shutdown_grace)
        for conn in self._waiting:
            conn.deadline = min(conn.deadline, deadline if conn.began is not None else idle)
        while (self._waiting or self._working) and time.monotonic() < deadline:
            self.notify()
            self._wait_for_events(0.1)
            self._close_late()
        if self._working:
            self._cut()
        for conn in list(self._waiting):
            self._close(conn)
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _cut(self) -> None:
        """SHUTDOWN_GRACE is over: break the connections of the requests in flight, and log what they were."""
        for request in self.app.in_flight():
            seconds = time.monotonic() - request.began
            self.log.error("cut after SHUTDOWN_GRACE: %s %s, %.1f s", request.method, request.path, seconds)
        for conn in self._working:
            with contextlib.suppress(OSError):
                conn.socket.shutdown(socket.SHUT_RDWR)
        end = time.monotonic() + CUT_WAIT
        while self._working and time.monotonic() < end:
            self.notify()
            self._wait_for_events(0.1)
