"""Row 1a: the whole log, after everything else has left its traces in it."""

import json
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from conformance.check import Broken, NotRun, Stage, check
from conformance.http import Client, NoResponse, raw
from conformance.target import Target

MAX_LINE = 16 * 1024  # bytes; container runtimes cut there
FORGED = "FORGED-BY-A-VISITOR"
MARK = "conform-last-request"
WAIT = 5.0  # seconds for the last line to arrive

USE_A_FORMATTER = (
    "a format string does not escape what it is filled with: build a dict and json.dumps() it, or use a JSON formatter"
)


@dataclass(frozen=True)
class Line:
    """A line of the log, and its beginning as it may be shown.

    ``fields`` is None where it is no JSON object; ``twice``: a name that it has twice.
    """

    where: str
    raw: bytes
    shown: str
    fields: dict[str, Any] | None
    twice: str = ""


def lines(target: Target) -> list[Line]:
    """A trial: what a hostile visitor leaves in the log, and everything else since the run began."""
    target.progress("sending hostile requests, then reading the log")
    for instance in target.instances:
        _provoke(target, instance.base)
        end = time.monotonic() + WAIT
        while MARK.encode() not in target.log_of_the_run(instance) and time.monotonic() < end:
            time.sleep(0.1)
    found = []
    for instance in target.instances:
        for number, line in enumerate(target.log_of_the_run(instance).split(b"\n"), 1):
            if line.strip():
                found.append(_parse(target, f"line {number} of this run, of instance {instance.number}", line))
    if not found:
        raise NotRun("the log is empty: --log or --log-command shows something else than the service's stdout")
    return found


@check("1a", "Every line of the log is one JSON object, whatever a visitor sends.", needs=("log",), stage=Stage.LOG)
def lines_are_json(target: Target) -> str:
    every = target.trial(lines)
    bad = [line for line in every if line.fields is None]
    if bad:
        raise Broken(f"{len(bad)} of {len(every)} lines are no JSON; {bad[0].where}: {bad[0].shown}", _advice(bad))
    return f"{len(every)} lines, each a JSON object"


@check("1a", "Every record says how severe it is, when it was, and what.", needs=("log",), stage=Stage.LOG)
def fields_are_there(target: Target) -> str:
    records = _records(target)
    for line, fields in records:
        missing = [
            " or ".join(names)
            for names in (("severity",), ("time", "timestamp"), ("message",))
            if not any(name in fields for name in names)
        ]
        if missing:
            do = "name the fields as Cloud Logging does: severity, time, message"
            raise Broken(f"{line.where} has no {', no '.join(missing)}: {line.shown}", do)
    return f"{len(records)} records with severity, time and message"


@check("1a", "Every line is short enough to stay one line in the container's log.", needs=("log",), stage=Stage.LOG)
def lines_are_short(target: Target) -> str:
    longest = max(target.trial(lines), key=lambda line: len(line.raw))
    if len(longest.raw) >= MAX_LINE:
        do = f"clip long values: container runtimes cut a line at {MAX_LINE} bytes, and half a record is no JSON"
        raise Broken(f"{longest.where} has {len(longest.raw)} bytes", do)
    return f"the longest has {len(longest.raw)} bytes"


@check("1a", "Nothing that a visitor sends forges a record or a field.", needs=("log",), stage=Stage.LOG)
def nothing_is_forged(target: Target) -> str:
    records = _records(target)
    for line, fields in records:
        if line.twice:
            raise Broken(f"{line.where} says {line.twice!r} twice: {line.shown}", USE_A_FORMATTER)
        forged = [name for name, value in fields.items() if FORGED in (name, value)]
        if forged:
            raise Broken(f"a visitor wrote the field {forged[0]!r} of {line.where}: {line.shown}", USE_A_FORMATTER)
    return "quotes, line breaks and braces in paths and headers stayed text"


@check("1a", "A request that was served is in the log.", needs=("log",), stage=Stage.LOG)
def requests_are_logged(target: Target) -> str:
    if not any(MARK.encode() in line.raw for line in target.trial(lines)):
        do = "log one record a request to stdout, at once: a buffer loses the last lines when the process is killed"
        raise Broken(f"a request to /{MARK} is not in the log after {WAIT:g} s", do)
    return f"the request to /{MARK} is there"


@check("1a", "A stack trace is a field of its record, not many lines.", needs=("log", "failing"), stage=Stage.LOG)
def stacks_are_fields(target: Target) -> str:
    every = target.trial(lines)
    for line in every:
        if line.fields is not None and any(_is_stack(value) for value in line.fields.values()):
            return f"{line.where} holds a whole stack trace"
    loose = next((line for line in every if line.fields is None and b"Traceback" in line.raw), None)
    saw = f"it begins in {loose.where}" if loose else f"none is there after a request to {target.paths.failing}"
    raise Broken(f"no record holds a stack trace; {saw}", "put the formatted stack into one field, 'stack_trace'")


def _records(target: Target) -> list[tuple[Line, dict[str, Any]]]:
    """The lines that are JSON objects, with what they are. NotRun where there is none."""
    records = [(line, line.fields) for line in target.trial(lines) if line.fields is not None]
    if not records:
        raise NotRun("no line is a JSON object")
    return records


def _provoke(target: Target, base: str) -> None:
    """Send what breaks careless logs. What comes back is of no interest here."""
    quote_breaks_out = f'/"}}{{"severity":"{FORGED}"'
    with Client(base, seconds=5) as client:
        for path, headers in (
            (quote_breaks_out, {}),
            (f'/x","severity":"{FORGED}","{FORGED}":"', {}),
            ("/" + quote(f'a\n{{"severity":"{FORGED}","time":"now","message":"forged"}}\n'), {}),
            ("/%s%d%(name)s{0}{severity}", {}),
            ("/" + '"' * 3900, {"User-Agent": '"' * 3500, "Referer": '"' * 3500}),  # each is two bytes in JSON
            ("/agent", {"User-Agent": f'","severity":"{FORGED}","x":"'}),
            ("/agent", {"User-Agent": "\x1b[31mred\t\\"}),
            *([(target.paths.failing, {})] if target.paths.failing else []),
        ):
            try:
                client.ask("GET", path, headers=headers)
            except NoResponse:
                continue
    for data in (
        b"NONSENSE\r\n\r\n",
        b'GET /"} HTTP/9.9\r\n\r\n',
        b'GET / HTTP/1.1\r\nHost: a\r\nBad Header": x\r\n\r\n',
        b"GET / HTTP/1.1\r\nHost: a\r\nX: \xff\xfe\x1b[31m\r\n\r\n",
    ):
        raw(base, data)
    with Client(base) as client:
        client.get(f"/{MARK}")


def _parse(target: Target, where: str, line: bytes) -> Line:
    twice: list[str] = []

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in found]
        twice.extend(name for name in set(names) if names.count(name) > 1)
        return dict(found)

    try:
        document = json.loads(line, object_pairs_hook=pairs, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        document = None
    fields = document if isinstance(document, dict) else None
    shown = repr(target.hidden(line.decode("utf-8", "replace"))[:120])
    return Line(where, line, shown, fields, twice[0] if twice and fields is not None else "")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _is_stack(value: object) -> bool:
    """Of Python, or of the JVM, Node or .NET, which all write "at" before each step."""
    return isinstance(value, str) and (
        "Traceback (most recent call last)" in value or "\n\tat " in value or "\n    at " in value
    )


def _advice(bad: list[Line]) -> str:
    words = b"\n".join(line.raw[:200] for line in bad[:50])
    if b"Traceback" in words or b'\n  File "' in words or b"\n\tat " in words:
        return "a stack trace over many lines is many entries: put the formatted stack into one field, 'stack_trace'"
    if any(line.raw.lstrip().startswith(b"{") for line in bad):
        return USE_A_FORMATTER
    return "log JSON for everything: the server's own start, access and error lines, warnings, and print() too"
