"""What docker-compose.yml describes, run: two replicas in containers of the image, with its settings and limits, behind
a real nginx with its configuration, on a real Redis and the emulator with its commands, watched by a real Prometheus
with its rules. No engine is needed; only addresses and paths are others."""

import contextlib
import os
import shlex
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from tests.e2e.container.podman import Container, podman, running_container
from tests.support.compose import FOLDER, RULES, changed, service
from tests.support.gcs import fake_gcs_binary
from tests.support.processes import free_port, freeze, require, running, wait_until
from tests.support.product import Visitor, file_path
from tests.support.prometheus import Prometheus

pytestmark = pytest.mark.timeout(300)

PASSWORD = "a password from a file"  # with blanks, as somebody may give one


@dataclass(frozen=True)
class Topology:
    url: str  # of the proxy
    replicas: list[Container]
    prometheus: Prometheus
    redis_port: int
    redis_pid: int


# What the topology takes from the file for a replica, and what only an engine of compose can do with it.
TAKEN = {"cap_drop", "deploy", "environment", "healthcheck", "read_only", "secrets", "security_opt", "user"}
LEFT = {"build", "depends_on", "image", "init", "networks", "restart", "stop_grace_period"}


def confined(described: dict[str, Any]) -> list[str]:
    """podman's options for what the compose file says. A key that nobody has thought of is an error."""
    assert described.keys() <= TAKEN | LEFT, f"this topology does not know {sorted(described.keys() - TAKEN - LEFT)}"
    limits = described["deploy"]["resources"]["limits"]
    options = ["--cpus", limits["cpus"], "--memory", limits["memory"].lower(), "--pids-limit", str(limits["pids"])]
    options += [
        "--memory-swap",
        limits["memory"].lower(),
        "--ulimit",
        "nofile=1024:1024",
        "--ulimit",
        "nproc=1024:1024",
    ]
    if described.get("read_only"):
        options += ["--read-only", "--read-only-tmpfs=false"]
    for name in described.get("cap_drop", []):
        options += ["--cap-drop", name]
    for option in described.get("security_opt", []):
        options += ["--security-opt", option]
    return options


@pytest.fixture(scope="module")
def topology(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    folder = tmp_path_factory.mktemp("compose")
    secrets = folder / "secrets"
    secrets.mkdir()
    (secrets / "SESSION_PASSWORD").write_text(PASSWORD)
    (secrets / "SESSION_PASSWORD").chmod(0o444)
    with contextlib.ExitStack() as stack:
        redis_port, gcs_port = free_port(), free_port()
        redis = stack.enter_context(
            running(redis_command(folder, redis_port), port=redis_port, log=folder / "redis.log")
        )
        stack.enter_context(running(gcs_command(gcs_port), port=gcs_port, log=folder / "gcs.log"))
        described = service("app")
        settings = described["environment"] | {
            "SESSION_URL": changed(described["environment"]["SESSION_URL"], {"redis:6379": f"127.0.0.1:{redis_port}"}),
            "STORAGE_EMULATOR_HOST": changed(
                described["environment"]["STORAGE_EMULATOR_HOST"], {"gcs:4443": f"127.0.0.1:{gcs_port}"}
            ),
            "FORWARDED_ALLOW_IPS": "127.0.0.1",
            # Time for a busy machine: with a processor's limit, and a Redis that writes to disk, 250 ms may pass.
            "SESSION_TIMEOUT": "5s",
        }
        replicas = [
            stack.enter_context(
                running_container(
                    image,
                    settings | {"INSTANCE": f"replica-{number}"},
                    user=described["user"],
                    confined=confined(described),
                    options=("--volume", f"{secrets}:/run/secrets:ro"),
                )
            )
            for number in range(described["deploy"]["replicas"])
        ]
        url = stack.enter_context(proxy(folder, [replica.service.app_url for replica in replicas]))
        watched = stack.enter_context(prometheus(folder, [replica.service.ops_url for replica in replicas]))
        yield Topology(url, replicas, watched, redis_port, redis.pid)


def redis_command(folder: Path, port: int) -> list[str]:
    shell, flag, script = service("redis")["command"]
    (folder / "redis").mkdir()
    changes = {"/run/secrets": str(folder / "secrets"), "/data": str(folder / "redis")}
    script = changed(script, changes | {"--appendonly": f"--port {port} --bind 127.0.0.1 --appendonly"})
    return [shell, flag, script]


def gcs_command(port: int) -> list[str | Path]:
    command = shlex.join(service("gcs")["command"])
    address = f"127.0.0.1:{port}"
    changes = {"gcs:4443": address, "0.0.0.0": "127.0.0.1", "4443": str(port), "/buckets": str(FOLDER / "buckets")}
    changes = {"gcs:4443": "ADDRESS", **{key: changes[key] for key in ("0.0.0.0", "4443", "/buckets")}}
    return [fake_gcs_binary(), *shlex.split(changed(command, changes).replace("ADDRESS", address))]


@contextlib.contextmanager
def proxy(folder: Path, urls: list[str]) -> Iterator[str]:
    port = free_port()
    servers = "\n".join(f"server {urlsplit(url).netloc} max_fails=0;" for url in urls)
    config = folder / "nginx.conf"
    config.write_text(
        changed(
            (FOLDER / "nginx.conf").read_text(),
            {
                "server app:8080 resolve max_fails=0;": servers,
                "resolver 127.0.0.11 valid=2s;": "",
                "listen 8080": f"listen 127.0.0.1:{port}",
                "/tmp/": f"{folder}/",
                "/dev/stderr": f"{folder}/nginx.log",
            },
        )
    )
    command = [require("nginx", "nginx"), "-g", "daemon off;", "-p", str(folder), "-c", str(config)]
    with running(command, port=port, log=folder / "nginx.out"):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def prometheus(folder: Path, urls: list[str]) -> Iterator[Prometheus]:
    port = free_port()
    text = (FOLDER / "prometheus.yml").read_text()
    targets = ", ".join(f"'{urlsplit(url).netloc}'" for url in urls)
    begin = text.index("    dns_sd_configs:")
    (folder / "prometheus.yml").write_text(text[:begin] + f"    static_configs: [{{targets: [{targets}]}}]\n")
    (folder / "rules.yml").write_text(RULES.read_text())
    command = [
        require("prometheus", "prometheus"),
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/prometheus",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with running(command, port=port, log=folder / "prometheus.log"):
        started = Prometheus(f"http://127.0.0.1:{port}")
        wait_until("Prometheus is ready", started.is_ready)
        yield started


def test_replicas_share_sessions_and_files(topology: Topology) -> None:
    with Visitor(topology.url) as visitor:
        answered = [visitor.get("/api/instance").json["name"] for _ in range(10)]
        assert set(answered) == {"replica-0", "replica-1"}
        assert [visitor.ask("POST", "/api/session/visits").json["visits"] for _ in range(10)] == list(range(1, 11))
        for number in range(4):
            assert visitor.put(f"f{number}", b"x" * 3_000_000).status == 201
            assert [visitor.get(file_path(f"f{number}")).status for _ in range(2)] == [200, 200]


def test_the_health_check_of_the_file_says_what_it_should(topology: Topology) -> None:
    _, *command = service("app")["healthcheck"]["test"]
    replica = topology.replicas[0]
    port = urlsplit(replica.service.ops_url).port
    podman(
        "exec", replica.name, *[changed(part, {":9090/": f":{port}/"}) if "9090" in part else part for part in command]
    )
    with pytest.raises(Exception, match="returned non-zero exit status"):
        podman("exec", replica.name, *[part.replace(":9090/", ":1/") for part in command])


def test_redis_wants_the_password(topology: Topology) -> None:
    with redis.Redis(host="127.0.0.1", port=topology.redis_port) as nobody, pytest.raises(redis.AuthenticationError):
        nobody.ping()
    with redis.Redis(host="127.0.0.1", port=topology.redis_port, password=PASSWORD) as known:
        assert known.ping()
        assert known.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    assert PASSWORD not in Path(f"/proc/{topology.redis_pid}/cmdline").read_text()


def test_the_visitors_address_is_what_the_proxy_says(topology: Topology) -> None:
    with Visitor(topology.url) as visitor:
        visitor.ask("GET", "/api/instance?who=me", headers={"X-Forwarded-For": "198.51.100.7"})

    def seen() -> list[str]:
        return [
            record["httpRequest"]["remoteIp"]
            for replica in topology.replicas
            for record in replica.service.log
            if "who=me" in record.get("httpRequest", {}).get("requestUrl", "")
        ]

    wait_until("the request's record", lambda: bool(seen()))
    assert seen() == ["127.0.0.1"]


def test_prometheus_sees_every_replica_and_its_alert_comes_and_goes(topology: Topology) -> None:
    watched = topology.prometheus
    wait_until("both replicas are seen", lambda: len(watched.query('up{job="seatrial"} == 1')) == 2, seconds=60)
    wait_until("the rules have results", lambda: bool(watched.query("seatrial:requests:rate1m")), seconds=60)
    firing = 'ALERTS{alertname="SeatrialDependencyDown",alertstate="firing",dependency="sessions"}'
    assert watched.query(firing) == []
    freeze(topology.redis_pid)
    try:
        wait_until("the alert fires", lambda: bool(watched.query(firing)), seconds=90)
    finally:
        os.kill(topology.redis_pid, signal.SIGCONT)
    wait_until("the alert clears", lambda: not watched.query(firing), seconds=60)


def test_a_replica_that_ends_is_not_missed(topology: Topology) -> None:
    with Visitor(topology.url) as visitor:
        before = visitor.ask("POST", "/api/session/visits").json["visits"]
        topology.replicas[0].service.process.terminate()
        topology.replicas[0].service.process.wait(60)
        responses = [visitor.ask("POST", "/api/session/visits") for _ in range(10)]
        assert [(r.status, r.json) for r in responses] == [(200, {"visits": before + n}) for n in range(1, 11)]
        assert {visitor.get("/api/instance").json["name"] for _ in range(4)} == {"replica-1"}
