"""The autoscaler follows the load up and down, and the disruption budget lets one pod go at a time."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.e2e.cluster.generator import load
from tests.e2e.cluster.kubectl import Kubectl, KubectlError
from tests.e2e.cluster.overlay import PROJECT, Copy, Images, deployed

pytestmark = pytest.mark.timeout(900)

LEAST, MOST = 2, 3


@pytest.fixture(scope="module")
def copy(images: Images) -> Iterator[Copy]:
    with deployed(images) as ours:
        yield ours


def test_replicas_follow_the_load(copy: Copy, images: Images) -> None:
    try:
        copy.kubectl("top", "nodes")
    except KubectlError as error:
        pytest.skip(f"not run: it needs metrics-server (https://github.com/kubernetes-sigs/metrics-server): {error}")
    copy.kubectl.apply(quicker_autoscaler())
    seen: list[str] = []

    def replicas() -> int:
        status = copy.kubectl.get("hpa", "seatrial")["status"]
        current = (status.get("currentMetrics") or [{}])[0].get("resource", {}).get("current", {})
        figures = f"{current.get('averageUtilization')} % of the request, {status.get('desiredReplicas')} wanted"
        if figures not in seen:
            seen.append(figures)
            print(figures)
        return int(status.get("desiredReplicas") or 0)

    copy.kubectl.until("figures for the autoscaler", lambda: replicas() == LEAST)
    with load(copy.kubectl, images.service, think=0.01) as visitors:
        copy.kubectl.until("a scale-up", lambda: replicas() == MOST)
        copy.settle()
        report = visitors.end()
    copy.kubectl.until("a scale-down", lambda: replicas() == LEAST)
    copy.settle()
    print(f"\n{report.table}")
    assert {name: report.failed(name) for name in report.phases} == dict.fromkeys(report.phases, 0), report.examples()


def test_the_second_eviction_waits_for_the_first(copy: Copy) -> None:
    copy.kubectl("delete", "hpa", "seatrial", "--ignore-not-found")
    copy.kubectl("scale", "deployment/seatrial", f"--replicas={LEAST}")
    copy.settle()
    first, second = copy.kubectl.pods("seatrial")
    evict(copy.kubectl, first)
    with pytest.raises(KubectlError, match="disruption budget"):
        evict(copy.kubectl, second)
    copy.settle()
    copy.kubectl.until("the budget", lambda: allowed(copy.kubectl) == 1)
    evict(copy.kubectl, second)
    copy.settle()


def test_the_twin_without_a_budget_loses_both_at_once(copy: Copy) -> None:
    copy.kubectl("delete", "pdb", "seatrial")
    for pod in copy.kubectl.pods("seatrial"):
        evict(copy.kubectl, pod)


def quicker_autoscaler() -> dict[str, Any]:
    """Ours, with a lower target, so that less load will do, and without its wait before it scales down."""
    file = PROJECT / "k8s" / "base" / "horizontal-pod-autoscaler.yaml"
    ours: dict[str, Any] = yaml.safe_load(file.read_text())
    ours["spec"]["maxReplicas"] = MOST
    ours["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] = 30
    ours["spec"]["behavior"]["scaleDown"] = {"stabilizationWindowSeconds": 0}
    return ours


def evict(kubectl: Kubectl, pod: dict[str, Any]) -> None:
    """Ask for it as a drain does."""
    name = pod["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    path = f"/api/v1/namespaces/{kubectl.namespace}/pods/{name}/eviction"
    kubectl("create", "--raw", path, "--filename", "-", stdin=json.dumps(eviction))


def allowed(kubectl: Kubectl) -> int:
    return int(kubectl.get("pdb", "seatrial")["status"]["disruptionsAllowed"])
