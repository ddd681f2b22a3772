"""The outermost layer of the application: each request's ids, its time, its one line in the log.

Every request passes here, so this is written for speed: nothing is worked out before it is asked for.
"""

import logging
from collections.abc import Iterable, Iterator
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quote
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote as percent_encode

from service import logs
from service.http import problem_details, trace
from service.logs import json_safe
from service.logs.formatter import ALREADY_LOGGED, AccessRecord
from service.logs.redaction import REDACTED, redact_url
from service.metrics.registry import Metrics
from service.settings import Settings

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)
access_log = logging.getLogger("service.access")

PROBES = frozenset({"/health", "/ready", "/metrics", "/api/status"})  # the last one is the page's
_MAX_URL = 1500  # characters
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))


class InFlight(Protocol):
    """Who is told which requests are going on. ``environ["service.in_flight"]`` is what ``begin`` returns."""

    def begin(self, method: str, path: str) -> Any:
        """A request came."""

    def end(self, token: Any) -> None:
        """It is over."""


def instrument(
    app: "WSGIApplication",
    *,
    metrics: Metrics,
    settings: Settings,  # noqa: ARG001 -- every part gets them; a fork may need one here
    in_flight: InFlight,
) -> "WSGIApplication":
    """The application with its requests traced, counted, logged, and its exceptions answered.

    Sets ``service.request_id`` and ``service.in_flight`` in the environment. Reads from it, when the request is over,
    ``service.route`` (the rule's template) and ``service.client_ip`` (else ``REMOTE_ADDR``). Adds ``X-Request-Id`` to
    the response. 4xx is logged as INFO: it is the client's fault, and scanners make many; 5xx is ERROR.
    """
    metrics.serving()
    logs.count_records(metrics.log_records)
    shared = _Shared(metrics, in_flight)

    def instrumented(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        exchange = _Exchange(shared, environ, start_response)
        exchange.run(app)
        return exchange

    return instrumented


class _Shared:
    """What all requests have in common."""

    def __init__(self, metrics: Metrics, in_flight: InFlight) -> None:
        self.metrics = metrics
        self.in_flight = in_flight
        self.probes: dict[str, int] = {}  # the last status of each


class _Exchange:
    """One request and its response, which is what the server iterates over and closes."""

    _status = 500
    _sent = 0
    _started = False  # the server has the headers
    _complete = False  # the body was sent to its end
    _is_open = True
    _response: tuple[str, list[tuple[str, str]]] | None = None
    _input: "_CountedInput | None" = None
    _body: Iterable[bytes] = ()

    def __init__(self, shared: _Shared, environ: "WSGIEnvironment", start_response: "StartResponse") -> None:
        self._start = perf_counter()
        self._shared = shared
        self._environ = environ
        self._start_response = start_response
        self._context = context = trace.from_environ(environ)
        trace.enter(context)
        environ["service.request_id"] = context.request_id
        self._token = shared.in_flight.begin(environ["REQUEST_METHOD"], environ["PATH_INFO"])
        environ["service.in_flight"] = self._token
        shared.metrics.active.inc()
        if environ.get("CONTENT_LENGTH", "0") != "0" or "HTTP_TRANSFER_ENCODING" in environ:
            self._input = environ["wsgi.input"] = _CountedInput(environ["wsgi.input"])

    def run(self, app: "WSGIApplication") -> None:
        """Call the application. Its exceptions become an answer; only what ends the process goes through."""
        try:
            self._body = app(self._environ, self.start_response)
        except Exception as error:  # noqa: BLE001 -- the last place where it can be answered
            self._body = (self._fail(error),)
        except BaseException:
            self.close()
            raise

    def start_response(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None] | None = None,
    ) -> Any:
        if self._started and exc_info and exc_info[1] is not None:
            raise exc_info[1]  # PEP 3333: it is too late for other headers
        # Handed on with the first bytes, so that an exception before them can still become an answer of its own.
        self._status = int(status[:3])
        self._response = (status, headers)
        return self.write

    def write(self, data: bytes) -> None:
        """PEP 3333's old way to send a body."""
        if not self._started:
            self._begin()
        self._write(data)
        self._sent += len(data)

    def _begin(self) -> None:
        if self._response is None:
            raise RuntimeError("the application sent a body before it called start_response")
        status, headers = self._response
        headers.append(("X-Request-Id", self._context.request_id))
        self._write = self._start_response(status, headers)
        self._started = True

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self._body:
                if not self._started:
                    self._begin()
                self._sent += len(chunk)
                yield chunk
        except Exception as error:  # noqa: BLE001 -- as in run()
            answer = self._fail(error)
            self._begin()
            self._sent = len(answer)
            yield answer
        if not self._started:
            self._begin()
        self._complete = True

    def _fail(self, error: Exception) -> bytes:
        """The answer for an exception that left the application; the exception where it is too late for one."""
        log.error("unhandled exception", exc_info=error)
        setattr(error, ALREADY_LOGGED, True)
        self._status = 500
        if self._started:
            raise error
        environ = self._environ
        body = problem_details.problem(
            500,
            "Something went wrong here. The log has the details under this request's id.",
            instance=environ["PATH_INFO"],
            request_id=self._context.request_id,
        )
        headers = [
            ("Content-Type", problem_details.CONTENT_TYPE),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
        ]
        self.start_response("500 Internal Server Error", headers)
        return b"" if environ["REQUEST_METHOD"] == "HEAD" else body

    def close(self) -> None:
        """The server is done with the response, or has given it up."""
        if not self._is_open:
            return
        self._is_open = False
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        except Exception:
            log.exception("unhandled exception after the response")
        finally:
            self._finish()

    def _finish(self) -> None:
        environ, context, metrics = self._environ, self._context, self._shared.metrics
        try:
            seconds = perf_counter() - self._start
            received = self._input.count if self._input is not None else 0
            metrics.active.dec()
            metrics.request(
                environ["REQUEST_METHOD"],
                environ.get("service.route", ""),
                self._status,
                seconds=seconds,
                received=received,
                sent=self._sent,
                trace_id=context.trace_id if context.sampled else None,
            )
            level = _level(self._status)
            if access_log.isEnabledFor(level) and self._is_news(environ["PATH_INFO"]):
                self._log(level, seconds, received)
        finally:
            trace.leave()
            self._shared.in_flight.end(self._token)

    def _is_news(self, path: str) -> bool:
        """Probes come all the time: of those that went well only the first is logged, and each change."""
        if path not in PROBES:
            return True
        before, self._shared.probes[path] = self._shared.probes.get(path), self._status
        return before != self._status or not 200 <= self._status < 300

    def _log(self, level: int, seconds: float, received: int) -> None:
        environ, get = self._environ, self._environ.get
        method = _header(environ["REQUEST_METHOD"], 50)
        target = _target(environ)
        url = f"{environ['wsgi.url_scheme']}://{_host(get('HTTP_HOST', ''))}{target}" if target[:1] == "/" else target
        agent, referer = get("HTTP_USER_AGENT"), get("HTTP_REFERER")
        http = (
            f'{{"requestMethod":{method},"requestUrl":{quote(url)},"requestSize":"{received}",'
            f'"status":{self._status},"responseSize":"{self._sent}",'
            f'"remoteIp":{_header(get("service.client_ip") or get("REMOTE_ADDR") or "", 50)},'
            f'"latency":"{seconds:.6f}s","protocol":{_header(environ["SERVER_PROTOCOL"], 20)}'
            + (f',"userAgent":{_header(agent, 500)}' if agent else "")
            + (f',"referer":{_header(referer, 500)}' if referer else "")
            + "}"
        )
        message = f"{method[1:-1]} {target.partition('?')[0]} {self._status}"
        record = AccessRecord(
            level, message, http, self._context, seconds=seconds, sent=self._sent, aborted=not self._complete
        )
        access_log.handle(record)


class _CountedInput:
    """``wsgi.input``, and how many bytes were read from it."""

    __slots__ = ("_source", "count")

    def __init__(self, source: Any) -> None:
        self._source = source
        self.count = 0

    def read(self, size: int = -1, /) -> bytes:
        data: bytes = self._source.read(size) if size >= 0 else self._source.read()
        self.count += len(data)
        return data

    def readline(self, size: int = -1, /) -> bytes:
        data: bytes = self._source.readline(size) if size >= 0 else self._source.readline()
        self.count += len(data)
        return data

    def readlines(self, hint: int = -1, /) -> list[bytes]:
        lines: list[bytes] = self._source.readlines(hint) if hint >= 0 else self._source.readlines()
        self.count += sum(map(len, lines))
        return lines

    def __iter__(self) -> Iterator[bytes]:
        while line := self.readline():
            yield line

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)


@lru_cache(maxsize=256)
def _header(value: str, most: int) -> str:
    """A header's value as a JSON string of at most so many characters. The same few come again and again."""
    return quote(_clip(json_safe.text(redact_url(value)), most))


@lru_cache(maxsize=64)
def _host(value: str) -> str:
    return _clip(json_safe.text(value), 300) if "@" not in value else REDACTED


def _target(environ: "WSGIEnvironment") -> str:
    """Path and query as the client gave them, but printable, and without secrets."""
    target: str | None = environ.get("RAW_URI")
    if target is None:  # a server that does not keep it
        query = environ.get("QUERY_STRING", "")
        target = percent_encode(environ["PATH_INFO"], encoding="latin-1") + (f"?{query}" if query else "")
    if not (target.isascii() and target.isprintable()):
        target = percent_encode(target, safe=_PRINTABLE, encoding="utf-8", errors="backslashreplace")
    return _clip(redact_url(target), _MAX_URL)


def _clip(value: str, most: int) -> str:
    """At most so many characters; a quarter of them where JSON's escapes (up to 12 for one) would make over three each.

    So all that a client sends fits a line together: such a record is not measured again.
    """
    if len(value) <= most and value.isascii() and value.isprintable():
        return value
    clipped = value[:most]
    if len(quote(clipped)) > 3 * most:
        clipped = value[: most // 4]
    return clipped if len(clipped) == len(value) else clipped + json_safe.CLIPPED.rstrip()


def _level(status: int) -> int:
    """How loud a request's record is. 501 is the client's fault; 503 and 507 tell the visitor what holds just now."""
    if status < 500 or status == 501:
        return logging.INFO
    return logging.WARNING if status in (503, 507) else logging.ERROR
