"""How records look in a file: where one begins, and what its first line says."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

Fields = dict[str, Any]

MONTHS = {"JanFebMarAprMayJunJulAugSepOctNovDec"[at : at + 3]: at // 3 + 1 for at in range(0, 36, 3)}
# https://cloud.google.com/logging/docs/reference/v2/rest/v2/LogEntry#LogSeverity
SEVERITIES = {
    **dict.fromkeys(("SEVERE", "ERROR"), "ERROR"),
    **dict.fromkeys(("WARNING", "WARN"), "WARNING"),
    **dict.fromkeys(("CONFIG", "NOTICE"), "NOTICE"),
    **dict.fromkeys(("FINE", "FINER", "FINEST", "DEBUG", "TRACE"), "DEBUG"),
    **dict.fromkeys(("CRITICAL", "FATAL"), "CRITICAL"),
    "INFO": "INFO",
}


@dataclass(frozen=True)
class Format:
    """``starts``: whether a line (without its end) begins a record. ``parse``: its fields, None where it fits not."""

    name: str
    starts: Callable[[bytes], bool]
    parse: Callable[[str], Fields | None]


def _time(*parts: int | str, zone: str = "") -> str:
    """A time of the log as RFC 3339. ``parts``: year to microsecond. Without a zone it is this machine's (TZ)."""
    moment = datetime(*(int(part) for part in parts))  # type: ignore[arg-type] # numbers  # noqa: DTZ001 -- zoned below
    if zone:
        moment = datetime.strptime(f"{moment.isoformat()}{zone}", "%Y-%m-%dT%H:%M:%S%z")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# org.apache.juli.OneLineFormatter: 24-Nov-2026 12:00:00.123 INFO [main] org.example.Class.method Message
_TOMCAT = re.compile(
    r"(\d{1,2})-([A-Z][a-z]{2})-(\d{4}) (\d\d):(\d\d):(\d\d)\.(\d{3}) ([A-Z]+) \[(.*?)\] (\S+) ?(.*)",
    re.ASCII | re.DOTALL,
)
_TOMCAT_START = re.compile(rb"\d{1,2}-[A-Z][a-z]{2}-\d{4} \d\d:\d\d:\d\d\.\d{3} ")


def _tomcat(text: str) -> Fields | None:
    match = _TOMCAT.fullmatch(text)
    if not match or match[2] not in MONTHS:
        return None
    day, month, year, hour, minute, second, millisecond, level, thread, logger, message = match.groups()
    return {
        "time": _time(year, MONTHS[month], day, hour, minute, second, int(millisecond) * 1000),
        "severity": SEVERITIES.get(level, "DEFAULT"),
        "thread": thread,
        "logger": logger,
        "message": message,
    }


# AccessLogValve's patterns common and combined: host identity user [time] "request" status bytes "referer" "agent"
_ACCESS = re.compile(
    r"(\S+) (\S+) (\S+) \[(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-]\d{4})\]"
    r' "((?:[^"\\]|\\.)*)" (\d{3}) (\d+|-)'
    r'(?: "((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)")?.*',
    re.ASCII,
)


def _access(text: str) -> Fields | None:
    match = _ACCESS.fullmatch(text)
    if not match or match[5] not in MONTHS:
        return None
    host, _, _, day, month, year, hour, minute, second, zone, request, status, size, referer, agent = match.groups()
    method, _, rest = request.partition(" ")
    url, _, protocol = rest.rpartition(" ")
    http = {
        "requestMethod": method,
        "requestUrl": url,
        "protocol": protocol,
        "status": int(status),
        "responseSize": "0" if size == "-" else size,
        "remoteIp": host,
        "referer": referer,
        "userAgent": agent,
    }
    return {
        "time": _time(year, MONTHS[month], day, hour, minute, second, zone=zone),
        "severity": "ERROR" if status >= "500" else "INFO",
        "message": f"{request} {status}",
        "httpRequest": {name: value for name, value in http.items() if value not in (None, "", "-")},
    }


# logging's usual ways: 2026-11-24 12:00:00,123 INFO name: message, with - or [ ] between
_PYTHON = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,6})\d*)?(Z|[+-]\d\d:?\d\d)?[ \-:|]*"
    r"\[?([A-Z]{4,8})\]?[ \-:|]+(?:([\w.]+)(?:: | - ))?(.*)",
    re.ASCII | re.DOTALL,
)
_PYTHON_START = re.compile(rb"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d")


def _python(text: str) -> Fields | None:
    match = _PYTHON.fullmatch(text)
    if not match or match[9] not in SEVERITIES:
        return None
    *moment, fraction, zone, level, logger, message = match.groups()
    zone = "+0000" if zone == "Z" else zone or ""
    fields = {
        "time": _time(*moment, zone=zone) if zone else _time(*moment, (fraction or "0").ljust(6, "0")),
        "severity": SEVERITIES[level],
        "message": message,
    }
    return fields | ({"logger": logger} if logger else {})


def _generic(text: str) -> Fields | None:
    return {"message": text}


def _guarded(parse: Callable[[str], Fields | None]) -> Callable[[str], Fields | None]:
    """A date that looks right may still be none: 31-Feb."""

    def parse_or_none(text: str) -> Fields | None:
        try:
            return parse(text)
        except (ValueError, OverflowError):
            return None

    return parse_or_none


FORMATS = {
    form.name: form
    for form in (
        Format("tomcat", lambda line: _TOMCAT_START.match(line) is not None, _guarded(_tomcat)),
        Format("access", lambda _: True, _guarded(_access)),
        Format("python", lambda line: _PYTHON_START.match(line) is not None, _guarded(_python)),
        # What is indented, or says itself that it goes on, belongs to the line before it.
        Format("generic", lambda line: not line.startswith((b" ", b"\t", b"Caused by:", b"...")), _generic),
    )
}
