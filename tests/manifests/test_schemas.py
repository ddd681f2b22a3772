"""An API server would take every object, of three versions of Kubernetes; and the schemas are strict enough to tell."""

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from tests.manifests.render import Object, deployed, folders, gke
from tests.manifests.schemas import VERSIONS, fault

rendered = cache(deployed)
OPERATOR, GKE = "k8s/components/monitoring", "k8s/overlays/gke"

TWINS: dict[str, tuple[str, str, Callable[[Object], Any]]] = {
    "a misspelt field": (GKE, "Deployment", lambda spec: spec.update(replica=2)),
    "a word for a number": (GKE, "Service", lambda spec: spec["ports"][0].update(port="http")),
    "no selector": (GKE, "Deployment", lambda spec: spec.pop("selector")),
    "a list for an object": (GKE, "HorizontalPodAutoscaler", lambda spec: spec.update(scaleTargetRef=[])),
    "a misspelt field of an HTTPRoute": (GKE, "HTTPRoute", lambda spec: spec.update(hostname="a.example.org")),
    "no class of a Gateway": (GKE, "Gateway", lambda spec: spec.pop("gatewayClassName")),
    "a misspelt field of a PodMonitor": (OPERATOR, "PodMonitor", lambda spec: spec.update(endpoints=[])),
    "no expression": (OPERATOR, "PrometheusRule", lambda spec: spec["groups"][0]["rules"][0].pop("expr")),
    "a misspelt field of a HealthCheckPolicy": (GKE, "HealthCheckPolicy", lambda spec: spec.update(defaults={})),
    "a drain of a day": (
        *(GKE, "GCPBackendPolicy"),
        lambda spec: spec["default"].update(connectionDraining={"drainingTimeoutSec": 86400}),
    ),
    "a misspelt field of a PodMonitoring": (GKE, "PodMonitoring", lambda spec: spec["endpoints"][0].update(ports=1)),
    "a rule that is nothing": (GKE, "Rules", lambda spec: spec["groups"][0]["rules"][0].pop("record")),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("folder", [*folders(), "k8s/policies", "k8s/examples/low-port", "k8s/examples/volume-owner"])
def test_every_object_has_its_kinds_form(folder: str, version: str) -> None:
    assert [found for thing in rendered(folder) if (found := fault(thing, version))] == []


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("entry", ["gateway", "ingress"])
def test_gke_has_it_in_all_its_forms(entry: str, version: str) -> None:
    objects = [*gke("autopilot", entry), *gke("standard", entry)]
    assert [found for thing in objects if (found := fault(thing, version))] == []


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("twin", TWINS)
def test_a_broken_twin_is_seen(twin: str, version: str) -> None:
    folder, kind, breaks = TWINS[twin]
    broken = copy.deepcopy(next(thing for thing in rendered(folder) if thing["kind"] == kind))
    assert not fault(broken, version)
    breaks(broken["spec"])
    assert fault(broken, version)


def test_a_kind_without_a_schema_is_an_error() -> None:
    thing = {"apiVersion": "example.org/v1", "kind": "Thing", "metadata": {"name": "a"}}
    assert "no schema is known" in fault(thing, VERSIONS[0])
