"""The log agent as a process, with the place where its lines go."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.processes import stop
from tests.support.service import PROJECT

AGENT = PROJECT / "sidecars" / "log-agent"


class LogAgent:
    """A running agent; ``records`` are those that are complete, without its own."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path) -> None:
        self.process, self._out = process, out

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._out.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]

    @property
    def records(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if line.get("logger") != "log_agent"]

    @property
    def said(self) -> list[str]:
        return [line["message"] for line in self.lines if line.get("logger") == "log_agent"]

    @property
    def url(self) -> str:
        """Where its metrics are."""
        [port] = [said.rpartition(" ")[2] for said in self.said if said.startswith("reading; metrics on port")]
        return f"http://127.0.0.1:{port}"

    def terminate(self) -> int:
        self.process.terminate()
        return self.process.wait(60)


@contextlib.contextmanager
def log_agent(
    out: Path, files: str, state: Path | None, *, stdout: int | None = None, prefix: tuple[str, ...] = ()
) -> Iterator[LogAgent]:
    """The agent on these files (as LOG_FILES), its stdout in the file ``out``, to which it is added. ``prefix``: a
    program that starts it.
    """
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(AGENT), "HOST": "127.0.0.1", "PORT": "0"}
    environ |= {"LOG_FILES": files, "RECORD_SECONDS": "0.2"} | ({"STATE_FILE": str(state)} if state else {})
    with out.open("ab") as file:
        process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "log_agent"],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=stdout or file,
        )
    try:
        yield LogAgent(process, out)
    finally:
        stop(process)
