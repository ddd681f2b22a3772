"""Ten thousand files of one visitor, page by page, against one listing by the client library."""

from collections.abc import Iterator
from time import perf_counter
from urllib.parse import quote

from bench.context import Context
from bench.figures import Figure, Goal, alternate
from bench.machine import cores, on_core
from bench.store import BUCKET, Stores, stores, visitor
from tests.support.product import Visitor

FILES = 10_000
PAGE = 1000  # as the library takes by itself


def measure(context: Context) -> Iterator[Figure]:
    """Files listed a second, by the clock; and what the last page costs, compared with the first."""
    with stores(context.folder) as place, on_core(cores()[1]), visitor(place.ours) as somebody:
        if somebody.put("a-first", b"x").status != 201:
            raise RuntimeError("the visitor's first file could not be stored")
        folder = f"visitors/{place.owner()}/"
        context.say(f"filling {BUCKET} with {FILES} files")
        place.fill(folder, FILES - 1)
        pages: dict[str, list[float]] = {"first": [], "last": []}

        def ours() -> float:
            seconds = _pages(somebody)
            pages["first"].append(sum(seconds[:3]))
            pages["last"].append(sum(seconds[-3:]))
            return FILES / sum(seconds)

        ours(), _library(place, folder)
        pages = {"first": [], "last": []}
        found = alternate(context.rounds, {"ours": ours, "library": lambda: _library(place, folder)})
        goal = Goal(0.8)
        yield Figure("listing", "10 000 files, page by page", "one listing by the client library", "files/s",
                     found["ours"], found["library"], goal)  # fmt: skip
        yield Figure("listing", "the last three pages of ten", "the first three", "ms",
                     [1000 * s for s in pages["last"]], [1000 * s for s in pages["first"]],
                     Goal(1.2, at_least=False))  # fmt: skip


def _pages(somebody: Visitor) -> list[float]:
    """Seconds of each page."""
    seconds, token, seen = [], "", 0
    while True:
        started = perf_counter()
        more = f"&page_token={quote(token, safe='')}" if token else ""
        response = somebody.get(f"/api/files?limit={PAGE}{more}")
        seconds.append(perf_counter() - started)
        if response.status != 200:
            raise RuntimeError(f"a page could not be had: {response.status}")
        document = response.json
        seen += len(document["files"])
        token = document["next_page_token"] or ""
        if not token:
            break
    if seen != FILES:
        raise RuntimeError(f"{seen} files were listed, not {FILES}")
    return seconds


def _library(place: Stores, folder: str) -> float:
    return FILES / place.library.do("list", folder)
