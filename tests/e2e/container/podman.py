"""The image as it runs: built by the project's own script on a stand-in for its base, confined as in the manifests."""

import contextlib
import functools
import json
import os
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.processes import stop
from tests.support.service import DEFAULTS, Service

ROOT = Path(__file__).parents[3]
PODMAN = ("podman", "--runtime", "runc")
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"  # of this machine: the build's downloads may pass its proxy
USER = "10001:10001"
SOURCE = "https://git.example/seatrial"
CONFINED = (
    *("--read-only", "--read-only-tmpfs=false", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
    *("--memory", "200m", "--memory-swap", "200m", "--cpus", "1", "--pids-limit", "64"),
    *("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"),
)


def podman(*arguments: str) -> str:
    """What a podman command prints. CalledProcessError with its words where it fails."""
    try:
        done = subprocess.run([*PODMAN, *arguments], check=True, capture_output=True, text=True, timeout=600)
    except subprocess.CalledProcessError as error:
        error.add_note(error.stderr)
        raise
    return done.stdout.strip()


def base() -> str:
    """The name of the stand-in for the base, made now if need be."""
    script = ROOT / "tests" / "e2e" / "container" / "base.sh"
    return subprocess.run([script], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def build(name: str, *flags: str, folder: str = ".", source: str = SOURCE) -> str:
    """Build the image of a folder as ``make image`` does; what the script prints at last."""
    all_flags = ("--network", "host", "--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro", *flags)
    variables = {"IMAGE": name, "BASE": base(), "BUILDER": " ".join(PODMAN), "BUILD_FLAGS": " ".join(all_flags)}
    variables["SOURCE"] = source
    script = ROOT / "scripts" / "image.sh"
    done = subprocess.run(
        [script, folder],
        check=False,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout.splitlines()[-1]


@functools.cache
def sidecar(name: str) -> str:
    """The image of a folder of sidecars/, built once for all tests."""
    image = f"localhost/seatrial-{name}-test:built"
    print(build(image, folder=f"sidecars/{name}"))
    return image


def first_pid(container: str) -> int:
    """A container's first process, by its number outside of it."""
    return int(podman("inspect", "--format", "{{.State.Pid}}", container))


def status_of(pid: int) -> dict[str, str]:
    """/proc/PID/status, proc(5)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def has_no_rights(pid: int, user: int, group: int) -> bool:
    """Whether a process is this user, of this group alone, without a capability or a way to one. AssertionError."""
    status = status_of(pid)
    assert set(status["Uid"].split()) == {str(user)}
    assert set(status["Gid"].split()) == {str(group)}
    assert set(status["Groups"].split()) <= {str(group)}
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[kind], 16) == 0, kind
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"  # a filter
    return True


@dataclass(frozen=True)
class Container:
    """A running container. ``service`` is its first process as podman stands for it: signals go through, logs come."""

    name: str
    service: Service

    @property
    def pids(self) -> list[int]:
        """All its processes, by their numbers outside of it, the first one first."""
        pids = [first_pid(self.name)]
        for pid in pids:
            pids += [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return pids

    def python(self, code: str) -> Any:
        """What code prints as JSON that runs inside, with the same user and rights."""
        return json.loads(podman("exec", self.name, "python", "-c", code))


@contextlib.contextmanager
def running_container(
    image: str,
    settings: Mapping[str, str],
    *,
    user: str = USER,
    network: str = "host",
    confined: Sequence[str] = CONFINED,
    options: Sequence[str] = (),
) -> Iterator[Container]:
    """The image in a confined container that serves; gone when this is left."""
    name = f"seatrial-test-{uuid.uuid4().hex[:12]}"
    environ = [f"--env={key}={value}" for key, value in (DEFAULTS | dict(settings)).items()]
    command = [*PODMAN, "run", "--rm", "--name", name, "--network", network, "--user", user, *confined]
    process = subprocess.Popen(
        [*command, *environ, *options, image],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    service = Service(process)
    try:
        service.wait_until_listening()
        yield Container(name, service)
    finally:
        stop(process, seconds=40)
        podman("rm", "--force", "--ignore", name)
        service.wait_for_end()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
