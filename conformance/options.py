"""The options of ``python -m conformance``: from the command line, the environment, or a file of the service's own."""

import argparse
import difflib
import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

OWN_FILE, SHARED_FILE = Path("conformance.toml"), Path("pyproject.toml")
# In the file they may be lists; elsewhere this is between their parts.
LISTS = dict.fromkeys(("base_url", "ops_url", "only", "require", "log", "pid", "secret_file", "writable"), ",")
LISTS["setup"] = "\n"
KINDS = {bool: ((bool,), "true or false"), float: ((int, float), "a number")}  # of TOML, by the default's; else strings

EPILOG = """
Every option may be given in the environment too, as make does: BASE_URL for --base-url, STOP_COMMAND for
--stop-command. And in a file, conformance.toml in the current folder or [tool.conformance] of pyproject.toml there:
base_url = "http://localhost:8080". The command line wins over the environment, and that over the file.

In commands {instance} stands for the number of the instance, from 1, in the order of --base-url. An empty path says
that the service has no such thing.

What a check lacks is said in its place in the table: "not run" is never "ok".

  python -m conformance --base-url http://localhost:8080 --ops-url http://localhost:9090
  python -m conformance --base-url http://localhost:8081,http://localhost:8082 \\
      --stop-command 'docker stop --time 60 app-{instance}' --kill-command 'docker kill app-{instance}' \\
      --start-command 'docker start app-{instance}' --log-command 'docker logs app-{instance} 2>&1' \\
      --store-stop-command 'docker stop redis' --store-start-command 'docker start redis' \\
      --pid-command "docker inspect -f '{{.State.Pid}}' app-{instance}"
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m conformance",
        usage="%(prog)s --base-url URL [option …]",  # before an error, all forty would hide its sentence
        allow_abbrev=False,  # half a name may be another option's tomorrow
        description="Prove from outside how a container is operated, on any service that serves HTTP.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def group(title: str, kind: type = str, **options: tuple[str, str]) -> None:
        inner = parser.add_argument_group(title)
        for name, (default, meaning) in options.items():
            shown = f"{meaning} [{default}]" if default else meaning
            value = os.environ.get(name.upper(), default)
            inner.add_argument(_flag(name), type=kind, default=value, help=shown, metavar="…")

    group(
        "the service",
        base_url=("", "where visitors find it; several instances with commas"),
        ops_url=("", "where the platform finds health and metrics, in the same order; the base URL where not given"),
        only=("", "only these rows, with commas: 1a,2b,session"),
        require=("", "of these, rows that may not be 'not run', or single checks: 1a,2b.sessions_survive"),
    )
    group(
        "before all else; where it fails the run ends",
        setup_command=("", "a command: create a tenant"),
        setup=("", "requests, one a line: 'POST /login user=Ada'; its cookies go with what is stored"),
    )
    group(
        "its routes",
        home_path=("/", "a page that needs no store"),
        visits_path=("POST /api/session/visits", "counts a visitor's visits, and says the number"),
        visits_field=("visits", "the number's name in the JSON response; else the first number in it counts"),
        session_path=('PUT /api/session {"name": "Ada"}', "signs a visitor in"),
        files_path=("/api/files", "files are put and read below it"),
        resource_path=("", """makes a JSON document: 'POST /notes {"text": "{unique}"}', or PUT /notes/{unique}"""),
        health_path=("/health", "liveness"),
        ready_path=("/ready", "readiness"),
        metrics_path=("/metrics", "metrics"),
        failing_path=("", "raises an exception; have it in a test build only"),
    )
    group(
        "what may be done with it",
        stop_command=("", "ends an instance with SIGTERM, as the platform does, and returns best when it is gone"),
        kill_command=("", "ends it without a word, with SIGKILL"),
        start_command=("", "starts it again, at the same address, and returns"),
        store_stop_command=("", "stops the session store"),
        store_start_command=("", "starts it again"),
        log=("", "files with what the instances wrote to stdout, with commas"),
        log_command=("", "prints an instance's log"),
        pid=("", "process ids on this machine, with commas"),
        pid_command=("", "prints an instance's process id"),
        exec_command=("", "runs what follows it inside of the container: 'kubectl exec app-{instance} --'"),
        kubectl_command=("", "kubectl in the service's namespace: 'kubectl --namespace seatrial'"),
        prometheus_command=(
            "",
            "prints Prometheus' response for the path that is put to its end: 'curl -s http://…'",
        ),
        secret_file=("", "files with secrets that the service was given, one a line, with commas"),
        writable=("", "paths that are meant to be written, with commas: /data"),
    )
    group(
        "what stands beside an application that can't be changed",
        exporter_url=("", "where the exporter of its metrics listens"),
        agent_log=("", "a file with what the log agent wrote to stdout"),
        ledger_path=("", "logs the lines 'ledger N': '/log?from={from}&to={to}', N up to but not including {to}"),
        rotate_command=("", "rotates the log files of the application"),
    )
    group(
        "patience, in seconds",
        float,
        notice=("3", "how long the platform may still send requests after a stop; less than the service's delay"),
        grace=("40", "how long it may take to end"),
        start_seconds=("60", "how long it may take to start"),
        outage=("10", "how long the store is stopped"),
    )
    group("the file", config=("", f"where these options stand, if not in {OWN_FILE} or {SHARED_FILE}"))
    output = parser.add_argument_group("output")
    for name, meaning in (("json", "write the results as JSON"), ("junit", "write them as JUnit XML")):
        default = os.environ.get(name.upper()) or None
        output.add_argument(_flag(name), type=Path, default=default, help=meaning, metavar="FILE")
    for name, meaning in (("details", "show every check, not one line a row"), ("quiet", "say nothing while it runs")):
        is_set = os.environ.get(name.upper(), "0") not in ("", "0")
        output.add_argument(_flag(name), action="store_true", default=is_set, help=meaning)
    return parser


def read_options(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """What the command line says, else the environment, else the file, else the default.

    ValueError or OSError where the file can't be right; each names what is wrong. The parser exits by itself.
    """
    config = parser.parse_args(arguments).config
    known = vars(parser.parse_args([]))
    found = _in_file(known, *_table(config))
    parser.set_defaults(**{name: value for name, value in found.items() if name.upper() not in os.environ})
    return parser.parse_args(arguments)


def _table(config: str) -> tuple[Path, dict[str, Any]]:
    """The file, and the options in it as they stand there."""
    if config:
        path = Path(config)
        table = _shared_table(path) if path.name == SHARED_FILE.name else _toml(path)
        if table is None:
            raise ValueError(f"{path}: there is no [tool.conformance]")
        return path, table
    own = _toml(OWN_FILE) if OWN_FILE.exists() else None
    shared = _shared_table(SHARED_FILE) if SHARED_FILE.exists() else None
    if own is not None and shared is not None:
        raise ValueError(f"options stand in {OWN_FILE} and in {SHARED_FILE}: keep one of them, or name it in --config")
    return (SHARED_FILE, shared) if shared is not None else (OWN_FILE, own or {})


def _shared_table(path: Path) -> dict[str, Any] | None:
    tool = _toml(path).get("tool", {})
    name, table = ("tool.conformance", tool.get("conformance")) if isinstance(tool, dict) else ("tool", tool)
    if table is not None and not isinstance(table, dict):
        raise ValueError(f"{path}: {name} is not a table")
    return table


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _in_file(known: dict[str, Any], path: Path, table: dict[str, Any]) -> dict[str, Any]:
    """The options of the file in the form in which the environment has them; ``known`` has the defaults."""
    found = {}
    for name, value in table.items():
        if name not in known or name == "config":
            close = difflib.get_close_matches(name, known, 1)
            raise ValueError(f"{path}: there is no option {name!r}" + (f"; is it {close[0]!r}?" if close else ""))
        if name in LISTS and isinstance(value, list) and all(isinstance(part, str) for part in value):
            value = LISTS[name].join(value)  # noqa: PLW2901 -- from here on the two forms are one
        types, must_be = KINDS.get(type(known[name]), ((str,), "a string"))
        if type(value) not in types:
            raise ValueError(f"{path}: {name!r} must be {must_be}{' or a list of strings' if name in LISTS else ''}")
        found[name] = value
    return found


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
