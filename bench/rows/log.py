"""The log: records a second and bytes a record, against python-json-logger as it is, into the same kind of pipe."""

import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from io import StringIO, TextIOWrapper
from time import perf_counter

from pythonjsonlogger.json import JsonFormatter

from bench.context import Context
from bench.figures import Figure, Goal, alternate
from bench.machine import cores, on_core
from service.logs.context import OwnFields, RequestIds, current_request
from service.logs.formatter import SafeJsonFormatter
from service.logs.stdout_handler import LineHandler
from tests.support.processes import stop

RECORDS = 10_000
# What ours says of every record, from the attributes that stock parts know.
STOCK = "{asctime}{levelname}{name}{message}{pathname}{lineno}{funcName}"


def measure(context: Context) -> Iterator[Figure]:
    """Three kinds of record: a sentence, one with fields, and an access record."""
    with on_core(cores()[0]), _pipe() as ours_pipe, _pipe() as stock_pipe:
        ours = LineHandler(ours_pipe)
        ours.setFormatter(SafeJsonFormatter(project="a-project", version="1.0"))
        stream = TextIOWrapper(os.fdopen(os.dup(stock_pipe), "wb"), encoding="utf-8", write_through=False)
        stock = logging.StreamHandler(stream)
        stock.setFormatter(JsonFormatter(STOCK, style="{"))
        sides = {"ours": _logger("bench.ours", ours), "rival": _logger("bench.stock", stock)}
        for name, (of_ours, of_stock) in KINDS.items():
            does: dict[str, Callable[[], None]] = {
                "ours": partial(of_ours, sides["ours"]),
                "rival": partial(of_stock, sides["rival"]),
            }
            for do in does.values():
                _rate(do, RECORDS // 10)
            found = alternate(context.rounds, {side: partial(_rate, do, RECORDS) for side, do in does.items()})
            sizes = [_size(ours, does["ours"], sides["ours"]), _size(stock, does["rival"], sides["rival"])]
            figure = Figure(
                "log", f"log, {name}", "python-json-logger", "records/s", found["ours"], found["rival"], Goal(0.9)
            )
            context.say(f"{name}: {figure.ratio:.2f}")
            yield figure
            yield Figure("log", f"log, {name}, size", "python-json-logger", "bytes/record", sizes[:1], sizes[1:])
        stream.close()


def _sentence(log: logging.Logger) -> None:
    log.info("serving")


def _fields(log: logging.Logger) -> None:
    log.info("stored %s for %s", "a-file.txt", "somebody", extra={"size": 1024, "kind": "text/plain", "parts": [1, 2]})


_IDS = RequestIds("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "0123456789abcdef", sampled=False)
_HTTP = {
    "requestMethod": "GET",
    "requestUrl": "http://127.0.0.1:8080/api/instance",
    "requestSize": "0",
    "status": 200,
    "responseSize": "140",
    "remoteIp": "127.0.0.1",
    "latency": "0.000321s",
    "protocol": "HTTP/1.1",
}


def _our_access(log: logging.Logger) -> None:
    """As service/logs/access.py makes it."""
    current_request.set(_IDS)
    log.info("GET %s %s", "/api/instance", 200, extra={"own_fields": OwnFields(httpRequest=_HTTP)})
    current_request.set(None)


def _stock_access(log: logging.Logger) -> None:
    ids = {"trace_id": _IDS.trace_id, "span_id": _IDS.span_id, "request_id": _IDS.request_id}
    log.info("GET %s %s", "/api/instance", 200, extra={"httpRequest": _HTTP, **ids})


Log = Callable[[logging.Logger], None]
KINDS: dict[str, tuple[Log, Log]] = {
    "a sentence": (_sentence, _sentence),
    "with fields": (_fields, _fields),
    "a request": (_our_access, _stock_access),
}


def _logger(name: str, handler: logging.Handler) -> logging.Logger:
    log = logging.getLogger(name)
    log.handlers[:] = [handler]
    log.propagate = False
    log.setLevel(logging.INFO)
    return log


def _rate(do: Callable[[], None], count: int) -> float:
    started = perf_counter()
    for _ in range(count):
        do()
    return count / (perf_counter() - started)


def _size(handler: logging.Handler, do: Callable[[], None], log: logging.Logger) -> float:
    """Bytes of one line."""
    stream = StringIO()
    keeper = logging.StreamHandler(stream)
    keeper.setFormatter(handler.formatter)
    log.handlers[:] = [keeper]
    do()
    log.handlers[:] = [handler]
    return float(len(stream.getvalue().encode()))


# It comes by the clock. One that sleeps until something is there must be woken, which costs the writer as much as the
# record does, or nothing if the next record comes soon enough: who is a little faster would seem twice as fast.
_READER = """
import os, time
os.set_blocking(0, False)
while True:
    try:
        if not os.read(0, 65536): break
    except BlockingIOError:
        time.sleep(0.0002)
"""


@contextlib.contextmanager
def _pipe() -> Iterator[int]:
    """A pipe whose other end is read on the other core."""
    read, write = os.pipe()
    with on_core(cores()[1]):
        reader = subprocess.Popen([sys.executable, "-S", "-c", _READER], stdin=read)
    os.close(read)
    try:
        yield write
    finally:
        os.close(write)
        stop(reader)  # our handler has opened the pipe once more, so it does not end by itself
