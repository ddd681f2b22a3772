"""The log agent's image, confined as in the manifests, beside one who writes files into a volume that both have."""

import contextlib
import json
import os
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.container.podman import PODMAN, first_pid, has_no_rights, podman, sidecar
from tests.support.agent import LogAgent
from tests.support.processes import stop, wait_until

pytestmark = pytest.mark.timeout(600)

CONFINED = (
    *("--network", "host", "--read-only", "--read-only-tmpfs=false", "--cap-drop", "ALL"),
    *("--security-opt", "no-new-privileges", "--memory", "64m", "--memory-swap", "64m", "--cpus", "0.5"),
    *("--pids-limit", "16", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"),
)
GROUP = 10001  # of the application, which owns the logs


@pytest.fixture(scope="module")
def agent_image() -> str:
    return sidecar("log-agent")


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """A volume as Tomcat leaves it: its group may read, nobody else."""
    folder = tmp_path / "logs"
    folder.mkdir(mode=0o750)
    os.chown(folder, GROUP, GROUP)
    return folder


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(0o770)  # whatever the umask
    os.chown(folder, 0, GROUP)
    return folder


def append(file: Path, *messages: str) -> None:
    with file.open("a", encoding="utf-8") as stream:
        stream.writelines(f"24-Nov-2026 12:00:00.123 INFO [main] a.B.c {message}\n" for message in messages)
    file.chmod(0o640)
    os.chown(file, GROUP, GROUP)


@contextlib.contextmanager
def running(image: str, logs: Path, state: Path, out: Path) -> Iterator[tuple[LogAgent, str]]:
    """The agent in its container, and the container's name."""
    name = f"seatrial-test-{uuid.uuid4().hex[:12]}"
    environ = {
        "LOG_FILES": "tomcat=/logs/*.log",
        "STATE_FILE": "/state/checkpoint.json",
        "HOST": "127.0.0.1",
        "PORT": "0",
    }
    command = [*PODMAN, "run", "--rm", "--name", name, *CONFINED]
    command += ["--volume", f"{logs}:/logs:ro", "--volume", f"{state}:/state"]
    command += [f"--env={key}={value}" for key, value in environ.items()]
    with out.open("wb") as file:
        process = subprocess.Popen([*command, image], stdin=subprocess.DEVNULL, stdout=file)
    try:
        yield LogAgent(process, out), name
    finally:
        stop(process, seconds=40)
        podman("rm", "--force", "--ignore", name)


def messages(agent: LogAgent) -> list[str]:
    return [record["message"] for record in agent.records]


def get(agent: LogAgent, path: str) -> str:
    with urllib.request.urlopen(f"{agent.url}{path}", timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def test_it_reads_a_read_only_volume_through_a_rotation_and_a_restart(
    agent_image: str, logs: Path, state: Path, tmp_path: Path
) -> None:
    log = logs / "catalina.log"
    append(log, "one")
    with running(agent_image, logs, state, tmp_path / "first") as (agent, _):
        wait_until("the first record", lambda: messages(agent) == ["one"], seconds=60)
        log.rename(logs / "catalina.1.log")
        append(logs / "catalina.1.log", "two")
        append(log, "three")
        wait_until("the records around the rotation", lambda: sorted(messages(agent)) == ["one", "three", "two"])
        assert json.loads(get(agent, "/health"))["status"] == "pass"
        assert "log_agent_lines_total" in get(agent, "/metrics")
        append(log, "four")
        assert agent.terminate() == 0
        assert messages(agent)[-1] == "four", "after SIGTERM everything is read to its end"
    append(log, "five")
    with running(agent_image, logs, state, tmp_path / "second") as (agent, _):
        wait_until("what was written meanwhile", lambda: messages(agent) == ["five"], seconds=60)
        assert agent.terminate() == 0
        assert messages(agent) == ["five"], "nothing twice"


def test_it_may_do_nothing_but_read(agent_image: str, logs: Path, state: Path, tmp_path: Path) -> None:
    append(logs / "catalina.log", "one")
    with running(agent_image, logs, state, tmp_path / "out") as (agent, name):
        wait_until("the first record", lambda: messages(agent) == ["one"], seconds=60)
        assert has_no_rights(first_pid(name), 10002, GROUP)
        for path in ("/logs/x", "/app/x", "/tmp/x"):
            done = subprocess.run(
                [*PODMAN, "exec", name, "python", "-c", f"open({path!r}, 'w')"],
                check=False,
                stderr=subprocess.PIPE,
            )
            assert b"Read-only file system" in done.stderr or b"Permission denied" in done.stderr


def test_its_image(agent_image: str) -> None:
    [described] = json.loads(podman("image", "inspect", agent_image))
    assert described["Config"]["User"] == f"10002:{GROUP}"
    assert described["Config"]["Entrypoint"] == ["python", "-m", "log_agent"]
    folder = Path(podman("image", "mount", agent_image))
    try:
        own = {
            str(path.relative_to(folder))
            for path in (folder / "app").rglob("*.py")
            if "site-packages" not in path.parts
        }
        assert own == {
            str(path).replace("sidecars/log-agent", "app") for path in Path("sidecars/log-agent/log_agent").glob("*.py")
        }
        modes = [path.lstat().st_mode for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
        assert not [mode for mode in modes if mode & 0o6000]
        assert not list((folder / "app").rglob("pip"))
    finally:
        podman("image", "umount", agent_image)
