"""The practices as checks of pods and containers. Each yields a sentence for every fault; docstrings name the rows."""

import re
from collections.abc import Iterator

from tests.manifests.objects import Check, Objects, containers, lasting, of_kind, pods, quantity

# As render.deployed makes it.
OURS = re.compile(r"seatrial(-tomcat|-log-agent|-exporter|-redis-exporter)?(:dev@sha256:0{64})?")
THEIRS = re.compile(r"[a-z0-9./-]+:v?[0-9][\w.-]*@sha256:[0-9a-f]{64}")
WHAT = ("cpu", "memory", "ephemeral-storage")


def images(objects: Objects) -> Iterator[str]:
    """Row 7: a tag and a digest together. Ours are placeholders, which can't be deployed until a digest is given."""
    for where, container, _ in containers(objects):
        image = container["image"]
        if not OURS.fullmatch(image) and not THEIRS.fullmatch(image):
            yield f"{where}: image {image}"


def privileges(objects: Objects) -> Iterator[str]:
    """Row 3a: no privilege, no capability, nothing of the node's."""
    for where, container, spec in containers(objects):
        context = container.get("securityContext", {})
        if context.get("privileged") is not False or context.get("allowPrivilegeEscalation") is not False:
            yield f"{where}: privileges are not refused"
        if context.get("capabilities") != {"drop": ["ALL"]}:
            yield f"{where}: capabilities"
        if any("hostPort" in port for port in container.get("ports", [])):
            yield f"{where}: a port of the node"
        if spec.get("securityContext", {}).get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{where}: no seccomp profile"
    for where, _, spec in pods(objects):
        for name in ("hostNetwork", "hostPID", "hostIPC"):
            if spec.get(name):
                yield f"{where}: {name}"
        if any("hostPath" in volume for volume in spec.get("volumes", [])):
            yield f"{where}: a folder of the node"


def immutable(objects: Objects) -> Iterator[str]:
    """Row 2d: the root file system can't be written."""
    for where, container, _ in containers(objects):
        if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
            yield f"{where}: its root file system can be written"


def users(objects: Objects) -> Iterator[str]:
    """Row 6a: a number that is not root's, and said so."""
    for where, container, spec in containers(objects):
        context = spec.get("securityContext", {}) | container.get("securityContext", {})
        if context.get("runAsNonRoot") is not True or not context.get("runAsUser") or not context.get("runAsGroup"):
            yield f"{where}: user"


def tokens(objects: Objects) -> Iterator[str]:
    """Row 3a: no key to the API server, and no variables of other Services among the settings."""
    for where, _, spec in pods(objects):
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{where}: a token is mounted"
        if spec.get("enableServiceLinks") is not False:
            yield f"{where}: variables of Services"
    for account in of_kind(objects, "ServiceAccount"):
        if account.get("automountServiceAccountToken") is not False:
            yield f"ServiceAccount {account['metadata']['name']}: a token is mounted"


def resources(objects: Objects) -> Iterator[str]:
    """Rows 3, 5: what each needs and may use, so that none takes a node down. Memory and disks within the limits."""
    for where, container, spec in containers(objects):
        found = container.get("resources", {})
        for name in WHAT:
            if name not in found.get("requests", {}) or name not in found.get("limits", {}):
                yield f"{where}: no request or limit of {name}"
            elif quantity(found["requests"][name]) > quantity(found["limits"][name]):
                yield f"{where}: more {name} is asked for than allowed"
        mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
        memory = [
            quantity(volume["emptyDir"]["sizeLimit"])
            for volume in spec.get("volumes", [])
            if volume["name"] in mounted and volume.get("emptyDir", {}).get("medium") == "Memory"
        ]
        if sum(memory) > quantity(found.get("limits", {}).get("memory", 0)) / 2:
            yield f"{where}: its volumes in memory may take more than half of its memory"


def volumes(objects: Objects) -> Iterator[str]:
    """Row 2: what is lost with the pod has an end, and the pod is not evicted before that end is reached."""
    for where, _, spec in pods(objects):
        on_disk = 0.0
        for volume in spec.get("volumes", []):
            if "emptyDir" in volume:
                size = volume["emptyDir"].get("sizeLimit")
                if size is None:
                    yield f"{where}: volume {volume['name']} has no end"
                elif volume["emptyDir"].get("medium") != "Memory":
                    on_disk += quantity(size)
        limits = [
            quantity(container.get("resources", {}).get("limits", {}).get("ephemeral-storage", 0))
            for _, container, owner in containers(objects)
            if owner is spec
        ]
        if on_disk > sum(limits):
            yield f"{where}: its volumes may take more disk than its containers' limits allow together"


def probes(objects: Objects) -> Iterator[str]:
    """Rows 5a, 5b: all are asked whether they have started and live, and whether they are ready. Sidecars are not asked
    the last: a sidecar that is not ready must not take visitors from its application."""
    for where, container, is_sidecar in lasting(objects):
        for name in ("startupProbe", "livenessProbe"):
            if name not in container:
                yield f"{where}: no {name}"
        if ("readinessProbe" in container) is is_sidecar:
            yield f"{where}: readinessProbe"
        if not is_sidecar and container.get("livenessProbe") == container.get("readinessProbe"):
            yield f"{where}: what is not ready is killed"
        if container["name"] == "seatrial":
            found = {name: container.get(f"{name}Probe", {}).get("httpGet") for name in ("liveness", "readiness")}
            if found["liveness"] != {"path": "/health", "port": "ops"}:
                yield f"{where}: liveness asks {found['liveness']}"
            if found["readiness"] != {"path": "/ready", "port": "ops"}:
                yield f"{where}: readiness asks {found['readiness']}"


POD_CHECKS: tuple[Check, ...] = (images, privileges, immutable, users, tokens, resources, volumes, probes)
