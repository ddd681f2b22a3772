"""The worker process: a main thread that waits for all connections, and threads that serve requests.

A request takes a thread only when its head has arrived, and its body too where that is small, and when the client has
read the response before it. All other waiting is done in a selector (connections.py), so slow clients don't take the
service down.
"""

import contextlib
import os
import queue
import selectors
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from gunicorn.workers.base import Worker  # type: ignore[import-untyped] # gunicorn ships no types

from service.server.connections import ConnectionSet
from service.server.request_handler import RequestHandler

if TYPE_CHECKING:
    from service.server.request_reader import VisitorConnection
    from service.settings import Settings

LOOK_EVERY = 0.5  # seconds from one look at late connections, and at the parent process, to the next
IDLE_AT_END = 1.0  # seconds that an idle connection lives on when the worker ends: a request may be on its way
CUT_WAIT = 1.0  # seconds for a cut request's thread to notice and log


class HttpWorker(Worker):  # type: ignore[misc] # of gunicorn
    """gunicorn's ``worker_class``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._settings: Settings = self.app.settings
        self._connections = ConnectionSet(self.sockets, self._settings, self._start)
        self._finished: queue.SimpleQueue[tuple[VisitorConnection, bool]] = queue.SimpleQueue()
        self._is_ending = False

    @property
    def has_requests(self) -> bool:
        """Whether threads work on requests: then Python's own end would wait for them."""
        return bool(self._connections.working)

    def run(self) -> None:
        """Serve until told to end, then end."""
        self._connections.open()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._connections.selector.register(self._wake, selectors.EVENT_READ, self._take_finished)
        self._handler = RequestHandler(self.wsgi, self.app.lifecycle, self.cfg, self.log)
        self._executor = ThreadPoolExecutor(self._settings.threads, thread_name_prefix="request")
        signal.signal(signal.SIGTERM, self._handle_sigterm)
        signal.signal(signal.SIGQUIT, self._handle_sigquit)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the parent to answer
        if self.app.lifecycle.ending:
            self._is_ending = True  # SIGTERM arrived before there was a handler for it
        looked = 0.0
        while not self._is_ending:
            self._connections.accept_while_there_is_room()
            self._connections.wait_for_events(LOOK_EVERY)
            if time.monotonic() - looked < LOOK_EVERY:
                continue  # under load this loop turns thousands of times a second
            looked = time.monotonic()
            self.notify()
            self._connections.close_late()
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

    def _start(self, conn: "VisitorConnection") -> None:
        self._executor.submit(self._serve, conn)

    def _serve(self, conn: "VisitorConnection") -> None:
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
        keep_alive = IDLE_AT_END if self._is_ending else self._settings.keep_alive
        for _ in range(self._finished.qsize()):
            conn, lives = self._finished.get()
            self._connections.finish(conn, keep_alive if lives else None)

    def _end(self) -> None:
        """Idle connections are closed soon, requests in flight have SHUTDOWN_GRACE, and after that they are cut."""
        self._is_ending = True
        connections = self._connections
        connections.take_backlog()
        deadline = time.monotonic() + self._settings.shutdown_grace
        idle = time.monotonic() + min(IDLE_AT_END, self._settings.shutdown_grace)
        for conn in connections.waiting:
            conn.deadline = min(conn.deadline, deadline if conn.began is not None else idle)
        while (connections.waiting or connections.working) and time.monotonic() < deadline:
            self._wait_at_end()
        if connections.working:
            self._cut()
        connections.close_waiting()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _wait_at_end(self) -> None:
        self.notify()
        self._connections.wait_for_events(0.1)
        self._connections.close_late()

    def _cut(self) -> None:
        """Break the connections of the requests in flight, and log what they were."""
        for request in self.app.in_flight():
            seconds = time.monotonic() - request.began
            self.log.error("cut after SHUTDOWN_GRACE: %s %s, %.1f s", request.method, request.path, seconds)
        for conn in self._connections.working:
            with contextlib.suppress(OSError):
                conn.socket.shutdown(socket.SHUT_RDWR)
        end = time.monotonic() + CUT_WAIT
        while self._connections.working and time.monotonic() < end:
            self._wait_at_end()
