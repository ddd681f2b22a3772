"""kubectl, in one namespace: its words where it fails, and waiting by its watches rather than by sleeping."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

PATIENCE = 180  # seconds for anything that a cluster is asked for


class KubectlError(Exception):
    """It ended with an error. The message is what it said."""


@dataclass(frozen=True)
class Kubectl:
    """kubectl with ``--namespace``."""

    namespace: str

    def __call__(self, *arguments: str, stdin: str = "", timeout: float = PATIENCE + 30) -> str:
        """What it prints on stdout. KubectlError where it fails."""
        done = subprocess.run(
            [*self.command, *arguments], input=stdin, capture_output=True, text=True, check=False, timeout=timeout
        )
        if done.returncode != 0:
            raise KubectlError(
                f"kubectl {' '.join(arguments)[:200]}: {done.stderr.strip()[-2000:] or done.stdout[-2000:]}"
            )
        return done.stdout

    @property
    def command(self) -> Sequence[str]:
        return ("kubectl", "--namespace", self.namespace)

    def get(self, *arguments: str) -> Any:
        """The object, or the list's items."""
        found = json.loads(self("get", *arguments, "--output", "json"))
        return found.get("items", found)

    def apply(self, *objects: dict[str, Any]) -> None:
        """Make or change objects, as their only owner."""
        document = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        self("apply", "--server-side", "--force-conflicts", "--filename", "-", stdin=document)

    def wait(self, what: str, condition: str, *, timeout: float = PATIENCE) -> None:
        """Wait for ``condition=Ready``, ``delete`` or ``jsonpath={.status.phase}=Succeeded`` of an object."""
        self("wait", what, f"--for={condition}", f"--timeout={timeout:g}s")

    def rolled_out(self, what: str, *, timeout: float = PATIENCE) -> None:
        """Wait until a Deployment or StatefulSet is as it should be. KubectlError with what its pods say where not."""
        try:
            self("rollout", "status", what, f"--timeout={timeout:g}s")
        except KubectlError as error:
            raise KubectlError(f"{error}\n{self('get', 'pods', '--output', 'wide')}\n{self.events()}") from None

    def events(self) -> str:
        return "\n".join(self("get", "events", "--sort-by=.lastTimestamp").splitlines()[-15:])

    def pods(self, name: str) -> list[dict[str, Any]]:
        """The pods of an application that are not being ended, by their name label; the oldest first."""
        found = self.get("pods", "--selector", f"app.kubernetes.io/name={name}")
        alive = [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]
        return sorted(alive, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def exec(self, pod: str, *command: str, container: str = "") -> str:
        """What a command prints that runs in a container of a pod; the first where none is named."""
        return self("exec", pod, *([f"--container={container}"] if container else []), "--", *command)

    def until(self, what: str, test: Callable[[], bool], *, timeout: float = PATIENCE) -> None:
        """Wait for what no watch can say. KubectlError when it does not come."""
        end = time.monotonic() + timeout
        while not test():
            if time.monotonic() > end:
                raise KubectlError(
                    f"{what} did not happen within {timeout:g} s\n{self('get', 'pods')}\n{self.events()}"
                )
            time.sleep(0.3)


def nodes() -> list[str]:
    """The names of the nodes that pods are scheduled on, where nothing is cordoned."""
    found = Kubectl("default").get("nodes")
    return [
        node["metadata"]["name"]
        for node in found
        if not any(taint["key"].startswith("node-role.kubernetes.io/") for taint in node["spec"].get("taints", []))
    ]


def on_the_node(variable: str, **fields: str) -> None:
    """Run the command that a variable of the environment holds, with {node} and so on filled in. Skips without it."""
    command = os.environ.get(variable)
    if not command:
        pytest.skip(f"not run: give {variable}, a command that does it to {' and '.join(fields)}")
    subprocess.run(command.format(**fields), shell=True, check=True, timeout=60)
