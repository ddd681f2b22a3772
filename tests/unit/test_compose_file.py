"""docker-compose.yml and what it mounts: what every container is denied, and rules that Prometheus takes."""

import contextlib
import json
import re
import subprocess

import pytest

from tests.support.compose import DASHBOARD, RULES, compose
from tests.support.http import Visitor
from tests.support.processes import require, wait_until
from tests.support.service import running_service

SERVICES = ("app", "gcs", "grafana", "memcached", "prometheus", "proxy", "redis")


def test_every_service_is_here() -> None:
    assert tuple(sorted(compose()["services"])) == SERVICES


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_may_do_nothing_that_it_need_not(name: str) -> None:
    described = compose()["services"][name]
    assert described["read_only"] is True
    assert described["cap_drop"] == ["ALL"]
    assert described["security_opt"] == ["no-new-privileges:true"]
    assert "cap_add" not in described
    assert "privileged" not in described
    assert int(described["user"].partition(":")[0]) > 0
    assert described["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}
    assert described["healthcheck"]["test"]
    assert {port["host_ip"] for port in described.get("ports", [])} <= {"127.0.0.1"}
    assert all(volume.get("read_only") or volume["type"] == "volume" for volume in described.get("volumes", []))
    if "build" not in described:
        assert re.fullmatch(r"[a-z0-9./-]+:v?[0-9][a-z0-9.-]*@sha256:[0-9a-f]{64}", described["image"])


def test_what_starts_after_something_waits_until_that_is_healthy() -> None:
    waits = {
        (name, other): condition["condition"]
        for name, described in compose()["services"].items()
        for other, condition in described.get("depends_on", {}).items()
    }
    assert waits.keys() == {("app", "redis"), ("app", "gcs"), ("proxy", "app"), ("grafana", "prometheus")}
    assert set(waits.values()) == {"service_healthy"}


def test_the_stores_are_reached_by_the_service_only() -> None:
    document = compose()
    assert document["networks"]["stores"]["internal"] is True
    at_the_stores = {name for name, described in document["services"].items() if "stores" in described["networks"]}
    assert at_the_stores == {"app", "gcs", "memcached", "redis"}
    for name in ("gcs", "memcached", "redis"):
        assert document["services"][name]["networks"].keys() == {"stores"}
        assert "ports" not in document["services"][name]


def test_no_password_is_in_the_file_or_in_an_environment() -> None:
    document = compose()
    assert document["secrets"]["SESSION_PASSWORD"]["file"].endswith("/compose/secrets/SESSION_PASSWORD")
    for described in document["services"].values():
        assert not [name for name in described.get("environment", {}) if "PASSWORD" in name or "SECRET" in name]


def test_the_alerts_fire_where_they_should_and_only_there() -> None:
    done = subprocess.run(
        [require("promtool", "prometheus"), "test", "rules", str(RULES.with_name("rules.test.yml"))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def scraped_names(platform: Visitor) -> set[str]:
    """The names of the series that a scrape answers now, and the one that Prometheus itself adds."""
    scraped = platform.get("/metrics").body.decode()
    return set(re.findall(r"^([a-z_]+)[{ ]", scraped, re.MULTILINE)) | {"up"}


def test_dashboard_and_rules_ask_for_metrics_that_are_there(tmp_path_factory: pytest.TempPathFactory) -> None:
    rules = RULES.read_text()
    recorded = set(re.findall(r"record: (\S+)", rules))
    dashboard = json.loads(DASHBOARD.read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked += re.findall(r"expr: (?:>-\n)?((?:.|\n {10})+)", rules)
    assert len(asked) > 12
    names = {name for expression in asked for name in re.findall(r"\b[a-z]+(?:[_:][a-z0-9_:]+)+\b", expression)}
    names -= {"histogram_quantile", "max_over_time", "http_response_status_code", "http_route"}
    with running_service(tmp_path_factory.mktemp("metrics")) as service:
        with Visitor(service.app_url) as visitor, Visitor(service.ops_url) as platform:
            visitor.put("a", b"x")
            # A request is counted after its last byte is sent: the first scrape may be earlier than that.
            with contextlib.suppress(RuntimeError):
                wait_until("all are there", lambda: names <= scraped_names(platform) | recorded, seconds=5)
            there = scraped_names(platform)
    assert names - there - recorded == set()
    assert len(names) > 8
