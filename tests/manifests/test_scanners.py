"""What checkov and kube-score find in the objects as deployed. What is passed over has its reason here."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.manifests.render import PROJECT, Object, deployed, folders, gke

IMAGE = f"example/seatrial:1.2@sha256:{'0' * 64}"  # a placeholder has neither tag nor digest

# Of checkov's rules all are kept.
CHECKOV_SKIPS: dict[str, str] = {}
KUBE_SCORE_SKIPS = {
    "container-image-pull-policy": "a digest is never another image; to ask the registry each time is a way to fail",
    "pod-probes-identical": "the emulator, Memcached and Tomcat can be asked one thing only; thresholds differ",
    "deployment-has-host-podantiaffinity": "topologySpreadConstraints do this; kube-score knows only the older way",
    "deployment-replicas": "the service's autoscaler has two at least; the others hold state or figures of their own",
    "deployment-strategy": "those are replaced (Recreate), because two at once would hold different data",
    "networkpolicy-targets-pod": "a component brings its flows, whether the other end is deployed or not",
    "service-type": "on kind there is no load balancer",
}


def scanned() -> dict[str, list[Object]]:
    """Every deployment, by a name."""
    found = {folder.replace("/", "-"): deployed(folder) for folder in folders() if folder != "k8s/overlays/gke"}
    for cluster in ("autopilot", "standard"):
        for entry in ("gateway", "ingress"):
            found[f"gke-{cluster}-{entry}"] = gke(cluster, entry, IMAGE=IMAGE)
    return found


def written(folder: Path, deployments: dict[str, list[Object]]) -> list[Path]:
    paths = []
    for name, objects in deployments.items():
        paths.append(folder / f"{name}.yaml")
        paths[-1].write_text(yaml.safe_dump_all(objects))
    return paths


def checkov(folder: Path) -> set[tuple[str, str]]:
    """The rules that are broken, and by what."""
    program = PROJECT / ".cache" / "scan" / "bin" / "checkov"
    assert program.exists(), "run: make test-manifests"
    command = [
        str(program),
        "--framework",
        "kubernetes",
        "--directory",
        str(folder),
        "--skip-download",
        "--output",
        "json",
    ]
    if CHECKOV_SKIPS:
        command += ["--skip-check", ",".join(CHECKOV_SKIPS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=150)
    assert done.returncode in (0, 1), done.stderr
    report = json.loads(done.stdout)
    assert report["summary"]["passed"] > 50
    assert report["summary"]["parsing_errors"] == 0
    return {(each["check_id"], each["resource"]) for each in report["results"]["failed_checks"]}


def kube_score(paths: list[Path]) -> set[tuple[str, str]]:
    """As checkov. Its warnings count, too."""
    script = PROJECT / "scripts" / "go-tool.sh"
    program = subprocess.run([script, "kube-score"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    skips = [f"--ignore-test={name}" for name in KUBE_SCORE_SKIPS]
    command = [program, "score", "--output-format=json", "--kubernetes-version=v1.34", *skips, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode in (0, 1), done.stderr
    found = set()
    for each in json.loads(done.stdout):
        looked = [check for check in each["checks"] if not check["skipped"]]
        found |= {(check["check"]["id"], each["object_name"]) for check in looked if check["grade"] < 10}
    return found


def test_checkov_finds_nothing(tmp_path: Path) -> None:
    written(tmp_path, scanned())
    assert checkov(tmp_path) == set()


def test_kube_score_finds_nothing(tmp_path: Path) -> None:
    # One after the other: it takes two files with one name of an object for one deployment.
    for path in written(tmp_path, scanned()):
        assert kube_score([path]) == set(), path.name


def run_as_root(container: Object) -> None:
    container["securityContext"] |= {"runAsNonRoot": False, "runAsUser": 0, "readOnlyRootFilesystem": False}


def forget_limits(container: Object) -> None:
    del container["resources"]["limits"]


def take_latest(container: Object) -> None:
    container["image"] = "seatrial:latest"


@pytest.mark.parametrize(
    ("breaks", "of_checkov", "of_kube_score"),
    [
        (run_as_root, "CKV_K8S_22", "container-security-context-readonlyrootfilesystem"),
        (forget_limits, "CKV_K8S_13", "container-resources"),
        (take_latest, "CKV_K8S_43", "container-image-tag"),
    ],
)
def test_both_see_a_broken_twin(
    tmp_path: Path, breaks: Callable[[Object], None], of_checkov: str, of_kube_score: str
) -> None:
    objects = deployed("k8s/overlays/kind")
    deployments = [each for each in objects if each["kind"] == "Deployment"]
    service = next(each for each in deployments if each["metadata"]["name"] == "seatrial")
    breaks(service["spec"]["template"]["spec"]["containers"][0])
    paths = written(tmp_path, {"broken": objects})
    assert of_checkov in {rule for rule, _ in checkov(tmp_path)}
    assert (of_kube_score, "Deployment/apps/v1/seatrial/seatrial") in kube_score(paths)


@pytest.mark.parametrize("skip", KUBE_SCORE_SKIPS)
def test_nothing_is_passed_over_in_vain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skip: str) -> None:
    monkeypatch.delitem(KUBE_SCORE_SKIPS, skip)
    names = ("k8s/overlays/kind", "k8s/components/memcached", "k8s/components/fluent-bit")
    paths = written(tmp_path, {name.replace("/", "-"): deployed(name) for name in names})
    assert skip in {rule for path in paths for rule, _ in kube_score([path])}
