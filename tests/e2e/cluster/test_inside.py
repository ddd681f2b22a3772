"""What somebody with a shell in the service's container can do: inside.py tries it, and each try fails.

The twins are the same image as people deploy it who know nothing of the practices (root, the defaults), and privileged:
there the same tries succeed. What is left to an attacker in our pod is what the service itself may do: read its secret,
talk to its stores, write to memory (/dev/shm).
"""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster.kubectl import Kubectl
from tests.e2e.cluster.overlay import Copy

pytestmark = pytest.mark.timeout(900)

SCRIPT = (Path(__file__).parent / "inside.py").read_text()
PTRACE = "hold the application with ptrace"
WRITES = "write to any file or folder"
METADATA = "reach the metadata server"
# A process may trace another of its own user, unless the node has Yama (kernel.yama.ptrace_scope). Who has the shell
# has that user's secrets anyway.
LEFT = {PTRACE}

Outcomes = dict[str, tuple[str | None, str]]  # by the words of the try: what came of it, or why nothing did


def try_all(kubectl: Kubectl, pod: str, *but: str) -> Outcomes:
    arguments = ["exec", "--stdin", pod, "--", "python", "-", kubectl.namespace, *but]
    found: Outcomes = json.loads(kubectl(*arguments, stdin=SCRIPT))
    return found


def succeeded(outcomes: Outcomes) -> set[str]:
    return {words for words, (result, _) in outcomes.items() if result}


def account(title: str, outcomes: Outcomes) -> str:
    """All tries and their outcomes, to read."""
    lines = [
        f"  {words:46} {'SUCCEEDED: ' + result if result else 'failed' + (': ' + why if why else '')}"
        for words, (result, why) in outcomes.items()
    ]
    return "\n".join([title, *lines])


def test_in_the_services_pods_each_try_fails(copy: Copy) -> None:
    for pod in copy.kubectl.pods("seatrial"):
        outcomes = try_all(copy.kubectl, pod["metadata"]["name"])
        print(account(f"\nInside of {pod['metadata']['name']}, {len(outcomes)} tries:", outcomes))
        print(f"  ({METADATA}: NetworkPolicies forbid it; here nothing enforces them, and nothing would answer)")
        assert len(outcomes) >= 25
        assert succeeded(outcomes) - LEFT == set()


def twin(image: str, name: str, context: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """The service's image, idle. The token, the user and the rights are what is given, or Kubernetes' defaults."""
    idle = "import signal; signal.signal(signal.SIGTERM, lambda *_: exit()); signal.pause()"
    container = {"name": "twin", "image": image, "command": ["python", "-c", idle], "securityContext": context}
    spec = {"containers": [container | fields.pop("container", {})], "terminationGracePeriodSeconds": 5, **fields}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


@pytest.fixture(scope="module")
def twins(copy: Copy) -> Iterator[Kubectl]:
    """A namespace that asks for nothing, with the two pods, where anybody may read secrets."""
    kubectl = Kubectl(f"seatrial-test-{secrets.token_hex(3)}")
    image = copy.images.service
    rules = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]}]
    rbac = "rbac.authorization.k8s.io"
    host = {"name": "host", "hostPath": {"path": "/"}}
    try:
        kubectl("create", "namespace", kubectl.namespace)
        kubectl.until("the service account", lambda: "default" in kubectl("get", "serviceaccounts"))
        kubectl.apply(
            {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": {"name": "careless"}, "rules": rules},
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "RoleBinding",
                "metadata": {"name": "careless"},
                "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "careless"},
                "subjects": [{"apiGroup": rbac, "kind": "Group", "name": "system:unauthenticated"}],
            },
            twin(image, "default", {"runAsUser": 0}),
            twin(
                image,
                "privileged",
                {"runAsUser": 0, "privileged": True},
                hostPID=True,
                volumes=[host],
                container={"volumeMounts": [{"name": "host", "mountPath": "/host", "readOnly": True}]},
            ),
        )
        for name in ("default", "privileged"):
            kubectl.wait(f"pod/{name}", "condition=Ready")
        yield kubectl
    finally:
        kubectl("delete", "namespace", kubectl.namespace, "--ignore-not-found", "--wait=false")


def test_the_same_tries_succeed_in_the_twins(twins: Kubectl) -> None:
    """Which of them depends on the node's kernel, too: one without modules loads none."""
    default = try_all(twins, "default")
    # Its first process is the host's, which is not ours to hold; nor are the host's files to write to.
    privileged = try_all(twins, "privileged", PTRACE, WRITES)
    print(account("\nAs root, with the defaults:", default))
    print(account("\nPrivileged, with the host's processes and files:", privileged))
    shown = succeeded(default) | succeeded(privileged)
    print(f"\n{len(shown)} of {len(default)} tries succeed in a twin; in none: {', '.join(set(default) - shown)}")
    assert len(succeeded(default)) >= 12
    assert len(shown) >= 20
    assert len(succeeded(privileged) - succeeded(default)) >= 4
