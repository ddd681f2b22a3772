"""The flows that k8s/ allows are those of docs/network-policies.md, no more and no less.

Computed, not tried: that a cluster enforces them is its network plugin's business.
"""

import copy
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache

import pytest

from tests.manifests.network import BOTH_ENDS, Flow, Party, flows, may_pass, pods, selects
from tests.manifests.render import PROJECT, Object, deployed, folders

DOCUMENT = PROJECT / "docs" / "network-policies.md"
TITLES = ["k8s/overlays/kind", "k8s/overlays/gke", "k8s/components"]

STRANGER = Party("a stranger", "seatrial", {"app": "stranger"})
OUTSIDE = [
    Party("a pod elsewhere", "elsewhere", {"app.kubernetes.io/name": "seatrial"}),
    Party("the operator's Prometheus", "monitoring", {"app.kubernetes.io/name": "prometheus"}),
    Party("Google's collectors", "gmp-system"),
    Party("DNS", "kube-system", {"k8s-app": "kube-dns"}),
    Party("another pod of the system", "kube-system", {"k8s-app": "metrics-server"}),
    Party("a private address", address="10.200.3.4"),
    Party("a public address", address="198.51.100.7"),
    Party("Google's load balancers", address="35.191.0.9"),
    Party("Memorystore", address="10.0.0.3"),
    Party("the node's DNS", address="169.254.20.10"),
    Party("the metadata server", address="169.254.169.254"),
    Party("the metadata server's proxy", address="169.254.169.252"),
]


@cache
def objects(title: str) -> list[Object]:
    if title != "k8s/components":
        return deployed(title)
    each = [folder for folder in folders() if folder.startswith(title) and folder != "k8s/components/fluent-bit"]
    return deployed(*each)  # Fluent Bit takes the log agent's place, and its port's name


def computed(things: Sequence[Object]) -> dict[str, set[Flow]]:
    """The flows that pass; and what each end by itself would let pass, so that neither leans on the other."""
    # Other pods have ports of the same names: a name alone keeps nobody out.
    names = {name: number for party in pods(objects("k8s/components")) for name, number in party.ports.items()}
    parties = [party if party.address else replace(party, ports=names) for party in (STRANGER, *OUTSIDE)]
    return {
        "allowed": flows(things, parties),
        "may be sent": flows(things, parties, ["egress"]),
        "may be received": flows(things, parties, ["ingress"]),
    }


def intended(title: str) -> dict[str, set[Flow]]:
    """The same by the table under a title, with its groups of parties written out."""
    ours = [*(party.name for party in pods(objects(title))), STRANGER.name]
    outside = [party.name for party in OUTSIDE]
    groups = {"every pod": ours, "public addresses": ["a public address", "Google's load balancers"]}
    section = DOCUMENT.read_text().partition(f"## {title}\n")[2].partition("\n## ")[0]
    found: dict[str, set[Flow]] = {"allowed": set(), "may be sent": set(), "may be received": set()}
    for source, target, ports in re.findall(r"^\| ([^|]+) \| ([^|]+) \| ((?:TCP|UDP) [^|]+) \|", section, re.MULTILINE):
        for kind, anybody in (("allowed", outside), ("may be sent", outside), ("may be received", outside + ours)):
            here = groups | {"anybody": anybody}
            found[kind] |= {
                Flow(one, other, port.split()[0], int(port.split()[1]))
                for port in ports.split(", ")
                for one in here.get(source, [source])
                for other in here.get(target, [target])
                if one != other
                and (kind != "may be sent" or one in ours)
                and (kind != "may be received" or other in ours)
            }
    return found


def difference(title: str) -> str:
    lines = []
    seen, wanted = computed(objects(title)), intended(title)
    for kind in seen:
        lines += [f"{kind}, not intended: {flow}" for flow in sorted(seen[kind] - wanted[kind])]
        lines += [f"intended, but not {kind}: {flow}" for flow in sorted(wanted[kind] - seen[kind])]
    return "\n".join(lines)


@pytest.mark.parametrize("title", TITLES)
def test_the_flows_are_those_of_the_table(title: str) -> None:
    assert not difference(title), difference(title)
    assert len(intended(title)["allowed"]) > 10


def test_every_overlay_has_a_table() -> None:
    assert {folder for folder in folders() if folder.startswith("k8s/overlays/")} == set(TITLES) - {"k8s/components"}


def changes(title: str) -> Iterator[tuple[str, list[Object]]]:
    """The objects of a title, each time with one policy removed or one of its rules widened.

    A component brings policies for pods of others; those whose pods are not there are left alone.
    """
    things = objects(title)
    ours = [*pods(things), STRANGER]
    for number, thing in enumerate(things):
        if thing["kind"] != "NetworkPolicy":
            continue
        name, spec = thing["metadata"]["name"], thing["spec"]
        if not any(selects(spec["podSelector"], party.labels) for party in ours):
            continue
        yield f"{name} removed", things[:number] + things[number + 1 :]
        for way, peers in (("ingress", "from"), ("egress", "to")):
            for place, rule in enumerate(spec.get(way, [])):
                for part in {peers, "ports"} & set(rule):
                    wider = copy.deepcopy(thing)
                    del wider["spec"][way][place][part]
                    yield f"{name}: {way} {place} without {part}", [*things[:number], wider, *things[number + 1 :]]


@pytest.mark.parametrize("title", ["k8s/overlays/gke", "k8s/components"])
def test_the_twins_are_not(title: str) -> None:
    """Each policy is needed, and each rule is as narrow as the table: any change is seen.

    Not so where a rule is about a container that is left out; so kind's are tried among all components.
    """
    wanted = intended(title)
    twins = list(changes(title))
    assert len(twins) > 15
    assert [name for name, things in twins if computed(things) == wanted] == []


def policy(spec: Object, namespace: str = "here") -> Object:
    return {"kind": "NetworkPolicy", "metadata": {"name": "x", "namespace": namespace}, "spec": spec}


WEB = Party("web", "here", {"app": "web"}, ports={"http": 8080})
API = Party("api", "here", {"app": "api", "tier": "back"}, ports={"http": 8000})
FAR = Party("far", "there", {"app": "web"})
HOST = Party("host", address="192.0.2.7")


ALL_PODS: list[Object] = [{"namespaceSelector": {}}]
ALL_OF_API = [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "api"}}}]
NOT_THE_HOST = [{"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.2.7/32"]}}]
BACK = {"key": "tier", "operator": "NotIn", "values": ["back"]}


@pytest.mark.parametrize(
    ("spec", "flow", "expected"),
    [
        ({"podSelector": {"matchLabels": {"app": "no"}}}, (FAR, WEB, ("TCP", 1)), True),
        ({"podSelector": {"matchExpressions": [{"key": "tier", "operator": "Exists"}]}}, (FAR, API, ("TCP", 1)), False),
        ({"podSelector": {"matchExpressions": [BACK]}}, (FAR, API, ("TCP", 1)), True),
        ({"podSelector": {}}, (FAR, WEB, ("TCP", 1)), False),
        ({"podSelector": {}}, (WEB, FAR, ("TCP", 1)), True),  # ingress alone, where nothing says otherwise
        ({"podSelector": {}, "egress": []}, (WEB, FAR, ("TCP", 1)), False),
        ({"podSelector": {}, "policyTypes": ["Egress"]}, (FAR, WEB, ("TCP", 1)), True),
        ({"podSelector": {}, "ingress": [{}]}, (HOST, WEB, ("UDP", 9)), True),
        ({"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}]}, (API, WEB, ("TCP", 1)), True),
        ({"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}]}, (FAR, WEB, ("TCP", 1)), False),
        ({"podSelector": {}, "ingress": [{"from": ALL_PODS}]}, (FAR, WEB, ("TCP", 1)), True),
        ({"podSelector": {}, "ingress": [{"from": ALL_PODS}]}, (HOST, WEB, ("TCP", 1)), False),
        ({"podSelector": {}, "ingress": [{"from": ALL_OF_API}]}, (FAR, WEB, ("TCP", 1)), False),
        ({"podSelector": {}, "ingress": [{"from": NOT_THE_HOST}]}, (HOST, WEB, ("TCP", 1)), False),
        ({"podSelector": {}, "ingress": [{"ports": [{"port": "http"}]}]}, (HOST, API, ("TCP", 8000)), True),
        ({"podSelector": {}, "ingress": [{"ports": [{"port": "http"}]}]}, (HOST, API, ("TCP", 8080)), False),
        ({"podSelector": {}, "ingress": [{"ports": [{"port": 53}]}]}, (HOST, API, ("UDP", 53)), False),
        ({"podSelector": {}, "ingress": [{"ports": [{"port": 80, "endPort": 90}]}]}, (HOST, API, ("TCP", 90)), True),
    ],
)
def test_the_rules_are_read_as_the_reference_has_them(
    spec: Object, flow: tuple[Party, Party, tuple[str, int]], expected: bool
) -> None:
    assert all(may_pass(end, [policy(spec)], *flow) for end in BOTH_ENDS) is expected


def test_policies_of_another_namespace_mean_nothing_here() -> None:
    assert may_pass("ingress", [policy({"podSelector": {}}, "there")], FAR, WEB, ("TCP", 1))


def test_what_one_policy_denies_another_allows() -> None:
    both = [policy({"podSelector": {}}), policy({"podSelector": {}, "ingress": [{}]})]
    assert may_pass("ingress", both, FAR, WEB, ("TCP", 1))
