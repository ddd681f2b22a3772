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
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from service.logs import json_safe
from service.logs.context import OwnFields, RequestIds, current_request

MAX_LINE = 16 * 1024 - 2  # characters, which are bytes here: a line is ASCII. Its end comes on top
MAX_FIELDS = 60
SERVICE = "seatrial"
ALREADY_LOGGED = "already_logged"  # an attribute of an exception whose stack is in the log

_SEVERITIES = {10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL"}
# What an `extra` may not say. What it says under such a name is kept as "extra.NAME".
_OURS = frozenset({
    "severity", "time", "message", "logger", "httpRequest", "stack_trace", "stack_info", "serviceContext", "clipped",
    "trace_id", "span_id", "request_id", "aborted", "format_error", "args",
})  # fmt: skip
_NEVER_CLIPPED = frozenset({"severity", "time", "serviceContext", "clipped", "trace_id", "span_id", "request_id"})
_NOT_FOR_PEOPLE = frozenset({"time", "serviceContext", "trace_id", "span_id"})
_PREFIX = "logging.googleapis.com/"
_to_json = partial(json.dumps, allow_nan=False, separators=(",", ":"))


class SafeJsonFormatter(JsonFormatter):
    """One JSON object a line, as Cloud Logging reads it from stdout.

    The hooks of JsonFormatter close what it leaves open: fields can't be overridden by ``extra``, every value becomes
    valid JSON, secrets are redacted, a line has its limit, and a record that can't be formatted is still a record.
    """

    def __init__(self, *, project: str = "", version: str = "") -> None:
        # ASCII only: no reader of lines can be led astray by U+2028 or a terminal by a control character.
        super().__init__(json_serializer=_to_json, json_ensure_ascii=True)
        self._trace_prefix = f"projects/{project}/traces/" if project else ""
        self._service = {"service": SERVICE, "version": version}

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end. Never raises an Exception."""
        try:
            try:
                return super().format(record)
            except Exception as error:  # noqa: BLE001 -- wrong % arguments, or a __str__ that raises
                return super().format(_unformatted(record, error))
        except Exception as error:  # noqa: BLE001 -- a log line must not break what it is about
            return last_resort(record, error)

    def formatException(self, ei: Any) -> str:  # noqa: N802 -- logging's name
        """The stack, or that it can't be had."""
        try:
            return str(super().formatException(ei)) if ei[0] is not None else ""
        except Exception as error:  # noqa: BLE001 -- an exception's own __str__ or notes may raise
            return f"<{type(error).__name__} while the stack was formatted>"

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        """Everything that the record says goes into ``log_data``. Values that can't be had are described.

        A dict that was logged in place of a message, python-json-logger's way, is like an ``extra``.
        """
        said: dict[Any, object] = record.msg if isinstance(record.msg, dict) else {}
        own = getattr(record, "own_fields", None)
        own = own if isinstance(own, OwnFields) else OwnFields()
        log_data["severity"] = severity(record.levelno)
        log_data["time"] = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        log_data["message"] = json_safe.describe(said.get("message", record.message))
        log_data["logger"] = json_safe.describe(record.name)[:100]
        log_data.update(own)
        if "httpRequest" not in own:  # which is about no line of code
            log_data[f"{_PREFIX}sourceLocation"] = _place(record)
        if (ids := current_request.get()) is not None:
            log_data |= self._request(ids)
        if record.levelno >= logging.ERROR:
            log_data["serviceContext"] = self._service
        stack = message_dict.get("exc_info")
        if "exc_info" in said:  # what was said under this name is no stack
            stack = self.formatException(record.exc_info) if record.exc_info else record.exc_text
        if stack:
            log_data["stack_trace"] = json_safe.describe(stack)
        if record.stack_info:
            log_data["stack_info"] = json_safe.describe(record.stack_info)
        extra = {key: value for key, value in said.items() if key != "message"}
        extra |= {k: v for k, v in vars(record).items() if k not in self.reserved_attrs and v is not own}
        _add(log_data, extra)

    def _request(self, ids: RequestIds) -> dict[str, object]:
        """Twice: for Cloud Logging, and under OpenTelemetry's names."""
        return {
            f"{_PREFIX}trace": self._trace_prefix + ids.trace_id,
            f"{_PREFIX}spanId": ids.span_id,
            f"{_PREFIX}trace_sampled": ids.sampled,
            "trace_id": ids.trace_id,
            "span_id": ids.span_id,
            "request_id": ids.request_id,
        }

    def jsonify_log_record(self, log_data: dict[str, Any]) -> str:
        """The line for these fields."""
        line = super().jsonify_log_record(log_data)
        return line if len(line) <= MAX_LINE else super().jsonify_log_record(_fit(log_data))


class TextFormatter(SafeJsonFormatter):
    """One line a record for a person at a terminal; below it, indented, the stack of an exception.

    Control characters are spelled out, so that nothing in a record can move the cursor or begin a line.
    """

    def jsonify_log_record(self, log_data: dict[str, Any]) -> str:
        """The line or lines for these fields, without the last one's end."""
        clock = datetime.fromisoformat(log_data["time"]).astimezone().strftime("%H:%M:%S")
        head = f"{clock} {log_data.pop('severity'):<8} {log_data.pop('message')}"
        stack = log_data.pop("stack_trace", "")
        if request := log_data.pop("httpRequest", None):
            log_data |= {"seconds": f"{float(request['latency'][:-1]):.3f}", "bytes": request["responseSize"]}
        shown = (
            f"{name}={value}"
            for name, value in log_data.items()
            if name not in _NOT_FOR_PEOPLE and not name.startswith(_PREFIX)
        )
        line = _printable(f"{head}  [{' '.join(shown)}]")
        return _cut("\n".join((line, *(f"    {_printable(part)}" for part in stack.splitlines()))))


def severity(level: int) -> str:
    """Cloud Logging's name for one of Python's levels, or for the one below it."""
    return _SEVERITIES[max(10, min(50, level // 10 * 10))]


def last_resort(record: logging.LogRecord, error: Exception) -> str:
    """A line for a record that nothing else could make a line of. Made of what can't fail."""
    return _to_json({
        "severity": severity(record.levelno if type(record.levelno) is int else logging.ERROR),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "message": "this record could not be formatted",
        "logger": re.sub(r"[^A-Za-z0-9_.]", "?", record.name if type(record.name) is str else "")[:100],
        "format_error": re.sub(r"[^A-Za-z0-9_]", "?", type(error).__name__)[:100],
    })  # fmt: skip


def _unformatted(record: logging.LogRecord, error: Exception) -> logging.LogRecord:
    """The same record, its message and its arguments side by side."""
    copy = logging.makeLogRecord(vars(record))
    own = OwnFields(format_error=json_safe.plain(error), args=json_safe.plain(record.args))
    vars(copy).update(msg=json_safe.describe(record.msg), args=None, own_fields=own)
    return copy


def _place(record: logging.LogRecord) -> dict[str, str]:
    return {
        "file": json_safe.describe(record.pathname)[-200:],
        "line": json_safe.describe(record.lineno)[:20],
        "function": json_safe.describe(record.funcName)[:100],
    }


def _add(fields: dict[str, object], values: Mapping[Any, object]) -> None:
    """Add what was logged under names of its own, and none of it under a name of ours."""
    for key in list(values)[:MAX_FIELDS]:
        name = json_safe.describe(key)[:100]
        if name in _OURS or name.startswith(_PREFIX):
            name = f"extra.{name}"
        fields[name] = json_safe.under(name, values[key])
    if len(values) > MAX_FIELDS:
        fields["clipped"] = True


def _fit(fields: dict[str, Any]) -> dict[str, Any]:
    """The same fields, the longest of them clipped just so far that the line fits."""
    fields["clipped"] = True
    sizes = {name: len(_to_json(value)) for name, value in fields.items() if not _is_fixed(name)}
    fixed = len(_to_json({name: (None if name in sizes else value) for name, value in fields.items()}))
    most = _share(list(sizes.values()), MAX_LINE - fixed)
    for name, size in sizes.items():
        if size > most:
            value = fields[name]
            fields[name] = _clip(value if isinstance(value, str) else _to_json(value), most)
    return fields


def _is_fixed(name: str) -> bool:
    return name in _NEVER_CLIPPED or name.startswith(_PREFIX)


def _share(sizes: list[int], room: int) -> int:
    """The largest size that all may have so that together they fit into ``room``."""
    sizes.sort()
    for index, size in enumerate(sizes):
        share = room // (len(sizes) - index)
        if size > share:
            return share
        room -= size
    return MAX_LINE


def _clip(text: str, size: int) -> str:
    """The beginning and the end: an exception's own text comes last in its stack."""
    half = max(0, size - len(json_safe.CLIPPED) - 2) // 2
    ends = range(1, len(text) + 1)
    head = bisect_right(ends, half + 2, key=lambda n: len(_to_json(text[:n])))
    tail = bisect_right(ends, half + 2, key=lambda n: len(_to_json(text[-n:])))
    return text[:head] + json_safe.CLIPPED + (text[-tail:] if tail else "")


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
