"""The practices as checks of what objects are to each other. Each yields a sentence for every fault.

They look at all objects of one deployment at once, as Kubernetes would get them.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from service import feature_settings
from service.dependencies import DEPENDENCIES
from service.setting_parsers import duration
from service.settings import SettingsError, load, setting_fields
from tests.manifests.objects import Check, Objects, containers, of_kind, pods, selector
from tests.manifests.render import Object

LAST_WORDS = 3  # seconds that a worker has after SHUTDOWN_GRACE: KILL_AFTER of service/server/application.py
SECRET_NAME = re.compile(r"(?i)(password|passwd|secret|token|api_?key|credential|private_?key)$")
SECRET_VALUE = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY|[a-z]+://[^/\s:@]*:[^/\s@]+@|\bAIza[\w-]{30}|\beyJ[\w-]{20}")


def ports(objects: Objects) -> Iterator[str]:
    """Row 6c: no container needs a port under 1024, Services map it. And no Service leads to the ops port."""
    for where, container, _ in containers(objects):
        for port in container.get("ports", []):
            if port["containerPort"] < 1024:
                yield f"{where}: port {port['containerPort']}"
    for service in of_kind(objects, "Service"):
        for port in service["spec"].get("ports", []):
            if port["targetPort"] in ("ops", 9090) and service["spec"]["selector"] == selector("seatrial"):
                yield f"Service {service['metadata']['name']}: it leads to the ops port"


def secrets(objects: Objects) -> Iterator[str]:
    """Row 2e: nothing secret in a ConfigMap or in a variable; Secrets are files, read-only, for their group alone."""
    for thing in of_kind(objects, "ConfigMap"):
        for key, value in thing.get("data", {}).items():
            if SECRET_NAME.search(key) or SECRET_VALUE.search(value):
                yield f"ConfigMap {thing['metadata']['name']}: {key} looks like a secret"
    for where, container, spec in containers(objects):
        for variable in container.get("env", []):
            value = str(variable.get("value", ""))
            if "secretKeyRef" in variable.get("valueFrom", {}) or SECRET_NAME.search(variable["name"]):
                yield f"{where}: variable {variable['name']}"
            if SECRET_VALUE.search(value):
                yield f"{where}: the value of {variable['name']} looks like a secret"
        if any("secretRef" in each for each in container.get("envFrom", [])):
            yield f"{where}: a whole Secret as variables"
        held = {volume["name"] for volume in spec.get("volumes", []) if "secret" in volume}
        for mount in container.get("volumeMounts", []):
            if mount["name"] in held and not mount.get("readOnly"):
                yield f"{where}: the secret's mount can be written"
    for where, _, spec in pods(objects):
        for volume in spec.get("volumes", []):
            if "secret" in volume and volume["secret"].get("defaultMode") != 0o440:
                yield f"{where}: volume {volume['name']} is not 0440"


def hashes(objects: Objects) -> Iterator[str]:
    """Row 2d: what pods read has a hash in its name, and is there."""
    there = {(thing["kind"], thing["metadata"]["name"]) for thing in of_kind(objects, "ConfigMap", "Secret")}
    for where, name in (*references(objects, "ConfigMap"), *references(objects, "Secret")):
        if not re.search(r"-[a-z0-9]{10}$", name[1]):
            yield f"{where}: {name[1]} has no hash"
        if name not in there:
            yield f"{where}: {name[1]} is not there"


def references(objects: Objects, kind: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """The ConfigMaps, or Secrets, that pods name."""
    for where, container, _ in containers(objects):
        for each in container.get("envFrom", []):
            if f"{kind[0].lower()}{kind[1:]}Ref" in each:
                yield where, (kind, each[f"{kind[0].lower()}{kind[1:]}Ref"]["name"])
    for where, _, spec in pods(objects):
        for volume in spec.get("volumes", []):
            if kind == "ConfigMap" and "configMap" in volume:
                yield where, (kind, volume["configMap"]["name"])
            if kind == "Secret" and "secret" in volume:
                yield where, (kind, volume["secret"]["secretName"])


def settings(objects: Objects) -> Iterator[str]:
    """Row 2e: what the pods are told are settings of the service, which it would start with."""
    for thing in of_kind(objects, "ConfigMap"):
        if not thing["metadata"]["name"].startswith("seatrial-settings-"):
            continue
        known = dict(thing["data"])
        if not {"SESSION_URL", "STORAGE_URL"} <= known.keys():
            known = {"SESSION_URL": "memory://", "STORAGE_URL": "gs://of-another-component"} | known
        known.pop("SETTINGS_DIR")
        known["SESSION_TLS_CA_FILE"] = __file__ if "SESSION_TLS_CA_FILE" in known else ""
        known.pop("STORAGE_EMULATOR_HOST", None)  # of the client library
        try:
            load(known, *feature_settings(), dependencies=DEPENDENCIES)
        except SettingsError as error:
            yield from error.errors
        else:
            yield from (f"{name} is not a setting" for name in known if name not in setting_fields(*feature_settings()))


def drain(objects: Objects) -> Iterator[str]:
    """Row 5b: the pod has as long as its shutdown takes, and a load balancer drains no shorter."""
    told = [each["data"] for each in of_kind(objects, "ConfigMap") if "SHUTDOWN_DELAY" in each.get("data", {})]
    seconds = duration(0, 3600)
    for where, _, spec in pods(objects):
        if where == "Deployment seatrial":
            needed = seconds(told[0]["SHUTDOWN_DELAY"]) + seconds(told[0]["SHUTDOWN_GRACE"])
            if not needed + LAST_WORDS < spec.get("terminationGracePeriodSeconds", 30):
                yield f"{where}: it is killed before its {needed} s are over"
            for policy in of_kind(objects, "GCPBackendPolicy", "BackendConfig"):
                rules = policy["spec"].get("default", policy["spec"])
                if rules.get("connectionDraining", {}).get("drainingTimeoutSec", 0) < needed:
                    yield f"{policy['kind']}: connections are cut before {needed} s are over"


def rollouts(objects: Objects) -> Iterator[str]:
    """Row 5b: no pod goes before its successor is ready; a drain takes one at a time; two are always there."""
    for thing in of_kind(objects, "Deployment"):
        name = thing["metadata"]["name"]
        strategy = thing["spec"].get("strategy", {})
        if strategy.get("type") != "Recreate" and strategy.get("rollingUpdate", {}).get("maxUnavailable") != 0:
            yield f"Deployment {name}: a rollout may take pods that have no successor"
        if name != "seatrial":
            continue
        if strategy.get("type") == "Recreate":
            yield f"Deployment {name}: a rollout takes all pods at once"
        if "replicas" in thing["spec"]:
            yield f"Deployment {name}: replicas would undo what the autoscaler decided"
        budgets = [each["spec"] for each in of_kind(objects, "PodDisruptionBudget")]
        if not any(
            each["selector"]["matchLabels"] == selector(name) and each.get("maxUnavailable") == 1 for each in budgets
        ):
            yield f"Deployment {name}: no budget keeps a drain from taking all pods"
        scalers = [each["spec"] for each in of_kind(objects, "HorizontalPodAutoscaler")]
        if not any(each["scaleTargetRef"]["name"] == name and each["minReplicas"] > 1 for each in scalers):
            yield f"Deployment {name}: one pod alone would be enough"
        spread = thing["spec"]["template"]["spec"].get("topologySpreadConstraints", [])
        if not any(
            (each["topologyKey"], each["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "DoNotSchedule")
            for each in spread
        ):
            yield f"Deployment {name}: all pods may be on one node"


def claims(objects: Objects) -> Iterator[str]:
    """Rows 2c, 6b: a StatefulSet keeps its data on a claim, whose group its pods are in."""
    for thing in of_kind(objects, "StatefulSet"):
        templates = {each["metadata"]["name"] for each in thing["spec"].get("volumeClaimTemplates", [])}
        spec = thing["spec"]["template"]["spec"]
        mounted = {each["name"] for container in spec["containers"] for each in container.get("volumeMounts", [])}
        if not templates & mounted:
            yield f"StatefulSet {thing['metadata']['name']}: no claim is mounted"
        if not spec.get("securityContext", {}).get("fsGroup"):
            yield f"StatefulSet {thing['metadata']['name']}: no fsGroup, so it can't write to its claim"


def names(objects: Objects) -> Iterator[str]:
    """All are labelled, and in one namespace; the ports that others ask pods for are there."""
    homes = {thing["metadata"]["namespace"] for thing in objects if "namespace" in thing["metadata"]}
    if len(homes) > 1:
        yield f"several namespaces: {', '.join(sorted(homes))}"
    for thing in objects:
        if thing["metadata"].get("labels", {}).get("app.kubernetes.io/part-of") != "seatrial":
            yield f"{thing['kind']} {thing['metadata']['name']}: it is not labelled as a part of seatrial"
    named: dict[str, set[Any]] = {}
    for _, metadata, spec in pods(objects):
        found = named.setdefault(metadata["labels"]["app.kubernetes.io/name"], set())
        for container in (*spec["containers"], *spec.get("initContainers", [])):
            for port in container.get("ports", []):
                found |= {port["name"], port["containerPort"]}
    for where, name, asked in port_references(objects):
        if name in named and not asked <= named[name]:
            yield f"{where}: pods of {name} have no port {', '.join(map(str, sorted(asked - named[name])))}"


def port_references(objects: Objects) -> Iterator[tuple[str, str, set[Any]]]:
    """Who refers to pods, by which name, and to which of their ports."""
    for thing in objects:
        spec, where = thing.get("spec", {}), f"{thing['kind']} {thing['metadata']['name']}"
        if thing["kind"] == "Service":
            yield (
                where,
                spec["selector"]["app.kubernetes.io/name"],
                {each["targetPort"] for each in spec.get("ports", [])},
            )
        if thing["kind"] in ("PodMonitor", "PodMonitoring"):
            endpoints = spec.get("podMetricsEndpoints") or spec.get("endpoints")
            name = spec["selector"]["matchLabels"]["app.kubernetes.io/name"]
            yield where, name, {each["port"] for each in endpoints}
        if thing["kind"] == "NetworkPolicy":
            subject = spec["podSelector"].get("matchLabels", {}).get("app.kubernetes.io/name", "")
            yield where, subject, asked_ports(spec.get("ingress", []))
            for rule in spec.get("egress", []):
                for peer in rule.get("to", []):
                    labels = peer.get("podSelector", {}).get("matchLabels", {})
                    yield where, labels.get("app.kubernetes.io/name", ""), asked_ports([rule])


def asked_ports(rules: Iterable[Object]) -> set[Any]:
    return {port["port"] for rule in rules for port in rule.get("ports", [])}


def monitored(objects: Objects) -> Iterator[str]:
    """Row 4c: a deployment that has monitoring asks every replica of the service, and has rules."""
    kinds = {thing["kind"] for thing in objects}
    for asks, rules in (("PodMonitor", "PrometheusRule"), ("PodMonitoring", "Rules")):
        if asks in kinds and rules not in kinds:
            yield f"{asks} without {rules}"
    for thing in of_kind(objects, "PrometheusRule", "Rules"):
        for rule in (rule for group in thing["spec"]["groups"] for rule in group["rules"]):
            if "alert" in rule and not {"summary", "action", "runbook_url"} <= rule["annotations"].keys():
                yield f"alert {rule['alert']}: nothing says what to do"


def cookies(objects: Objects) -> Iterator[str]:
    """Behind a load balancer: cookies for TLS alone, the balancer is believed, and only known names are answered."""
    if not {"Gateway", "Ingress"} & {thing["kind"] for thing in objects}:
        return
    for thing in of_kind(objects, "ConfigMap"):
        told = thing["data"]
        if "SHUTDOWN_DELAY" not in told:
            continue
        if told.get("COOKIE_SECURE") != "true":
            yield "COOKIE_SECURE is not true"
        if not {"130.211.0.0/22", "35.191.0.0/16"} <= set(told.get("FORWARDED_ALLOW_IPS", "").split(",")):
            yield "Google's load balancers are not believed"
        if told.get("ALLOWED_HOSTS", "*") == "*":
            yield "any name of a host is answered"


OBJECT_CHECKS: tuple[Check, ...] = (
    *(ports, secrets, hashes, settings, drain, rollouts, claims, names, monitored, cookies),
)
