"""Row 3c: the cluster itself refuses what is privileged. It is asked by dry runs; nothing is made."""

import copy
import json

from conformance.check import Broken, check
from conformance.cluster import Object, kubectl
from conformance.target import CommandFailed, Target

# Restricted, but for its image, which is never pulled.
POD: Object = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "practice-probe"},
    "spec": {
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "probe",
                "image": "example.invalid/probe",
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }
        ],
    },
}
DO = "label the namespace pod-security.kubernetes.io/enforce: restricted, with its version pinned"


@check("3c", "The cluster refuses a pod that is privileged, is root, or reaches for the host.", needs=("cluster",))
def bad_pods_are_refused(target: Target) -> str:
    faults: dict[str, Object] = {
        "privileged": {"privileged": True, "allowPrivilegeEscalation": True},
        "of root": {"runAsUser": 0, "runAsNonRoot": False},
        "with a capability": {"capabilities": {"add": ["SYS_ADMIN"]}},
    }
    for fault, change in faults.items():
        pod = copy.deepcopy(POD)
        pod["spec"]["containers"][0]["securityContext"] |= change
        _expect_refusal(target, pod, fault)
    _expect_refusal(target, _with(volumes=[{"name": "host", "hostPath": {"path": "/"}}]), "with a path of the host")
    _expect_refusal(target, _with(hostNetwork=True), "in the host's network")
    return f"{len(faults) + 2} bad pods, each refused"


def _with(**fields: object) -> Object:
    pod = copy.deepcopy(POD)
    pod["spec"] |= fields
    return pod


def _expect_refusal(target: Target, pod: Object, fault: str) -> None:
    try:
        kubectl(target, "create", "--dry-run=server", "--filename", "-", stdin=json.dumps(pod))
    except CommandFailed as error:
        if any(word in str(error) for word in ("forbidden", "denied")):
            return
        raise
    raise Broken(f"a pod {fault} would be let in", DO)
