"""Rows 1b and 4b of the conformance suite: green on a real Tomcat with our sidecars, red on each broken twin."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.support.agent import AGENT, log_agent
from tests.support.exporter import jmx_exporter, jmx_options
from tests.support.practices import proved_by
from tests.support.processes import free_port, stop
from tests.support.service import PROJECT
from tests.support.tomcat import Tomcat, tomcat


def conform(folder: Path, running: Tomcat, *options: str) -> list[dict[str, Any]]:
    """Run these two rows as a user does. What the suite said of each check."""
    report = folder / "report.json"
    command = [sys.executable, "-m", "conformance", "--base-url", running.url, "--only", "1b,4b"]
    command += ["--visits-path=", "--metrics-path=", "--ready-path=", "--json", str(report), *options]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=120)
    print(done.stdout)
    assert done.returncode in (0, 1), done.stderr
    found: list[dict[str, Any]] = json.loads(report.read_text())["checks"]
    return found


def ledger_options(running: Tomcat, out: Path) -> list[str]:
    # Tomcat writes on into a file that was renamed.
    rotate = f'for file in {running.logs}/catalina.*.log; do mv "$file" {running.logs}/catalina.$(date +%s%N).log; done'
    ledger = "/log.jsp?from={from}&to={to}"
    return ["--agent-log", str(out), "--ledger-path", ledger, "--rotate-command", rotate]


def statuses(checks: list[dict[str, Any]], row: str) -> set[str]:
    return {check["status"] for check in checks if check["row"] == row}


def test_ours_is_green(tmp_path: Path) -> None:
    jmx, out = free_port(), tmp_path / "out"
    with tomcat(tmp_path, *jmx_options(jmx)) as running, jmx_exporter(tmp_path, jmx) as exporter:
        with log_agent(out, f"tomcat={running.logs}/catalina.*.log", tmp_path / "state"):
            checks = conform(tmp_path, running, *ledger_options(running, out), "--exporter-url", exporter)
    assert statuses(checks, "1b") == {"ok"}
    assert statuses(checks, "4b") == {"ok"}
    assert proved_by("make test-sidecars") == {"1b", "4b"}


def test_an_agent_that_follows_the_path_only_is_red(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with tomcat(tmp_path) as running:
        day = time.strftime("%Y-%m-%d", time.gmtime())
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{AGENT}:{PROJECT}"}
        environ["LOG_FILES"] = f"tomcat={running.logs}/catalina.{day}.log"
        with out.open("wb") as file:
            twin = subprocess.Popen([sys.executable, "-m", "tests.e2e.sidecars.path_only"], env=environ, stdout=file)
        try:
            checks = conform(tmp_path, running, *ledger_options(running, out))
        finally:
            stop(twin)
    [lost] = [check for check in checks if check["status"] == "broken"]
    assert lost["check"] == "1b.no_line_is_lost"
    assert "of 1000 lines did not come out" in lost["saw"]
    assert "by its inode" in lost["do"]
    assert statuses(checks, "4b") == {"not run"}


def test_lines_that_come_out_as_they_are_are_red(tmp_path: Path) -> None:
    """As from an agent that only copies."""
    with tomcat(tmp_path) as running:
        log = running.logs / f"catalina.{time.strftime('%Y-%m-%d', time.gmtime())}.log"
        options = ledger_options(running, log)
        checks = conform(tmp_path, running, *options, "--rotate-command", "true")
    [raw] = [check for check in checks if check["status"] == "broken"]
    assert raw["check"] == "1b.lines_are_records"
    assert "came out as" in raw["saw"]
    assert "one JSON object a line" in raw["do"]


def test_an_exporter_that_does_not_reach_the_application_is_red(tmp_path: Path) -> None:
    with tomcat(tmp_path, *jmx_options(free_port())) as running, jmx_exporter(tmp_path, free_port()) as exporter:
        checks = conform(tmp_path, running, "--exporter-url", exporter)
    [blind] = [check for check in checks if check["status"] == "broken"]
    assert blind["row"] == "4b"
    assert "no counter grew by 60" in blind["saw"]
    assert "jmx_scrape_error" in blind["do"]
    assert statuses(checks, "1b") == {"not run"}
