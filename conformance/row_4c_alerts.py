"""Row 4c: somebody collects the metrics, and is told."""

import json
import re
from functools import partial
from typing import Any
from urllib.parse import urlencode

from conformance.check import Broken, NotRun, Stage, check
from conformance.target import Target

SOON = 180.0  # seconds for an alert to fire, and to clear
FIRST = 90.0  # seconds until Prometheus has found and scraped all: by default it scrapes each minute
FOUND = 45.0  # seconds for a name to be known to DNS, which remembers for up to 30 s that it was not
_NOT_NAMES = {
    "and",
    "or",
    "unless",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "bool",
    "offset",
    "inf",
    "nan",
}
_ASIDE = re.compile(
    r"\"[^\"]*\"|'[^']*'|\{[^}]*\}|\[[^\]]*\]|\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)"
)
_NAME = re.compile(r"(?<![\w.:])([a-zA-Z_:][\w:]*)(?!\s*\(|[\w:])")


@check("4c", "Prometheus scrapes every instance.", needs=("prometheus",))
def instances_are_scraped(target: Target) -> str:
    targets: list[dict[str, Any]] = []

    def are_up() -> bool:
        targets[:] = _ask(target, "targets", state="active")["activeTargets"]
        return len(targets) >= len(target.instances) and all(each["health"] == "up" for each in targets)

    if not target.wait_until(are_up, FIRST):
        for each in targets:
            if each["health"] != "up":
                saw = f"{each['scrapeUrl']} is {each['health']}: {each['lastError'][:120]}"
                raise Broken(saw, "let Prometheus reach the ops port, and name it in its scrape configuration")
        saw = f"Prometheus has {len(targets)} targets, and there are {len(target.instances)} instances"
        raise Broken(saw, "have Prometheus find every instance by itself")
    return f"{len(targets)} targets are up"


@check("4c", "Every alert's metrics are there.", needs=("prometheus",))
def alerts_can_fire(target: Target) -> str:
    rules = [rule for group in _ask(target, "rules")["groups"] for rule in group["rules"]]
    recorded = {rule["name"]: rule["query"] for rule in rules if rule["type"] == "recording"}
    alerts = {rule["name"]: rule for rule in rules if rule["type"] == "alerting"}
    if not alerts:
        raise Broken("Prometheus has no alert", "alert on what a visitor would notice")
    for name, rule in alerts.items():
        if rule.get("health") == "err":
            raise Broken(f"{name}: {rule.get('lastError', '')[:200]}", "mend its expression; promtool checks it")
        for metric in sorted(metric_names(rule["query"], recorded)):
            if not target.wait_until(partial(_is_there, target, metric), FOUND):
                do = "a rule on a metric that is not there never fires: name one that the service has"
                raise Broken(f"{name} asks for {metric}, which nobody has", do)
    return f"{len(alerts)} alerts: {', '.join(alerts)}"


@check(
    "4c",
    "An alert fires while the session store is stopped, and clears after.",
    needs=("prometheus", "store"),
    stage=Stage.OUTAGE,
)
def an_alert_fires(target: Target) -> str:
    before = _firing(target)
    if before:
        raise NotRun(f"{', '.join(sorted(before))} fires already")
    seen: set[str] = set()

    def fires() -> bool:
        seen.update(_firing(target))
        return bool(seen)

    target.progress("stopping the session store until an alert fires")
    target.store(up=False)
    try:
        target.wait_until(fires, SOON)
    finally:
        target.store(up=True)
    if not seen:
        do = "alert on the service's own word about its dependencies, after seconds rather than minutes"
        raise Broken(f"no alert fired within {SOON:g} s of the store being stopped", do)
    target.progress("waiting until it clears")
    if not target.wait_until(lambda: not _firing(target), SOON):
        raise Broken(f"{', '.join(sorted(_firing(target)))} still fires {SOON:g} s after", "see what does not recover")
    return f"{', '.join(sorted(seen))} fired, and cleared"


def metric_names(query: str, recorded: dict[str, str]) -> set[str]:
    """The metrics that a query asks for; of a recording rule's name, those that it is made from."""
    names = {name for name in _NAME.findall(_ASIDE.sub(" ", query)) if name.lower() not in _NOT_NAMES}
    found: set[str] = set()
    for name in names:
        found |= metric_names(recorded[name], {}) if name in recorded else {name}
    return found


def _is_there(target: Target, metric: str) -> bool:
    return bool(_ask(target, "query", query=f"count(last_over_time({metric}[1h]))")["result"])


def _firing(target: Target) -> set[str]:
    alerts = _ask(target, "alerts")["alerts"]
    return {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"}


def _ask(target: Target, what: str, **parameters: str) -> Any:
    query = f"?{urlencode(parameters)}" if parameters else ""
    response = json.loads(target.run(f"{target.commands.prometheus}'/api/v1/{what}{query}'"))
    return response["data"]
