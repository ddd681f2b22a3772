"""The alerts fire where they should and only there, by promtool; and its tests see each alert that does not."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

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


def promtool(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [require("promtool", "prometheus"), "test", "rules", str(folder / "rules.test.yml")]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_they_do() -> None:
    done = promtool(FOLDER)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("expression", ["vector(1)", "vector(1) > 2"], ids=["always", "never"])
@pytest.mark.parametrize(("name", "alert"), ALERTS)
def test_an_alert_that_fires_always_or_never_is_seen(tmp_path: Path, name: str, alert: str, expression: str) -> None:
    for path in FOLDER.glob("*rules*.yml"):
        shutil.copy(path, tmp_path)
    document = yaml.safe_load((FOLDER / name).read_text())
    next(rule for rule in document["groups"][0]["rules"] if rule.get("alert") == alert)["expr"] = expression
    (tmp_path / name).write_text(yaml.safe_dump(document))
    done = promtool(tmp_path)
    assert done.returncode == 1, done.stdout
    assert alert in done.stdout + done.stderr
