"""gunicorn, set up and started: the listeners, gunicorn's settings and its hooks."""

import errno
import logging
import os
import resource
import socket
import sys
from typing import TYPE_CHECKING

from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped] # gunicorn ships no types

from service.lifecycle import Lifecycle
from service.metrics.multiprocess import prepare_multiprocess
from service.ops.in_flight import RequestInFlight
from service.server.arbiter import DrainingArbiter
from service.server.connections import BACKLOG
from service.server.logger import GunicornLogger
from service.server.worker import HttpWorker
from service.settings import Settings

if TYPE_CHECKING:
    from flask import Flask

    from service import Parts

log = logging.getLogger(__name__)

CANNOT_SET_UP = 3  # gunicorn ends with a worker that has this exit code, and with the same: a restart would not help
KILL_AFTER = 3.0  # seconds after SHUTDOWN_GRACE for a worker's last log records
SHARED_MEMORY = "/dev/shm"  # noqa: S108 -- gunicorn makes an unforeseeable name in it


class CannotListen(Exception):
    """A port can't be listened on. The message says which, and what to do."""


def serve(settings: Settings) -> None:
    """Listen, start the workers, and serve until a signal ends it. Ends the process; raises CannotListen before."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # 1024 is usual, and MAX_CONNECTIONS may be more
    app_socket = _listen(settings.host, settings.port, "PORT")
    ops_socket = _listen(settings.host, settings.ops_port, "OPS_PORT")
    urls = {"app_url": _url(app_socket), "ops_url": _url(ops_socket)}
    log.info("listening: %(app_url)s for visitors, %(ops_url)s for the platform", urls, extra=urls)
    prepare_multiprocess(settings)
    lifecycle = Lifecycle()
    app = ServerApplication(settings, lifecycle, app_socket, ops_socket)
    DrainingArbiter(app, lifecycle, settings.shutdown_delay).run()


class ServerApplication(BaseApplication):  # type: ignore[misc] # of gunicorn
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
            "worker_class": HttpWorker,
            "worker_tmp_dir": SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None,
            "graceful_timeout": int(s.shutdown_grace + KILL_AFTER),
            "forwarded_allow_ips": "",  # http/security.py decides which proxies are trusted
            "control_socket_disable": True,
            "logger_class": GunicornLogger,
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
            # Errors that the settings' own checks can't find: a file is not a certificate, there are no credentials.
            log.critical("can't set up the stores of SESSION_URL and STORAGE_URL: %s", error, exc_info=True)
            sys.exit(CANNOT_SET_UP)
        self._parts = app.extensions["service"]
        return app

    def in_flight(self) -> list[RequestInFlight]:
        """The requests of this worker, oldest first."""
        return self._parts.in_flight.requests() if self._parts else []

    def count_refused(self, requests: int) -> None:
        """So many requests were refused, because none of this worker's threads was free for them."""
        if self._parts:
            self._parts.metrics.requests_refused.inc(requests)

    def _post_worker_init(self, _worker: HttpWorker) -> None:
        from service.ops.listener import OpsServer  # noqa: PLC0415 -- as above

        assert self._parts is not None  # noqa: S101 -- gunicorn has called load()
        OpsServer(self._sockets[1], self._parts.health, self._parts.metrics).start()
        self._parts.health.start()
        log.info("serving")

    def _worker_exit(self, _arbiter: DrainingArbiter, worker: HttpWorker) -> None:
        if worker.pid != os.getpid():
            return  # gunicorn calls this in the parent too, for a worker that has ended
        if self._parts is not None:
            self._parts.close()
        if worker.has_requests:
            # They were cut, and Python would wait for their threads.
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(0)

    def _child_exit(self, _arbiter: DrainingArbiter, worker: HttpWorker) -> None:
        if self.settings.web_concurrency > 1:
            from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415 -- prepare_multiprocess is first

            mark_process_dead(worker.pid)  # type: ignore[no-untyped-call] # of prometheus_client


def _listen(host: str, port: int, setting: str) -> socket.socket:
    """``host`` is an IP address."""
    is_v6 = ":" in host
    family = socket.AF_INET6 if is_v6 else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG, dualstack_ipv6=is_v6)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            advice = "give an address of this machine, or 0.0.0.0"
            raise CannotListen(f"HOST: can't listen on {host}: {reason}; {advice}") from None
        raise CannotListen(f"{setting}: can't listen on {host} port {port}: {reason}; give another") from None


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104 -- compared
    return f"http://{host}:{port}"
