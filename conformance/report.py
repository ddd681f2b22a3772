"""What came of the checks: a table for people, JUnit and JSON for machines."""

import itertools
import json
import re
import textwrap
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from conformance.check import Result
from conformance.rows import ROWS

WIDTH = 110
WORDS = {"broken": "BROKEN", "ok": "ok", "not run": "not run"}  # of a row's checks the first says what the row is


def in_order(results: Iterable[Result]) -> list[Result]:
    """By row, as the practices are told."""
    rows = list(ROWS)
    return sorted(results, key=lambda result: rows.index(result.row))


def table(results: list[Result], *, details: bool) -> str:
    """For people: one line a row, and below it what is broken; with ``details`` every check.

    What the service said is made printable: a terminal is no place for its bytes.
    """
    lines: list[str] = []
    for row, group in itertools.groupby(results, lambda result: result.row):
        found = list(group)
        lines += [f"{row}  {ROWS[row]}"] if details else [_line(row, found)]
        for result in found:
            if details or result.status == "broken":
                lines += _account(result)
        lines += [""] if details else []
    if not details:
        lines.append("")
    return "\n".join([*lines, _counted(results)])


def _line(row: str, results: list[Result]) -> str:
    """The worst that was seen. A row whose checks differ says how; one that was not run, what its first check lacks."""
    statuses = {result.status for result in results}
    worst = next(status for status in WORDS if status in statuses)
    more = f" ({_counted(results)})" if len(statuses) > 1 else f": {results[0].saw}" if worst == "not run" else ""
    return _indented(f"{WORDS[worst]:8} {row:8} ", ROWS[row] + more)


def _account(result: Result) -> list[str]:
    """A check: what it proves, what it saw or lacks, and what to do."""
    saw = "saw: " if result.status != "not run" else ""
    lines = [(f"  {WORDS[result.status]:8} ", result.proves), (" " * 12 + saw, result.saw)]
    lines += [(" " * 12 + "do:  ", result.do)] if result.do else []
    return [_indented(head, text) for head, text in lines]


def _counted(results: list[Result]) -> str:
    counts = Counter(result.status for result in results)
    return f"{counts['ok']} ok, {counts['broken']} BROKEN, {counts['not run']} not run"


def write_json(results: list[Result], path: Path) -> None:
    """One object a check."""
    checks = [
        {
            "row": r.row,
            "practice": ROWS[r.row],
            "check": r.name,
            "proves": r.proves,
            "status": r.status,
            "saw": r.saw,
            "do": r.do,
            "missing": r.missing,
            "seconds": round(r.seconds, 3),
        }
        for r in results
    ]
    path.write_text(json.dumps({"checks": checks}, indent=1) + "\n", encoding="utf-8")


def write_junit(results: list[Result], path: Path) -> None:
    """One test case a check, its class the row. What was required and not run has failed."""
    failed = [result for result in results if result.status == "broken" or result.missing]
    skipped = [result for result in results if result.status == "not run" and not result.missing]
    suite = ET.Element(
        "testsuite",
        name="practices",
        tests=str(len(results)),
        failures=str(len(failed)),
        skipped=str(len(skipped)),
        errors="0",
    )
    for result in results:
        case = ET.SubElement(suite, "testcase", classname=f"practices.{result.row}", name=result.name)
        case.set("time", f"{result.seconds:.3f}")
        if result in failed:
            failure = ET.SubElement(case, "failure", message=_printable(result.saw))
            failure.text = _printable(f"{result.proves} {result.do}")
        elif result in skipped:
            ET.SubElement(case, "skipped", message=_printable(result.saw))
    ET.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)


def _indented(head: str, text: str) -> str:
    return textwrap.fill(
        _printable(text), WIDTH, initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False
    )


def _printable(text: str) -> str:
    return re.sub(r"[^\x20-\x7e\u00a1-\ud7ff\ue000-\ufffd]", "?", text.replace("\n", " "))
