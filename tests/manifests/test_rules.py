"""The alerts fire where they should and only there, by promtool; and its tests see each alert that does not."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from scripts import rules
from service.name import NAME
from tests.manifests.render import PROJECT
from tests.support.processes import require

FOLDER = PROJECT / "k8s" / "components" / "prometheus"
ALERTS = [
    (name, rule["alert"])
    for name in ("rules.yml", "tomcat-rules.yml")
    for group in yaml.safe_load((FOLDER / name).read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
]


def promtool(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [require("promtool", "prometheus"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def in_its_spellings(text: str, name: str) -> str:
    """A text with another product's name in the three spellings that syntax forces."""
    (old, old_joined, old_camel), (new, new_joined, new_camel) = (
        (each, each.replace("-", "_"), each.title().replace("-", "")) for each in (NAME, name)
    )
    text = re.sub(rf"{old_joined}(?=_|:[a-z_]+:[a-z])", new_joined, text)  # variables; recording rules: name:what:how
    return re.sub(rf"{old_camel}(?=[A-Z])", new_camel, text).replace(old, new)  # alerts; everything else


def of_a_fork(folder: Path, name: str) -> Path:
    """A copy of the component with another product's name."""
    for path in FOLDER.iterdir():
        (folder / path.name).write_text(in_its_spellings(path.read_text(), name))
    return folder


def test_they_do() -> None:
    done = promtool("test", "rules", FOLDER / "rules.test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_name_with_a_hyphen_makes_valid_rules(tmp_path: Path) -> None:
    folder = of_a_fork(tmp_path, "parcel-box")
    for words in (("check", "config", folder / "prometheus.yml"), ("test", "rules", folder / "rules.test.yml")):
        done = promtool(*words)  # the configuration names the files of rules, which are checked with it
        assert done.returncode == 0, done.stdout + done.stderr
    text = (folder / "rules.yml").read_text()
    assert {*re.findall(r"record: (\w+):", text)} == {"parcel_box"}
    assert {*re.findall(r"- name: (\S+)", text)} == {"parcel-box"}
    assert all(name.startswith("ParcelBox") for name in re.findall(r"alert: (\S+)", text))


def test_a_recording_rule_with_a_hyphen_is_seen_without_promtool_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By ``make lint``. A later Prometheus takes such a name, and reads it in an expression as a subtraction."""
    folder = tmp_path / "prometheus"
    folder.mkdir()
    for path in FOLDER.glob("*rules.yml"):
        (folder / path.name).write_text(path.read_text().replace("record: ", "record: parcel-"))
    assert promtool("check", "rules", folder / "rules.yml").returncode != 0
    monkeypatch.setattr(rules, "COMPONENTS", tmp_path)
    with pytest.raises(SystemExit, match="parcel-"):
        rules.objects()


@pytest.mark.parametrize("expression", ["vector(1)", "vector(1) > 2"], ids=["always", "never"])
@pytest.mark.parametrize(("name", "alert"), ALERTS)
def test_an_alert_that_fires_always_or_never_is_seen(tmp_path: Path, name: str, alert: str, expression: str) -> None:
    for path in FOLDER.glob("*rules*.yml"):
        shutil.copy(path, tmp_path)
    document = yaml.safe_load((FOLDER / name).read_text())
    next(rule for rule in document["groups"][0]["rules"] if rule.get("alert") == alert)["expr"] = expression
    (tmp_path / name).write_text(yaml.safe_dump(document))
    done = promtool("test", "rules", tmp_path / "rules.test.yml")
    assert done.returncode == 1, done.stdout
    assert alert in done.stdout + done.stderr
