"""The worker process: gunicorn's threaded worker, with connections that can't hold it up.

What is different from gunicorn's own (docs/decisions/0001-threads-on-gunicorn.md):

- A request takes a thread only when its head has arrived, and its body too where that is small. Until then it costs a
  place in the poller, so slow clients don't take the service down.
- Transfers have a time-out and a least rate, in both directions.
- A client that does not take its answers is not asked what else it wants.
- A connection is closed through the poller, not by waiting for the client.
- At the end, what waits in the listen backlog is taken, then the listeners are closed. Idle connections are closed
  soon, requests in flight get their grace, and what outlives it is cut and logged.
"""

import contextlib
import errno
import selectors
import signal
import socket
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from gunicorn.http import errors, wsgi  # type: ignore[import-untyped] # gunicorn ships no types
from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped] # as above

from service.server import error_responses
from service.server.client_socket import ClientSocket
from service.server.pool import Inbox, Threads
from service.server.request_reader import READ, Connection
from service.server.wire import Request, Response

if TYPE_CHECKING:
    from service.settings import Settings

LINGER = 2.0  # seconds until a closed connection is given up (RFC 9112 §9.6)
IDLE_AT_END = 1.0  # seconds that an idle connection lives on when the worker ends: a request may be on its way
LOOK_EVERY = 0.5  # seconds from one look at late connections, and at the parent process, to the next
CUT_WAIT = 1.0  # seconds for a cut request's thread to notice and log
DRAIN_WAIT = 5.0  # seconds for what is left of a body that nobody read
SPARE = 32  # file descriptors for files and stores, where the system has too few


class Worker(ThreadWorker):  # type: ignore[misc] # of gunicorn
    """See the head of this file."""

    cut = False  # requests were given up: their threads can't be waited for

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.settings: Settings = self.app.settings
        self._waiting: dict[Connection, Any] = {}  # in the poller, longest first: what to do when there is something
        self._working: set[Connection] = set()  # in a thread, or on its way there
        self.method_queue = Inbox()
        self._most = self.settings.max_connections
        # gunicorn stops to accept there; before that, room is made.
        self.worker_connections = self.settings.max_connections + 16

    def get_thread_pool(self) -> Threads:
        """gunicorn asks for the request threads."""
        return Threads(self.cfg.threads, self._serve)

    def init_signals(self) -> None:
        """As gunicorn's, but a terminal's Ctrl-C is the parent's to answer."""
        super().init_signals()
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM: end, if the parent says so. One that went to the whole process group is the parent's to answer."""
        if self.app.lifecycle.ending:
            super().handle_exit(sig, frame)

    def handle_quit(self, sig: int, frame: Any) -> None:
        """SIGQUIT: at once."""
        self.cut = True
        super().handle_quit(sig, frame)

    # The loop, in the main thread.

    def run(self) -> None:
        """Serve until told to end, then end."""
        self.poller.register(self.method_queue.fileno(), selectors.EVENT_READ, self.method_queue.run_callbacks)
        self.set_accept_enabled(True)
        looked = 0.0
        while self.alive:
            self.set_accept_enabled(self.nr_conns < self.worker_connections)
            self.wait_for_and_dispatch_events(LOOK_EVERY)
            if time.monotonic() - looked < LOOK_EVERY:
                continue  # under load this loop turns thousands of times a second
            looked = time.monotonic()
            self.notify()
            if not self.is_parent_alive():
                break
            self._close_late()
        self._end()

    def accept(self, listener: socket.socket) -> bool:
        """Take one connection from the backlog; False where there is none."""
        try:
            plain, address = listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._most = max(1, self.nr_conns - SPARE)
                self.worker_connections = self._most + 16  # where all are at work, no more are taken for a while
                self.log.warning("%s: from now on at most %d connections are kept open", error.strerror, self._most)
                while self.nr_conns > self._most and self._waiting:
                    self._close(next(iter(self._waiting)))
            elif error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK):
                raise
            return False
        client = ClientSocket(fileno=plain.detach())
        client.make_room()
        socket.socket.setblocking(client, False)
        client.limit(self.settings.io_timeout, self.settings.min_transfer_rate)
        conn = Connection(self.cfg, client, address, listener.getsockname())
        self.nr_conns += 1
        if self.nr_conns > self._most and self._waiting:
            self._close(next(iter(self._waiting)))
        self._expect(conn, self.settings.head_timeout)
        return True

    def finish_request(self, conn: Connection, keep: bool | None) -> None:
        """A thread is done with a request (called in the main thread). ``keep``: None where it failed altogether."""
        self._working.discard(conn)
        try:
            if keep is None:
                self._close(conn)
            elif keep:
                conn.take_over()
                self._expect(conn, self.cfg.keepalive if self.alive else IDLE_AT_END)
            else:
                self._linger(conn)
        except Exception:  # noqa: BLE001 -- the connection is of no use any more, whatever it was
            self._close(conn)

    def _expect(self, conn: Connection, seconds: float) -> None:
        """Wait for a request in the poller, and read what is there already."""
        conn.sock.setblocking(False)
        conn.deadline = time.monotonic() + seconds
        conn.sock.limit(self.settings.io_timeout, self.settings.min_transfer_rate)
        if conn.is_complete():
            self._start(conn)
            return
        self._note_head(conn)
        self._wait(conn, self._readable)

    def _readable(self, conn: Connection) -> None:
        if conn.is_complete():
            self._forget(conn)
            self._start(conn)
        else:
            self._note_head(conn)

    def _start(self, conn: Connection) -> None:
        """Give the request a thread, once the client has taken what it asked for before.

        A client that sends requests and reads no answers would otherwise block the thread of the next one.
        """
        if not conn.sock.unsent():
            self._work(conn)
            return
        conn.sock.tell_when_sent(wanted=True)
        conn.deadline = time.monotonic() + self.settings.io_timeout
        self._wait(conn, self._sent, selectors.EVENT_WRITE)

    def _sent(self, conn: Connection) -> None:
        self._forget(conn)
        conn.sock.tell_when_sent(wanted=False)
        self._work(conn)

    def _note_head(self, conn: Connection) -> None:
        """A request that has begun has its own time to come."""
        if conn.began is not None:
            conn.deadline = min(conn.deadline, conn.began + self.settings.head_timeout)

    def _work(self, conn: Connection) -> None:
        self._working.add(conn)
        self.tpool.put(conn)

    def _linger(self, conn: Connection) -> None:
        """Close our side, and read on until the client closes its own, or it would lose our last words."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(conn)
            return
        conn.sock.setblocking(False)
        conn.deadline = time.monotonic() + LINGER
        self._wait(conn, self._drain)

    def _drain(self, conn: Connection) -> None:
        try:
            if socket.socket.recv(conn.sock, READ):
                return
        except BlockingIOError:
            return
        except OSError:
            pass  # it went without a word
        self._close(conn)

    def _wait(self, conn: Connection, then: Any, event: int = selectors.EVENT_READ) -> None:
        self.poller.register(conn.sock, event, partial(self._call, then, conn))
        self._waiting[conn] = then

    def _call(self, then: Any, conn: Connection, _fileobj: Any) -> None:
        if self._waiting.get(conn) == then:  # else it was closed to make room, by an event of the same look
            then(conn)

    def _forget(self, conn: Connection) -> None:
        del self._waiting[conn]
        self.poller.unregister(conn.sock)

    def _close(self, conn: Connection) -> None:
        if conn in self._waiting:
            self._forget(conn)
        self.nr_conns -= 1
        conn.close()

    def _close_late(self) -> None:
        now = time.monotonic()
        for conn in [conn for conn in self._waiting if conn.deadline < now]:
            if conn.began is not None and self._waiting[conn] == self._readable:
                self._forget(conn)
                error_responses.send(conn.sock, 408, "The request took too long to come.")
                self._linger(conn)
            else:
                self._close(conn)

    # The end.

    def _end(self) -> None:
        self._take_backlog()
        deadline = time.monotonic() + self.settings.shutdown_grace
        idle = time.monotonic() + min(IDLE_AT_END, self.settings.shutdown_grace)
        for conn in self._waiting:
            conn.deadline = min(conn.deadline, deadline if conn.began is not None else idle)
        while self.nr_conns > 0 and time.monotonic() < deadline:
            self.notify()
            self.wait_for_and_dispatch_events(0.1)
            self._close_late()
        if self._working:
            self._cut()
        for conn in list(self._waiting):
            self._close(conn)
        self.tpool.shutdown(wait=False, cancel_futures=True)

    def _take_backlog(self) -> None:
        """Take every connection that the system has accepted for us, then let it accept no more."""
        for listener in self.sockets:
            while self.accept(listener):
                pass
        self.set_accept_enabled(False)
        for listener in self.sockets:
            listener.close()

    def _cut(self) -> None:
        """The grace is over: break the connections of what is still going on, and say what it was."""
        self.cut = True
        for request in self.app.in_flight():
            seconds = time.monotonic() - request.began
            self.log.error("cut after SHUTDOWN_GRACE: %s %s, %.1f s", request.method, request.path, seconds)
        for conn in self._working:
            with contextlib.suppress(OSError):
                conn.sock.shutdown(socket.SHUT_RDWR)
        end = time.monotonic() + CUT_WAIT
        while self._working and time.monotonic() < end:
            self.notify()
            self.wait_for_and_dispatch_events(0.1)

    # In the request's thread.

    def _serve(self, conn: Connection) -> None:
        keep: bool | None = None
        try:
            keep = self.handle(conn)
        except BaseException:  # the thread goes on, and the connection is of no use any more
            self.log.exception("a request ended its thread")
        finally:
            self.method_queue.defer(self.finish_request, conn, keep)

    def handle(self, conn: Connection) -> bool:
        """Serve one request; whether the connection can take another."""
        request = None
        try:
            request = conn.hand_over()
            if request is None or not self.handle_request(request, conn):
                return False
            return conn.parser is not None and conn.parser.finish_body(deadline=time.monotonic() + DRAIN_WAIT)
        except (errors.NoMoreData, StopIteration):
            return False
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN):
                self.log.exception("Socket error processing request.")
            return False
        except Exception as error:  # noqa: BLE001 -- the last place where it can be answered
            self.handle_error(request, conn.sock, conn.client, error)
            return False

    def handle_request(self, req: Request, conn: Connection) -> bool:
        """Call the application and send its answer; whether the connection lives on."""
        self.cfg.pre_request(self, req)
        response, environ = wsgi.create(req, conn.sock, conn.client, conn.server, self.cfg, Response)
        environ["wsgi.multithread"] = True
        if not self.alive:
            response.force_close()
        body = self.wsgi(environ, response.start_response)
        try:
            for piece in body:
                response.write(piece)
            response.close()
        except OSError:
            raise
        except Exception:
            if response.headers_sent:
                self.log.exception("Error handling request")
                raise StopIteration from None
            raise
        finally:
            if hasattr(body, "close"):
                body.close()
        return not response.should_close()

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:  # noqa: ARG002 -- gunicorn's signature
        """Answer what never becomes a request."""
        status, detail = error_responses.reason(exc)
        if status == 500:
            self.log.error("Error handling request")
        else:
            # Not what was sent: it may hold a secret, and anybody may send anything.
            self.log.info("refused what is no request, from %s: %s", (addr or ("",))[0], type(exc).__name__)
        error_responses.send(client, status, detail)
