"""What the system refuses a worker's main thread costs one connection at most, and never the requests in flight."""

import contextlib
import errno
import os
import resource
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.server.connections import ACCEPT_PAUSE
from tests.probe import path_of
from tests.support.hold import metric
from tests.support.processes import freeze, wait_until
from tests.support.raw import RawClient, head
from tests.support.service import PROJECT, Service, running_service

# Imported when Python starts. While the file FAULT says "<errno> <call>…", these calls fail so in the main thread.
# FAULTS has a byte for each time.
REFUSING_SYSTEM = """
import os
import selectors
import threading
from pathlib import Path

from service.server.client_socket import ClientSocket
from service.server.connections import ConnectionSet

FAULT, FAULTS = Path(os.environ["FAULT"]), Path(os.environ["FAULTS"])

def refusing(name, call):
    def refuse(*arguments, **named):
        fault = FAULT.read_text().split() if FAULT.exists() else []
        if name in fault[1:] and threading.current_thread() is threading.main_thread():
            with FAULTS.open("a") as faults:
                faults.write(".")
            raise OSError(int(fault[0]), os.strerror(int(fault[0])))
        return call(*arguments, **named)
    return refuse

class Listener:
    def __init__(self, listener):
        self._listener = listener
        self.accept = refusing("accept", listener.accept)

    def __getattr__(self, name):
        return getattr(self._listener, name)

make = ConnectionSet.__init__
ConnectionSet.__init__ = lambda self, listeners, *more: make(self, [Listener(each) for each in listeners], *more)
selectors.DefaultSelector.register = refusing("register", selectors.DefaultSelector.register)
for name in ("getsockopt", "setblocking", "settimeout", "recv", "shutdown"):
    setattr(ClientSocket, name, refusing(name, getattr(ClientSocket, name)))
"""


class RefusingSystem:
    """A running service whose main thread's calls can be made to fail."""

    def __init__(self, folder: Path, service: Service) -> None:
        self.service = service
        self._fault, self._faults = folder / "fault", folder / "faults"

    @contextlib.contextmanager
    def refusing(self, calls: str, number: int) -> Iterator[None]:
        """The calls fail with this errno."""
        self._faults.write_text("")
        new = self._fault.with_suffix(".new")
        new.write_text(f"{number} {calls}")
        new.rename(self._fault)
        try:
            yield
        finally:
            self._fault.unlink()

    def faults(self) -> int:
        """How many calls have failed since ``refusing``."""
        return len(self._faults.read_text())

    @contextlib.contextmanager
    def upload_in_flight(self) -> Iterator[RawClient]:
        """An upload that waits for its last byte."""
        with RawClient(self.service.app_url) as client:
            before = metric(self.service, "http_server_active_requests")
            client.send(head("PUT", path_of("a"), "Content-Length: 100000") + b"x" * 99_999)
            wait_until("the upload", lambda: metric(self.service, "http_server_active_requests") == before + 1)
            yield client


@contextlib.contextmanager
def refusing_system(folder: Path, **settings: str) -> Iterator[RefusingSystem]:
    (folder / "sitecustomize.py").write_text(REFUSING_SYSTEM)
    settings |= {"FAULT": str(folder / "fault"), "FAULTS": str(folder / "faults"), "PYTHONPATH": f"{folder}:{PROJECT}"}
    with running_service(folder, settings) as service:
        yield RefusingSystem(folder, service)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RefusingSystem]:
    with refusing_system(tmp_path_factory.mktemp("refusing")) as running:
        yield running


# accept(2): of the connection, of the network, of a firewall or a security module, and too many files.
OF_ACCEPT = [
    *("ECONNABORTED", "ENETDOWN", "EPROTO", "ENOPROTOOPT", "EHOSTDOWN", "ENONET", "EHOSTUNREACH", "EOPNOTSUPP"),
    *("ENETUNREACH", "EPERM", "EACCES", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"),
]


@pytest.mark.parametrize("name", OF_ACCEPT)
def test_an_accept_that_fails_ends_nothing(system: RefusingSystem, name: str) -> None:
    """New connections wait in the backlog meanwhile, and the worker does not ask for them without a pause."""
    workers = system.service.workers
    with system.upload_in_flight() as upload, contextlib.ExitStack() as stack:
        with system.refusing("accept", getattr(errno, name)):
            began = time.monotonic()
            newest = stack.enter_context(RawClient(system.service.app_url))
            newest.send(head("GET", "/api/instance"))
            wait_until("several tries", lambda: system.faults() >= 3)
            upload.send(b"x")
            assert upload.answer().status == 201
            assert system.faults() <= 2 + (time.monotonic() - began) / ACCEPT_PAUSE
        assert newest.answer().status == 200
    assert system.service.workers == workers


def test_a_listener_that_can_t_be_watched_again_ends_nothing(system: RefusingSystem) -> None:
    """After an accept that failed. epoll_ctl(2) is refused memory."""
    workers = system.service.workers
    with system.upload_in_flight() as upload, RawClient(system.service.app_url) as newest:
        with system.refusing("accept register", errno.ENOMEM), RawClient(system.service.app_url):
            wait_until("several tries", lambda: system.faults() >= 3)
            upload.send(b"x")
            assert upload.answer().status == 201
        newest.send(head("GET", "/api/instance"))
        assert newest.answer().status == 200
    assert system.service.workers == workers


@pytest.mark.parametrize("name", ["EPERM", "EMFILE", "EACCES"])
def test_an_accept_that_fails_does_not_hold_up_the_end(tmp_path: Path, name: str) -> None:
    with refusing_system(tmp_path, SHUTDOWN_GRACE="60s") as system, system.upload_in_flight() as upload:
        with system.refusing("accept", getattr(errno, name)):
            system.service.process.terminate()
            wait_until("a try to take the backlog", lambda: system.faults() > 0)
            upload.send(b"x")
            assert upload.answer().status == 201
            assert system.service.process.wait(30) == 0
    assert not [r for r in system.service.log if r["severity"] in ("ERROR", "CRITICAL")]


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ("getsockopt", "ENOBUFS"),
        ("setblocking", "EINVAL"),
        ("settimeout", "EINVAL"),
        ("recv", "ENOMEM"),
        ("register", "ENOSPC"),  # epoll_ctl(2): max_user_watches, which all processes of a user share
        ("register", "ENOMEM"),
    ],
)
def test_a_call_that_fails_for_a_connection_ends_no_other(system: RefusingSystem, call: str, name: str) -> None:
    workers = system.service.workers
    with system.upload_in_flight() as upload:
        with system.refusing(call, getattr(errno, name)), RawClient(system.service.app_url) as refused:
            if call == "settimeout":  # which is called for a request
                refused.send(head("GET", "/api/instance"))
            refused.wait_for_close()
            upload.send(b"x")
            assert upload.answer().status == 201
        with RawClient(system.service.app_url) as next_one:
            next_one.send(head("GET", "/api/instance"))
            assert next_one.answer().status == 200
    assert system.service.workers == workers


def test_a_call_that_fails_while_room_is_made_ends_no_other(tmp_path: Path) -> None:
    """The longest idle connection has a request, which the worker finds when a new visitor needs its place."""
    with refusing_system(tmp_path, MAX_CONNECTIONS="10") as system, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(RawClient(system.service.app_url)) for _ in range(10)]
        for client in clients:
            client.send(head("GET", "/api/instance"))
            assert client.answer().status == 200
        (worker,) = system.service.workers
        freeze(worker)
        newest = stack.enter_context(RawClient(system.service.app_url))
        clients[0].send(head("GET", "/api/instance"))
        with system.refusing("settimeout", errno.EINVAL):  # which is called for a request
            os.kill(worker, signal.SIGCONT)
            clients[0].wait_for_close()
        for client in (clients[-1], newest):
            client.send(head("GET", "/api/instance"))
            assert client.answer().status == 200
        assert system.service.workers == [worker]


def test_a_call_that_fails_while_a_request_is_refused_ends_no_other(tmp_path: Path) -> None:
    request = head("GET", "/api/instance")
    with (
        refusing_system(tmp_path, THREADS="2", QUEUE_TIMEOUT="50ms") as system,
        RawClient(system.service.app_url) as refused,
        RawClient(system.service.app_url) as held,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        refused.send(request)
        assert refused.answer().status == 200
        held.send(head("GET", f"/hold/{listener.getsockname()[1]}"))
        wait_until("the thread held", lambda: metric(system.service, "http_server_active_requests") == 1)
        with system.upload_in_flight() as upload:
            workers = system.service.workers
            with system.refusing("setblocking", errno.EINVAL):  # which is called before the response is sent
                refused.send(request)
                refused.wait_for_close()
            upload.send(b"x")
            assert upload.answer().status == 201
        assert system.service.workers == workers


def test_a_connection_that_can_t_be_shut_down_ends_alone(system: RefusingSystem) -> None:
    workers = system.service.workers
    with system.upload_in_flight() as upload, system.refusing("shutdown", errno.ENOTCONN):
        upload.send(b"x")
        assert upload.answer().status == 201
        upload.send(b"nonsense\r\n\r\n")
        assert upload.answer().status == 400
        assert upload.wait_for_close() == b""
    assert system.service.workers == workers


def threads(service: Service) -> int:
    (worker,) = service.workers
    return len(list(Path(f"/proc/{worker}/task").iterdir()))


def test_all_request_threads_are_there_before_the_first_request(tmp_path: Path) -> None:
    """So that a limit on processes is found at the start, and not by a request."""
    folders = [tmp_path / "few", tmp_path / "many"]
    for folder in folders:
        folder.mkdir()
    with running_service(folders[0], THREADS="4") as few, running_service(folders[1], THREADS="24") as many:
        wait_until("20 threads more", lambda: threads(many) - threads(few) == 20)


def test_a_limit_on_threads_is_found_at_the_start(tmp_path: Path) -> None:
    """It is a worker's end there, with a sentence that says what to do, and no request's."""
    (tmp_path / "sitecustomize.py").write_text(
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (1536 << 20, -1))"
    )
    settings = {"PYTHONPATH": f"{tmp_path}:{PROJECT}", "THREADS": "256"}  # each has a stack of 8 MiB
    with running_service(tmp_path, settings, wait=False) as service:
        record = service.wait_for(lambda r: r["message"].startswith("can't start THREADS=256 threads"))
    assert record["severity"] == "CRITICAL"


def test_requests_are_answered_where_no_more_threads_are_allowed(tmp_path: Path) -> None:
    """By the app listener and by the ops listener. No thread's stack of 8 MiB can be had."""
    with running_service(tmp_path) as service:
        with RawClient(service.app_url) as client:
            client.send(head("GET", "/api/instance"))
            assert client.answer().status == 200  # so it has begun
        workers = service.workers
        status = Path(f"/proc/{workers[0]}/status").read_text()
        size = int(status.partition("VmSize:")[2].split()[0]) * 1024
        resource.prlimit(workers[0], resource.RLIMIT_AS, (size + 4 * 2**20, resource.RLIM_INFINITY))
        with RawClient(service.app_url) as first, RawClient(service.app_url) as second:
            first.send(head("PUT", path_of("a"), "Content-Length: 20000") + b"x" * 19_999)
            second.send(head("GET", "/api/instance"))
            assert second.answer().status == 200
            first.send(b"x")
            assert first.answer().status == 201
        for path in ("/health", "/ready", "/metrics"):
            with RawClient(service.ops_url) as platform:
                platform.send(head("GET", path))
                assert platform.answer().status == 200
        assert service.workers == workers
