"""The outermost part of the application: each request's ids, its time, its metrics, its one record in the log."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from service import logs
from service.http import problem_details, trace
from service.logs.access import AccessLog
from service.logs.context import current_request
from service.logs.formatter import ALREADY_LOGGED
from service.metrics.registry import Metrics
from service.storage.store import StorageError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)


class RequestWatcher(Protocol):
    """Keeps the requests in flight. ``environ["service.in_flight"]`` is what ``begin`` returns."""

    def begin(self, method: str, path: str) -> Any:
        """A request begins."""

    def end(self, token: Any) -> None:
        """It is over."""


def instrument(
    app: "WSGIApplication", *, metrics: Metrics, in_flight: RequestWatcher, headers: Mapping[str, str] | None = None
) -> "WSGIApplication":
    """The application with its requests traced, counted and logged, and its exceptions made into responses.

    Sets ``service.request_id`` and ``service.in_flight`` in the environment. Reads from it, when the request is over,
    ``service.route`` (the rule's template), ``service.client_ip`` (else ``REMOTE_ADDR``), ``service.is_transfer`` (it
    had a slot: transfer_slots.py), and ``service.is_probe``: a view whose clients ask every few seconds sets it.
    Adds ``X-Request-Id`` to the response, and those of ``headers`` that it does not have. How severe a status is in the
    log: access.py.
    """
    metrics.serving()
    logs.count_records(metrics.log_records, metrics.log_records_dropped)
    make = partial(
        _Exchange,
        metrics=metrics,
        in_flight=in_flight,
        access_log=AccessLog(),
        more_headers=[(name.lower(), (name, value)) for name, value in (headers or {}).items()],
    )

    def instrumented(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        exchange = make(environ, start_response)
        exchange.run(app)
        return exchange

    return instrumented


class _Exchange:
    """One request and its response, which is what the server iterates over and closes."""

    _status = 500
    _sent = 0  # bytes
    _started = False  # the server has the headers, or has refused them
    _complete = False  # the body was sent to its end
    _is_open = True
    _response: tuple[str, list[tuple[str, str]]] | None = None
    _body: Iterable[bytes] = ()

    def __init__(
        self,
        environ: "WSGIEnvironment",
        start_response: "StartResponse",
        *,
        metrics: Metrics,
        in_flight: RequestWatcher,
        access_log: AccessLog,
        more_headers: list[tuple[str, tuple[str, str]]],
    ) -> None:
        self._start = perf_counter()
        self._metrics, self._in_flight, self._access_log = metrics, in_flight, access_log
        self._more_headers = more_headers  # each with its name in small letters before it
        self._environ = environ
        self._start_response = start_response
        self._context = context = trace.from_environ(environ)
        current_request.set(context)
        environ["service.request_id"] = context.request_id
        self._token = in_flight.begin(environ["REQUEST_METHOD"], environ["PATH_INFO"])
        environ["service.in_flight"] = self._token
        metrics.active.inc()
        self._input = environ["wsgi.input"] = _CountedInput(environ["wsgi.input"])

    def run(self, app: "WSGIApplication") -> None:
        """Call the application. Its exceptions become a response; only what ends the process goes through."""
        try:
            self._body = app(self._environ, self.start_response)
        except Exception as error:  # noqa: BLE001 -- the last place where there can be a response
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
        # Handed on with the first bytes, so that an exception before them can still become a response of its own.
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
        present = {name.lower() for name, _ in headers}
        headers += [header for name, header in self._more_headers if name not in present]
        headers.append(("X-Request-Id", self._context.request_id))
        self._started = True
        self._write = self._start_response(status, headers)

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self._body:
                if not self._started:
                    self._begin()
                self._sent += len(chunk)
                yield chunk
            if not self._started:
                self._begin()
        except Exception as error:  # noqa: BLE001 -- as in run()
            body = self._fail(error)
            self._begin()
            self._sent = len(body)
            yield body
        self._complete = True

    def _fail(self, error: Exception) -> bytes:
        """The body for an exception out of the application. Raises the exception where it is too late for a body."""
        if self._started and isinstance(error, StorageError):
            # The client has the status already, and sees that the body is too short.
            log.warning("the object store broke off a response of status %d: %s", self._status, error)
            setattr(error, ALREADY_LOGGED, True)
            raise error
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
        environ, context, metrics = self._environ, self._context, self._metrics
        seconds, received, sent = perf_counter() - self._start, self._input.count, self._sent
        try:
            metrics.active.dec()
            metrics.request(
                environ["REQUEST_METHOD"],
                environ.get("service.route", ""),
                self._status,
                is_transfer=environ.get("service.is_transfer", False),
                seconds=seconds,
                received=received,
                sent=sent,
                trace_id=context.trace_id if context.sampled else None,
            )
            self._access_log.write(
                environ, self._status, seconds=seconds, received=received, sent=sent, complete=self._complete
            )
        finally:
            current_request.set(None)
            self._in_flight.end(self._token)


class _CountedInput:
    """``wsgi.input``, with PEP 3333's four methods, and how many bytes were read from it."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self.count = 0

    def read(self, size: int = -1, /) -> bytes:
        return self._counted(self._source.read(size))

    def readline(self, size: int = -1, /) -> bytes:
        return self._counted(self._source.readline(size))

    def readlines(self, hint: int = -1, /) -> list[bytes]:  # noqa: ARG002 -- PEP 3333: it may be passed over
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def _counted(self, data: bytes) -> bytes:
        self.count += len(data)
        return data
