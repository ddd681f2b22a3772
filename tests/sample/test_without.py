"""A fork deletes the sample: its folder, and its line in service/__init__.py."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import service
from service.settings import load

# What a fork keeps as it is, and what reads it: alerts and runbooks too.
KEPT = ("service", "k8s", "compose", "docker-compose.yml", "Dockerfile", "docs/runbooks")
EVERY_SERVICE = {"/", "/api/instance", "/health", "/openapi.json", "/ready"}


def test_without_the_sample_and_its_line_the_service_serves(tmp_path: Path) -> None:
    """What a fork deletes: the folder, and its name in FEATURES."""
    shutil.copytree("service", tmp_path / "service")
    shutil.rmtree(tmp_path / "service" / "sample")
    package = tmp_path / "service" / "__init__.py"
    text = package.read_text()
    assert text.count('"service.sample",') == 1
    package.write_text(text.replace('"service.sample",', ""))
    code = (
        "from service import create_app, feature_settings; from service.settings import load, setting_fields;"
        f"app = create_app(load({{'SESSION_URL': 'memory://', 'STORAGE_URL': 'file://{tmp_path}'}}));"
        "assert not feature_settings() and 'MAX_FILES' not in setting_fields();"
        "print([app.test_client().get(path, headers={'Accept': 'text/html'}).status_code"
        " for path in ('/', '/api/instance', '/openapi.json', '/api/session')]);"
        "print(sorted(app.extensions['service'].openapi.document['paths']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True, text=True)
    statuses, paths = done.stdout.splitlines()[-2:]
    assert statuses == "[404, 200, 200, 404]"
    assert paths == "['/api/instance', '/health', '/openapi.json', '/ready']"


def test_what_a_fork_keeps_names_no_route_of_the_sample(tmp_path: Path) -> None:
    stores = {"SESSION_URL": "memory://", "STORAGE_URL": f"file://{tmp_path}"}
    app = service.create_app(load(stores, *service.feature_settings()))
    described = app.extensions["service"].openapi.document["paths"].keys() - EVERY_SERVICE
    assert "/api/files" in described
    route = re.compile("|".join(sorted(re.escape(path.partition("{")[0].rstrip("/")) for path in described)))
    listed = subprocess.run(["git", "ls-files", "-z", *KEPT], check=True, capture_output=True, text=True)
    named = {
        f"{name}: {found[0]}"
        for name in filter(None, listed.stdout.split("\0"))
        if not name.startswith("service/sample/") and (found := route.search(Path(name).read_text()))
    }
    assert named == set()
