"""The worker process: a main thread that waits for all connections, and threads that serve requests.

A request takes a thread only when its headers have arrived, and its body too where that is small, and when the client
has read the response before it. All other waiting is done in a selector (connections.py), so slow clients hold no
threads.
"""

import contextlib
import errno
import os
import queue
import selectors
import signal
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from gunicorn.http import wsgi  # type: ignore[import-untyped] # gunicorn ships no types
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped] # as above
from gunicorn.workers.base import Worker  # type: ignore[import-untyped] # as above

from service.server import error_responses
from service.server.connections import ConnectionSet
from service.server.request_queue import RequestQueue
from service.server.request_reader import RequestInput

if TYPE_CHECKING:
    from service.server.request_reader import VisitorConnection
    from service.settings import Settings

LOOK_EVERY = 0.5  # seconds between two looks at late connections and at the parent process
IDLE_AT_END = 1.0  # seconds that idle connections stay open when the worker ends: a request may be on its way
CUT_WAIT = 1.0  # seconds for a cut request's thread to notice and log
# A terminal sends some of them to the whole process group. The parent handles SIGINT, and passes over the others.
PARENTS_SIGNALS = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)
CLIENT_HAS_GONE = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN})


class HttpWorker(Worker):  # type: ignore[misc] # of gunicorn
    """gunicorn's ``worker_class``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._settings: Settings = self.app.settings
        self._queue: RequestQueue[VisitorConnection] = RequestQueue(
            self._settings.queue_timeout,
            self._settings.max_connections // 2,  # the others are for clients whose request is on its way
        )
        self._connections = ConnectionSet(self.sockets, self._settings, self._queue.put)
        self._finished: queue.SimpleQueue[tuple[VisitorConnection, bool]] = queue.SimpleQueue()
        self._is_ending = False
        self._refused = 0  # requests, since that was reported

    @property
    def has_requests(self) -> bool:
        """Whether threads work on requests. Python's own end would wait for them."""
        return bool(self._connections.working)

    def run(self) -> None:
        """Serve until the worker must end."""
        self._connections.open()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._connections.selector.register(self._wake, selectors.EVENT_READ, self._take_finished)
        self._start_threads()
        signal.signal(signal.SIGTERM, self._handle_sigterm)
        signal.signal(signal.SIGQUIT, lambda *_: sys.exit(0))
        for number in PARENTS_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        self._is_ending = self.app.lifecycle.ending  # SIGTERM may have arrived before there was a handler for it
        looked = 0.0
        while not self._is_ending:
            self._connections.accept_while_there_is_room()
            self._connections.wait_for_events(min(LOOK_EVERY, self._queue.patience()))
            self._refuse(self._queue.late())
            if time.monotonic() - looked < LOOK_EVERY:
                continue  # under load this loop turns thousands of times a second
            looked = time.monotonic()
            self.notify()
            self._connections.close_late()
            self._report_refused()
            if os.getppid() != self.ppid:
                break
        self._end()

    def notify(self) -> None:
        """Tell the parent that this worker lives. It waits for more than one, so an error costs nothing."""
        with contextlib.suppress(OSError):
            super().notify()

    def _start_threads(self) -> None:
        """The request threads, all started now: a limit on threads must not be found by a request."""
        try:
            for number in range(self._settings.threads):
                threading.Thread(target=self._serve, name=f"request_{number}", daemon=True).start()
        except RuntimeError as error:
            # Not fewer: bulkheads and readiness count on so many. The parent process tries again with another worker.
            self.log.critical("can't start THREADS=%d threads: %s; raise the limit", self._settings.threads, error)
            sys.exit(1)

    def _handle_sigterm(self, *_: object) -> None:
        """End, if the parent has decided it. It also handles a SIGTERM to the whole process group."""
        if self.app.lifecycle.ending:
            self._is_ending = True
            os.eventfd_write(self._wake, 1)

    def _refuse(self, waiting: list["VisitorConnection"]) -> None:
        """Refuse requests that were taken out of the queue."""
        for conn in waiting:
            self._connections.attempt(self._refuse_one, conn)
        self._refused += len(waiting)

    def _refuse_one(self, conn: "VisitorConnection") -> None:
        conn.socket.setblocking(False)  # a response so small fits into the system's buffer, if the client reads
        is_kept = conn.skip_request() and not self.app.lifecycle.draining
        is_kept = error_responses.send_busy(conn.socket, is_kept=is_kept) and is_kept
        self._connections.finish(conn, self._settings.keep_alive if is_kept else None)

    def _report_refused(self) -> None:
        if self._refused:
            self.log.warning("%d requests were refused: more arrive than can be served", self._refused)
            self.app.count_refused(self._refused)
            self._refused = 0

    def _serve(self) -> None:
        """What a request thread does, until the process ends."""
        while True:
            conn, is_kept = self._queue.take(), False
            try:
                is_kept = self._handle(conn)
            except BaseException:  # nothing else would log it
                self.log.exception("a request ended in an unexpected way")
            finally:
                self._finished.put((conn, is_kept))
                os.eventfd_write(self._wake, 1)

    def _handle(self, conn: "VisitorConnection") -> bool:
        """Serve the request that has arrived. Whether the connection can take another."""
        try:
            request = conn.next_request(self.cfg)
            response, environ = wsgi.create(request, conn.socket, conn.address, conn.server, self.cfg)
        except ParseException as error:
            status, detail = error_responses.reason(error)
            # Not what was sent: it may hold a secret, and anybody may send anything.
            self.log.info("refused a malformed request from %s: %s", conn.address[0], type(error).__name__)
            error_responses.send(conn.socket, status, detail)
            return False
        environ["wsgi.multithread"] = True
        environ["wsgi.input"] = body = RequestInput(environ)
        try:
            self._respond(environ, response, body)
        except Exception as error:  # nothing after this can send a response
            if isinstance(error, OSError) and error.errno in CLIENT_HAS_GONE:
                return False
            self.log.exception("error while a request was served")
            if not response.headers_sent:
                error_responses.send(conn.socket, 500, "Something went wrong here.")
            return False
        return not response.should_close() and body.finish()

    def _respond(self, environ: dict[str, Any], response: Any, body: RequestInput) -> None:
        """Call the application and write its response."""
        has_body = False

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            nonlocal has_body
            has_body = environ["REQUEST_METHOD"] != "HEAD" and not status.startswith("304")
            # The middleware calls this just before the first bytes leave, so "Connection" is decided here. It is
            # "close" when the service ends, so that the client's next request goes elsewhere. Where some of the body
            # is unread and perhaps has not arrived, because waiting for it would hold the thread. And where "close"
            # is one of several members of the client's header (RFC 9110 §7.6.1), which gunicorn does not look for.
            asked = [member.strip(" \t") for member in environ.get("HTTP_CONNECTION", "").lower().split(",")]
            if self.app.lifecycle.draining or body.may_be_on_its_way or "close" in asked:
                response.force_close()
            return response.start_response(status, headers, exc_info)

        pieces = self.wsgi(environ, start_response)
        try:
            for piece in pieces:
                response.write(piece)
            if has_body and response.sent < (response.response_length or 0):
                response.force_close()  # or the client would take the next response for the rest of this one
            response.close()
        finally:
            if hasattr(pieces, "close"):
                pieces.close()

    def _take_finished(self) -> None:
        os.eventfd_read(self._wake)
        keep_alive = IDLE_AT_END if self._is_ending else self._settings.keep_alive
        for _ in range(self._finished.qsize()):
            conn, is_kept = self._finished.get()
            self._connections.finish(conn, keep_alive if is_kept else None)

    def _end(self) -> None:
        """Close idle connections soon. Requests in flight are cut after SHUTDOWN_GRACE."""
        self._is_ending = True
        connections = self._connections
        connections.take_backlog()
        deadline = time.monotonic() + self._settings.shutdown_grace
        idle = time.monotonic() + min(IDLE_AT_END, self._settings.shutdown_grace)
        for conn in connections.waiting:
            conn.deadline = min(conn.deadline, deadline if conn.began is not None else idle)
        while (connections.waiting or connections.working) and time.monotonic() < deadline:
            self._wait_at_end()
        self._refuse(self._queue.rest())  # nothing was done for them: they may be sent elsewhere
        if connections.working:
            self._cut()
        connections.close_waiting()
        self._report_refused()

    def _wait_at_end(self) -> None:
        self.notify()
        self._connections.wait_for_events(0.1)
        self._refuse(self._queue.late())
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
