"""A log record as one line: JSON for machines, with Cloud Logging's names, or text for a person.

https://cloud.google.com/logging/docs/agent/logging/configuration#special-fields names the fields,
https://cloud.google.com/error-reporting/docs/formatting-error-messages what an error needs. A line, with its end, is
under 16 KiB, where container runtimes cut. Neither formatter ever raises or gives up a record, whatever is in it.
"""

import json
import logging
import re
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping
from functools import lru_cache
from json import JSONEncoder
from typing import Any

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from service.http import trace
from service.logs import json_safe
from service.logs.redaction import REDACTED, is_secret_name

MAX_LINE = 16 * 1024 - 2  # characters, which are bytes here: a line is ASCII. Its end comes on top
MAX_FIELDS = 60
SERVICE = "seatrial"
ALREADY_LOGGED = "already_logged"  # an attribute of an exception whose stack is in the log

_SEVERITIES = {level: logging.getLevelName(level) for level in (10, 20, 30, 40, 50)}
_FORMATTER_OF_STACKS = logging.Formatter()
# What an `extra` may not say. What it says under such a name is kept as "extra.NAME".
_OURS = frozenset({
    "severity", "time", "message", "logger", "httpRequest", "stack_trace", "stack_info", "serviceContext", "clipped",
    "trace_id", "span_id", "request_id", "aborted", "format_error", "args",
})  # fmt: skip
_NEVER_CLIPPED = frozenset({"severity", "time", "serviceContext", "clipped", "trace_id", "span_id", "request_id"})
_NOT_FOR_PEOPLE = frozenset({"time", "serviceContext", "trace_id", "span_id"})
_PREFIX = "logging.googleapis.com/"
_ABORTED = ',"aborted":true'
_quote = json.encoder.encode_basestring_ascii


_PLAIN_RECORD = vars(logging.LogRecord("service.access", logging.INFO, __file__, 0, "", (), None))


class AccessRecord(logging.LogRecord):
    """The record of one request. Only the middleware makes it, so that nobody else can say what a request was."""

    def __init__(
        self,
        level: int,
        message: str,
        http: str,
        context: trace.Context,
        *,
        seconds: float,
        sent: int,
        aborted: bool,
    ) -> None:
        """``message`` is safe already, and ``http`` is JSON: LogEntry.HttpRequest. Both are much shorter than a line.

        The attributes of a LogRecord are all there; those that cost time and say nothing here are not worked out.
        """
        now = time.time()
        self.__dict__.update(
            _PLAIN_RECORD,
            levelno=level,
            levelname=_SEVERITIES[level],
            msg=message,
            created=now,
            msecs=now % 1 * 1000,
            thread=None,
            threadName=None,
        )
        self.http = http
        self.context = context
        self.seconds = seconds
        self.sent = sent  # bytes of the body
        self.aborted = aborted  # it was not sent to its end


class Fields:
    """A record as a dict of what JSON can say, in the order of the line."""

    def __init__(self, *, project: str = "", version: str = "") -> None:
        self.trace_prefix = f"projects/{project}/traces/" if project else ""
        self.service = {"service": SERVICE, "version": version}
        self._reserved = {*RESERVED_ATTRS, "taskName"}
        self._second = (0, "")
        self._places: dict[tuple[object, object], dict[str, str]] = {}
        self._names: dict[str, tuple[str, bool]] = {}

    def of(self, record: logging.LogRecord) -> dict[str, object]:
        """Everything that the record says. Values that can't be had are described; the record is kept."""
        attributes = record.__dict__
        fields: dict[str, object] = {
            "severity": severity(record.levelno),
            "time": self.time(record.created),
            "message": "",
            "logger": _name(record.name),
        }
        self._add_message(fields, record)
        fields["logging.googleapis.com/sourceLocation"] = self._place(record)
        context = trace.current()
        if context is not None:
            fields |= self._trace(context)
        if record.levelno >= logging.ERROR:
            fields["serviceContext"] = self.service
        if record.exc_info and record.exc_info[0] is not None:
            fields["stack_trace"] = _stack(record.exc_info)
        if record.stack_info:
            fields["stack_info"] = json_safe.describe(record.stack_info)
        if isinstance(record, AccessRecord):  # for a person: what JSON has in httpRequest
            fields |= {"seconds": f"{record.seconds:.3f}", "bytes": record.sent}
            fields |= {"aborted": True} if record.aborted else {}
        else:
            extra = [key for key in attributes if key not in self._reserved]
            if extra:
                self._add(fields, attributes, extra)
        return fields

    def _add_message(self, fields: dict[str, object], record: logging.LogRecord) -> None:
        if isinstance(record.msg, dict):  # python-json-logger's way to log fields and nothing else
            fields["message"] = json_safe.describe(record.msg.get("message", ""))
            self._add(fields, record.msg, [key for key in record.msg if key != "message"])
            return
        try:
            fields["message"] = json_safe.text(record.getMessage())
        except Exception as fault:  # noqa: BLE001 -- wrong % arguments, or a __str__ that raises
            fields["message"] = json_safe.describe(record.msg)
            fields["format_error"] = json_safe.plain(fault)
            fields["args"] = json_safe.plain(record.args)

    def _add(self, fields: dict[str, object], values: Mapping[Any, object], keys: list[Any]) -> None:
        for key in keys[:MAX_FIELDS]:
            value = values.get(key)  # which may have changed meanwhile
            name, is_secret = self._field(key)
            hidden = is_secret and value is not None and not isinstance(value, bool)
            fields[name] = REDACTED if hidden else json_safe.plain(value)
        if len(keys) > MAX_FIELDS:
            fields["clipped"] = True

    def _field(self, key: object) -> tuple[str, bool]:
        """The field's name for a key, and whether it names a secret. The code has few, so they are worked out once."""
        known = self._names.get(key) if type(key) is str else None
        if known is None:
            name = json_safe.describe(key)[:100]
            if name in _OURS or name.startswith(_PREFIX):
                name = f"extra.{name}"
            known = name, is_secret_name(name)
            if type(key) is str and len(key) <= 100 and len(self._names) < 1000:
                self._names[key] = known
        return known

    def _trace(self, context: trace.Context) -> dict[str, object]:
        return {
            "logging.googleapis.com/trace": self.trace_prefix + context.trace_id,
            "logging.googleapis.com/spanId": context.span_id,
            "logging.googleapis.com/trace_sampled": context.sampled,
            "trace_id": context.trace_id,
            "span_id": context.span_id,
            "request_id": context.request_id,
        }

    def time(self, created: float) -> str:
        """RFC 3339 in UTC with microseconds."""
        second = int(created)
        known, text = self._second
        if known != second:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = (second, text)
        return f"{text}.{int((created - second) * 1_000_000):06d}Z"

    def _place(self, record: logging.LogRecord) -> dict[str, str]:
        key = (record.pathname, record.lineno)
        place = self._places.get(key)
        if place is None:
            file, function = json_safe.describe(record.pathname), json_safe.describe(record.funcName)
            place = {"file": file[-200:], "line": json_safe.describe(record.lineno)[:20], "function": function[:100]}
            if len(self._places) < 1000:  # as many as there are calls of a logger in the code
                self._places[key] = place
        return place


class SafeJsonFormatter(JsonFormatter):
    """One JSON object a line, as Cloud Logging reads it from stdout.

    What JsonFormatter leaves open is closed: fields can't be overridden by ``extra``, every value becomes valid JSON,
    secrets are redacted, a line has its limit, and a record that can't be formatted is still a record.
    """

    def __init__(self, *, project: str = "", version: str = "") -> None:
        super().__init__()
        self._fields = Fields(project=project, version=version)
        # ASCII only: no reader of lines can be led astray by U+2028 or a terminal by a control character.
        self._encode = _json_encoder()
        self._trace_prefix = _quote(self._fields.trace_prefix)[1:-1]
        self._of_errors = f',"serviceContext":{self._encode(self._fields.service)}'

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end. Never raises an Exception."""
        try:
            if type(record) is AccessRecord:
                return self._access(record)
            fields = self._fields.of(record)
            line = self._encode(fields)
            return line if len(line) <= MAX_LINE else self._encode(self._fit(fields))
        except Exception as error:  # noqa: BLE001 -- a log line must not break what it is about
            return last_resort(record, error)

    def _access(self, record: AccessRecord) -> str:
        """The same fields as of any record. There is one for each request, so it is put together by hand."""
        ids = record.context
        return (
            f'{{"severity":"{record.levelname}","time":"{self._fields.time(record.created)}",'
            f'"message":{_quote(str(record.msg))},"logger":"{record.name}","httpRequest":{record.http},'
            f'"logging.googleapis.com/trace":"{self._trace_prefix}{ids.trace_id}",'
            f'"logging.googleapis.com/spanId":"{ids.span_id}",'
            f'"logging.googleapis.com/trace_sampled":{"true" if ids.sampled else "false"},'
            f'"trace_id":"{ids.trace_id}","span_id":"{ids.span_id}","request_id":"{ids.request_id}"'
            f"{_ABORTED if record.aborted else ''}{self._of_errors if record.levelno >= logging.ERROR else ''}}}"
        )

    def _fit(self, fields: dict[str, object]) -> dict[str, object]:
        """The same fields, the longest of them clipped just so far that the line fits."""
        fields["clipped"] = True
        sizes = {name: len(self._encode(value)) for name, value in fields.items() if not _is_fixed(name)}
        fixed = len(self._encode({name: (None if name in sizes else value) for name, value in fields.items()}))
        most = _level(list(sizes.values()), MAX_LINE - fixed)
        for name, size in sizes.items():
            if size > most:
                value = fields[name]
                fields[name] = self._clip(value if isinstance(value, str) else self._encode(value), most)
        return fields

    def _clip(self, text: str, size: int) -> str:
        """The beginning and the end: an exception's own text comes last in its stack."""
        half = max(0, size - len(json_safe.CLIPPED) - 2) // 2
        ends = range(1, len(text) + 1)
        head = bisect_right(ends, half + 2, key=lambda n: len(self._encode(text[:n])))
        tail = bisect_right(ends, half + 2, key=lambda n: len(self._encode(text[-n:])))
        return text[:head] + json_safe.CLIPPED + (text[-tail:] if tail else "")


class TextFormatter(logging.Formatter):
    """One line a record for a person at a terminal; below it, indented, the stack of an exception.

    Control characters are spelled out, so that nothing in a record can move the cursor or begin a line.
    """

    def __init__(self) -> None:
        super().__init__()
        self._fields = Fields()

    def format(self, record: logging.LogRecord) -> str:
        """The line or lines, without the last one's end. Never raises an Exception."""
        try:
            return self._format(self._fields.of(record), time.strftime("%H:%M:%S", time.localtime(record.created)))
        except Exception as error:  # noqa: BLE001 -- as in SafeJsonFormatter
            return last_resort(record, error)

    def _format(self, fields: dict[str, object], clock: str) -> str:
        head = f"{clock} {fields.pop('severity'):<8} {fields.pop('message')}"
        stack = str(fields.pop("stack_trace", ""))
        shown = (
            f"{name}={value}"
            for name, value in fields.items()
            if name not in _NOT_FOR_PEOPLE and not name.startswith(_PREFIX)
        )
        line = _printable(f"{head}  [{' '.join(shown)}]")
        stack_lines = (f"    {_printable(part)}" for part in stack.splitlines())
        return _cut("\n".join((line, *stack_lines)))


@lru_cache(maxsize=1000)
def _name(logger: str) -> str:
    return json_safe.describe(logger)[:100]


def severity(level: int) -> str:
    """Cloud Logging's name for one of Python's levels, or for the one below it."""
    return _SEVERITIES.get(level) or _SEVERITIES[max(10, min(50, level // 10 * 10))]


def last_resort(record: logging.LogRecord, error: Exception) -> str:
    """A line for a record that nothing else could make a line of. Made of what can't fail."""
    level = record.levelno if type(record.levelno) is int else logging.ERROR
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    kind = re.sub(r"[^A-Za-z0-9_]", "?", type(error).__name__)[:100]
    name = re.sub(r"[^A-Za-z0-9_.]", "?", record.name if type(record.name) is str else "")[:100]
    return (
        f'{{"severity":"{severity(level)}","time":"{when}",'
        f'"message":"this record could not be formatted","logger":"{name}","format_error":"{kind}"}}'
    )


def _json_encoder() -> Callable[[object], str]:
    """Compact ASCII JSON. The standard encoder builds its C part anew for every object; here it is built once."""
    standard = JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    make = getattr(json.encoder, "c_make_encoder", None)  # CPython has it
    if make is None:
        return standard.encode
    encode = make(None, standard.default, _quote, None, ":", ",", False, False, False)  # as in JSONEncoder.iterencode
    return lambda value: "".join(encode(value, 0))


def _stack(error: object) -> str:
    try:
        return json_safe.text(_FORMATTER_OF_STACKS.formatException(error))  # type: ignore[arg-type] # as logging itself does
    except Exception as fault:  # noqa: BLE001 -- an exception's own __str__ or notes may raise
        return f"<{type(fault).__name__} while the stack was formatted>"


def _is_fixed(name: str) -> bool:
    return name in _NEVER_CLIPPED or name.startswith(_PREFIX)


def _level(sizes: list[int], room: int) -> int:
    """The largest size that all may have so that together they fit into ``room``."""
    sizes.sort()
    for index, size in enumerate(sizes):
        share = room // (len(sizes) - index)
        if size > share:
            return share
        room -= size
    return MAX_LINE


# C0 and C1 controls, line separators, and what turns the direction of text around.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def _cut(text: str) -> str:
    raw = text.encode("utf-8", "backslashreplace")
    if len(raw) <= MAX_LINE:
        return text
    half = (MAX_LINE - len(json_safe.CLIPPED)) // 2
    return raw[:half].decode(errors="ignore") + json_safe.CLIPPED + raw[-half:].decode(errors="ignore")
