"""Load at a given rate, however the server responds: clients come whether or not those before them were served.

wrk sends a request when the one before it has ended, and so never asks for more than the server can do.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

GIVES_UP = 1.0  # seconds after which a client closes its connection
SEED = 7  # of the intervals between requests: the same for both sides


@dataclass
class Outcome:
    """What came of the requests of one load."""

    seconds: float
    latencies: list[float] = field(default_factory=list)  # of what was served, in seconds
    statuses: Counter[str] = field(default_factory=Counter)  # "gave up", "failed" too

    @property
    def goodput(self) -> float:
        """Requests a second that were served within GIVES_UP."""
        return len(self.latencies) / self.seconds

    @property
    def p99(self) -> float:
        """Seconds, of what was served."""
        ordered = sorted(self.latencies)
        return ordered[int(len(ordered) * 0.99)] if ordered else GIVES_UP


class _Clients:
    """They share connections, as the clients behind a proxy do: an idle one is used before another is opened."""

    def __init__(self, url: str, outcome: Outcome) -> None:
        address = urlsplit(url)
        self._host, self._port = address.hostname or "", address.port or 80
        self._outcome = outcome
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, head: bytes) -> None:
        """One request, and what came of it."""
        began = time.perf_counter()
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(GIVES_UP):
                while self._idle and self._idle[-1][1].is_closing():
                    self._idle.pop()
                reader, writer = self._idle.pop() if self._idle else await self._open()
                writer.write(head)
                response = await reader.readuntil(b"\r\n\r\n")
                length = int(response.lower().partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0] or b"0")
                await reader.readexactly(length)
        except TimeoutError:
            self._note("gave up", writer)
            return
        except (OSError, asyncio.IncompleteReadError):
            self._note("failed", writer)
            return
        status = response[9:12].decode()
        if status < "400":
            self._outcome.latencies.append(time.perf_counter() - began)
        is_kept = b"\r\nconnection: close" not in response.lower()
        self._note(status, None if is_kept else writer)
        if is_kept:
            self._idle.append((reader, writer))

    def _note(self, what: str, writer: asyncio.StreamWriter | None) -> None:
        self._outcome.statuses[what] += 1
        if writer:
            writer.close()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self._host, self._port)

    def close(self) -> None:
        """End what is idle; nobody asks any more."""
        for _, writer in self._idle:
            writer.close()


def open_load(url: str, paths: Sequence[str], *, rate: float, seconds: float, cookie: str = "") -> Outcome:
    """Ask for ``paths`` in turn, ``rate`` requests a second, at random intervals (a Poisson process)."""
    outcome = Outcome(seconds)
    more = f"Cookie: {cookie}\r\n" if cookie else ""
    heads = [f"GET {path} HTTP/1.1\r\nHost: bench\r\n{more}\r\n".encode() for path in paths]
    asyncio.run(_at_rate(rate, seconds, _Clients(url, outcome), heads))
    return outcome


async def _at_rate(rate: float, seconds: float, clients: _Clients, heads: Sequence[bytes]) -> None:
    chance = random.Random(SEED)  # noqa: S311 -- a load, not a secret
    ask: Callable[[bytes], Coroutine[None, None, None]] = clients.ask
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    due, number = loop.time(), 0
    async with asyncio.TaskGroup() as group:
        while due < end:
            if (wait := due - loop.time()) > 0:
                await asyncio.sleep(wait)
            group.create_task(ask(heads[number % len(heads)]))
            number += 1
            due += chance.expovariate(rate)
    clients.close()
