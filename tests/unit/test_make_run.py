"""``make run``, as a person has it: the first line, the settings, a second start, Ctrl-C."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.http import Visitor
from tests.support.processes import free_port, stop
from tests.support.service import PROJECT, Service


def environment(**more: str) -> dict[str, str]:
    """That of a person, and not of a make that runs these tests."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "COVERAGE_PROCESS_CONFIG") if name in os.environ} | more


@contextlib.contextmanager
def make_run(folder: Path, *settings: str, **environ: str) -> Iterator[Service]:
    """``make run SETTINGS`` with the Python that runs the tests, when it serves. Files are in ``folder``."""
    files = folder / "files"
    files.mkdir()
    python = f"BIN={Path(sys.executable).parent}"
    process = subprocess.Popen(
        ["make", "-o", ".venv/run.stamp", python, "run", f"STORAGE_URL=file://{files}", *settings],
        cwd=PROJECT,
        env=environment(**environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    service = Service(process)
    try:
        service.wait_until_listening()
        yield service
    finally:
        stop(process, seconds=30)
        service.wait_for_end()
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()


def first_line(service: Service) -> str:
    return service.stderr.partition(b"\n")[0].decode()


@pytest.mark.parametrize("host", ["", "127.0.0.1", "0.0.0.0", "127.0.0.2"])
def test_the_first_line_says_what_to_open(tmp_path: Path, host: str) -> None:
    started = time.monotonic()
    ports = [f"PORT={free_port()}", f"OPS_PORT={free_port()}"]
    with make_run(tmp_path, *ports, *([f"HOST={host}"] if host else [])) as service:
        print(f"serving {time.monotonic() - started:.2f} s after make run")
        app, ops = re.findall(r"http://\S+?(?=[\s)])", first_line(service))
        with Visitor(app) as visitor, Visitor(ops) as platform:
            assert visitor.get("/api/instance").json["stores"] == {"sessions": "memory", "storage": "file"}
            assert platform.get("/metrics").status == 200


@pytest.mark.parametrize("setting", ["PORT", "OPS_PORT"])
def test_where_the_system_chooses_a_port_the_first_line_says_where_it_is_told(tmp_path: Path, setting: str) -> None:
    other = {"PORT": "OPS_PORT", "OPS_PORT": "PORT"}[setting]
    with make_run(tmp_path, f"{setting}=0", f"{other}={free_port()}") as service:
        assert first_line(service).startswith('Open the address after "listening:" below')
        listening = service.wait_for(lambda record: "app_url" in record)
        assert re.match(r"listening: http://127\.0\.0\.1:[1-9]", listening["message"])


def test_stdout_is_the_log_and_nothing_else(tmp_path: Path) -> None:
    with make_run(tmp_path, "PORT=0", "OPS_PORT=0") as service, Visitor(service.app_url) as visitor:
        assert visitor.get("/api/instance").status == 200
    lines = service.stdout.splitlines()
    assert [line for line in lines if not isinstance(json.loads(line), dict)] == []
    assert len(lines) >= 2


def test_settings_come_from_the_environment_and_from_the_command_line(tmp_path: Path) -> None:
    with make_run(tmp_path, "PORT=0", "VERSION=7.7", OPS_PORT="0", INSTANCE="mine", VERSION="6.6") as service:
        with Visitor(service.app_url) as visitor:
            facts = visitor.get("/api/instance").json
    assert (facts["name"], facts["version"]) == ("mine", "7.7")


def test_ctrl_c_ends_it_and_leaves_no_word_of_make_or_python(tmp_path: Path) -> None:
    with make_run(tmp_path, "PORT=0", "OPS_PORT=0") as service:
        os.killpg(service.process.pid, signal.SIGINT)  # as the terminal does: to everybody at once
        service.process.wait(30)
        service.wait_for_end()
    assert service.stderr.splitlines() == [first_line(service).encode()]
    assert service.log[-1]["message"].startswith("Shutting down")
    assert [record for record in service.log if record["severity"] in ("ERROR", "CRITICAL")] == []


def test_without_settings_it_is_for_this_machine_and_keeps_files_where_git_does_not_look(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nenv\n")
    python.chmod(0o755)
    done = subprocess.run(
        [PROJECT / "scripts" / "run.sh"],
        cwd=tmp_path,
        env=environment(PYTHON=str(python)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert (
        done.stderr
        == "Open http://localhost:8080/ (metrics and health: http://localhost:9090/metrics); Ctrl-C ends it\n"
    )
    environ = done.stdout.splitlines()
    wanted = {"HOST=127.0.0.1", "PORT=8080", "OPS_PORT=9090", "SESSION_URL=memory://", "COOKIE_SECURE=false"}
    assert wanted | {f"STORAGE_URL=file://{tmp_path}/data"} <= set(environ)
    assert (tmp_path / "data").is_dir()
    assert "/data/" in (PROJECT / ".gitignore").read_text().splitlines()


def test_the_environment_is_made_once_and_anew_when_the_lock_changes(tmp_path: Path) -> None:
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(PROJECT / name, tmp_path)
    stamp = tmp_path / ".venv" / "run.stamp"
    stamp.parent.mkdir()

    def makes_it() -> bool:
        command = ["make", "--dry-run", "run"]
        done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True)
        assert "scripts/run.sh" in done.stdout
        return "scripts/venv.sh" in done.stdout

    assert makes_it()
    stamp.touch()
    assert not makes_it()
    later = stamp.stat().st_mtime + 10
    os.utime(tmp_path / "requirements.txt", (later, later))
    assert makes_it()
