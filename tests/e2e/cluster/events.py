"""What happens to a deployment in its life, done to it by kubectl. Each returns when all is well again."""

import subprocess
from typing import Any

from tests.e2e.cluster.kubectl import Kubectl, nodes, on_the_node
from tests.e2e.cluster.overlay import Copy


def roll_out(copy: Copy, image: str) -> None:
    """A new image, by digest."""
    copy.kubectl("set", "image", "deployment/seatrial", f"seatrial={image}")
    _until_settled(copy)


def roll_back(copy: Copy) -> None:
    copy.kubectl("rollout", "undo", "deployment/seatrial")
    _until_settled(copy)


def scale(copy: Copy, replicas: int) -> None:
    copy.kubectl("scale", "deployment/seatrial", f"--replicas={replicas}")
    _until_settled(copy)


def delete_pod(copy: Copy, pod: dict[str, Any]) -> None:
    """It ends with its grace, and another takes its place."""
    copy.kubectl("delete", "pod", pod["metadata"]["name"])
    copy.settle()


def drain(copy: Copy, node: str) -> None:
    """As before an upgrade. Only this copy's pods are evicted, and not the emulator: it stands for Cloud Storage."""
    selector = f"seatrial-test={copy.kubectl.namespace},app.kubernetes.io/name!=gcs"
    copy.kubectl("drain", node, f"--pod-selector={selector}", "--delete-emptydir-data", "--timeout=150s")
    copy.kubectl.rolled_out("deployment/seatrial")


def uncordon(copy: Copy, node: str) -> None:
    copy.kubectl("uncordon", node)
    copy.settle()


def lose_kubelet(copy: Copy, node: str) -> None:
    """The control plane hears nothing of the node any more. Skips where NODE_STOP is not given."""
    on_the_node("NODE_STOP", node=node)
    copy.kubectl.wait(f"node/{node}", "condition=Ready=Unknown")


def find_kubelet(copy: Copy, node: str) -> None:
    on_the_node("NODE_START", node=node)
    copy.kubectl.wait(f"node/{node}", "condition=Ready")
    copy.settle()


def kill_container(copy: Copy, pod: dict[str, Any]) -> None:
    """SIGKILL from outside. Skips where KILL_CONTAINER is not given: from inside nobody can kill process 1."""
    name = pod["metadata"]["name"]
    [status] = pod["status"]["containerStatuses"]
    container = status["containerID"].rpartition("/")[2]
    on_the_node("KILL_CONTAINER", node=pod["spec"]["nodeName"], container=container)
    restarts = status["restartCount"] + 1
    copy.kubectl.wait(f"pod/{name}", f"jsonpath={{.status.containerStatuses[0].restartCount}}={restarts}")
    copy.kubectl.wait(f"pod/{name}", "condition=Ready")


def delete_redis(copy: Copy) -> None:
    copy.kubectl("delete", "pod", "redis-0")
    copy.settle()


def all_uncordoned() -> None:
    """After a test, whatever came of it."""
    for node in nodes():
        subprocess.run(["kubectl", "uncordon", node], check=True, capture_output=True)


def _until_settled(copy: Copy) -> None:
    """The rollout is over, and the old pods are gone."""
    copy.kubectl.rolled_out("deployment/seatrial")
    wanted = int(copy.deployment()["spec"]["replicas"])
    copy.kubectl.until("the end of the old pods", lambda: len(_all_pods(copy.kubectl)) == wanted)


def _all_pods(kubectl: Kubectl) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = kubectl.get("pods", "--selector", "app.kubernetes.io/name=seatrial")
    return found
