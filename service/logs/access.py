"""The record of a request: its fields, how much of what the client sent is kept, and its severity.

The fields are LogEntry.HttpRequest's:
https://cloud.google.com/logging/docs/reference/v2/rest/v2/LogEntry#HttpRequest
"""

import logging
import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from service.logs.context import OwnFields
from service.logs.redaction import CLIPPED, REDACTED, redact

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

log = logging.getLogger("service.access")

_LENGTH = re.compile("0*([0-9]{1,18})")  # not \d, which has every script's digits
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))


class AccessLog:
    """Writes one record for each request."""

    def __init__(self) -> None:
        self._probes: dict[str, int] = {}  # by route, the last status

    def write(
        self, environ: "WSGIEnvironment", status: int, *, seconds: float, received: int, sent: int, complete: bool
    ) -> None:
        """A request is over: ``received`` and ``sent`` are the bytes of the bodies. Of a body that nobody read, the
        record has the size that the client declared.

        ``complete`` is false where the response's body was not sent to its end. From ``environ`` the record has the
        request line, a few headers, and ``service.client_ip`` (else REMOTE_ADDR). ``service.is_probe`` there marks a
        request that comes every few seconds: of those that went well only the first of a route is logged, and each
        change of status.
        """
        level = _level(status)
        if not log.isEnabledFor(level) or not self._is_news(environ, status):
            return
        method, target = _client_text(environ["REQUEST_METHOD"], 50), _client_text(_target(environ), 1500)
        host = environ.get("HTTP_HOST", "")
        origin = f"{environ['wsgi.url_scheme']}://{REDACTED if '@' in host else _client_text(host, 300)}"
        request: dict[str, object] = {
            "requestMethod": method,
            "requestUrl": origin + target if target.startswith("/") else target,
            "requestSize": str(received) if received else _declared_size(environ),
            "status": status,
            "responseSize": str(sent),
            "remoteIp": _clip(environ.get("service.client_ip") or environ.get("REMOTE_ADDR") or "", 50),
            "latency": f"{seconds:.6f}s",
            "protocol": _clip(environ["SERVER_PROTOCOL"], 20),
        }
        for field, key in (("userAgent", "HTTP_USER_AGENT"), ("referer", "HTTP_REFERER")):
            if value := environ.get(key):
                request[field] = _client_text(value, 500)
        own = OwnFields(httpRequest=request)
        if not complete:
            own["aborted"] = True
        log.log(level, "%s %s %d", method, target.partition("?")[0], status, extra={"own_fields": own})

    def _is_news(self, environ: "WSGIEnvironment", status: int) -> bool:
        if not environ.get("service.is_probe"):
            return True
        route = environ.get("service.route", "")
        before, self._probes[route] = self._probes.get(route), status
        return before != status or not 200 <= status < 300


def _level(status: int) -> int:
    """501 is the client's error; with 503 and 507 the service tells its present state, and works."""
    if status < 500 or status == 501:
        return logging.INFO
    return logging.WARNING if status in (503, 507) else logging.ERROR


def _declared_size(environ: "WSGIEnvironment") -> str:
    """The Content-Length in bytes, or 0 where it is none that fits into the field's int64."""
    length = environ.get("CONTENT_LENGTH")
    match = _LENGTH.fullmatch(length) if length else None
    return match[1] if match else "0"


def _target(environ: "WSGIEnvironment") -> str:
    """Path and query as the client gave them, but printable."""
    target: str | None = environ.get("RAW_URI")
    if target is None:  # a server that does not keep it
        query = environ.get("QUERY_STRING", "")
        target = quote(environ["PATH_INFO"], encoding="latin-1") + (f"?{query}" if query else "")
    if not (target.isascii() and target.isprintable()):
        target = quote(target, safe=_PRINTABLE, encoding="utf-8", errors="backslashreplace")
    return target


def _client_text(value: str, most: int) -> str:
    """What a client sent, without secrets, and at most so many characters of it."""
    return _clip(redact(value), most)


def _clip(value: str, most: int) -> str:
    """At most so many characters, or a third of them where JSON may need escapes of up to 12 bytes for each.

    So all that a client sends fits into one line together, and the formatter clips nothing of it.
    """
    if not (value.isascii() and value.isprintable()):
        value = value.encode("utf-8", "backslashreplace").decode()  # a lone surrogate is spelled out
        most //= 3
    return value if len(value) <= most else value[:most] + CLIPPED.rstrip(" ")
