"""The machine: its cores and who runs on which, what it is, and which versions are measured."""

import contextlib
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "flask",
    "flask-session",
    "google-cloud-storage",
    "gunicorn",
    "hiredis",
    "prometheus-client",
    "prometheus-flask-exporter",
    "pymemcache",
    "python-json-logger",
    "redis",
    "werkzeug",
)
_CORES = sorted(os.sched_getaffinity(0))  # before anybody is put on one of them
PROGRAMS = {"wrk": ["wrk", "-v"], "redis-server": ["redis-server", "-v"], "memcached": ["memcached", "-V"]}


def cores() -> tuple[int, int]:
    """The server's core, and the one of everything else: the generator, the stores. RuntimeError where there is one."""
    if len(_CORES) < 2:
        raise RuntimeError("two cores are needed: one for the server, one for the load generator")
    return _CORES[0], _CORES[1]


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """What is started inside stays on this core. For this thread only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def description() -> dict[str, Any]:
    """The machine, without its name."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    memory = re.search(r"MemTotal:\s*(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"))
    return {
        "processor": cpu[1] if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "memory_bytes": int(memory[1]) * 1024 if memory else None,
        "system": f"{platform.system()} {platform.release()}",
    }


def versions() -> dict[str, str]:
    """Of Python, the packages and the programs that take part."""
    found = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    for program, command in PROGRAMS.items():
        with contextlib.suppress(OSError):
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            number = re.search(r"\d+\.\d+(\.\d+)?", done.stdout)
            found[program] = number[0] if number else "unknown"
    return found
