"""Row 1b: an application that only writes files, and the log agent beside it."""

import json
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conformance.check import Broken, NotRun, Stage, check
from conformance.target import Target, ask, tail

PARTS, LINES = 5, 200  # so many lines between two rotations
WAIT = 15.0  # seconds for the last line to come out
_LEDGER = re.compile(rb"ledger (\d+)")

FOLLOW_THE_FILE = (
    "follow a file by its inode, not by its name: after a rename the application writes on into the old file, "
    "and what was not read yet is there"
)


@dataclass(frozen=True)
class Ledger:
    """What went in, and the lines of the agent's stdout that have come out, by their number."""

    went_in: range
    came_out: dict[int, list[bytes]]

    @property
    def missing(self) -> list[int]:
        return [number for number in self.went_in if number not in self.came_out]


def ledger(target: Target) -> Ledger:
    """A trial: numbered lines, with a rotation after each part."""
    start = secrets.randbelow(100_000) * 10_000  # lines of an earlier run are others
    for part in range(PARTS):
        target.progress(f"1b part {part + 1} of {PARTS}, and a rotation")
        first = start + part * LINES
        path = target.beside.ledger.replace("{from}", str(first)).replace("{to}", str(first + LINES))
        response = ask(target.instances[0].base, path)
        if response.status != 200:
            raise NotRun(f"{path}: {response.status}; --ledger-path must name a route that logs")
        if part < PARTS - 1:
            target.run(target.beside.rotate)
    went_in = range(start, start + PARTS * LINES)

    def look() -> Ledger:
        came_out: dict[int, list[bytes]] = {}
        for line in tail(Path(target.beside.log)).splitlines():
            match = _LEDGER.search(line)
            if match and int(match[1]) in went_in:
                came_out.setdefault(int(match[1]), []).append(line)
        return Ledger(went_in, came_out)

    target.wait_until(lambda: not look().missing, WAIT)
    return look()


@check("1b", "Each line that the application writes comes out, through rotations.", needs=("ledger",), stage=Stage.LOG)
def no_line_is_lost(target: Target) -> str:
    found = target.trial(ledger)
    if found.missing:
        part = (found.missing[0] - found.went_in.start) // LINES + 1
        saw = f"{len(found.missing)} of {len(found.went_in)} lines did not come out; the first is of part {part}"
        raise Broken(f"{saw}, {part - 1} rotations after the start", FOLLOW_THE_FILE)
    return f"{len(found.went_in)} lines in, all out, through {PARTS - 1} rotations"


@check("1b", "What comes out of the agent are records, and a twin can be told.", needs=("ledger",), stage=Stage.LOG)
def lines_are_records(target: Target) -> str:
    found = target.trial(ledger)
    if not found.came_out:
        raise NotRun("no line came out")
    for number, lines in found.came_out.items():
        records = [_record(line) for line in lines]
        for line, record in zip(lines, records, strict=True):
            if record is None or "severity" not in record or "message" not in record:
                shown = repr(line[:120].decode("utf-8", "replace"))
                do = "print one JSON object a line, with severity, time and message"
                raise Broken(f"line {number} came out as {shown}", do)
        ids = {str((record or {}).get("logging.googleapis.com/insertId", at)) for at, record in enumerate(records)}
        if len(ids) > 1:
            do = "give each record an insertId from the file's identity and offset: Cloud Logging drops twins by it"
            raise Broken(f"line {number} came out {len(lines)} times, and not with one insertId", do)
    return f"{len(found.came_out)} records with severity and message"


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
