"""Fluent Bit's configuration, as far as it can be looked at without Fluent Bit: names, paths, and expressions."""

import fnmatch
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from log_agent.formats import FORMATS

CONFIG: dict[str, Any] = yaml.safe_load(Path("sidecars/fluent-bit/fluent-bit.yaml").read_text(encoding="utf-8"))
INPUTS = {each["tag"]: each for each in CONFIG["pipeline"]["inputs"]}
PARSERS = {each["name"]: each for each in CONFIG["parsers"]}

TOMCAT = (
    "24-Nov-2026 12:00:00.123 SEVERE [http-nio-8080-exec-1] org.example.Shop.sell Out of stock\n"
    "java.lang.IllegalStateException: none left\n"
    "\tat org.example.Shop.sell(Shop.java:12)"
)
ACCESS = r'10.0.0.7 - ada [24/Nov/2026:13:00:00 +0100] "GET /a?b=\"c HTTP/1.1" 503 1234 "-" "curl/8"'


def expression(text: str) -> re.Pattern[str]:
    """Fluent Bit writes Ruby's expressions; these differ from Python's only in how a group is named."""
    return re.compile(re.sub(r"\(\?<(?=[a-z])", "(?P<", text.strip("/")))


def groups(parser: str, line: str) -> dict[str, str]:
    match = expression(PARSERS[parser]["regex"]).search(line)
    assert match, f"{parser} does not fit {line!r}"
    return match.groupdict()


def test_every_name_that_is_referred_to_is_defined() -> None:
    multiline = {each["name"] for each in CONFIG["multiline_parsers"]}
    assert {each["multiline.parser"] for each in INPUTS.values() if "multiline.parser" in each} <= multiline
    assert {each["parser"] for each in CONFIG["pipeline"]["filters"] if "parser" in each} <= set(PARSERS)
    for each in CONFIG["pipeline"]["filters"] + CONFIG["pipeline"]["outputs"]:
        assert fnmatch.filter(INPUTS, each["match"]), f"{each['name']} matches no input"


def test_no_state_is_shared_or_outside_of_its_volume() -> None:
    states = [each["db"] for each in INPUTS.values()] + [CONFIG["service"]["storage.path"]]
    assert len(set(states)) == len(states)
    assert all(state.startswith("/state/") for state in states)


@pytest.mark.parametrize(
    ("name", "tags"),
    [
        ("catalina.2026-11-24.log", ["tomcat"]),
        ("localhost.2026-11-24.log", ["tomcat"]),
        ("localhost_access_log.2026-11-24.txt", ["access"]),
        ("catalina.out", []),  # what is in it is in catalina.DATE.log, too
        ("catalina.2026-11-24.log.1", []),
        ("catalina.2026-11-24.log.gz", []),
        ("localhost_access_log.2026-11-24.txt.1", []),
    ],
)
def test_its_paths_take_tomcats_files_and_no_rotated_one(name: str, tags: list[str]) -> None:
    taken = [
        tag
        for tag, each in INPUTS.items()
        if any(fnmatch.fnmatchcase(f"/logs/{name}", p) for p in each["path"].split(","))
    ]
    assert taken == tags


def test_tomcats_records_are_taken_apart_as_the_log_agent_does() -> None:
    theirs, ours = groups("tomcat", TOMCAT), FORMATS["tomcat"].parse(TOMCAT)
    assert ours
    assert {name: theirs[name] for name in ("thread", "logger", "message")} == {
        name: ours[name] for name in ("thread", "logger", "message")
    }
    assert (theirs["time"], theirs["severity"]) == ("24-Nov-2026 12:00:00.123", "SEVERE")


def test_the_access_log_is_taken_apart_as_the_log_agent_does() -> None:
    theirs, ours = groups("access", ACCESS), FORMATS["access"].parse(ACCESS)
    assert ours
    time = theirs.pop("time")
    assert time == "24/Nov/2026:13:00:00 +0100"
    assert {name: value for name, value in theirs.items() if value != "-"} == ours["httpRequest"] | {"status": "503"}
    nested = next(each for each in CONFIG["pipeline"]["filters"] if each["name"] == "nest")
    assert set(nested["wildcard"]) == set(theirs)


def test_a_record_begins_where_the_log_agents_does() -> None:
    begins, goes_on = (expression(rule["regex"]) for rule in CONFIG["multiline_parsers"][0]["rules"])
    for line in [*TOMCAT.splitlines(), "", "24-Nov-2026", " 24-Nov-2026 12:00:00.123 INFO"]:
        starts = FORMATS["tomcat"].starts(line.encode())
        assert (bool(begins.search(line)), bool(goes_on.search(line))) == (starts, not starts)


@pytest.mark.parametrize(
    ("level", "severity"),
    [
        ("SEVERE", "ERROR"),
        ("WARNING", "WARNING"),
        ("INFO", "INFO"),
        ("CONFIG", "NOTICE"),
        ("FINE", "DEBUG"),
        ("FINEST", "DEBUG"),
    ],
)
def test_levels_become_the_log_agents_severities(level: str, severity: str) -> None:
    said = level
    for each in CONFIG["pipeline"]["filters"]:
        _, _, condition = each.get("condition", "").partition(" severity ")
        if condition and re.search(condition, said):
            said = each["set"].removeprefix("severity ")
    ours = FORMATS["tomcat"].parse(f"24-Nov-2026 12:00:00.123 {level} [main] a.B.c text")
    assert ours
    assert said == ours["severity"] == severity
