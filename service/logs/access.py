"""The record of a request: what it holds, how much of what the client sent, and how loud it is.

The fields are LogEntry.HttpRequest's:
https://cloud.google.com/logging/docs/reference/v2/rest/v2/LogEntry#HttpRequest
"""

import logging
from typing import TYPE_CHECKING
from urllib.parse import quote

from service.logs import json_safe
from service.logs.context import OwnFields
from service.logs.redaction import REDACTED, redact_url

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

log = logging.getLogger("service.access")

PROBES = frozenset({"/health", "/ready", "/metrics", "/api/status"})  # the last one is the page's
_MAX_URL = 1500  # characters
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))


class AccessLog:
    """Writes one record for each request."""

    def __init__(self) -> None:
        self._probes: dict[str, int] = {}  # the last status of each

    def write(
        self, environ: "WSGIEnvironment", status: int, *, seconds: float, received: int, sent: int, complete: bool
    ) -> None:
        """A request is over: so many bytes were read of its body, and sent of the response's, ``complete`` or not.

        Of ``environ`` the record has the request line, a few headers, and ``service.client_ip`` (else REMOTE_ADDR).
        """
        level = _level(status)
        if not log.isEnabledFor(level) or not self._is_news(environ["PATH_INFO"], status):
            return
        method, target = _header(environ["REQUEST_METHOD"], 50), _target(environ)
        origin = f"{environ['wsgi.url_scheme']}://{_host(environ.get('HTTP_HOST', ''))}"
        request: dict[str, object] = {
            "requestMethod": method,
            "requestUrl": origin + target if target.startswith("/") else target,
            "requestSize": str(received),
            "status": status,
            "responseSize": str(sent),
            "remoteIp": _header(environ.get("service.client_ip") or environ.get("REMOTE_ADDR") or "", 50),
            "latency": f"{seconds:.6f}s",
            "protocol": _header(environ["SERVER_PROTOCOL"], 20),
        }
        for field, key in (("userAgent", "HTTP_USER_AGENT"), ("referer", "HTTP_REFERER")):
            if value := environ.get(key):
                request[field] = _header(value, 500)
        own = OwnFields(httpRequest=request)
        if not complete:
            own["aborted"] = True
        log.log(level, "%s %s %d", method, target.partition("?")[0], status, extra={"own_fields": own})

    def _is_news(self, path: str, status: int) -> bool:
        """Probes come all the time: of those that went well only the first is logged, and each change."""
        if path not in PROBES:
            return True
        before, self._probes[path] = self._probes.get(path), status
        return before != status or not 200 <= status < 300


def _level(status: int) -> int:
    """How loud a request's record is. 501 is the client's error; 503 and 507 tell the visitor what holds just now."""
    if status < 500 or status == 501:
        return logging.INFO
    return logging.WARNING if status in (503, 507) else logging.ERROR


def _header(value: str, most: int) -> str:
    return _clip(json_safe.text(redact_url(value)), most)


def _host(value: str) -> str:
    return REDACTED if "@" in value else _clip(json_safe.text(value), 300)


def _target(environ: "WSGIEnvironment") -> str:
    """Path and query as the client gave them, but printable, and without secrets."""
    target: str | None = environ.get("RAW_URI")
    if target is None:  # a server that does not keep it
        query = environ.get("QUERY_STRING", "")
        target = quote(environ["PATH_INFO"], encoding="latin-1") + (f"?{query}" if query else "")
    if not (target.isascii() and target.isprintable()):
        target = quote(target, safe=_PRINTABLE, encoding="utf-8", errors="backslashreplace")
    return _clip(redact_url(target), _MAX_URL)


def _clip(value: str, most: int) -> str:
    """At most so many characters, or a third of them where JSON may need escapes of up to 12 bytes for each.

    So all that a client sends fits into one line together, and the formatter clips nothing of it.
    """
    if not (value.isascii() and value.isprintable()):
        most //= 3
    return value if len(value) <= most else value[:most] + json_safe.CLIPPED.rstrip()
