"""k8s/policies on a real API server: what breaks one rule is refused by that rule and says so, and only by that rule.

Each fault is also let in where its policy is exempt, and where the namespace asks for nothing: the twins that show that
the refusals come from the policies and from nothing else. Everything is a dry run, but for the pods that are changed
later, and those are never scheduled. The policies are this run's own: named and selected apart from any other's.
"""

import contextlib
import copy
import json
import re
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.cluster.api import PATHS, Answer, Api, cluster_api
from tests.e2e.cluster.faults import (
    CONFINED,
    FAULTS,
    HEX,
    JWT,
    MAP_FAULTS,
    URL,
    Fault,
    app,
    config_map,
    container,
    env,
    good_spec,
    workload,
)
from tests.e2e.cluster.overlay import OVERLAY, Images, render
from tests.manifests.render import PROJECT, Object, deployed, folders, kustomize
from tests.support.processes import wait_until

pytestmark = pytest.mark.timeout(300)

ASKS = "seatrial-policies"
TEMPLATES = ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob")
ENDING = {"Job", "CronJob"}  # their pods end by themselves
NAMES = sorted({fault.policy for fault in FAULTS} - {""} | {"secret-in-configmap"})
REFUSAL = re.compile(r"ValidatingAdmissionPolicy '([^']+)' with binding '[^']+' denied request: (.*)", re.DOTALL)


@dataclass(frozen=True)
class Cluster:
    """The policies in force under names of this run, and namespaces that ask for them or don't."""

    api: Api
    run: str
    policies: dict[str, Object]

    def namespace(self, name: str) -> str:
        """``shipped`` has the labels of k8s/base, ``policed`` asks for the policies only, ``plain`` for nothing, and
        ``exempt-POLICY`` for all policies but one."""
        return f"{self.run}-{name}"

    def try_(self, thing: Object, namespace: str) -> Answer:
        return self.api.create(thing, self.namespace(namespace), dry_run=True)

    def refused(self, answer: Answer) -> tuple[str, str]:
        """The policy that refused, and its message."""
        assert not answer.accepted, f"accepted: {json.dumps(answer.object)[:500]}"
        found = REFUSAL.search(answer.message)
        assert found, answer.message
        return found[1].removeprefix(f"{self.run}-"), found[2]


def renamed(thing: Object, run: str) -> Object:
    """A policy or binding under another name, which another label asks for."""
    return json.loads(json.dumps(thing).replace('"seatrial-', f'"{run}-'))  # type: ignore[no-any-return] # what went in comes out


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    run = f"seatrial-test-{secrets.token_hex(3)}"
    shipped = next(thing for thing in kustomize(PROJECT / "k8s" / "base") if thing["kind"] == "Namespace")["metadata"][
        "labels"
    ]
    policies = [renamed(thing, run) for thing in kustomize(PROJECT / "k8s" / "policies")]
    asks = f"{run}-policies"
    assert shipped.get(ASKS) == "enforce"
    labels = {
        "shipped": json.loads(json.dumps(shipped).replace(ASKS, asks)),
        "policed": {asks: "enforce"},
        "plain": {},
        **{f"exempt-{name}": {asks: "enforce", f"{asks}/{name}": "exempt"} for name in NAMES},
    }
    with cluster_api() as api:
        found = Cluster(api, run, {thing["metadata"]["name"]: thing for thing in policies})
        try:
            for name, wanted in labels.items():
                metadata = {"name": found.namespace(name), "labels": wanted}
                assert api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}).accepted
            for thing in policies:
                answer = api.create(thing)
                assert answer.accepted, answer.message
            wait_until_in_force(found, list(labels))
            yield found
        finally:
            for thing in policies:
                api.ask("DELETE", f"{PATHS[thing['kind']]}/{thing['metadata']['name']}")
            for name in labels:
                api.ask("DELETE", f"{PATHS['Namespace']}/{found.namespace(name)}")


def wait_until_in_force(cluster: Cluster, namespaces: list[str]) -> None:
    """A namespace takes pods once its service account is there, and the server learns of policies one by one."""
    for name in namespaces:
        path = PATHS["ServiceAccount"].format(cluster.namespace(name)) + "/default"
        wait_until(f"the service account of {name}", lambda path=path: cluster.api.ask("GET", path).accepted)  # type: ignore[misc] # bound now
    samples = {fault.policy: workload("Pod", fault.spec) for fault in reversed(FAULTS) if fault.policy}
    samples["secret-in-configmap"] = MAP_FAULTS[0][1]
    for name, sample in samples.items():
        wait_until(
            f"the policy {name}",
            lambda sample=sample: not cluster.try_(sample, "policed").accepted,  # type: ignore[misc] # bound now
        )


def named(faults: list[Fault]) -> list[object]:
    return [pytest.param(fault, id=fault.name) for fault in faults]


def test_there_are_enough_faults_and_each_policy_has_some() -> None:
    assert len(FAULTS) + len(MAP_FAULTS) >= 40
    written = {path.stem for path in (PROJECT / "k8s" / "policies").glob("*.yaml")}
    assert written - {"kustomization", "workloads", "secrets"} == set(NAMES)


@pytest.mark.parametrize("kind", ["Pod", *TEMPLATES])
@pytest.mark.parametrize("namespace", ["shipped", "policed", "plain"])
def test_what_keeps_the_rules_is_let_in(cluster: Cluster, kind: str, namespace: str) -> None:
    answer = cluster.try_(workload(kind, good_spec()), namespace)
    assert answer.accepted, answer.message


@pytest.mark.parametrize("fault", named([fault for fault in FAULTS if fault.policy]))
def test_a_pod_with_one_fault_is_refused_by_its_rule(cluster: Cluster, fault: Fault) -> None:
    bad = workload("Pod", fault.spec)
    policy, message = cluster.refused(cluster.try_(bad, "policed"))
    assert (policy, fault.says in message) == (fault.policy, True), message
    exempt = cluster.try_(bad, f"exempt-{fault.policy}")
    assert exempt.accepted, f"more than one fault: {exempt.message}"
    assert cluster.try_(bad, "plain").accepted


@pytest.mark.parametrize("fault", named(FAULTS))
def test_a_pod_with_one_fault_is_refused_where_we_deploy(cluster: Cluster, fault: Fault) -> None:
    """There Pod Security is the first to see it."""
    bad = workload("Pod", fault.spec)
    answer = cluster.try_(bad, "shipped")
    if fault.pod_security:
        assert answer.code == 403
        assert 'violates PodSecurity "restricted:v1.34"' in answer.message
        assert fault.pod_security in answer.message
    else:
        assert cluster.refused(answer)[0] == fault.policy
    assert cluster.try_(bad, "plain").accepted


@pytest.mark.parametrize("kind", TEMPLATES)
@pytest.mark.parametrize("fault", named([fault for fault in FAULTS if fault.policy]))
def test_so_is_what_would_make_such_pods(cluster: Cluster, fault: Fault, kind: str) -> None:
    """Pod Security lets it in: only its pods would be refused, out of sight."""
    bad = workload(kind, fault.spec)
    answer = cluster.try_(bad, "shipped")
    if fault.policy == "probes" and kind in ENDING:
        assert answer.accepted, answer.message
        return
    policy, message = cluster.refused(answer)
    assert (policy, fault.says in message) == (fault.policy, True), message
    assert cluster.try_(bad, f"exempt-{fault.policy}").accepted


@pytest.mark.parametrize(("bad", "says"), [pytest.param(*rest, id=name) for name, *rest in MAP_FAULTS])
def test_a_config_map_with_a_secret_is_refused(cluster: Cluster, bad: Object, says: str) -> None:
    policy, message = cluster.refused(cluster.try_(bad, "shipped"))
    assert (policy, says in message) == ("secret-in-configmap", True), message
    assert cluster.try_(bad, "exempt-secret-in-configmap").accepted
    assert cluster.try_(bad, "plain").accepted


HARMLESS = {
    "one-capability": app(
        securityContext=CONFINED | {"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}},
    ),
    "registry-with-a-port": app(image="localhost:5000/team/app:1.4" + HEX),
    "name-alone": app(image="app:dev" + HEX),
    "user-by-the-container": lambda spec: [
        spec["securityContext"].pop("runAsNonRoot"),
        *(each["securityContext"].update(runAsNonRoot=True) for each in spec["containers"] + spec["initContainers"]),
    ],
    "secret-by-reference": app(
        env=[
            {"name": "DB_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}},
            {"name": "REDIS_PASSWORD", "value": "$(DB_PASSWORD)"},
            {"name": "SESSION_URL", "value": "redis://:$(DB_PASSWORD)@redis:6379/0"},
        ]
    ),
    "file-of-a-secret": env("DB_PASSWORD_FILE", "/run/secrets/db"),
    "switch-of-a-secret": env("REQUIRE_TOKEN", "true"),
    "url-without-a-password": env("SESSION_URL", "redis://user@redis:6379/0?who=a@b"),
    "pod-that-ends": lambda spec: [
        spec.update(restartPolicy="Never"),
        spec["containers"][0].pop("livenessProbe"),
        spec["containers"][0].pop("readinessProbe"),
    ],
}


@pytest.mark.parametrize("change", [pytest.param(change, id=name) for name, change in HARMLESS.items()])
def test_what_only_looks_like_a_fault_is_let_in(cluster: Cluster, change: object) -> None:
    spec = Fault("", change, "", "").spec  # type: ignore[arg-type] # as the table has it
    for kind in ("Pod", "Deployment"):
        if "restartPolicy" in spec and kind == "Deployment":
            continue  # a Deployment's pods never end
        answer = cluster.try_(workload(kind, spec), "shipped")
        assert answer.accepted, answer.message


LINE = "a rule like any other, see https://example.org/runbook: alert if x > 3\n"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param({}, id="empty"),
        pytest.param(
            {"token.max": "3", "PASSWORD_FILE": "/run/secrets/x", "tls.crt": "-----BEGIN CERTIFICATE"}, id="near"
        ),
        pytest.param({"dashboard.json": LINE * ((1 << 20) // len(LINE) - 2)}, id="a-mebibyte"),
        pytest.param({f"key-{number}": LINE for number in range(5000)}, id="many-keys"),
    ],
)
def test_a_config_map_without_a_secret_is_let_in(cluster: Cluster, data: dict[str, str]) -> None:
    """The largest, too: it stays within what an expression may cost, where it would be refused else."""
    answer = cluster.try_(config_map(data=data), "shipped")
    assert answer.accepted, answer.message


def test_a_large_pod_is_let_in(cluster: Cluster) -> None:
    spec = good_spec()
    variables = [{"name": f"SETTING_{number}", "value": LINE} for number in range(200)]
    spec["containers"] += [
        container(f"c{number}", livenessProbe={"exec": {"command": ["x"]}}, readinessProbe={"exec": {"command": ["x"]}})
        | {"env": variables, "args": [LINE] * 50}
        for number in range(20)
    ]
    answer = cluster.try_(workload("Deployment", spec), "shipped")
    assert answer.accepted, answer.message


@pytest.fixture
def stored(cluster: Cluster) -> Iterator[Object]:
    """A pod that keeps the rules and is really there. No scheduler takes it, so it never runs."""
    with kept(cluster, "policed", good_spec()) as thing:
        yield thing


@contextlib.contextmanager
def kept(cluster: Cluster, namespace: str, spec: Object) -> Iterator[Object]:
    thing = workload("Pod", spec | {"schedulerName": "none"})
    thing["metadata"] = {"generateName": "kept-", "namespace": cluster.namespace(namespace)}
    answer = cluster.api.create(thing, cluster.namespace(namespace))
    assert answer.accepted, answer.message
    yield answer.object
    cluster.api.ask("DELETE", f"{path_of(answer.object)}?gracePeriodSeconds=0")


def path_of(thing: Object) -> str:
    return f"{PATHS[thing['kind']].format(thing['metadata']['namespace'])}/{thing['metadata']['name']}"


def debugger(**fields: object) -> Object:
    """What kubectl debug adds: the API lets it have neither resources nor probes."""
    found = container("debugger", **fields)
    del found["resources"]
    return found


@pytest.mark.parametrize(
    ("fields", "policy"),
    [
        ({}, ""),
        ({"image": "busybox"}, "image"),
        ({"securityContext": {"privileged": True, "capabilities": {"drop": ["ALL"]}}}, "privileged"),
        ({"securityContext": CONFINED | {"capabilities": {"add": ["SYS_PTRACE"], "drop": ["ALL"]}}}, "capabilities"),
        ({"securityContext": CONFINED | {"runAsNonRoot": False}}, "root"),
        ({"env": [{"name": "TOKEN", "value": "x"}]}, "secret-in-env"),
        ({"args": [URL]}, "secret-in-env"),
    ],
)
def test_a_container_of_kubectl_debug(cluster: Cluster, stored: Object, fields: Object, policy: str) -> None:
    stored["spec"]["ephemeralContainers"] = [debugger(**fields)]
    answer = cluster.api.ask("PUT", f"{path_of(stored)}/ephemeralcontainers?dryRun=All", stored)
    if policy:
        assert cluster.refused(answer)[0] == policy
    else:
        assert answer.accepted, answer.message


def test_what_was_there_before_can_be_labelled_and_not_made_worse(cluster: Cluster) -> None:
    """Else nothing that the policies find on their first day could lose its finalizers, and so be deleted."""
    spec = Fault("", app(image="app:1.4"), "", "").spec
    with kept(cluster, "exempt-image", spec) as old:
        home = f"{PATHS['Namespace']}/{cluster.namespace('exempt-image')}"
        exempt = f"{cluster.run}-policies/image"
        assert cluster.api.patch(home, {"metadata": {"labels": {exempt: None}}}).accepted
        try:
            newer = copy.deepcopy(old)
            newer["spec"]["containers"][0]["image"] = "app:1.5"
            newer["metadata"].pop("resourceVersion")
            wait_until(
                "the policy there",
                lambda: not cluster.api.ask("PUT", f"{path_of(old)}?dryRun=All", newer).accepted,
            )
            assert cluster.refused(cluster.api.ask("PUT", f"{path_of(old)}?dryRun=All", newer))[0] == "image"
            assert cluster.api.patch(path_of(old), {"metadata": {"labels": {"seen": "yes"}}}).accepted
        finally:
            assert cluster.api.patch(home, {"metadata": {"labels": {exempt: "exempt"}}}).accepted
            wait_until("the exemption", lambda: cluster.try_(workload("Pod", spec), "exempt-image").accepted)


def test_the_server_finds_no_fault_in_the_expressions(cluster: Cluster) -> None:
    """It checks types against each kind that a policy looks at, and notes what it finds."""
    for name, thing in cluster.policies.items():
        if thing["kind"] != "ValidatingAdmissionPolicy":
            continue
        path = f"{PATHS[thing['kind']]}/{name}"
        wait_until(
            f"the check of {name}",
            lambda path=path: "typeChecking" in cluster.api.ask("GET", path).object.get("status", {}),  # type: ignore[misc] # bound now
        )
        assert cluster.api.ask("GET", path).object["status"]["typeChecking"] == {}, name


@pytest.mark.parametrize("folder", folders())
def test_our_own_objects_are_let_in(cluster: Cluster, folder: str) -> None:
    all_are_let_in(cluster, deployed(folder))


def test_so_is_what_make_kind_applies(cluster: Cluster, tmp_path: Path) -> None:
    specs = [thing["spec"]["template"]["spec"] for thing in deployed(OVERLAY) if thing["kind"] in TEMPLATES]
    images = [each["image"] for spec in specs for each in (*spec["containers"], *spec.get("initContainers", []))]
    names = {re.split("[:@]", image)[0] for image in images}
    lines = "".join(f"{name} localhost/loaded:dev {HEX.removeprefix('@')}\n" for name in names)
    render("seatrial", tmp_path, Images(lines, ""))
    all_are_let_in(cluster, kustomize(tmp_path))


def all_are_let_in(cluster: Cluster, objects: list[Object]) -> None:
    looked_at = [thing for thing in objects if thing["kind"] in {"Pod", "ConfigMap", *TEMPLATES}]
    assert looked_at
    for thing in looked_at:
        del thing["metadata"]["namespace"]
        answer = cluster.try_(thing, "shipped")
        assert answer.accepted, answer.message
        if "template" in thing.get("spec", {}):
            answer = cluster.try_(a_pod_of(thing), "shipped")  # Pod Security looks at pods alone
            assert answer.accepted, answer.message


def a_pod_of(thing: Object) -> Object:
    """A pod that a workload would make, but for what the cluster would have to hold beforehand."""
    spec = copy.deepcopy(thing["spec"]["template"]["spec"])
    for absent in ("serviceAccountName", "priorityClassName"):
        spec.pop(absent, None)
    for claim in thing["spec"].get("volumeClaimTemplates", []):
        name = claim["metadata"]["name"]
        spec.setdefault("volumes", []).append({"name": name, "persistentVolumeClaim": {"claimName": name}})
    return workload("Pod", spec)


def test_kubectl_shows_what_to_do(cluster: Cluster) -> None:
    """What a person sees, as the README has it."""
    bad = workload("Deployment", Fault("", app(image="app:1.4"), "", "").spec)
    done = subprocess.run(
        ["kubectl", "--namespace", cluster.namespace("policed"), "create", "--dry-run=server", "--filename", "-"],
        input=json.dumps(bad),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    print(done.stderr)
    assert done.returncode == 1
    assert f"'{cluster.run}-image'" in done.stderr
    assert "name it as app:1.4@sha256:" in done.stderr


def test_a_secret_is_where_a_secret_belongs(cluster: Cluster) -> None:
    """The policies look at ConfigMaps, and not at Secrets."""
    thing = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tried"}, "stringData": {"token": JWT}}
    path = f"/api/v1/namespaces/{cluster.namespace('shipped')}/secrets?dryRun=All"
    assert cluster.api.ask("POST", path, thing).accepted
