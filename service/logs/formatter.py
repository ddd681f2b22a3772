"""A log record as one line: JSON for machines, with Cloud Logging's names, or text for a person.

https://cloud.google.com/logging/docs/agent/logging/configuration#special-fields names the fields,
https://cloud.google.com/error-reporting/docs/formatting-error-messages what an error needs. A line, with its end, is
under 16 KiB, where container runtimes cut. Neither formatter ever raises or loses a record, whatever is in it.
"""

import json
import logging
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from service.logs import json_safe
from service.logs.context import OwnFields, current_request
from service.logs.redaction import CLIPPED, REDACTED, clean
from service.name import NAME

MAX_LINE = 16 * 1024 - 2  # characters, which are bytes here: a line is ASCII. Its end comes on top
MAX_FIELDS = 60
ALREADY_LOGGED = "already_logged"  # an attribute of an exception whose stack is in the log

_SEVERITIES = {10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL"}
# An `extra` under one of these names is kept as "extra.NAME".
_OURS = frozenset({
    "severity", "time", "message", "logger", "httpRequest", "stack_trace", "stack_info", "serviceContext", "clipped",
    "trace_id", "span_id", "request_id", "aborted", "format_error", "args",
})  # fmt: skip
_NEVER_CLIPPED = frozenset({"severity", "time", "serviceContext", "clipped", "trace_id", "span_id", "request_id"})
_NOT_FOR_PEOPLE = frozenset({"time", "serviceContext", "trace_id", "span_id"})
_PREFIX = "logging.googleapis.com/"
_to_json = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode  # ASCII only, as JSONEncoder does by default


class SafeJsonFormatter(JsonFormatter):
    """One JSON object a line, as Cloud Logging reads it from stdout.

    What JsonFormatter does not guarantee: an ``extra`` overrides no field, every value becomes valid JSON, secrets are
    redacted, a line is not too long, and a record that can't be formatted is still a record.
    """

    def __init__(self, *, project: str = "", version: str = "") -> None:
        super().__init__()
        self._trace_prefix = f"projects/{project}/traces/" if project else ""
        self._service = {"service": NAME, "version": version}

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
        """The stack, or a note that there was an error."""
        try:
            return str(super().formatException(ei)) if ei[0] is not None else ""
        except Exception as error:  # noqa: BLE001 -- an exception's own __str__ or notes may raise
            return f"<{type(error).__name__} while the stack was formatted>"

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        """Put everything that the record says into ``log_data``.

        A dict that was logged in place of a message, python-json-logger's way, is like an ``extra``.
        """
        said: dict[Any, object] = record.msg if isinstance(record.msg, dict) else {}
        own = getattr(record, "own_fields", None)
        own = own if isinstance(own, OwnFields) else OwnFields()
        log_data["severity"] = severity(record.levelno)
        log_data["time"] = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")[:-6] + "Z"
        if own:
            log_data["message"] = record.message  # clean already, see OwnFields
        else:
            log_data["message"] = json_safe.describe(said["message"]) if "message" in said else clean(record.message)
        log_data["logger"] = str(record.name)[:100]
        log_data.update(own)
        if "httpRequest" not in own:  # which is about no line of code
            log_data[f"{_PREFIX}sourceLocation"] = _source(record)
        if (ids := current_request.get()) is not None:
            log_data |= {
                f"{_PREFIX}trace": self._trace_prefix + ids.trace_id,
                f"{_PREFIX}spanId": ids.span_id,
                f"{_PREFIX}trace_sampled": ids.sampled,
                "trace_id": ids.trace_id,  # OpenTelemetry's names
                "span_id": ids.span_id,
                "request_id": ids.request_id,
            }
        if record.levelno >= logging.ERROR:
            log_data["serviceContext"] = self._service
        stack = message_dict.get("exc_info")
        if "exc_info" in said:  # a field of the message, not the stack
            stack = self.formatException(record.exc_info) if record.exc_info else record.exc_text
        if stack:
            log_data["stack_trace"] = json_safe.describe(stack)
        if record.stack_info:
            log_data["stack_info"] = json_safe.describe(record.stack_info)
        extra = {k: v for k, v in vars(record).items() if k not in self.reserved_attrs and v is not own}
        if said:
            extra = {k: v for k, v in said.items() if k != "message"} | extra
        if extra:
            _add(log_data, extra)

    def jsonify_log_record(self, log_data: dict[str, Any]) -> str:
        """The line for these fields."""
        line = _to_json(log_data)
        return line if len(line) <= MAX_LINE else _fit(log_data)


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
    """Cloud Logging's name for one of Python's levels, or for the nearest one below it; DEBUG for lower levels."""
    return _SEVERITIES[max(10, min(50, level // 10 * 10))]


def last_resort(record: logging.LogRecord, error: Exception) -> str:
    """A line for a record that could not be formatted, made only of operations that can't fail."""
    return _to_json({
        "severity": severity(record.levelno if type(record.levelno) is int else logging.ERROR),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "message": "this record could not be formatted",
        "logger": re.sub(r"[^A-Za-z0-9_.]", "?", record.name if type(record.name) is str else "")[:100],
        "format_error": re.sub(r"[^A-Za-z0-9_]", "?", type(error).__name__)[:100],
    })  # fmt: skip


def _unformatted(record: logging.LogRecord, error: Exception) -> logging.LogRecord:
    """The same record, its message and its arguments side by side."""
    own = OwnFields(format_error=json_safe.plain(error), args=json_safe.plain(record.args))
    said = {"msg": json_safe.describe(record.msg), "args": None, "own_fields": own}
    return logging.makeLogRecord(vars(record) | said)


def _source(record: logging.LogRecord) -> dict[str, str]:
    """The line of code that logged it."""
    file = str(record.pathname).encode("utf-8", "backslashreplace").decode()  # a folder's name may be any bytes
    return {"file": file[-200:], "line": str(record.lineno), "function": str(record.funcName)[:100]}


def _add(fields: dict[str, object], values: Mapping[Any, object]) -> None:
    """Add what was logged under names of its own, without overriding a field of ours."""
    for key, value in islice(values.items(), MAX_FIELDS):
        name = json_safe.describe(key)
        name = name[: 80 if name.isascii() and name.isprintable() else 12]  # JSON may need 12 bytes for a character
        if name in _OURS or name.startswith(_PREFIX):
            name = f"extra.{name}"
        fields[name] = REDACTED if json_safe.is_secret(name, value) else json_safe.plain(value)
    if len(values) > MAX_FIELDS:
        fields["clipped"] = True


def _fit(fields: dict[str, Any]) -> str:
    """The line for these fields, the longest of them clipped until it fits."""
    fields["clipped"] = True
    most = MAX_LINE
    while len(line := _to_json(fields)) > MAX_LINE:
        most = most * 3 // 4
        for name, value in fields.items():
            size = len(_to_json(value))
            if size > most and name not in _NEVER_CLIPPED and not name.startswith(_PREFIX):
                text = value if isinstance(value, str) else _to_json(value)
                half = max(0, len(text) * most // size - len(CLIPPED)) // 2
                # The beginning and the end: an exception's own text comes last in its stack.
                fields[name] = text[:half] + CLIPPED + text[len(text) - half :]
    return line


# C0 and C1 controls, line separators, and what turns the direction of text around.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def _cut(text: str) -> str:
    raw = text.encode("utf-8", "backslashreplace")
    if len(raw) <= MAX_LINE:
        return text
    half = (MAX_LINE - len(CLIPPED)) // 2
    return raw[:half].decode(errors="ignore") + CLIPPED + raw[-half:].decode(errors="ignore")
