"""Tomcat, the log agent and the exporter as they stand in a pod: three confined containers, one network, one volume."""

import contextlib
import json
import os
import re
import subprocess
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.container.podman import PODMAN, first_pid, has_no_rights, podman, sidecar
from tests.support.agent import LogAgent
from tests.support.exporter import scrape
from tests.support.processes import accepts_connections, free_port, stop, wait_until
from tests.support.redis import redis_server

pytestmark = pytest.mark.timeout(300)

GROUP = 10001  # what fsGroup is in a pod: it owns the volumes
LOGS = "tomcat=/logs/catalina.*.log tomcat=/logs/localhost.*.log access=/logs/localhost_access_log.*.txt"


def confined(megabytes: int, processes: int) -> list[str]:
    """Options of podman, as manifests should have them."""
    return [
        *("--read-only", "--read-only-tmpfs=false", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        *("--memory", f"{megabytes}m", "--memory-swap", f"{megabytes}m", "--cpus", "1"),
        *("--pids-limit", str(processes), "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"),
    ]


class Pod:
    """A network that only its containers have, and volumes of theirs."""

    def __init__(self, folder: Path) -> None:
        self.name = f"seatrial-{uuid.uuid4().hex[:8]}"
        self.folder = folder
        self._network("add", self.name)
        self.run("ip", "link", "set", "lo", "up")

    def _network(self, *arguments: str) -> None:
        subprocess.run(["ip", "netns", *arguments], check=True)

    def run(self, *command: str) -> str:
        """A program of this machine in the pod's network; what it prints."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.name, *command], check=True, stdout=subprocess.PIPE, text=True, timeout=60
        )
        return done.stdout

    def volume(self, name: str) -> Path:
        """An emptyDir, as the kubelet makes it with an fsGroup."""
        volume = self.folder / name
        volume.mkdir(exist_ok=True)
        os.chown(volume, 0, GROUP)
        volume.chmod(0o2770)
        return volume

    @contextlib.contextmanager
    def container(self, name: str, *options: str, out: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
        """A sidecar's image, running until this is left: podman, through which signals go, and the container's name."""
        full_name = f"{self.name}-{name}"
        command = [*PODMAN, "run", "--rm", "--name", full_name, "--network", f"ns:/run/netns/{self.name}", *options]
        with out.open("wb") as file:
            process = subprocess.Popen([*command, sidecar(name)], stdin=subprocess.DEVNULL, stdout=file)
        try:
            yield process, full_name
        finally:
            stop(process, seconds=40)
            podman("rm", "--force", "--time", "1", "--ignore", full_name)

    def get(self, url: str) -> tuple[int, str]:
        """Status and body."""
        text = self.run("curl", "--silent", "--max-time", "30", "--write-out", "\n%{http_code}", url)
        body, _, status = text.rpartition("\n")
        return int(status), body

    def listens(self, port: int) -> bool:
        return f":{port} " in self.run("ss", "--no-header", "--listening", "--tcp", "--numeric")

    def close(self) -> None:
        self._network("delete", self.name)


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Pod]:
    with contextlib.closing(Pod(tmp_path)) as made:
        yield made


@contextlib.contextmanager
def tomcat(pod: Pod) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    volumes = [f"--volume={pod.volume(name)}:/tomcat/{name}" for name in ("logs", "work", "temp")]
    with pod.container("tomcat", *confined(300, 128), *volumes, out=pod.folder / "tomcat.out") as (process, name):
        log = pod.folder / "logs" / "catalina.out"

        def is_up() -> bool:
            assert process.poll() is None
            return log.exists() and "Server startup in" in log.read_text()

        wait_until("Tomcat's start", is_up, seconds=120)
        yield process, name


@contextlib.contextmanager
def agent(pod: Pod, number: int) -> Iterator[tuple[LogAgent, str]]:
    options = [f"--volume={pod.volume('logs')}:/logs:ro", f"--volume={pod.volume('state')}:/state"]
    options += [f"--env=LOG_FILES={LOGS}", "--env=STATE_FILE=/state/checkpoint.json", "--env=HOST=127.0.0.1"]
    out = pod.folder / f"agent.{number}.out"
    with pod.container("log-agent", *confined(64, 16), *options, out=out) as (process, name):
        yield LogAgent(process, out), name


def ledger(records: list[dict[str, Any]]) -> list[tuple[int, str]]:
    """Number and insertId of the ledger's lines, in their order."""
    found = ((re.match(r"ledger (\d+)", record["message"]), record) for record in records)
    return [(int(match[1]), record["logging.googleapis.com/insertId"]) for match, record in found if match]


def test_the_ledger_is_complete_and_the_counts_are_true(pod: Pod) -> None:
    requests = 0

    def write(first: int, end: int) -> None:
        nonlocal requests
        assert pod.get(f"http://127.0.0.1:8080/log.jsp?from={first}&to={end}")[0] == 200
        requests += 1

    def comes(what: str, reader: LogAgent, number: int) -> None:
        wait_until(what, lambda: number in {found for found, _ in ledger(reader.records)}, seconds=60)

    with contextlib.ExitStack() as stack:
        application, tomcat_name = stack.enter_context(tomcat(pod))
        _, exporter_name = stack.enter_context(
            pod.container("exporter", *confined(128, 64), out=pod.folder / "exporter.out")
        )
        first, first_name = stack.enter_context(agent(pod, 1))
        write(0, 200)
        comes("what was written first", first, 199)
        [log] = (pod.folder / "logs").glob("catalina.????-??-??.log")
        log.rename(log.with_name("catalina.renamed.log"))  # Tomcat writes on into it
        write(200, 400)
        comes("what was written after the renaming", first, 399)
        renamed = log.with_name("catalina.renamed.log")
        log.write_bytes(renamed.read_bytes())  # copytruncate
        os.chown(log, GROUP, GROUP)
        os.truncate(renamed, 0)
        write(400, 600)
        comes("what was written after the truncation", first, 599)
        write(600, 800)
        podman("kill", "--signal", "KILL", first_name)
        assert first.process.wait(60) == 137
        write(800, 1000)

        second, second_name = stack.enter_context(agent(pod, 2))
        comes("what was written meanwhile", second, 999)
        assert pod.get("http://127.0.0.1:9095/health")[0] == 200
        assert pod.get("http://127.0.0.1:8080/fail.jsp")[0] == 500
        assert pod.get("http://127.0.0.1:8080/none")[0] == 404
        wait_until("the exporter", lambda: pod.listens(9404), seconds=60)
        assert pod.get("http://127.0.0.1:9404/-/healthy")[0] == 200
        _, figures = pod.get("http://127.0.0.1:9404/metrics")
        assert re.findall(r"(?m)^tomcat_requests_total\{.*\} (.*)$", figures) == [f"{requests + 2}.0"]
        assert re.findall(r"(?m)^tomcat_errors_total\{.*\} (.*)$", figures) == ["2.0"]

        for name, user, group in (
            (tomcat_name, 10001, GROUP),
            (second_name, 10002, GROUP),
            (exporter_name, 10003, 10003),
        ):
            assert has_no_rights(first_pid(name), user, group), name
        assert Path(f"/proc/{first_pid(tomcat_name)}/comm").read_text() == "java\n", "it gets the signal itself"
        assert "127.0.0.1]:9999" in pod.run("ss", "--no-header", "--listening", "--tcp", "--numeric")
        places = [(tomcat_name, path) for path in ("/tomcat/conf/x", "/tomcat/webapps/x", "/tmp/x")]
        for name, path in [*places, (second_name, "/logs/x")]:
            command = [*PODMAN, "exec", name, "sh", "-c", f": >{path}"]
            done = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True)
            assert "Read-only file system" in done.stderr, path

        write(1000, 1200)
        application.terminate()  # as for native sidecars: the application first
        assert application.wait(60) == 143
        assert second.terminate() == 0
    lines = ledger(first.records) + ledger(second.records)
    assert Counter(number for number, _ in set(lines)) == Counter(range(1200)), (
        "a line is missing, or a twin has another insertId"
    )
    assert len(ledger(second.records)) == len(set(ledger(second.records))), "twins though nobody was killed"
    for reader in (first, second):
        files: dict[str, list[int]] = {}
        for number, name in ledger(reader.records):
            files.setdefault(name.split("-")[0], []).append(number)
        assert all(numbers == sorted(numbers) for numbers in files.values()), "the order within a file"
    messages = [record["message"] for record in second.records]
    assert any("Stopping service" in message for message in messages), "Tomcat's last words are read, too"
    access = Counter(r["httpRequest"]["status"] for r in first.records + second.records if "httpRequest" in r)
    assert (access[500], access[404]) == (1, 1)
    assert (pod.folder / "tomcat.out").read_bytes() == b"", "Tomcat says nothing on stdout: all of it is in files"


def test_redis_exporter_takes_its_password_from_a_file(tmp_path: Path) -> None:
    password, port = "a password that is in no argument", free_port()
    with redis_server(tmp_path, "--requirepass", password) as server:
        url = f"redis://127.0.0.1:{server.port}"
        secret = tmp_path / "redis-exporter.json"
        secret.write_text(json.dumps({url: password}))
        secret.chmod(0o440)
        os.chown(secret, 0, 10003)
        name = f"seatrial-{uuid.uuid4().hex[:8]}"
        environ = {
            "REDIS_ADDR": url,
            "REDIS_PASSWORD_FILE": "/run/secrets/redis-exporter.json",
            "REDIS_EXPORTER_WEB_LISTEN_ADDRESS": f"127.0.0.1:{port}",
        }
        options = ["--network", "host", "--volume", f"{secret}:/run/secrets/redis-exporter.json:ro", *confined(64, 32)]
        options += [f"--env={key}={value}" for key, value in environ.items()]
        process = subprocess.Popen([*PODMAN, "run", "--rm", "--name", name, *options, sidecar("redis-exporter")])
        try:
            wait_until("the exporter", lambda: accepts_connections(port), seconds=60)
            text = scrape(f"http://127.0.0.1:{port}")
            assert re.search(r"(?m)^redis_up 1$", text)
            assert password not in text
            pid = first_pid(name)
            assert has_no_rights(pid, 10003, 10003)
            assert password.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
            assert password.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
            with server.client(password=password) as client:
                client.config_set("requirepass", "another")
            wait_until("the refusal", lambda: "\nredis_up 0\n" in scrape(f"http://127.0.0.1:{port}"))
        finally:
            stop(process, seconds=30)
            podman("rm", "--force", "--time", "1", "--ignore", name)


@pytest.mark.parametrize(
    ("name", "user", "ports"),
    [
        ("tomcat", f"10001:{GROUP}", {"8080/tcp"}),
        ("exporter", "10003:10003", {"9404/tcp"}),
        ("redis-exporter", "10003:10003", {"9121/tcp"}),
    ],
)
def test_its_image(name: str, user: str, ports: set[str]) -> None:
    image = sidecar(name)
    [described] = json.loads(podman("image", "inspect", image))
    config = described["Config"]
    assert config["User"] == user
    assert config["ExposedPorts"].keys() == ports
    assert config["StopSignal"] == "SIGTERM"
    assert config["Labels"]["org.opencontainers.image.title"] == f"seatrial-{name}"
    folder = Path(podman("image", "mount", image))
    try:
        files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
        modes = {path: path.lstat() for path in files}
        assert [path for path, info in modes.items() if info.st_mode & 0o6002] == []
        assert {info.st_uid for info in modes.values()} == {0}
        assert [path for path in files if re.match(r"python|pip", path.name) and path.parent.name == "bin"] == []
    finally:
        podman("image", "umount", image)
