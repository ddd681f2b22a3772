"""The policies as objects: each is bound, can be exempt, says what to do, and stands in the README.

That they refuse what they should needs an API server: tests/e2e/cluster/test_policies.py.
"""

import re

import pytest

from tests.manifests.render import PROJECT, Object, kustomize

FOLDER = PROJECT / "k8s" / "policies"
FILES = sorted(path.stem for path in FOLDER.glob("*.yaml") if "kind: ValidatingAdmissionPolicy\n" in path.read_text())


@pytest.fixture(scope="module")
def objects() -> dict[tuple[str, str], Object]:
    return {(thing["kind"], thing["metadata"]["name"]): thing for thing in kustomize(FOLDER)}


def test_nothing_else_is_there(objects: dict[tuple[str, str], Object]) -> None:
    kinds = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    assert set(objects) == {(kind, f"seatrial-{name}") for kind in kinds for name in FILES}
    assert len(FILES) >= 11


@pytest.mark.parametrize("name", FILES)
def test_a_policy_refuses_where_a_namespace_asks_for_it(objects: dict[tuple[str, str], Object], name: str) -> None:
    policy = objects["ValidatingAdmissionPolicy", f"seatrial-{name}"]["spec"]
    binding = objects["ValidatingAdmissionPolicyBinding", f"seatrial-{name}"]["spec"]
    assert binding["policyName"] == f"seatrial-{name}"
    assert binding["validationActions"] == ["Deny"]
    assert binding["matchResources"]["namespaceSelector"]["matchExpressions"] == [
        {"key": "seatrial-policies", "operator": "In", "values": ["enforce"]},
        {"key": f"seatrial-policies/{name}", "operator": "NotIn", "values": ["exempt"]},
    ]
    assert policy.get("failurePolicy", "Fail") == "Fail"  # what can't be evaluated is refused
    for operations in (rule["operations"] for rule in policy["matchConstraints"]["resourceRules"]):
        assert operations == ["CREATE", "UPDATE"]
    for validation in policy["validations"]:
        said = validation.get("messageExpression") or validation["message"]
        assert re.search(r": (set|name|drop|add|do|remove|take|put|ask|measure)\b", said), said  # what to do


@pytest.mark.parametrize("name", FILES)
def test_a_policy_is_in_the_table(name: str) -> None:
    rows = [line for line in (FOLDER / "README.md").read_text().splitlines() if line.startswith("| [")]
    assert sum(line.startswith(f"| [{name}]({name}.yaml) | ") for line in rows) == 1
    assert len(rows) == len(FILES)
