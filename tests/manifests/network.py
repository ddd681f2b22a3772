"""Which flows NetworkPolicies allow, computed from the objects by the rules of the API's reference.

https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/network-policy-v1/
A pod that no policy selects for a direction may do anything in that direction. One that some do may do what the rules
of any of them allow. A flow between two pods needs both ends. Addresses (ipBlock) are for what is outside of the
cluster: what they mean for pods, the reference leaves open, and so none here is a pod's.
"""

import ipaddress
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tests.manifests.render import Object

WORKLOADS = {"Deployment", "StatefulSet", "DaemonSet", "Job"}
BOTH_ENDS = ("egress", "ingress")
ELSEWHERE = (1, 22, 65535)  # ports that nothing listens on: what is allowed there is allowed everywhere


@dataclass(frozen=True)
class Party:
    """A pod (with its namespace's name and its labels), or an address outside of the cluster."""

    name: str
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    address: str = ""
    ports: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, order=True)
class Flow:
    """From a party to a port of another, by the parties' names."""

    source: str
    target: str
    protocol: str
    port: int

    def __str__(self) -> str:
        return f"{self.source} → {self.target} {self.protocol} {self.port}"


def pods(objects: Sequence[Object]) -> Iterator[Party]:
    """One pod of each workload, named as its label app.kubernetes.io/name has it."""
    for thing in objects:
        if thing["kind"] in WORKLOADS:
            template = thing["spec"]["template"]
            labels = template["metadata"]["labels"]
            containers = [*template["spec"]["containers"], *template["spec"].get("initContainers", [])]
            ports = {port["name"]: port["containerPort"] for each in containers for port in each.get("ports", [])}
            yield Party(labels["app.kubernetes.io/name"], thing["metadata"]["namespace"], labels, ports=ports)


def flows(objects: Sequence[Object], others: Iterable[Party], ends: Sequence[str] = BOTH_ENDS) -> set[Flow]:
    """All flows that are allowed from and to the namespace of the policies, between the objects' pods and others.

    With one of the ends only: what that end would let pass, from (``egress``) or to (``ingress``) the namespace.
    """
    policies = [thing for thing in objects if thing["kind"] == "NetworkPolicy"]
    homes = {each["metadata"]["namespace"] for each in policies}
    parties = [*pods(objects), *others]
    ports = sorted({port for each in parties for port in each.ports.values()} | named_ports(policies) | set(ELSEWHERE))
    found = set()
    for source, target in itertools.permutations(parties, 2):
        if not ("egress" in ends and source.namespace in homes) and not (
            "ingress" in ends and target.namespace in homes
        ):
            continue
        rules = [_rules(end, policies, source, target) for end in ends]
        for protocol, port in itertools.product(("TCP", "UDP"), ports):
            if all(any(_names_port(each, target, protocol, port) for each in one_end) for one_end in rules):
                found.add(Flow(source.name, target.name, protocol, port))
    return found


def named_ports(policies: Sequence[Object]) -> set[int]:
    """The numbers that the rules name."""
    rules = [rule for each in policies for way in ("ingress", "egress") for rule in each["spec"].get(way, [])]
    numbers = [port.get("port") for rule in rules for port in rule.get("ports", [])]
    return {number for number in numbers if isinstance(number, int)}


def may_pass(end: str, policies: Sequence[Object], source: Party, target: Party, port: tuple[str, int]) -> bool:
    """Whether one end lets the source open a connection to a port of the target."""
    return any(_names_port(each, target, *port) for each in _rules(end, policies, source, target))


def _rules(end: str, policies: Sequence[Object], source: Party, target: Party) -> list[Sequence[Object]]:
    """The ports of each rule that lets the source through to the target. No ports are all ports."""
    subject, peer, peers = (source, target, "to") if end == "egress" else (target, source, "from")
    selecting = [
        each
        for each in policies
        if end.capitalize() in _types(each)
        and each["metadata"]["namespace"] == subject.namespace
        and selects(each["spec"]["podSelector"], subject.labels)
    ]
    if not selecting:
        return [[]]
    return [
        rule.get("ports", [])
        for each in selecting
        for rule in each["spec"].get(end) or []
        if _names_peer(rule.get(peers), peer, each["metadata"]["namespace"])
    ]


def _types(policy: Object) -> Sequence[str]:
    default = ["Ingress", "Egress"] if "egress" in policy["spec"] else ["Ingress"]
    found: Sequence[str] = policy["spec"].get("policyTypes", default)
    return found


def _names_peer(peers: Sequence[Object] | None, peer: Party, home: str) -> bool:
    return not peers or any(_is_peer(each, peer, home) for each in peers)


def _is_peer(wanted: Object, peer: Party, home: str) -> bool:
    if "ipBlock" in wanted:
        if not peer.address:
            return False
        address = ipaddress.ip_address(peer.address)
        block = wanted["ipBlock"]
        return address in ipaddress.ip_network(block["cidr"]) and not any(
            address in ipaddress.ip_network(each) for each in block.get("except", [])
        )
    if peer.address:
        return False
    if "namespaceSelector" in wanted:
        # The server puts this label on every namespace. Other labels of foreign namespaces are not ours to know.
        if not selects(wanted["namespaceSelector"], {"kubernetes.io/metadata.name": peer.namespace}):
            return False
    elif peer.namespace != home:
        return False
    return selects(wanted.get("podSelector", {}), peer.labels)


def _names_port(wanted: Sequence[Object], target: Party, protocol: str, port: int) -> bool:
    if not wanted:
        return True
    for each in wanted:
        if each.get("protocol", "TCP") != protocol:
            continue
        number = each.get("port")
        if number is None:
            return True
        number = target.ports.get(number, -1) if isinstance(number, str) else int(number)
        if number <= port <= each.get("endPort", number):
            return True
    return False


def selects(selector: Object, labels: Mapping[str, str]) -> bool:
    """Whether a label selector matches. An empty one matches everything."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    return all(_matches(each, labels) for each in selector.get("matchExpressions", []))


def _matches(expression: Object, labels: Mapping[str, str]) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values", [])
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    raise ValueError(expression["operator"])
