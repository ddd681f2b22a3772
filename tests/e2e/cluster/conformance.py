"""The conformance suite, run on a copy of the overlay with everything it may do to it."""

import contextlib
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.conformance.scene import Run
from tests.e2e.cluster.instances import Instances, dialler, listening
from tests.e2e.cluster.overlay import PROJECT, Copy

PATIENCE = 900  # seconds for the whole suite: it stops, kills and starts pods many times


def conform(options: list[str], report: Path, *more: str) -> Run:
    """Run the suite as a user does."""
    command = [sys.executable, "-m", "conformance", "--details", *options, "--json", str(report), *more]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=PATIENCE)
    if done.returncode == 2:
        raise AssertionError(done.stderr)
    return Run(done.returncode, done.stdout, done.stderr, json.loads(report.read_text())["checks"])


def cluster_options(copy: Copy) -> list[str]:
    """What rows ask that look at the cluster."""
    kubectl = shlex.join(copy.kubectl.command)
    proxy = f"/api/v1/namespaces/{copy.kubectl.namespace}/services/prometheus:9090/proxy"
    return [f"--kubectl-command={kubectl}", f"--prometheus-command=kubectl get --raw {proxy}"]


@contextlib.contextmanager
def instances(copy: Copy, folder: Path) -> Iterator[list[str]]:
    """The options with which the suite may do everything to two pods of the service."""
    kubectl = shlex.join(copy.kubectl.command)
    known = Instances(copy.kubectl, folder)
    for number, found in enumerate(copy.kubectl.pods("seatrial"), 1):
        known.assign(number, found)
    change = shlex.join([sys.executable, "-m", "tests.e2e.cluster.instances"])
    scale = f"{kubectl} scale statefulset/redis --replicas"
    rest = f"{folder} {copy.kubectl.namespace} {{instance}}"
    pod = f"$(cat {folder}/{{instance}}.pod)"
    with contextlib.ExitStack() as stack:
        dial = stack.enter_context(dialler(copy.kubectl, copy.images.service, known.address(1), 8080))

        def addresses(port: int) -> str:
            ours = [stack.enter_context(listening(dial, partial(known.address, n), port)) for n in (1, 2)]
            return ",".join(f"http://127.0.0.1:{port}" for port in ours)

        yield [
            f"--base-url={addresses(8080)}",
            f"--ops-url={addresses(9090)}",
            f"--stop-command={kubectl} delete pod {pod}",
            f"--kill-command={change} kill {rest}",
            f"--start-command={change} start {rest}",
            f"--store-stop-command={scale}=0 && {kubectl} wait pod/redis-0 --for=delete --timeout=60s",
            f"--store-start-command={scale}=1 && {kubectl} rollout status statefulset/redis --timeout=100s",
            f"--log-command={kubectl} logs {pod}",
            f"--exec-command={kubectl} exec {pod} --",
            f"--secret-file={copy.folder / 'SESSION_PASSWORD'}",
            *cluster_options(copy),
            "--notice=3",
            "--outage=5",
        ]
