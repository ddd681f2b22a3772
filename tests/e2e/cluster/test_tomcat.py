"""Tomcat, which only writes files, with its native sidecars: no line is lost, and Prometheus has its figures."""

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster.conformance import conform
from tests.e2e.cluster.instances import Dial, dialler, listening
from tests.e2e.cluster.kubectl import Kubectl, on_the_node
from tests.e2e.cluster.overlay import PROJECT, Copy, Images, deployed
from tests.support.http import Visitor

pytestmark = pytest.mark.timeout(900)

HTTP, EXPORTER = 8080, 9404
LINES = 500  # of a ledger
ROTATE = 'for f in /tomcat/logs/catalina.*.log; do mv "$f" /tomcat/logs/catalina.$(date +%s%N).log; done'


@pytest.fixture(scope="module")
def copy(images: Images) -> Iterator[Copy]:
    with deployed(images, tomcat=True) as ours:
        yield ours


@pytest.fixture(scope="module")
def dial(copy: Copy) -> Iterator[Dial]:
    with dialler(copy.kubectl, copy.images.service, address(copy.kubectl), HTTP) as found:
        yield found


def pod(kubectl: Kubectl) -> dict[str, Any]:
    [found] = kubectl.pods("tomcat")
    return found


def name(kubectl: Kubectl) -> str:
    return str(pod(kubectl)["metadata"]["name"])


def address(kubectl: Kubectl) -> str:
    return str(pod(kubectl)["status"]["podIP"])


@contextlib.contextmanager
def agent_log(kubectl: Kubectl, file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """What the agent says, as `kubectl logs` has it, into a file."""
    with file.open("wb") as output:
        command = [*kubectl.command, "logs", "--follow", "--container=log-agent", name(kubectl)]
        process = subprocess.Popen(command, stdout=output)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def write_ledger(url: str, first: int, last: int) -> None:
    with Visitor(url) as visitor:
        answer = visitor.get(f"/log.jsp?from={first}&to={last + 1}")
    assert answer.status == 200


def ledger(said: bytes) -> dict[int, set[str]]:
    """The numbers that came out, and under which insertIds."""
    found: dict[int, set[str]] = {}
    for line in said.splitlines():
        if line.startswith(b"rpc error: code = NotFound"):
            continue  # the kubelet's: the container was removed while its log was followed
        record = json.loads(line)
        match = re.search(r"ledger (\d+)", str(record.get("message", "")))
        if match:
            found.setdefault(int(match[1]), set()).add(record["logging.googleapis.com/insertId"])
    return found


def test_the_sidecars_start_before_tomcat(copy: Copy) -> None:
    status = pod(copy.kubectl)["status"]
    sidecars = {each["name"]: each for each in status["initContainerStatuses"]}
    assert {each["name"] for each in pod(copy.kubectl)["spec"]["initContainers"]} == {"log-agent", "exporter"}
    [tomcat] = status["containerStatuses"]
    for each in sidecars.values():
        assert each["state"]["running"]["startedAt"] <= tomcat["state"]["running"]["startedAt"]


def test_rows_1b_and_4b_are_kept(copy: Copy, dial: Dial, tmp_path: Path) -> None:
    run = rows(copy, dial, tmp_path)
    print(f"\n{run.table}")
    assert run.rows("ok") == {"1b", "4b"}, run.table


def rows(copy: Copy, dial: Dial, folder: Path) -> Any:
    """The suite's two rows, on the pod."""
    where = partial(address, copy.kubectl)
    out = folder / "agent.log"
    with listening(dial, where, HTTP) as http, listening(dial, where, EXPORTER) as exporter:
        with agent_log(copy.kubectl, out):
            rotate = f"kubectl -n {copy.kubectl.namespace} exec {name(copy.kubectl)} -c tomcat -- sh -c '{ROTATE}'"
            options = [
                f"--base-url=http://127.0.0.1:{http}",
                f"--exporter-url=http://127.0.0.1:{exporter}",
                f"--agent-log={out}",
                "--ledger-path=/log.jsp?from={from}&to={to}",
                f"--rotate-command={rotate}",
            ]
            nothing = [f"--{each}-path=" for each in ("visits", "metrics", "ready")]
            return conform(options + nothing, folder / "report.json", "--only=1b,4b")


def test_prometheus_in_the_cluster_has_tomcats_figures(copy: Copy, dial: Dial) -> None:
    before = figure(copy.kubectl, "sum(tomcat_requests_total)")
    with listening(dial, partial(address, copy.kubectl), HTTP) as http, Visitor(f"http://127.0.0.1:{http}") as visitor:
        for _ in range(50):
            assert visitor.get("/").status == 200
    copy.kubectl.until("50 requests more", lambda: figure(copy.kubectl, "sum(tomcat_requests_total)") >= before + 50)
    assert figure(copy.kubectl, 'min(up{job=~"tomcat|log-agent"})') == 1
    assert figure(copy.kubectl, "min(tomcat_jvm_heap_used_bytes)") > 0


def figure(kubectl: Kubectl, query: str) -> float:
    """The one number of a query; 0 where there is none."""
    command = ["get", "--raw", f"/api/v1/namespaces/{kubectl.namespace}/services/prometheus:9090/proxy/api/v1/query"]
    command[-1] += f"?query={query.replace(' ', '%20').replace('+', '%2B').replace('|', '%7C')}"
    result = json.loads(kubectl(*command))["data"]["result"]
    return float(result[0]["value"][1]) if result else 0.0


def test_the_agent_is_killed_and_no_line_is_lost(copy: Copy, dial: Dial) -> None:
    """Its state is in a volume of the pod: it goes on where it was, and what it says twice has one insertId."""
    first = int(time.time()) * 1000 % 10**9  # lines of other tests are others
    kubectl = copy.kubectl
    [before] = [s for s in pod(kubectl)["status"]["initContainerStatuses"] if s["name"] == "log-agent"]
    with listening(dial, partial(address, kubectl), HTTP) as http:
        url = f"http://127.0.0.1:{http}"
        write_ledger(url, first, first + LINES - 1)
        kubectl.exec(name(kubectl), "sh", "-c", ROTATE)
        on_the_node(
            "KILL_CONTAINER",
            node=pod(kubectl)["spec"]["nodeName"],
            container=before["containerID"].rpartition("/")[2],
        )
        write_ledger(url, first + LINES, first + 2 * LINES - 1)
    wanted = set(range(first, first + 2 * LINES))

    def came_out() -> dict[int, set[str]]:
        said = [kubectl("logs", "--container=log-agent", *more, name(kubectl)) for more in ((), ("--previous",))]
        return ledger("".join(said).encode())

    restarted(kubectl, before["restartCount"])
    kubectl.until("every line", lambda: not wanted - came_out().keys(), timeout=60)
    assert all(len(ids) == 1 for number, ids in came_out().items() if number in wanted)


def restarted(kubectl: Kubectl, before: int) -> None:
    def is_so() -> bool:
        [now] = [s for s in pod(kubectl)["status"]["initContainerStatuses"] if s["name"] == "log-agent"]
        return bool(now["restartCount"] > before and now["ready"])

    kubectl.until("the agent's restart", is_so)


def test_the_pod_is_deleted_and_no_line_is_lost(copy: Copy, dial: Dial, tmp_path: Path) -> None:
    """The agent ends after Tomcat, and reads to the end: the last line of Tomcat's own is there, too."""
    first = int(time.time()) * 1000 % 10**9
    out = tmp_path / "agent.log"
    with agent_log(copy.kubectl, out) as follower:
        with listening(dial, partial(address, copy.kubectl), HTTP) as http:
            write_ledger(f"http://127.0.0.1:{http}", first, first + LINES - 1)
            copy.kubectl("delete", "pod", name(copy.kubectl))
        follower.wait(60)
    said = out.read_bytes()
    assert not set(range(first, first + LINES)) - ledger(said).keys()
    assert b"Destroying ProtocolHandler" in said
    copy.settle()


def test_the_twin_that_follows_the_path_only_is_red(images: Images, tmp_path: Path) -> None:
    script = PROJECT / "tests" / "e2e" / "sidecars" / "path_only.py"
    agent: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "twin"}}
    with deployed(images, "agent-by-path", tomcat=True, settled=False) as twin:
        twin.kubectl.apply(agent | {"data": {script.name: script.read_text()}})
        twin.settle()
        with dialler(twin.kubectl, images.service, address(twin.kubectl), HTTP) as dial:
            run = rows(twin, dial, tmp_path)
    print(f"\n{run.table}")
    assert run.rows("broken") == {"1b", "4b"}, run.table
