"""What is written in one place and used in several, is the same in all; and what is referred to is there."""

import json
import re
from pathlib import Path

import pytest
import yaml

from scripts import rules
from tests.manifests.render import PROJECT, deployed, gke

COMPONENTS = PROJECT / "k8s" / "components"


def test_the_operators_objects_hold_the_rules_of_prometheus() -> None:
    assert {path: path.read_text() for path in rules.objects()} == rules.objects()


def test_stale_rules_are_seen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    read = Path.read_text

    def changed(path: Path) -> str:
        return read(path).replace("> 0.05", "> 0.5") if path.name == "rules.yml" else read(path)

    monkeypatch.setattr("sys.argv", ["rules", "--check"])
    assert rules.main() == 0
    monkeypatch.setattr(Path, "read_text", changed)
    assert rules.main() == 1
    assert "monitoring/prometheus-rules.yaml, managed-prometheus/rules.yaml stale" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["rules.yml", "tomcat-rules.yml"])
def test_each_alert_has_a_runbook_and_each_runbook_an_alert(name: str) -> None:
    groups = yaml.safe_load((COMPONENTS / "prometheus" / name).read_text())["groups"]
    alerts = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    for alert in alerts:
        page = PROJECT / alert["annotations"]["runbook_url"]
        assert page.is_file()
        assert alert["alert"] in page.read_text()


def test_each_runbook_has_an_alert() -> None:
    text = "".join(path.read_text() for path in (COMPONENTS / "prometheus").glob("*rules.yml"))
    pages = {f"docs/runbooks/{path.name}" for path in (PROJECT / "docs" / "runbooks").glob("*.md")}
    assert pages - {"docs/runbooks/README.md"} == set(re.findall(r"runbook_url: (\S+)", text))


def test_prometheus_and_grafana_are_given_the_files_as_they_are() -> None:
    objects = deployed("k8s/components/prometheus", "k8s/components/monitoring")
    held = {key: text for thing in objects if thing["kind"] == "ConfigMap" for key, text in thing["data"].items()}
    for path in (COMPONENTS / "prometheus" / "rules.yml", COMPONENTS / "monitoring" / "dashboard.json"):
        assert held[path.name] == path.read_text()
    assert json.loads(held["dashboard.json"])["panels"]


def test_each_component_says_what_it_is_for() -> None:
    for folder in (*COMPONENTS.iterdir(), *(PROJECT / "k8s" / "overlays").iterdir(), PROJECT / "k8s" / "policies"):
        assert (folder / "README.md").read_text().startswith("# "), folder


@pytest.mark.parametrize(("entry", "unused"), [("gateway", set()), ("ingress", {"CERTIFICATE_MAP"})])
def test_each_value_of_gke_is_put_where_it_belongs(entry: str, unused: set[str]) -> None:
    values = (PROJECT / "k8s" / "overlays" / "gke" / "values.env").read_text()
    names = re.findall(r"^([A-Z_]+)=", values, re.MULTILINE)
    text = json.dumps(gke("autopilot", entry, **{name: f"my-{name.lower()}" for name in names}))
    assert {name for name in names if f"my-{name.lower()}" not in text} == unused
    assert not re.search(rf'[",]({"|".join(set(names) - {"SESSION_URL", "STORAGE_URL"})})"', text), (
        "a placeholder is left"
    )
    assert "example" not in text
    assert "local-config" not in text
