"""Two pods of a Deployment as the conformance suite's instances: each at an address that stays while its pod changes.

``python -m tests.e2e.cluster.instances start|kill FOLDER NAMESPACE NUMBER`` is what the suite's commands run;
FOLDER/NUMBER names the pod. Its address here is a port of 127.0.0.1 that is passed on to the pod: straight where
pods can be reached from this machine, else through one pod in the cluster (tunnel.py).
"""

import contextlib
import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.e2e.cluster.generator import restricted_pod
from tests.e2e.cluster.kubectl import Kubectl, on_the_node
from tests.e2e.cluster.tunnel import tunnel

Dial = Callable[[str, int], socket.socket]


class Instances:
    """The pods of the service, numbered from 1; which is which is kept in files, for commands to change it."""

    def __init__(self, kubectl: Kubectl, folder: Path) -> None:
        self.kubectl = kubectl
        self.folder = folder

    def pod(self, number: int) -> dict[str, Any]:
        """What the file says: its name and address."""
        found: dict[str, Any] = json.loads((self.folder / f"{number}.json").read_text())
        return found

    def address(self, number: int) -> str:
        return str(self.pod(number)["address"])

    def assign(self, number: int, pod: dict[str, Any]) -> None:
        name, address = pod["metadata"]["name"], pod["status"]["podIP"]
        (self.folder / f"{number}.json").write_text(json.dumps({"name": name, "address": address}))
        (self.folder / f"{number}.pod").write_text(name)

    def start(self, number: int) -> None:
        """Wait until this instance's pod, or the one that took its place, is ready."""
        others = {self.pod(other)["name"] for other in (1, 2) if other != number}
        self.kubectl.rolled_out("deployment/seatrial")
        [pod] = [pod for pod in self.kubectl.pods("seatrial") if pod["metadata"]["name"] not in others]
        self.kubectl.wait(f"pod/{pod['metadata']['name']}", "condition=Ready")
        self.assign(number, self.kubectl.get("pod", pod["metadata"]["name"]))

    def kill(self, number: int) -> None:
        """Without a word where KILL_CONTAINER is given; else by force, which leaves it two seconds."""
        name = self.pod(number)["name"]
        if os.environ.get("KILL_CONTAINER"):
            pod = self.kubectl.get("pod", name)
            container = pod["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2]
            on_the_node("KILL_CONTAINER", node=pod["spec"]["nodeName"], container=container)
        self.kubectl("delete", "pod", name, "--grace-period=0", "--force")


def dial_straight(address: str, port: int) -> socket.socket:
    return socket.create_connection((address, port), timeout=5)


@contextlib.contextmanager
def dialler(kubectl: Kubectl, image: str, address: str, port: int) -> Iterator[Dial]:
    """How pods are reached from here. ``address`` and ``port`` are of one that listens."""
    try:
        socket.create_connection((address, port), timeout=3).close()
    except OSError:
        with relay(kubectl, image) as dial:
            yield dial
    else:
        yield dial_straight


@contextlib.contextmanager
def relay(kubectl: Kubectl, image: str) -> Iterator[Dial]:
    """Through a pod that passes connections on to others."""
    labels = {"app.kubernetes.io/name": "relay"}
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "relay"},
        "spec": {"podSelector": {"matchLabels": labels}, "policyTypes": ["Egress"], "egress": [{}]},
    }
    kubectl.apply(policy, restricted_pod("relay", image, ["sleep", "infinity"], labels, mounts={}))
    try:
        kubectl.wait("pod/relay", "condition=Ready")
        with tunnel([*kubectl.command, "exec", "--stdin", "relay", "--"]) as link:
            yield link.dial
    finally:
        kubectl("delete", "pod", "relay", "--grace-period=1", "--wait=false")


@contextlib.contextmanager
def listening(dial: Dial, where: Callable[[], str], port: int) -> Iterator[int]:
    """A port of 127.0.0.1 whose connections go to ``port`` of whatever ``where`` says at that moment."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def serve(client: socket.socket) -> None:
        with client, contextlib.suppress(OSError), dial(where(), port) as server:
            server.settimeout(None)
            back = threading.Thread(target=pump, args=(server, client), daemon=True)
            back.start()
            pump(client, server)
            back.join()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def main(verb: str, folder: str, namespace: str, number: str) -> None:
    instances = Instances(Kubectl(namespace), Path(folder))
    {"start": instances.start, "kill": instances.kill}[verb](int(number))


if __name__ == "__main__":
    main(*sys.argv[1:])
