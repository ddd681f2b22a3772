"""The objects of the service's namespace, by kubectl as --kubectl-command gives it."""

import json
import shlex
from collections.abc import Iterator
from typing import Any

from conformance.target import Target

Object = dict[str, Any]


def objects(target: Target, kinds: str) -> list[Object]:
    """All of these kinds: "pods", "statefulsets,deployments"."""
    found: list[Object] = json.loads(kubectl(target, "get", kinds, "--output", "json"))["items"]
    return found


def pods(target: Target) -> list[Object]:
    """Those that have not come to an end."""
    return [pod for pod in objects(target, "pods") if pod["status"].get("phase") not in ("Succeeded", "Failed")]


def containers(pod: Object) -> Iterator[Object]:
    """Of every kind."""
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from pod["spec"].get(kind) or ()


def where(pod: Object, container: Object | None = None) -> str:
    """How to speak of it."""
    name = f"pod {pod['metadata']['name']}"
    return f"container {container['name']} of {name}" if container else name


def kubectl(target: Target, *arguments: str, stdin: str = "") -> str:
    """What it prints. CommandFailed with its words where it fails."""
    command = f"{target.commands.kubectl} {shlex.join(arguments)}"
    if stdin:
        command = f"printf %s {shlex.quote(stdin)} | {command}"
    return target.run(command).decode("utf-8", "replace")
