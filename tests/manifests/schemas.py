"""Whether an object is what an API server would take, by the schema of its kind. Unknown fields are faults.

Kubernetes' own kinds by kubernetes-validate's schemas, for each version; those of the Gateway API and of the Prometheus
Operator by the CustomResourceDefinitions in their Go modules; GKE's by gke.schemas.yaml, which is written by hand.
Rules in CEL, which some definitions hold, are not evaluated.
"""

import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

from tests.manifests.render import PROJECT, Object

# That which the cluster tests run on, and the two newest that schemas are known for.
VERSIONS = ("1.34", "1.36", "1.37")
DEFINITIONS = ("gateway-api", "prometheus-operator")  # modules that scripts/go-tool.sh fetches


def fault(thing: Object, version: str) -> str:
    """What is wrong with an object in a version of Kubernetes; "" where nothing is."""
    kind = f"{thing['apiVersion']}/{thing['kind']}"
    try:
        if schema := _by_hand().get(kind) or _defined(thing["apiVersion"], thing["kind"]):
            jsonschema.Draft202012Validator(schema).validate(thing)
        else:
            kubernetes_validate.validate(thing, version, strict=True)
    except kubernetes_validate.SchemaNotFoundError:
        return f"{kind}: no schema is known for it in {version}"
    except jsonschema.ValidationError as error:
        return f"{kind} {thing['metadata']['name']}: {error.json_path}: {error.message}"
    return ""


@cache
def _by_hand() -> dict[str, Any]:
    found = {}
    for kind, spec in yaml.safe_load(Path(__file__).with_name("gke.schemas.yaml").read_text()).items():
        names = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}}
        found[kind] = _closed({"properties": {**names, "spec": spec}, "required": ["spec"]})
    return found


@cache
def _defined(api_version: str, kind: str) -> Any:
    """The schema of a kind in its CustomResourceDefinition; None where it has none."""
    group, _, version = api_version.rpartition("/")
    for name in DEFINITIONS:
        script = PROJECT / "scripts" / "go-tool.sh"
        folder = subprocess.run([script, name], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
        path = Path(folder) / f"{group}_{kind.lower()}s.yaml"
        if path.exists():
            text = path.read_text().replace("- =\n", '- "="\n')  # which YAML 1.1 takes for something else
            for each in yaml.load(text, yaml.CSafeLoader)["spec"]["versions"]:
                if each["name"] == version:
                    return _closed(each["schema"]["openAPIV3Schema"])
    return None


def _closed(schema: Any) -> Any:
    """A schema that takes no fields but those that it names."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    conditions = ("anyOf", "oneOf", "allOf", "not")  # these look at some of the fields only
    closed = {key: value if key in conditions else _closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "x-kubernetes-preserve-unknown-fields" not in schema:
        closed.setdefault("type", "object")
        closed.setdefault("additionalProperties", False)
    return closed
