"""gunicorn, set up and started: the listeners, the workers, their hooks, and the order of a shutdown.

SIGTERM: ``/ready`` says no at once, and requests are served on for SHUTDOWN_DELAY. Then the workers accept no more and
finish what they have within SHUTDOWN_GRACE (worker.py). A second SIGTERM, or SIGINT, ends the delay.
"""

import errno
import logging
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped] # gunicorn ships no types
from gunicorn.arbiter import Arbiter  # type: ignore[import-untyped] # as above
from gunicorn.errors import HaltServer  # type: ignore[import-untyped] # as above
from gunicorn.http.body import ChunkedReader  # type: ignore[import-untyped] # as above

from service.lifecycle import Lifecycle
from service.metrics.multiprocess import prepare_multiprocess
from service.ops.in_flight import RequestInFlight
from service.server.logger import GunicornLogger
from service.server.request_reader import SMALL_BODY
from service.server.worker import Worker
from service.settings import Settings

if TYPE_CHECKING:
    from flask import Flask

    from service import Parts

log = logging.getLogger(__name__)

BACKLOG = 2048  # connections that the system holds for us
KILL_AFTER = 3.0  # seconds after SHUTDOWN_GRACE that a worker has for its last words
SHARED_MEMORY = "/dev/shm"  # noqa: S108 -- gunicorn makes an unforeseeable name in it


class CannotListen(Exception):
    """A port can't be had. The message says which, and what to do."""


def serve(settings: Settings) -> None:
    """Listen, start the workers, and serve until told to end. Ends the process; raises CannotListen before."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # 1024 is usual, and MAX_CONNECTIONS may be more
    app_socket = _listen(settings.host, settings.port, "PORT")
    ops_socket = _listen(settings.host, settings.ops_port, "OPS_PORT")
    app_url, ops_url = _url(app_socket), _url(ops_socket)
    log.info(
        "listening: %s for visitors, %s for the platform",
        app_url,
        ops_url,
        extra={"app_url": app_url, "ops_url": ops_url},
    )
    prepare_multiprocess(settings)
    Captain(Server(settings, Lifecycle(), app_socket, ops_socket)).run()


class Server(BaseApplication):  # type: ignore[misc] # of gunicorn
    """gunicorn's settings and hooks, and in each worker the application with its parts."""

    def __init__(
        self, settings: Settings, lifecycle: Lifecycle, app_socket: socket.socket, ops_socket: socket.socket
    ) -> None:
        self.settings = settings
        self.lifecycle = lifecycle
        self._sockets = app_socket, ops_socket
        self._parts: Parts | None = None
        super().__init__()

    def load_config(self) -> None:
        """gunicorn asks for its settings."""
        s = self.settings
        for name, value in {
            "bind": f"fd://{self._sockets[0].fileno()}",
            "backlog": BACKLOG,
            "workers": s.web_concurrency,
            "worker_class": Worker,
            "threads": s.threads,
            "worker_connections": s.max_connections,
            "worker_tmp_dir": SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None,
            "keepalive": int(s.keep_alive),
            "graceful_timeout": int(s.shutdown_grace + KILL_AFTER),
            "forwarded_allow_ips": "",  # whom to believe is decided in web/guards.py
            "control_socket_disable": True,
            "logger_class": GunicornLogger,
            "proc_name": "seatrial",
            "pre_request": self._pre_request,
            "post_worker_init": self._post_worker_init,
            "worker_exit": self._worker_exit,
            "child_exit": self._child_exit,
        }.items():
            self.cfg.set(name, value)

    def load(self) -> "Flask":
        """The application, made in the worker."""
        from service import create_app  # noqa: PLC0415 -- the parent process needs none of it

        try:
            app = create_app(self.settings, lifecycle=self.lifecycle)
        except (ValueError, OSError) as error:
            # What the settings' own checks can't see: a file that holds no certificate, no credentials to be found.
            log.critical("can't set up the stores of SESSION_URL and STORAGE_URL: %s", error, exc_info=True)
            sys.exit(Arbiter.WORKER_BOOT_ERROR)  # the parent ends too, with this exit code: a restart would not help
        self._parts = app.extensions["service"]
        return app

    def in_flight(self) -> list[RequestInFlight]:
        """The requests of this worker, oldest first."""
        return self._parts.in_flight.requests() if self._parts else []

    def _pre_request(self, _worker: Worker, request: Any) -> None:
        request.version = min(request.version, (1, 1))  # what is answered in, too (RFC 9110 §6.2)
        request.should_close = partial(self._should_close, request, request.should_close)
        if request._expected_100_continue:
            # No 100 for what will be refused. And none for a small body, which is here: the worker has asked for it.
            length = _declared_length(request)
            request._expected_100_continue = length is None or SMALL_BODY < length <= self.settings.max_upload_bytes

    def _should_close(self, request: Any, as_it_says: Callable[[], bool]) -> bool:
        """Whether the answer says "Connection: close".

        At the end, so that the client comes back elsewhere. And where some of the body is unread and perhaps not here:
        gunicorn would wait for it, with this thread, to save the connection, and where it is too much close without a
        word, so that the client's next request would be lost. A small body is here.
        Decided once, when the answer's head is written: gunicorn asks again later, and what was said has to hold.
        """
        reader = request.body.reader
        if isinstance(reader, ChunkedReader):
            unread = reader.parser is not None
        else:
            unread = reader.length > 0 and (_declared_length(request) or 0) > SMALL_BODY
        decided = bool(self.lifecycle.draining or unread or as_it_says())
        request.should_close = partial(bool, decided)
        return decided

    def _post_worker_init(self, _worker: Worker) -> None:
        from service.ops.listener import OpsServer  # noqa: PLC0415 -- as above

        assert self._parts is not None  # noqa: S101 -- gunicorn has called load()
        OpsServer(self._sockets[1], self._parts.health, self._parts.metrics).start()
        self._parts.health.start()
        log.info("serving")

    def _worker_exit(self, _arbiter: Arbiter, worker: Worker) -> None:
        if worker.pid != os.getpid():
            return  # gunicorn calls this in the parent too, for a worker that is gone already
        if self._parts is not None:
            self._parts.close()
        if worker.cut:
            # Python would wait for the threads that were given up.
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(0)

    def _child_exit(self, _arbiter: Arbiter, worker: Worker) -> None:
        if self.settings.web_concurrency > 1:
            from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415 -- the parent needs it only now

            mark_process_dead(worker.pid)  # type: ignore[no-untyped-call] # of prometheus_client


class Captain(Arbiter):  # type: ignore[misc] # of gunicorn
    """gunicorn's parent process, which ends in our order."""

    def handle_term(self) -> None:
        """SIGTERM: not ready any more, then the delay, then the end."""
        self._drain(self.app.settings.shutdown_delay)

    def handle_int(self) -> None:
        """SIGINT, from a terminal: the same without the delay."""
        self._drain(0)

    def stop(self, graceful: bool = True) -> None:
        """End the workers, and wait for them."""
        self.app.lifecycle.end()
        super().stop(graceful)

    def reap_workers(self) -> None:
        """Note which workers have ended. HaltServer where one could not start, but only once: then it ends anyway."""
        while True:
            try:
                super().reap_workers()
            except HaltServer:
                if not self.app.lifecycle.ending:
                    raise
            else:
                return

    def _ignore(self) -> None:
        self.log.info("ignored: this signal has no meaning here; deploy anew instead")

    # One process tree a container, its settings fixed for its life: no reload, no re-execution, no other number.
    handle_hup = handle_usr1 = handle_usr2 = handle_ttin = handle_ttou = handle_winch = _ignore

    def _drain(self, delay: float) -> None:
        self.app.lifecycle.drain()
        self.log.info("draining: not ready, serving on for %.1f s", delay)
        end = time.monotonic() + delay
        while (left := end - time.monotonic()) > 0:
            for received in self.wait_for_signals(timeout=min(left, 1.0)):
                if received == signal.SIGCHLD:
                    self.handle_chld()
                elif received in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
                    self.log.info("told again: the delay ends")
                    raise StopIteration
            self.murder_workers()
            self.manage_workers()  # who dies now is still replaced: traffic still comes
        raise StopIteration


def _listen(host: str, port: int, setting: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = None
    try:
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        if listener is not None:
            listener.close()
        if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            advice = "give an address of this machine, or 0.0.0.0"
            raise CannotListen(f"HOST: can't listen on {host}: {error.strerror}; {advice}") from None
        raise CannotListen(f"{setting}: can't listen on {host} port {port}: {error.strerror}; give another") from None
    listener.listen(BACKLOG)
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104 -- compared
    return f"http://{host}:{port}"


def _declared_length(request: Any) -> int | None:
    for name, value in request.headers:
        if name == "CONTENT-LENGTH" and value.isdecimal():
            return int(value)
    return None
