"""What k8s/ makes is as the practices ask, and each check sees its practice broken: the twins break one thing each."""

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from tests.manifests.checks_of_objects import OBJECT_CHECKS
from tests.manifests.checks_of_pods import POD_CHECKS
from tests.manifests.objects import Check, Objects, lasting, pods
from tests.manifests.render import Object, deployed, folders, gke

CHECKS = {check.__name__: check for check in (*POD_CHECKS, *OBJECT_CHECKS)}
KIND, GKE, REDIS, TOMCAT, OPERATOR = (
    *("k8s/overlays/kind", "k8s/overlays/gke", "k8s/components/redis/exporter", "k8s/components/tomcat"),
    "k8s/components/monitoring",
)
rendered = cache(deployed)

Twin = Callable[["Copy"], Any]


class Copy:
    """Rendered objects, to be broken."""

    def __init__(self, objects: Objects) -> None:
        self.objects = copy.deepcopy(list(objects))

    def find(self, kind: str, name: str = "seatrial") -> Object:
        """The object of a kind whose name begins so."""
        return next(
            thing for thing in self.objects if thing["kind"] == kind and thing["metadata"]["name"].startswith(name)
        )

    def remove(self, kind: str) -> None:
        self.objects = [thing for thing in self.objects if thing["kind"] != kind]

    @property
    def deployment(self) -> Object:
        spec: Object = self.find("Deployment")["spec"]
        return spec

    @property
    def pod(self) -> Object:
        spec: Object = self.deployment["template"]["spec"]
        return spec

    @property
    def container(self) -> Object:
        container: Object = self.pod["containers"][0]
        return container

    @property
    def settings(self) -> Object:
        data: Object = self.find("ConfigMap", "seatrial-settings")["data"]
        return data

    def volume(self, name: str) -> Object:
        return next(each for each in self.pod["volumes"] if each["name"] == name)


# The check that has to see it, where, and what is broken.
TWINS: dict[str, tuple[str, str, Twin]] = {
    "latest": ("images", KIND, lambda c: c.container.update(image="seatrial:latest")),
    "no digest": ("images", KIND, lambda c: c.container.update(image="redis:8.8-alpine")),
    "no tag": ("images", KIND, lambda c: c.container.update(image=f"redis@sha256:{'0' * 64}")),
    "a digest in an init container is missing": (
        *("images", REDIS),
        lambda c: c.find("StatefulSet", "redis")["spec"]["template"]["spec"]["initContainers"][0].update(
            image="redis:8"
        ),
    ),
    "privileged": ("privileges", KIND, lambda c: c.container["securityContext"].update(privileged=True)),
    "setuid": ("privileges", KIND, lambda c: c.container["securityContext"].pop("allowPrivilegeEscalation")),
    "a capability": (
        "privileges",
        KIND,
        lambda c: c.container["securityContext"]["capabilities"].update(add=["CHOWN"]),
    ),
    "all capabilities": ("privileges", KIND, lambda c: c.container["securityContext"].pop("capabilities")),
    "a port of the node": ("privileges", KIND, lambda c: c.container["ports"][0].update(hostPort=8080)),
    "the node's network": ("privileges", KIND, lambda c: c.pod.update(hostNetwork=True)),
    "the node's processes": ("privileges", KIND, lambda c: c.pod.update(hostPID=True)),
    "the node's files": (
        *("privileges", KIND),
        lambda c: c.pod["volumes"].append({"name": "node", "hostPath": {"path": "/"}}),
    ),
    "any system call": ("privileges", KIND, lambda c: c.pod["securityContext"].pop("seccompProfile")),
    "a root that can be written": (
        *("immutable", KIND),
        lambda c: c.container["securityContext"].pop("readOnlyRootFilesystem"),
    ),
    "root": ("users", KIND, lambda c: c.pod["securityContext"].update(runAsUser=0)),
    "a user without a number": ("users", KIND, lambda c: c.pod["securityContext"].pop("runAsUser")),
    "root in one container": ("users", KIND, lambda c: c.container["securityContext"].update(runAsNonRoot=False)),
    "a token": ("tokens", KIND, lambda c: c.pod.pop("automountServiceAccountToken")),
    "a token of the account": ("tokens", KIND, lambda c: c.find("ServiceAccount").pop("automountServiceAccountToken")),
    "variables of Services": ("tokens", KIND, lambda c: c.pod.pop("enableServiceLinks")),
    "no limit of memory": ("resources", KIND, lambda c: c.container["resources"]["limits"].pop("memory")),
    "no request of CPU": ("resources", KIND, lambda c: c.container["resources"]["requests"].pop("cpu")),
    "no limit of disk": ("resources", KIND, lambda c: c.container["resources"]["limits"].pop("ephemeral-storage")),
    "a volume as large as the memory": (
        *("resources", KIND),
        lambda c: c.volume("shm")["emptyDir"].update(sizeLimit="200Mi"),
    ),
    "a volume without end": ("volumes", KIND, lambda c: c.volume("shm")["emptyDir"].pop("sizeLimit")),
    "volumes larger than the disk's limit": (
        *("volumes", TOMCAT),
        lambda c: c.find("Deployment", "tomcat")["spec"]["template"]["spec"]["volumes"][0]["emptyDir"].update(
            sizeLimit="1Gi"
        ),
    ),
    "no readiness": ("probes", KIND, lambda c: c.container.pop("readinessProbe")),
    "no liveness": ("probes", KIND, lambda c: c.container.pop("livenessProbe")),
    "no start": ("probes", KIND, lambda c: c.container.pop("startupProbe")),
    "liveness asks the stores": (
        *("probes", KIND),
        lambda c: c.container["livenessProbe"]["httpGet"].update(path="/ready"),
    ),
    "readiness can't fail": (
        *("probes", KIND),
        lambda c: c.container["readinessProbe"]["httpGet"].update(path="/health"),
    ),
    "probes on the visitors' port": (
        *("probes", KIND),
        lambda c: c.container["livenessProbe"]["httpGet"].update(port="http"),
    ),
    "a sidecar without liveness": (
        *("probes", TOMCAT),
        lambda c: c.find("Deployment", "tomcat")["spec"]["template"]["spec"]["initContainers"][0].pop("livenessProbe"),
    ),
    "a sidecar that takes visitors away": (
        *("probes", TOMCAT),
        lambda c: c.find("Deployment", "tomcat")["spec"]["template"]["spec"]["initContainers"][0].update(
            readinessProbe={"httpGet": {"path": "/health", "port": "agent-metrics"}}
        ),
    ),
    "port 80": ("ports", KIND, lambda c: c.container["ports"][0].update(containerPort=80)),
    "visitors at the ops port": (
        *("ports", KIND),
        lambda c: c.find("Service")["spec"]["ports"].append({"name": "ops", "port": 9090, "targetPort": "ops"}),
    ),
    "a password in a ConfigMap": ("secrets", KIND, lambda c: c.settings.update(SESSION_PASSWORD="hunter2")),
    "a password in an address": ("secrets", KIND, lambda c: c.settings.update(SESSION_URL="redis://:hunter2@redis/0")),
    "a password in a variable": (
        *("secrets", KIND),
        lambda c: c.container.update(env=[{"name": "SESSION_PASSWORD", "value": "hunter2"}]),
    ),
    "a Secret as a variable": (
        *("secrets", KIND),
        lambda c: c.container.update(env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "a"}}}]),
    ),
    "a Secret as variables": (
        *("secrets", KIND),
        lambda c: c.container["envFrom"].append({"secretRef": {"name": "seatrial-secrets"}}),
    ),
    "a secret that all may read": ("secrets", KIND, lambda c: c.volume("secrets")["secret"].update(defaultMode=0o444)),
    "a secret that can be written": ("secrets", KIND, lambda c: c.container["volumeMounts"][0].pop("readOnly")),
    "no hash": ("hashes", KIND, lambda c: c.container["envFrom"][0]["configMapRef"].update(name="seatrial-settings")),
    "a ConfigMap that is not there": ("hashes", KIND, lambda c: c.remove("ConfigMap")),
    "a Secret that is not there": ("hashes", KIND, lambda c: c.remove("Secret")),
    "a misspelt setting": ("settings", KIND, lambda c: c.settings.update(SHUTDOWN_DELY="5s")),
    "a setting that can't be": ("settings", KIND, lambda c: c.settings.update(SHUTDOWN_GRACE="soon")),
    "killed before it has drained": ("drain", KIND, lambda c: c.pod.update(terminationGracePeriodSeconds=25)),
    "a longer delay only": ("drain", KIND, lambda c: c.settings.update(SHUTDOWN_DELAY="15s")),
    "a balancer that cuts": (
        *("drain", GKE),
        lambda c: c.find("GCPBackendPolicy")["spec"]["default"]["connectionDraining"].update(drainingTimeoutSec=10),
    ),
    "a rollout that takes pods first": (
        *("rollouts", KIND),
        lambda c: c.deployment["strategy"]["rollingUpdate"].update(maxUnavailable=1),
    ),
    "a rollout that takes all": ("rollouts", KIND, lambda c: c.deployment.update(strategy={"type": "Recreate"})),
    "a number of replicas": ("rollouts", KIND, lambda c: c.deployment.update(replicas=2)),
    "no budget": ("rollouts", KIND, lambda c: c.remove("PodDisruptionBudget")),
    "one replica": (
        *("rollouts", KIND),
        lambda c: c.find("HorizontalPodAutoscaler")["spec"].update(minReplicas=1),
    ),
    "all on one node": ("rollouts", KIND, lambda c: c.pod.pop("topologySpreadConstraints")),
    "Redis in an emptyDir": (
        *("claims", REDIS),
        lambda c: c.find("StatefulSet", "redis")["spec"].pop("volumeClaimTemplates"),
    ),
    "no fsGroup": (
        *("claims", REDIS),
        lambda c: c.find("StatefulSet", "redis")["spec"]["template"]["spec"]["securityContext"].pop("fsGroup"),
    ),
    "another namespace": ("names", KIND, lambda c: c.find("Service")["metadata"].update(namespace="default")),
    "no label": ("names", KIND, lambda c: c.find("Service")["metadata"].pop("labels")),
    "a Service to no port": ("names", KIND, lambda c: c.find("Service")["spec"]["ports"][0].update(targetPort="web")),
    "a policy for no port": (
        *("names", KIND),
        lambda c: c.find("NetworkPolicy")["spec"]["ingress"][0]["ports"][0].update(port="web"),
    ),
    "a monitor of no port": (
        *("names", OPERATOR),
        lambda c: c.find("PodMonitor")["spec"]["podMetricsEndpoints"][0].update(port="metrics"),
    ),
    "no rules": ("monitored", OPERATOR, lambda c: c.remove("PrometheusRule")),
    "an alert without a runbook": (
        *("monitored", GKE),
        lambda c: c.find("Rules")["spec"]["groups"][0]["rules"][-1]["annotations"].pop("runbook_url"),
    ),
    "a cookie for plain HTTP": ("cookies", GKE, lambda c: c.settings.update(COOKIE_SECURE="false")),
    "balancers that are not believed": ("cookies", GKE, lambda c: c.settings.pop("FORWARDED_ALLOW_IPS")),
    "any host's name": ("cookies", GKE, lambda c: c.settings.pop("ALLOWED_HOSTS")),
}


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("folder", folders())
def test_what_is_deployed_is_as_the_practices_ask(folder: str, check: str) -> None:
    assert list(CHECKS[check](rendered(folder))) == []


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("cluster", ["autopilot", "standard"])
@pytest.mark.parametrize("entry", ["gateway", "ingress"])
def test_gke_in_all_its_forms_is_as_the_practices_ask(cluster: str, entry: str, check: str) -> None:
    assert list(CHECKS[check](gke(cluster, entry))) == []


@pytest.mark.parametrize(
    ("example", "broken"),
    [
        ("low-port", {"ports": ["Deployment seatrial, container seatrial: port 80"]}),
        (
            "volume-owner",
            {
                "privileges": ["StatefulSet redis, container volume-owner: capabilities"],
                "users": ["StatefulSet redis, container volume-owner: user"],
            },
        ),
    ],
)
def test_an_example_breaks_what_it_is_about_and_nothing_else(example: str, broken: dict[str, list[str]]) -> None:
    objects = rendered(f"k8s/examples/{example}")
    found = {name: faults for name, check in CHECKS.items() if (faults := list(check(objects)))}
    assert found == broken


@pytest.mark.parametrize("twin", TWINS)
def test_a_broken_twin_is_seen(twin: str) -> None:
    name, folder, breaks = TWINS[twin]
    check: Check = CHECKS[name]
    assert list(check(rendered(folder))) == []
    broken = Copy(rendered(folder))
    breaks(broken)
    assert len(list(check(broken.objects))) >= 1


def test_each_check_has_a_twin() -> None:
    assert {name for name, _, _ in TWINS.values()} == CHECKS.keys()


def test_the_checks_look_at_something() -> None:
    looked_at = {name for folder in folders() for name, _, _ in pods(rendered(folder))}
    assert looked_at == {
        *("Deployment seatrial", "Deployment gcs", "Deployment memcached", "Deployment prometheus"),
        *("Deployment tomcat", "StatefulSet redis"),
    }
    assert sum(is_sidecar for _, _, is_sidecar in lasting(rendered(TOMCAT))) == 2
