"""One deadline for all that a call does, whatever the other end does with each byte."""

import contextlib
import math
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from service.sessions.deadline import TimedSocket, connect, connect_unix, remaining, within
from tests.support.proxy import black_hole

GENEROUS = 5.0  # seconds; what hangs would hang for ever


@pytest.fixture
def pair() -> Iterator[tuple[TimedSocket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield TimedSocket(ours), theirs


def test_without_a_deadline_there_is_no_end() -> None:
    assert remaining() == math.inf


def test_the_inner_deadline_can_only_be_sooner() -> None:
    with within(10):
        with within(100):
            assert remaining() <= 10
        with within(1):
            assert remaining() <= 1
        assert remaining() > 1
    assert remaining() == math.inf


def test_a_deadline_that_is_over_is_a_timeout() -> None:
    with within(0), pytest.raises(TimeoutError):
        remaining()


def test_a_deadline_is_of_its_own_thread_only() -> None:
    seen: list[float] = []
    with within(1):
        thread = threading.Thread(target=lambda: seen.append(remaining()))
        thread.start()
        thread.join()
    assert seen == [math.inf]


def test_bytes_that_drip_in_do_not_extend_it(pair: tuple[TimedSocket, socket.socket]) -> None:
    ours, theirs = pair
    done = threading.Event()

    def drip() -> None:
        with contextlib.suppress(OSError):
            while not done.wait(0.02):
                theirs.send(b"x")

    thread = threading.Thread(target=drip)
    thread.start()
    started = time.monotonic()
    with within(0.2), pytest.raises(TimeoutError):
        while True:
            ours.recv(1)
    done.set()
    thread.join()
    assert time.monotonic() - started < GENEROUS


def test_a_server_that_reads_nothing_does_not_extend_it(pair: tuple[TimedSocket, socket.socket]) -> None:
    ours, _ = pair
    with within(0.1), pytest.raises(TimeoutError):
        ours.sendall(b"x" * 50_000_000)


def test_a_librarys_own_timeout_counts_where_it_is_sooner(pair: tuple[TimedSocket, socket.socket]) -> None:
    ours, _ = pair
    with within(GENEROUS):
        ours.settimeout(0)  # as redis-py asks whether there is something to read
        with pytest.raises(BlockingIOError):
            ours.recv(1)
        ours.settimeout(0.05)
        with pytest.raises(TimeoutError):
            ours.recv(1)
    ours.settimeout(None)
    with within(0.05), pytest.raises(TimeoutError):
        ours.recv(1)


def test_all_is_sent_and_received(pair: tuple[TimedSocket, socket.socket]) -> None:
    ours, theirs = pair
    with within(GENEROUS):
        ours.sendall(b"question")
        assert theirs.recv(100) == b"question"
        assert not ours.is_readable()
        theirs.sendall(b"answer")
        assert ours.is_readable()
        buffer = bytearray(3)
        assert ours.recv_into(buffer) == 3
        assert bytes(buffer) + ours.recv(100) == b"answer"
        theirs.close()
        assert ours.is_readable(), "the end of a connection shows"


def test_connecting_keeps_to_it() -> None:
    with black_hole() as port, within(0.2), pytest.raises(TimeoutError):
        connect("127.0.0.1", port)


def test_a_refused_connection_is_an_error_at_once(tmp_path: object) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with within(GENEROUS), pytest.raises(ConnectionRefusedError):
            connect("127.0.0.1", closed.getsockname()[1])
    with within(GENEROUS), pytest.raises(FileNotFoundError):
        connect_unix("/nonexistent/socket")


def test_a_name_service_that_hangs_keeps_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        answer.wait(GENEROUS)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    started = time.monotonic()
    with within(0.2), pytest.raises(TimeoutError, match="looking up"):
        connect("redis.example", 6379)
    assert time.monotonic() - started < GENEROUS
    answer.set()


@pytest.mark.parametrize("fault", ["fails", "hangs", "has no thread"])
def test_without_a_name_service_a_name_means_what_it_meant_last(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """RFC 8767. Whatever was looked up before; what never was is an error as ever."""
    over = threading.Event()

    def broken(*_: object, **__: object) -> list[object]:
        if fault == "hangs":
            over.wait(GENEROUS)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = f"{fault}.example", server.getsockname()[1]
        address = (socket.AF_INET, 0, 0, "", ("127.0.0.1", port))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [address])
        with within(GENEROUS), connect(host, port):
            pass
        monkeypatch.setattr(socket, "getaddrinfo", broken)
        if fault == "has no thread":
            monkeypatch.setattr(threading.Thread, "start", refused)
        with within(1.0), connect(host, port) as sock:
            assert sock.getpeername() == server.getsockname()
        with within(0.2), pytest.raises(OSError, match=r"resolution|looking up|thread"):
            connect(f"never.{host}", port)
        over.set()


def test_a_name_that_means_something_else_now_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = (socket.AF_INET, 0, 0, "", server.getsockname())
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_, found=address, **__: [found])
            with within(GENEROUS), connect("moved.example", 6379) as sock:
                assert sock.getpeername() == server.getsockname()


def test_a_name_that_does_not_exist_is_an_error() -> None:
    with within(GENEROUS), pytest.raises(OSError):
        connect("no-such-host.invalid", 6379)


def test_an_address_that_swallows_everything_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    with black_hole() as dead, socket.create_server(("127.0.0.1", 0)) as alive:
        addresses = [(socket.AF_INET, 0, 0, "", ("127.0.0.1", port)) for port in (dead, alive.getsockname()[1])]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
        with within(1.0), connect("twofold.example", 1) as sock:
            assert sock.getpeername() == alive.getsockname()
