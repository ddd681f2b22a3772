"""What checks look at: the pods and containers in rendered objects, and quantities as Kubernetes writes them."""

import re
from collections.abc import Callable, Iterator, Sequence

from tests.manifests.render import Object

Objects = Sequence[Object]
Check = Callable[[Objects], Iterator[str]]

UNITS = {"": 1, "m": 1e-3, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def quantity(text: str | int) -> float:
    """A resource's amount, in cores or bytes."""
    number, unit = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", str(text)).groups()  # type: ignore[union-attr] # or it raises
    return float(number) * UNITS[unit]


def of_kind(objects: Objects, *kinds: str) -> Iterator[Object]:
    return (thing for thing in objects if thing["kind"] in kinds)


def pods(objects: Objects) -> Iterator[tuple[str, Object, Object]]:
    """Kind and name of each workload, the metadata of its pods, and their spec."""
    for thing in of_kind(objects, "Deployment", "StatefulSet", "DaemonSet", "Job"):
        template = thing["spec"]["template"]
        yield f"{thing['kind']} {thing['metadata']['name']}", template["metadata"], template["spec"]


def containers(objects: Objects) -> Iterator[tuple[str, Object, Object]]:
    """Where each container is, itself, and its pod's spec. Init containers too."""
    for name, _, spec in pods(objects):
        for container in (*spec["containers"], *spec.get("initContainers", [])):
            yield f"{name}, container {container['name']}", container, spec


def lasting(objects: Objects) -> Iterator[tuple[str, Object, bool]]:
    """The containers that run as long as the pod, and whether they are sidecars."""
    for name, container, spec in containers(objects):
        is_first = container in spec.get("initContainers", [])
        if not is_first or container.get("restartPolicy") == "Always":
            yield name, container, is_first


def selector(name: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": name}
