"""Records as lines of JSON, under 16 KiB, on stdout.

Names and types are Cloud Logging's: https://cloud.google.com/logging/docs/structured-logging. ``insertId`` is made from
the file's identity and the record's place in it, so that a record that is sent twice is kept once.
"""

import json
import os
from datetime import UTC, datetime
from typing import Any

from log_agent.formats import Fields, Format
from log_agent.records import Record

MAX_LINE = 16 * 1024 - 2  # characters, which are bytes here; the line's end comes on top
MAX_FIELD = 600  # characters, in JSON, of a field that is not the message
CLIPPED = " ...[clipped]... "


def encode(record: Record, form: Format, *, path: str, insert_id: str) -> tuple[bytes, bool, bool]:
    """The record's line with its end; whether it fitted its format; whether some of it was left out."""
    content = record.content.decode("utf-8", "backslashreplace")
    parsed = form.parse(content)
    fields: Fields = {"severity": "DEFAULT", "time": now(), **(parsed or {"message": content})}
    fields = {name: _short(value) if name != "message" else value for name, value in fields.items()}
    fields["logging.googleapis.com/insertId"] = insert_id
    fields["file"] = _short(os.fsencode(path).decode("utf-8", "backslashreplace"))
    line, is_clipped = _fit(fields, record)
    return line.encode("ascii") + b"\n", parsed is not None, is_clipped


def say(severity: str, message: str) -> bytes:
    """A line of the agent about itself."""
    fields = {"severity": severity, "time": now(), "message": message[:4000], "logger": "log_agent"}
    return json.dumps(fields).encode("ascii") + b"\n"


def now() -> str:
    """This moment, as RFC 3339."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def write(lines: bytes, *, fd: int = 1) -> None:
    """All of it, however long the reader takes. OSError where nobody reads any more."""
    rest = memoryview(lines)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _fit(fields: Fields, record: Record) -> tuple[str, bool]:
    line = json.dumps(fields)
    if len(line) <= MAX_LINE and not record.is_clipped:
        return line, False
    message = str(fields["message"])
    fields["clipped"] = {"bytes": str(record.size), "lines": record.lines}  # how much the record has in the file
    room = MAX_LINE - len(json.dumps(fields | {"message": CLIPPED}))
    half = min(len(message), room) // 2
    while True:
        fields["message"] = message[:half] + CLIPPED + (message[-half:] if half else "")
        line = json.dumps(fields)
        if len(line) <= MAX_LINE:
            return line, True
        half = half * 3 // 4  # one character may be twelve in JSON


def _short(value: Any) -> Any:
    if isinstance(value, str):
        end = len(value)
        while len(json.dumps(value[:end])) > MAX_FIELD:  # one character may be twelve in JSON
            end = min(end, MAX_FIELD) * 3 // 4
        return value if end == len(value) else value[:end] + CLIPPED.rstrip()
    return {name: _short(each) for name, each in value.items()} if isinstance(value, dict) else value
