"""What came of the checks: a table for people, JUnit and JSON for machines."""

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
_MARKS = {"ok": "ok", "broken": "BROKEN", "not run": "not run"}


def in_order(results: Iterable[Result]) -> list[Result]:
    """By row, as the practices are told."""
    rows = list(ROWS)
    return sorted(results, key=lambda result: rows.index(result.row))


def table(results: list[Result]) -> str:
    """For people. What the service said is made printable: a terminal is no place for its bytes."""
    lines: list[str] = []
    row = ""
    for result in results:
        if result.row != row:
            row = result.row
            lines += ["", f"{row}  {ROWS[row]}"]
        lines.append(_indented(f"  {_MARKS[result.status]:8} ", result.proves))
        lines.append(_indented("            saw: " if result.status != "not run" else "            ", result.saw))
        if result.do:
            lines.append(_indented("            do:  ", result.do))
    counts = Counter(result.status for result in results)
    total = f"{counts['ok']} passed, {counts['broken']} failed, {counts['not run']} skipped"
    return "\n".join([*lines[1:], "", total])


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
            "seconds": round(r.seconds, 3),
        }
        for r in results
    ]
    path.write_text(json.dumps({"checks": checks}, indent=1) + "\n", encoding="utf-8")


def write_junit(results: list[Result], path: Path) -> None:
    """One test case a check, its class the row."""
    counts = Counter(result.status for result in results)
    suite = ET.Element(
        "testsuite",
        name="practices",
        tests=str(len(results)),
        failures=str(counts["broken"]),
        skipped=str(counts["not run"]),
        errors="0",
    )
    for result in results:
        case = ET.SubElement(suite, "testcase", classname=f"practices.{result.row}", name=result.name)
        case.set("time", f"{result.seconds:.3f}")
        if result.status == "broken":
            failure = ET.SubElement(case, "failure", message=_printable(result.saw))
            failure.text = _printable(f"{result.proves} {result.do}")
        elif result.status == "not run":
            ET.SubElement(case, "skipped", message=_printable(result.saw))
    ET.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)


def _indented(head: str, text: str) -> str:
    return textwrap.fill(
        _printable(text), WIDTH, initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False
    )


def _printable(text: str) -> str:
    return re.sub(r"[^\x20-\x7e\u00a1-\ud7ff\ue000-\ufffd]", "?", text.replace("\n", " "))
