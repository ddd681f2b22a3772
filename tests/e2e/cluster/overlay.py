"""The kind overlay in a namespace of its own, rendered and applied as `make kind` does, and removed again."""

import contextlib
import json
import os
import re
import secrets
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.cluster.kubectl import Kubectl

PROJECT = Path(__file__).parents[3]
OVERLAY = "k8s/overlays/kind"
TWINS = PROJECT / "tests" / "e2e" / "cluster" / "twins"
# Two copies can't have the same node ports; tests share their machine; and who counts replicas wants no autoscaler.
PATCHES = """
labels:
  - pairs: {{seatrial-test: {namespace}}}
    includeTemplates: true
configMapGenerator:
  - {{name: seatrial-settings, behavior: merge, literals: [{settings}]}}
patches:
  - target: {{kind: Service, name: seatrial|prometheus}}
    patch: |
      - {{op: remove, path: /spec/type}}
      - {{op: remove, path: /spec/ports/0/nodePort}}
  - target: {{kind: Deployment, name: seatrial}}
    patch: |
      - {{op: add, path: /spec/replicas, value: 2}}
  - target: {{kind: HorizontalPodAutoscaler}}
    patch: |
      $patch: delete
      apiVersion: autoscaling/v2
      kind: HorizontalPodAutoscaler
      metadata: {{name: seatrial}}
"""
# Most tests want nothing of it, and it takes its time to start.
WITHOUT_TOMCAT = """
  - target: {kind: Deployment, name: tomcat}
    patch: |
      $patch: delete
      apiVersion: apps/v1
      kind: Deployment
      metadata: {name: tomcat}
"""


@dataclass(frozen=True)
class Images:
    """``lines``: what kind-images.sh printed, for kind-render.sh. ``next``: the service's, built under another name."""

    lines: str
    next: str

    @property
    def service(self) -> str:
        """The service's image, by digest."""
        return _reference(self.lines)


def build_images() -> Images:
    """Build the images and hand them to the cluster. IMAGES names a file that keeps what they are for another run."""
    kept = Path(os.environ.get("IMAGES") or os.devnull)
    if kept.is_file():
        return Images(**json.loads(kept.read_text()))
    lines = _script("kind-images.sh", OVERLAY)
    following = _script("kind-images.sh", OVERLAY, "seatrial", TAG="next", REVISION="next")
    images = Images(lines, _reference(following))
    kept.write_text(json.dumps(vars(images)))
    return images


def _reference(lines: str) -> str:
    _, image, digest = next(words for words in map(str.split, lines.splitlines()) if words[0] == "seatrial")
    return f"{image}@{digest}"


def _script(name: str, *arguments: str, stdin: str = "", **environ: str) -> str:
    done = subprocess.run(
        [PROJECT / "scripts" / name, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environ,
        timeout=1500,
    )
    assert done.returncode == 0, f"{name}: {done.stderr[-4000:]}"
    return done.stdout


@dataclass(frozen=True)
class Copy:
    """A deployed overlay. ``folder`` holds its kustomization, to be changed and applied again."""

    kubectl: Kubectl
    folder: Path
    images: Images

    def apply(self) -> None:
        """Bring the cluster to what the folder says."""
        self.kubectl("apply", "--server-side", "--force-conflicts", "--kustomize", str(self.folder))

    def settle(self) -> None:
        """Wait until everything is there and ready."""
        for name in self.kubectl("get", "deployments,statefulsets", "--output", "name").split():
            self.kubectl.rolled_out(name)

    def change(self, **settings: str) -> None:
        """Give the service other settings, and apply them."""
        file = self.folder / "kustomization.yaml"
        file.write_text(re.sub(r"literals: \[.*\]", f"literals: [{_literals(settings)}]", file.read_text()))
        self.apply()

    def deployment(self) -> dict[str, Any]:
        found: dict[str, Any] = self.kubectl.get("deployment", "seatrial")
        return found

    def running(self) -> set[str]:
        """The digests that the service's pods run, by what the nodes say."""
        return {
            status["imageID"].rpartition("@")[2]
            for pod in self.kubectl.pods("seatrial")
            for status in pod["status"]["containerStatuses"]
        }


def render(namespace: str, folder: Path, images: Images, *twins: str, tomcat: bool = False, **settings: str) -> None:
    """Write the kustomization of a copy. ``twins``: folders of twins/ that break it."""
    _script("kind-render.sh", str(folder), namespace, stdin=images.lines)
    components = [TWINS / twin for twin in twins]
    assert all(path.is_dir() for path in components), components
    with (folder / "kustomization.yaml").open("a") as file:
        file.write(PATCHES.format(namespace=namespace, settings=_literals(settings)))
        if not tomcat:
            file.write(WITHOUT_TOMCAT)
        if components:
            file.write("components:\n")
            file.writelines(f"  - {os.path.relpath(path.resolve(), folder.resolve())}\n" for path in components)


def _literals(settings: dict[str, str]) -> str:
    """A store may be slow here: tests share their machine."""
    return ", ".join(f"{name}={value}" for name, value in ({"SESSION_TIMEOUT": "5s"} | settings).items())


@contextlib.contextmanager
def deployed(
    images: Images, *twins: str, settled: bool = True, tomcat: bool = False, **settings: str
) -> Iterator[Copy]:
    """The overlay, up and ready in a namespace that is gone when this is left."""
    kubectl = Kubectl(f"seatrial-test-{secrets.token_hex(3)}")
    cache = PROJECT / ".cache"
    cache.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="cluster-", dir=cache) as folder:
        copy = Copy(kubectl, Path(folder), images)
        render(kubectl.namespace, copy.folder, images, *twins, tomcat=tomcat, **settings)
        try:
            copy.apply()
            if settled:
                copy.settle()
            yield copy
        finally:
            kubectl("delete", "namespace", kubectl.namespace, "--ignore-not-found", "--wait=false")
