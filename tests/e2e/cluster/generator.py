"""load.py in a pod: constant load from inside the cluster, through the Service, and its report at the end."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.cluster.kubectl import Kubectl, KubectlError

SCRIPT = Path(__file__).with_name("load.py")
FOLDER = "/run/load"
ENOUGH = 60  # requests: every visitor has done everything once


@dataclass(frozen=True)
class Report:
    """What load.py printed."""

    phases: dict[str, dict[str, Any]]
    promises: dict[str, int]

    @property
    def table(self) -> str:
        """The figures, for people."""
        head = ("part", "seconds", "requests", "failed", "tried again", "503, come again", "slowest")
        rows = [head, tuple("-" * len(word) for word in head)]
        for name, phase in self.phases.items():
            figures = (f"{phase['seconds']:.0f}", phase["requests"], sum(phase["failed"].values()), phase["retried"])
            rows.append((name, *map(str, figures), str(phase["away"]), f"{phase['slowest']:.2f} s"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*lines, ", ".join(f"{name} {number}" for name, number in self.promises.items())])

    def failed(self, name: str) -> int:
        return int(sum(self.phases[name]["failed"].values()))

    def examples(self) -> str:
        """The first failures of each part, and what was slow."""
        return "\n".join(
            f"{name}: {each}"
            for name, phase in self.phases.items()
            for kind in ("examples", "slow")
            for each in phase[kind][:5]
        )


@dataclass
class Load:
    """Load that goes on. Each part of it is counted under a name of its own."""

    kubectl: Kubectl

    def part(self, name: str, *, retries: int = 0) -> None:
        """Count under this name from now on. What was begun before is answered when this returns.

        ``retries``: how often a lost connection is tried again.
        """
        self._write(f"{name} {retries}")

        def begins() -> bool:
            status = self._status()
            return status["phase"] == name and not status["earlier"]

        self.kubectl.until(f"the part {name}", begins)

    def go_on(self) -> None:
        """Let some more requests be made: what happened has to be seen by everybody."""
        so_far = self._status()["requests"]
        self.kubectl.until("more requests", lambda: self._status()["requests"] >= so_far + ENOUGH, timeout=60)

    def end(self) -> Report:
        """End it, and ask for everything that was promised."""
        self._write("end 0")
        self.kubectl.wait("pod/load", "jsonpath={.status.phase}=Succeeded")
        self.kubectl.until("its report", lambda: bool(self.kubectl("logs", "load")))  # a moment after its end
        return Report(**json.loads(self.kubectl("logs", "load")))

    def _write(self, words: str) -> None:
        self.kubectl.exec(
            "load", "sh", "-c", f"echo '{words}' >{FOLDER}/phase.new && mv {FOLDER}/phase.new {FOLDER}/phase"
        )

    def _status(self) -> dict[str, Any]:
        try:
            status: dict[str, Any] = json.loads(self.kubectl.exec("load", "cat", f"{FOLDER}/status"))
        except KubectlError as error:
            if "No such file" in str(error):  # it has just been started
                return {"phase": "", "requests": 0, "earlier": 0}
            raise
        return status


@contextlib.contextmanager
def load(kubectl: Kubectl, image: str, *, node: str = "", think: float = 0.1) -> Iterator[Load]:
    """Load on the Service ``seatrial`` of a namespace, from a pod (of this node) that is gone when this is left.

    ``think``: seconds between two requests of one visitor; there are eight.
    """
    labels = {"app.kubernetes.io/name": "load"}
    # By address, as visitors behind a load balancer do: the cluster's DNS may be on a node that is lost.
    address = kubectl.get("service", "seatrial")["spec"]["clusterIP"]
    pod = restricted_pod(
        "load",
        image,
        ["python", "/load/load.py", f"http://{address}", FOLDER, str(think)],
        labels,
        mounts={"/load": {"configMap": {"name": "load"}}, FOLDER: {"emptyDir": {"medium": "Memory"}}},
    )
    if node:
        pod["spec"]["nodeSelector"] = {"kubernetes.io/hostname": node}
    kubectl.apply(
        pod,
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "load"},
            "data": {"load.py": SCRIPT.read_text()},
        },
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "load"},
            "spec": {
                "podSelector": {"matchLabels": labels},
                "policyTypes": ["Egress"],
                "egress": [{"to": [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "seatrial"}}}]}],
            },
        },
    )
    try:
        kubectl.wait("pod/load", "condition=Ready")
        running = Load(kubectl)
        running.go_on()
        yield running
    finally:
        kubectl("delete", "pod", "load", "--ignore-not-found", "--grace-period=1")


def restricted_pod(
    name: str, image: str, command: list[str], labels: dict[str, str], *, mounts: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """A pod that Pod Security's "restricted" lets in. ``mounts``: volume sources by their path."""
    volumes = [{"name": f"v{number}"} | source for number, source in enumerate(mounts.values())]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "priorityClassName": "seatrial",  # or the service's pods push it out where a node is full
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "runAsGroup": 10001,
                "fsGroup": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": name,
                    "image": image,
                    "command": command,
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                        "readOnlyRootFilesystem": True,
                    },
                    "resources": {
                        "requests": {"cpu": "50m", "memory": "64Mi", "ephemeral-storage": "8Mi"},
                        "limits": {"cpu": "1", "memory": "128Mi", "ephemeral-storage": "16Mi"},
                    },
                    "volumeMounts": [{"name": f"v{number}", "mountPath": path} for number, path in enumerate(mounts)],
                }
            ],
            "volumes": volumes,
        },
    }
