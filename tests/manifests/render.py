"""What kubectl's kustomize makes of k8s/: objects as they would be applied."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[2]

Object = dict[str, Any]  # of Kubernetes, as JSON has it

# Components that change another one.
NEEDS = {
    "k8s/components/fluent-bit": ["k8s/components/tomcat"],
    "k8s/components/redis/exporter": ["k8s/components/redis"],
    "k8s/examples/volume-owner": ["k8s/components/redis"],
}


@cache
def _builder() -> tuple[str, ...]:
    """kubectl, which knows kustomize, or kustomize itself, built where there is no kubectl."""
    if kubectl := shutil.which("kubectl"):
        return kubectl, "kustomize"
    script = PROJECT / "scripts" / "go-tool.sh"
    built = subprocess.run([script, "kustomize"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    return built, "build"


def kustomize(folder: Path) -> list[Object]:
    """The objects of a kustomization. AssertionError with kubectl's words where it can't be built."""
    command = [*_builder(), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return [thing for thing in yaml.safe_load_all(done.stdout) if thing]


def is_component(folder: str) -> bool:
    return "kind: Component" in (PROJECT / folder / "kustomization.yaml").read_text()


def folders() -> list[str]:
    """What can be deployed: the base, the overlays, and each component on the base. Overlays hold some of their own."""
    found = sorted(str(path.parent.relative_to(PROJECT)) for path in (PROJECT / "k8s").rglob("kustomization.yaml"))
    return [
        folder
        for folder in found
        if folder != "k8s/policies" and (folder.startswith("k8s/components/") or not is_component(folder))
    ]


def deployed(*names: str, digest: str = "sha256:" + "0" * 64) -> list[Object]:
    """The objects of folders as deployed: components on the base, and an image for each placeholder of ours."""
    components = [each for name in names if is_component(name) for each in (*NEEDS.get(name, ()), name)]
    resources = [name for name in names if not is_component(name)] or ["k8s/base"]
    text = "\n".join(path.read_text() for path in (PROJECT / "k8s").rglob("*.yaml"))
    placeholders = sorted(set(re.findall(r"^ +(?:- )?image: ([a-z-]+)(?: |$)", text, re.MULTILINE)))
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch).resolve()
        kustomization = {
            "namespace": "seatrial",
            "resources": [os.path.relpath(PROJECT / each, here) for each in resources],
            "components": [os.path.relpath(PROJECT / each, here) for each in dict.fromkeys(components)],
            "images": [{"name": name, "newTag": "dev", "digest": digest} for name in placeholders],
        }
        (here / "kustomization.yaml").write_text(json.dumps(kustomization))
        return kustomize(here)


@cache
def gke(cluster: str, entry: str, **values: str) -> list[Object]:
    """The GKE overlay for ``autopilot`` or ``standard`` with ``gateway`` or ``ingress``, edited as its README says.

    ``values``: what is to stand in values.env instead of what stands there.
    """
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copytree(PROJECT / "k8s", Path(scratch) / "k8s")
        file = Path(scratch) / "k8s" / "overlays" / "gke" / "kustomization.yaml"
        text = file.read_text()
        for line in ("  - autopilot # or: standard\n", "  - gateway # or: ingress\n"):
            assert line in text
        text = text.replace("  - autopilot #", f"  - {cluster} #").replace("  - gateway #", f"  - {entry} #")
        file.write_text(text)
        given = file.with_name("values.env")
        text = given.read_text()
        for name, value in values.items():
            text = re.sub(rf"^{name}=.*$", f"{name}={value}", text, flags=re.MULTILINE)
        given.write_text(text)
        return kustomize(file.parent)
