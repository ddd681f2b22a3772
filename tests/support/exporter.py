"""The exporters beside what can't be changed: the JMX exporter for a JVM, redis_exporter for a Redis."""

import contextlib
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.support.processes import free_port, require, running
from tests.support.service import PROJECT

RULES = PROJECT / "sidecars" / "exporter" / "tomcat.yaml"


def jar(kind: str) -> Path:
    """The JMX exporter's jar, ``httpserver`` or ``javaagent``: fetched once, and checked."""
    script = PROJECT / "scripts" / "jmx-exporter.sh"
    done = subprocess.run([script, kind], check=True, stdout=subprocess.PIPE, text=True, timeout=120)
    return Path(done.stdout.splitlines()[-1])


def jmx_options(port: int) -> tuple[str, ...]:
    """What a JVM is started with, as the README says: JMX on the loopback alone."""
    return (
        "-Dcom.sun.management.jmxremote",
        "-Dcom.sun.management.jmxremote.host=127.0.0.1",
        f"-Dcom.sun.management.jmxremote.port={port}",
        f"-Dcom.sun.management.jmxremote.rmi.port={port}",
        "-Dcom.sun.management.jmxremote.authenticate=false",
        "-Dcom.sun.management.jmxremote.ssl=false",
        "-Djava.rmi.server.hostname=127.0.0.1",
    )


@contextlib.contextmanager
def jmx_exporter(folder: Path, jmx_port: int, port: int = 0) -> Iterator[str]:
    """The exporter with our rules, and where JMX listens set. Its URL."""
    port = port or free_port()
    config = folder / "exporter.yaml"
    config.write_text(RULES.read_text().replace("127.0.0.1:9999", f"127.0.0.1:{jmx_port}"))
    command: list[str | Path] = [
        require("java", "default-jre-headless"),
        "-Xmx64m",
        "-jar",
        jar("httpserver"),
        f"127.0.0.1:{port}",
        config,
    ]
    with running(command, port=port, log=folder / "exporter.log"):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def redis_exporter(folder: Path, url: str, password_file: Path) -> Iterator[str]:
    """redis_exporter for one Redis, its password from a file as the README says. Its URL."""
    port = free_port()
    command = [
        require("prometheus-redis-exporter", "prometheus-redis-exporter"),
        f"-redis.addr={url}",
        f"-redis.password-file={password_file}",
        f"-web.listen-address=127.0.0.1:{port}",
    ]
    with running(command, port=port, log=folder / "redis-exporter.log"):
        yield f"http://127.0.0.1:{port}"


def scrape(url: str) -> str:
    """What an exporter says now."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
        text: str = answer.read().decode()
    return text
