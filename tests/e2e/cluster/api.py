"""The API server of KUBECONFIG's cluster, asked through `kubectl proxy`: a request takes milliseconds."""

import contextlib
import http.client
import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.manifests.render import Object
from tests.support.processes import read_line, stop

PATHS = {
    "Namespace": "/api/v1/namespaces",
    "ValidatingAdmissionPolicy": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
    "Pod": "/api/v1/namespaces/{}/pods",
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "StatefulSet": "/apis/apps/v1/namespaces/{}/statefulsets",
    "DaemonSet": "/apis/apps/v1/namespaces/{}/daemonsets",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "CronJob": "/apis/batch/v1/namespaces/{}/cronjobs",
}


@dataclass(frozen=True)
class Answer:
    """A status code of HTTP, and an object: the one asked for, or a Status that says what is wrong."""

    code: int
    object: Object

    @property
    def accepted(self) -> bool:
        return self.code < 300

    @property
    def message(self) -> str:
        return str(self.object.get("message", ""))


class Api:
    """The requests that tests need. A path is as PATHS has it, with the namespace filled in, and a name behind it."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def ask(self, method: str, path: str, body: object = None, *, kind: str = "application/json") -> Answer:
        """Send a request, with a body of a media type if there is one. Whatever the server says is an answer."""
        self._connection.request(method, path, json.dumps(body) if body is not None else None, {"Content-Type": kind})
        response = self._connection.getresponse()
        return Answer(response.status, json.loads(response.read()))

    def close(self) -> None:
        self._connection.close()

    def create(self, thing: Object, namespace: str = "", *, dry_run: bool = False) -> Answer:
        """Create an object. A dry run does everything but keep it (kubectl's --dry-run=server)."""
        return self.ask("POST", PATHS[thing["kind"]].format(namespace) + ("?dryRun=All" if dry_run else ""), thing)

    def patch(self, path: str, change: Mapping[str, Any]) -> Answer:
        """Merge a change into an object (RFC 7396)."""
        return self.ask("PATCH", path, change, kind="application/merge-patch+json")


@contextlib.contextmanager
def cluster_api() -> Iterator[Api]:
    """Ask the cluster while this is entered."""
    proxy = subprocess.Popen(["kubectl", "proxy", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        assert proxy.stdout is not None
        said = read_line(proxy.stdout.fileno(), seconds=20).decode()
        assert said.startswith("Starting to serve on "), said
        with contextlib.closing(Api(int(said.rpartition(":")[2]))) as api:
            yield api
    finally:
        stop(proxy)
        if proxy.stdout is not None:
            proxy.stdout.close()
