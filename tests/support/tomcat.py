"""A real, unchanged Tomcat 10 of Debian's, with its own logs in a folder, and the sample application in it."""

import contextlib
import http.client
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.processes import free_port, require, stop, wait_until
from tests.support.service import PROJECT

HOME = Path("/usr/share/tomcat10")
WEBAPPS = PROJECT / "sidecars" / "tomcat" / "webapps"


@dataclass(frozen=True)
class Tomcat:
    """A running Tomcat."""

    url: str
    logs: Path
    process: subprocess.Popen[bytes]

    def end(self) -> None:
        """SIGTERM, and wait until it has written its last line."""
        self.process.terminate()
        self.process.wait(60)


def moved_clock(file: Path) -> dict[str, str]:
    """What a program is started with that takes the time from us: ``file`` says by how much, such as ``+3d``."""
    return {
        "LD_PRELOAD": str(next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_CACHE_DURATION": "1",  # seconds until it looks again
        "DONT_FAKE_MONOTONIC": "1",
    }


@contextlib.contextmanager
def tomcat(folder: Path, *java_options: str, clock: Path | None = None) -> Iterator[Tomcat]:
    """Tomcat on a free port, its files in ``folder``. What is changed of its configuration is the port. ``clock``: see
    ``moved_clock``.
    """
    create = require("tomcat10-instance-create", "tomcat10-user")
    base, port = folder / "tomcat", free_port()
    if not base.exists():
        subprocess.run([create, "-p", str(port), str(base)], check=True, stdout=subprocess.DEVNULL)
        shutil.copytree(WEBAPPS, base / "webapps", dirs_exist_ok=True)
    server = base / "conf" / "server.xml"
    text = re.sub(r'<Server port="[^"]*"', '<Server port="-1"', server.read_text())  # no port to shut it down
    server.write_text(
        re.sub(r'<Connector port="\d+" protocol="HTTP/1.1"', f'<Connector port="{port}" protocol="HTTP/1.1"', text)
    )
    environ = {
        "PATH": os.environ["PATH"],
        "CATALINA_HOME": str(HOME),
        "CATALINA_BASE": str(base),
        "JAVA_OPTS": " ".join(
            ("-Djava.awt.headless=true -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1", *java_options)
        ),
        "TZ": "UTC",
    }
    if clock:
        require("faketime", "faketime")
        environ |= moved_clock(clock)
    log = base / "logs" / "catalina.out"
    with log.open("ab") as out:
        begin = out.tell()  # of what this start says, where it is not the first in this folder
        process = subprocess.Popen(
            [HOME / "bin" / "catalina.sh", "run"], env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:

        def is_up() -> bool:
            if process.poll() is not None:
                raise RuntimeError(log.read_text()[-3000:])
            return b"Server startup in" in log.read_bytes()[begin:]

        wait_until("Tomcat's start", is_up, seconds=120)
        yield Tomcat(f"http://127.0.0.1:{port}", base / "logs", process)
    finally:
        stop(process, seconds=30)
        if clock:
            _clear_away()


def _clear_away() -> None:
    """What faketime leaves of processes that have ended: each of a script's had a clock of its own."""
    for file in Path("/dev/shm").glob("*faketime_s*_*"):
        if not Path("/proc", file.name.rpartition("_")[2]).exists():
            file.unlink(missing_ok=True)


def ask(running: Tomcat, path: str) -> int:
    """GET a path over a connection of its own; the status."""
    with contextlib.closing(http.client.HTTPConnection(urlsplit(running.url).netloc, timeout=60)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        return response.status
