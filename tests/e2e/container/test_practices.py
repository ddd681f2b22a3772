"""The conformance suite against the image: two confined containers, stopped, killed and started by the engine."""

import contextlib
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.scene import Scene
from tests.e2e.container.podman import CONFINED, PODMAN, USER, podman
from tests.support.compose import service
from tests.support.fleet import fleet, steady_port
from tests.support.gcs import create_bucket, fake_gcs
from tests.support.practices import proved_by
from tests.support.processes import accepts_connections, require, wait_until

pytestmark = pytest.mark.timeout(300)

PASSWORD = "the-word-of-the-session-store"


@contextlib.contextmanager
def containers(image: str, folder: Path, *more: str) -> Iterator[Scene]:
    """Two of them, on a Redis and an emulator, and the suite's options to do everything to them.

    ``more``: options of the engine.
    """
    name = f"seatrial-practices-{os.getpid()}"
    engine = shlex.join(PODMAN)
    with fleet(folder) as processes, fake_gcs(folder) as gcs, contextlib.ExitStack() as stack:
        create_bucket(gcs, "seatrial")
        store = steady_port()
        redis = [require("redis-server", "redis-server"), "--port", str(store), "--bind", "127.0.0.1"]
        redis += ["--dir", str(folder), "--save", "", "--appendonly", "no", "--requirepass", PASSWORD]
        processes.add("store", redis, port=store, environ={"PATH": os.environ["PATH"]})
        secret = folder / "secrets" / "SESSION_PASSWORD"
        secret.parent.mkdir()
        secret.write_text(PASSWORD)
        ports, ops_ports = [steady_port() for _ in range(2)], [steady_port() for _ in range(2)]
        for number, (port, ops_port) in enumerate(zip(ports, ops_ports, strict=True), 1):
            settings = service("app")["environment"] | {
                "HOST": "127.0.0.1",
                "PORT": str(port),
                "OPS_PORT": str(ops_port),
                "INSTANCE": f"instance-{number}",
                "SESSION_URL": f"redis://127.0.0.1:{store}/0",
                "SESSION_TIMEOUT": "1s",  # tests share their machine
                "STORAGE_EMULATOR_HOST": gcs,
                "COOKIE_SECURE": "true",
                "SHUTDOWN_DELAY": "3s",
                "DEPENDENCY_CHECK_INTERVAL": "200ms",
            }
            environ = [f"--env={key}={value}" for key, value in settings.items()]
            options = ["--network", "host", "--user", USER, *CONFINED, "--volume", f"{secret.parent}:/run/secrets:ro"]
            podman("run", "--detach", "--name", f"{name}-{number}", *options, *more, *environ, image)
            stack.callback(podman, "rm", "--force", "--time", "1", "--ignore", f"{name}-{number}")
        for port in ports:
            wait_until("both listen", lambda port=port: accepts_connections(port))  # type: ignore[misc] # bound now
        yield Scene(
            processes,
            ports,
            [
                "--base-url=" + ",".join(f"http://127.0.0.1:{port}" for port in ports),
                "--ops-url=" + ",".join(f"http://127.0.0.1:{port}" for port in ops_ports),
                f"--stop-command={engine} stop --time 40 {name}-{{instance}}",
                f"--kill-command={engine} kill {name}-{{instance}}",
                f"--start-command={engine} start {name}-{{instance}}",
                f"--store-stop-command={processes.command('kill', 'store')}",
                f"--store-start-command={processes.command('start', 'store')}",
                f"--log-command={engine} logs {name}-{{instance}}",
                f"--pid-command={engine} inspect --format '{{{{.State.Pid}}}}' {name}-{{instance}}",
                f"--exec-command={engine} exec {name}-{{instance}}",
                f"--secret-file={secret}",
                "--notice=2",
                "--grace=30",
                "--outage=2",
            ],
        )


def test_the_image_keeps_every_practice(image: str, tmp_path: Path) -> None:
    with containers(image, tmp_path) as ours:
        run = ours.conform()
        from_inside = ours.conform("--only=2d,6a", "--pid-command=")
    print(run.table)
    assert run.rows("broken") == set(), run.table
    assert run.code == 0
    assert run.rows("ok") == proved_by("make test-container")
    assert from_inside.rows("ok") == {"2d", "6a"}, from_inside.table  # by --exec-command alone


def test_an_image_started_as_root_is_told_so(image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, broken in one place: so the suite really looks into the container."""
    monkeypatch.setattr("tests.e2e.container.test_practices.USER", "0:0")
    with containers(image, tmp_path) as rooted:
        runs = [rooted.conform("--only=6a,2d", *more) for more in ((), ("--pid-command=",))]
    for run in runs:
        assert run.rows("broken") == {"6a"}, run.table


def test_a_shell_as_process_1_swallows_the_signal(image: str, tmp_path: Path) -> None:
    """Shell form for real. What is more than one command is not replaced by the shell, whichever shell it is."""
    shell_form = '["/bin/sh", "-c", "python -m service; exit $?"]'
    with containers(image, tmp_path, "--entrypoint", shell_form) as deaf:
        run = deaf.conform("--only=stop", "--grace=8")
    assert run.rows("broken") == {"stop"}, run.table
    assert "so that no shell stands before it as PID 1" in run.broken("stop")
