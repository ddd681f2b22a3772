"""Write the rules into the objects of the Prometheus Operator and of Managed Prometheus, or with ``--check`` say that
they are stale (exit 1). They are written by hand in one place only, as Prometheus itself reads them. A recording rule
must have the name of a metric, which knows no hyphen: older Prometheus refuses it, newer reads a subtraction.
"""

import re
import sys
from pathlib import Path
from typing import Any

import yaml

COMPONENTS = Path(__file__).parents[1] / "k8s" / "components"
METRIC = r"[a-zA-Z_:][a-zA-Z0-9_:]*"  # https://prometheus.io/docs/concepts/data_model/#metric-names-and-labels
SOURCES = ("rules", "tomcat-rules")
HEAD = "# Made from ../prometheus/{source}.yml by `make docs`; don't edit it here.\n"
TARGETS = (
    ("monitoring/prometheus-{source}.yaml", "monitoring.coreos.com/v1", "PrometheusRule"),
    ("managed-prometheus/{source}.yaml", "monitoring.googleapis.com/v1", "Rules"),
)


def objects() -> dict[Path, str]:
    """The text of each file that is made. SystemExit where a recording rule's name is wrong."""
    made = {}
    for source in SOURCES:
        groups = yaml.safe_load((COMPONENTS / "prometheus" / f"{source}.yml").read_text())["groups"]
        for rule in (rule for group in groups for rule in group["rules"]):
            if not re.fullmatch(METRIC, rule.get("record", "_")):
                sys.exit(f"{source}.yml: {rule['record']} is not the name of a metric; write _ for -")
        for path, api_version, kind in TARGETS:
            made[COMPONENTS / path.format(source=source)] = HEAD.format(source=source) + _text(
                api_version, kind, groups
            )
    return made


def _text(api_version: str, kind: str, groups: list[dict[str, Any]]) -> str:
    name = groups[0]["name"]
    labels = {"app.kubernetes.io/name": name, "app.kubernetes.io/component": "monitoring"}
    # The operators evaluate each minute unless told; our alerts are quicker.
    spec = {"groups": [{"name": group["name"], "interval": "15s", "rules": group["rules"]} for group in groups]}
    document = {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
    }
    text: str = yaml.safe_dump(document, sort_keys=False, width=120)
    return text


def main() -> int:
    """Exit code 0, or 1 when ``--check`` finds an object stale."""
    stale = {path: text for path, text in objects().items() if not path.exists() or path.read_text() != text}
    if "--check" not in sys.argv[1:]:
        for path, text in stale.items():
            path.write_text(text)
    elif stale:
        print(f"{', '.join(str(path.relative_to(COMPONENTS)) for path in stale)} stale: run 'make docs'")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
