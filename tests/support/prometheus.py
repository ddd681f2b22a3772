"""A real Prometheus that scrapes one address, and promtool."""

import contextlib
import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.processes import free_port, require, running, wait_until


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    url: str

    def is_ready(self) -> bool:
        """It listens before it has opened its storage."""
        try:
            urllib.request.urlopen(f"{self.url}/-/ready", timeout=10).close()
        except urllib.error.HTTPError as error:
            error.close()
            return False
        return True

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The result of an instant query: ``metric`` and ``value`` of each series."""
        result: list[dict[str, Any]] = self._get("query", query=expression)["result"]
        return result

    def exemplars(self, expression: str) -> list[dict[str, Any]]:
        """The exemplars of the last hour: ``seriesLabels`` and ``exemplars`` of each series."""
        now = time.time()
        found: list[dict[str, Any]] = self._get("query_exemplars", query=expression, start=now - 3600, end=now + 60)
        return found

    def wait_for(self, expression: str) -> list[dict[str, Any]]:
        """The result of a query, as soon as there is one."""
        wait_until(f"a result of {expression}", lambda: bool(self.query(expression)), seconds=30)
        return self.query(expression)

    def _get(self, what: str, **parameters: object) -> Any:
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{what}?{query}", timeout=10) as answer:
            document = json.load(answer)
        assert document["status"] == "success"
        return document["data"]


@contextlib.contextmanager
def prometheus(folder: Path, target: str, every: int = 500, rules: str = "{}") -> Iterator[Prometheus]:
    """Prometheus with its exemplar storage, scraping ``target`` (host:port) each ``every`` milliseconds."""
    program, port = require("prometheus", "prometheus"), free_port()
    config = folder / "prometheus.yml"
    (folder / "rules.yml").write_text(rules)
    config.write_text(
        f"rule_files: [rules.yml]\nglobal: {{scrape_interval: {every}ms, scrape_timeout: {every - 100}ms}}\n"
        f"scrape_configs: [{{job_name: service, static_configs: [{{targets: ['{target}']}}]}}]\n"
    )
    command = [
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--enable-feature=exemplar-storage",
    ]
    with running(command, port=port, log=folder / "prometheus.log"):
        started = Prometheus(f"http://127.0.0.1:{port}")
        wait_until("Prometheus is ready", started.is_ready)
        yield started


def check_metrics(text: bytes) -> str:
    """What promtool finds wrong with metrics; "" where it finds nothing."""
    promtool = require("promtool", "prometheus")
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False, timeout=60)
    return (done.stdout + done.stderr).decode() or ("" if done.returncode == 0 else f"exit {done.returncode}")
