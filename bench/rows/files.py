"""Uploads and downloads through the service, against the client library alone; and the memory that 1 GiB takes."""

import http.client
import socket
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from time import perf_counter
from typing import NamedTuple
from urllib.parse import urlsplit

from bench.context import Context
from bench.figures import Figure, Goal, alternate
from bench.machine import cores, on_core
from bench.servers import Server
from bench.store import Stores, stores
from tests.support.product import file_path
from tests.support.raw import head

KIB, MIB, GIB = 2**10, 2**20, 2**30
MOST_GROWTH = 32 * MIB
ZEROS = memoryview(bytes(MIB))


class Size(NamedTuple):
    name: str
    size: int
    times: int  # transfers in one round
    goal: float


SIZES = (Size("64 KiB", 64 * KIB, 100, 0.6), Size("8 MiB", 8 * MIB, 8, 0.85), Size("1 GiB", GIB, 1, 0.9))


class Visitor:
    """A client that costs as little as it can: bytes in from one buffer, bytes out into another."""

    def __init__(self, server: Server) -> None:
        address = urlsplit(server.url)
        self._socket = socket.create_connection((address.hostname, address.port), timeout=300)
        self._buffer = bytearray(MIB)
        self._cookie = "X-Nothing: 1"
        self._cookie = f"Cookie: {self._ask('PUT', 'first').partition(';')[0]}"

    def put(self, name: str, size: int) -> None:
        """Store zeros, as a new file: the library is told ``if_generation_match=0``."""
        self._ask("PUT", name, size, "If-None-Match: *")

    def get(self, name: str) -> None:
        """Read it to its end."""
        self._ask("GET", name)

    def delete(self, name: str) -> None:
        """It is gone."""
        self._ask("DELETE", name)

    def close(self) -> None:
        self._socket.close()

    def _ask(self, method: str, name: str, size: int = 0, *more: str) -> str:
        """Send a request and read the response; the cookie that it sets, if any."""
        self._socket.sendall(head(method, file_path(name), self._cookie, f"Content-Length: {size}", *more))
        for begin in range(0, size, MIB):
            self._socket.sendall(ZEROS[: size - begin])
        response = http.client.HTTPResponse(self._socket, method=method)
        response.begin()
        while response.readinto(self._buffer):
            pass
        if response.status >= 300:
            raise RuntimeError(f"{method} {name}: {response.status}")
        return response.headers.get("Set-Cookie", "")


def measure(context: Context) -> Iterator[Figure]:
    """Bytes a second by the clock: what the visitor waits for."""
    with stores(context.folder) as place, on_core(cores()[1]):
        visitor = Visitor(place.ours)
        try:
            for size in SIZES:
                if size.size == GIB:
                    growth = _Growth(place.ours)
                yield from _transfers(context, place, visitor, size)
            yield from growth.figures()
        finally:
            visitor.close()


def _transfers(context: Context, place: Stores, visitor: Visitor, size: Size) -> Iterator[Figure]:
    number = 0
    total = size.size * size.times

    def up() -> float:
        nonlocal number
        number += 1
        names = [f"{number}-{each}" for each in range(size.times)]
        seconds = _timed(visitor.put, ((name, size.size) for name in names))
        for name in names:
            visitor.delete(name)
        return total / seconds

    def library_up() -> float:
        seconds = place.library.do("up", "library", size.size, size.times)
        for each in range(size.times):
            place.delete(f"library-{each}")
        return total / seconds

    up(), library_up()
    found = alternate(context.rounds, {"ours": up, "library": library_up})
    yield _figure(context, f"upload of {size.name}", size, found)

    visitor.put("down", size.size)
    place.library.do("up", "down", size.size, 1)

    def down() -> float:
        return total / _timed(visitor.get, [("down",)] * size.times)

    def library_down() -> float:
        return total / place.library.do("down", "down-0", size.times)

    down(), library_down()
    found = alternate(context.rounds, {"ours": down, "library": library_down})
    yield _figure(context, f"download of {size.name}", size, found)
    visitor.delete("down")
    place.delete("down-0")


def _figure(context: Context, name: str, size: Size, found: dict[str, list[float]]) -> Figure:
    figure = Figure(
        "files", name, "client library alone", "MB/s",
        [value / 1e6 for value in found["ours"]], [value / 1e6 for value in found["library"]], Goal(size.goal),
    )  # fmt: skip
    context.say(f"{name}: {figure.ratio:.2f}")
    return figure


def _timed(do: Callable[..., None], calls: Iterable[tuple[object, ...]]) -> float:
    """Seconds of all calls."""
    started = perf_counter()
    for arguments in calls:
        do(*arguments)
    return perf_counter() - started


class _Growth:
    """How far the worker's memory rises above what it was."""

    def __init__(self, server: Server) -> None:
        self._pid = server.pids[1]
        Path(f"/proc/{self._pid}/clear_refs").write_text("5", encoding="ascii")  # proc(5): the peak begins anew
        self._start = self._read("VmRSS")

    def figures(self) -> Iterator[Figure]:
        growth = self._read("VmHWM") - self._start
        yield Figure(
            "files", "memory above the start, 1 GiB up and down", "32 MiB", "MiB",
            [growth / MIB], [MOST_GROWTH / MIB], Goal(1.0, at_least=False),
        )  # fmt: skip

    def _read(self, field: str) -> int:
        lines = Path(f"/proc/{self._pid}/status").read_text(encoding="ascii").splitlines()
        (line,) = (line for line in lines if line.startswith(field))
        return int(line.split()[1]) * KIB
