"""docker-compose.yml, as docker compose's own loader reads it, and its parts run as real processes without an engine.

Everything but addresses and paths is the file's: what is changed, and into what, is each caller's to say.
"""

import json
import subprocess
from collections.abc import Mapping
from functools import cache
from typing import Any

from tests.support.service import PROJECT

FOLDER = PROJECT / "compose"
# One for compose and the clusters
RULES = PROJECT / "k8s" / "components" / "prometheus" / "rules.yml"
DASHBOARD = PROJECT / "k8s" / "components" / "monitoring" / "dashboard.json"


@cache
def compose() -> dict[str, Any]:
    """The file, checked by the specification's schema, its anchors and variables resolved. All profiles are in it."""
    script = PROJECT / "scripts" / "go-tool.sh"
    loader = subprocess.run([script, "compose-go"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    command = [loader, "-format", "json", str(PROJECT / "docker-compose.yml")]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=PROJECT, env={"COMPOSE_PROFILES": "*"})
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def service(name: str) -> dict[str, Any]:
    """One service of the file, whatever its profile."""
    document = compose()
    found: dict[str, Any] = document["services"][name]
    return found


def changed(text: str, changes: Mapping[str, str]) -> str:
    """The text with each key replaced by its value. AssertionError where one is not in it any more."""
    for old, new in changes.items():
        assert old in text, f"{old!r} is not in {text!r} any more"
        text = text.replace(old, new)
    return text
