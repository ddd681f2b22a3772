"""``python -m conformance``: prove the practices on a running service.

Exit codes: 0 nothing is broken, 1 something is, or was required and not run, 2 wrong use (a command of the options
failed, nobody takes a connection, or nothing could be run), 130 interrupted.
"""

import argparse
import importlib
import json
import math
import pkgutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import conformance
from conformance import report
from conformance.check import ALL, Result, demand, run_checks
from conformance.http import Call
from conformance.options import build_parser, read_options
from conformance.rows import ROWS
from conformance.target import Beside, CommandFailed, Commands, Instance, Limits, Paths, Target, unreachable


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the options ask for. The exit code."""
    load_rows()
    parser = build_parser()
    try:
        options = read_options(parser, arguments)
        target = _target(options)
        only = _known("--only", "row", options.only, ROWS)
        required = _known("--require", "row or check", options.require, [*ROWS, *(check.name for check in ALL)])
        _reach(target)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    target.progress = progress = Progress(shown=not options.quiet)
    found: list[Result] = []
    given_up = ""
    try:
        found.extend(run_checks(target, only, target.progress))  # what came before an exception stays
    except KeyboardInterrupt:
        print("\ninterrupted: an instance or the store may be stopped still", file=sys.stderr)
        return 130
    except CommandFailed as error:
        given_up = target.hidden(str(error))
    results, missing = demand(report.in_order(found), required)
    progress.clear()
    print(report.table(results, details=options.details))
    if given_up:
        print(f"the run was given up, and the table ends early: {given_up}", file=sys.stderr)
        return 2
    if options.json:
        report.write_json(results, options.json)
    if options.junit:
        report.write_junit(results, options.junit)
    for sentence in missing:
        print(sentence, file=sys.stderr)
    statuses = {result.status for result in results}
    if statuses == {"not run"}:
        print("nothing was run, so nothing is proved", file=sys.stderr)
        return 2
    return 1 if "broken" in statuses or missing else 0


def load_rows() -> None:
    """Make the checks of every row known."""
    for module in pkgutil.iter_modules(conformance.__path__):
        if module.name.startswith("row_"):
            importlib.import_module(f"conformance.{module.name}")


def _target(options: argparse.Namespace) -> Target:
    bases = _list(options.base_url)
    if not bases:
        raise ValueError("give --base-url (make conform BASE_URL=http://localhost:8080)")
    for url in (*bases, *_list(options.ops_url), *filter(None, [options.exporter_url])):
        if not _is_address(url):
            raise ValueError(f"{url!r} is no address like http://localhost:8080")
    columns = {}
    for name in ("ops_url", "pid", "log"):
        columns[name] = _list(getattr(options, name)) or [""] * len(bases)
        if len(columns[name]) != len(bases):
            raise ValueError(f"--{name.replace('_', '-')} must have as many entries as --base-url")
    for flag, names in (("--log", columns["log"]), ("--agent-log", [options.agent_log])):
        for name in filter(None, names):
            if not Path(name).is_file():
                raise ValueError(f"{flag}: there is no file {name}")
    if any(pid and not pid.isdecimal() for pid in columns["pid"]):
        raise ValueError("--pid must be numbers; a command goes into --pid-command")
    instances = [
        Instance(number, base.rstrip("/"), ops.rstrip("/"), pid, log)
        for number, (base, ops, pid, log) in enumerate(zip(bases, *columns.values(), strict=True), 1)
    ]
    for name in ("notice", "grace", "start_seconds", "outage"):
        if not 0 <= getattr(options, name) < math.inf:  # nan is neither, and would be waited for without an end
            raise ValueError(f"--{name.replace('_', '-')} must be a number of seconds, not {getattr(options, name)}")
    for path in filter(None, (options.json, options.junit)):
        if not path.parent.is_dir():
            raise ValueError(f"there is no folder {path.parent}")
    secrets = [line for path in _list(options.secret_file) for line in Path(path).read_text().split()]
    if any(len(secret) < 6 for secret in secrets):
        raise ValueError("--secret-file: a secret of fewer than 6 characters would be found in words")
    return Target(
        instances,
        _paths(options),
        Commands(
            setup=options.setup_command,
            stop=options.stop_command,
            kill=options.kill_command,
            start=options.start_command,
            store_stop=options.store_stop_command,
            store_start=options.store_start_command,
            log=options.log_command,
            pid=options.pid_command,
            inside=options.exec_command,
            kubectl=options.kubectl_command,
            prometheus=options.prometheus_command,
        ),
        Limits(
            notice=options.notice,
            grace=options.grace,
            start=options.start_seconds,
            outage=options.outage,
        ),
        tuple(secrets),
        tuple(_list(options.writable)),
        options.visits_field,
        Beside(
            exporter=options.exporter_url.rstrip("/"),
            log=options.agent_log,
            ledger=_ledger(options.ledger_path),
            rotate=options.rotate_command,
        ),
    )


def _reach(target: Target) -> None:
    """ValueError where nobody takes a connection: then nothing can be said of any practice."""
    urls = {url for instance in target.instances for url in (instance.base, instance.platform)}
    for url in sorted({*urls, target.beside.exporter} - {""}):
        if why := unreachable(url):
            raise ValueError(f"nobody takes a connection at {url}: {why}")


def _is_address(url: str) -> bool:
    parts = urlsplit(url)
    try:
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # no port is like that
        return False


def _paths(options: argparse.Namespace) -> Paths:
    def path(name: str) -> str | None:
        value = str(getattr(options, name)).strip()
        if value and not value.startswith("/"):
            raise ValueError(f"--{name.replace('_', '-')}: {value!r} does not begin with /")
        return value or None

    def calls(name: str, method: str) -> list[Call]:
        try:
            return [Call.parse(line, method) for line in str(getattr(options, name)).splitlines() if line.strip()]
        except ValueError as error:
            raise ValueError(f"--{name.replace('_', '-')}: {error}") from None

    def call(name: str, method: str) -> Call | None:
        return next(iter(calls(name, method)), None)

    return Paths(
        home=path("home_path") or "/",
        health=path("health_path"),
        ready=path("ready_path"),
        metrics=path("metrics_path"),
        visits=call("visits_path", "POST"),
        sign_in=call("session_path", "PUT"),
        files=path("files_path"),
        failing=path("failing_path"),
        resource=_resource(call("resource_path", "POST")),
        setup=tuple(calls("setup", "POST")),
    )


def _resource(call: Call | None) -> Call | None:
    """ValueError where it can't make a document."""
    if call is not None:
        try:
            document = json.loads(call.body)
        except ValueError:
            document = None
        if call.method not in ("POST", "PUT") or not isinstance(document, dict):
            raise ValueError("--resource-path: give POST or PUT, a path, and the document, a JSON object")
    return call


def _ledger(path: str) -> str:
    if path and not (path.startswith("/") and "{from}" in path and "{to}" in path):
        raise ValueError(f"--ledger-path: {path!r} does not begin with / or lacks {{from}} or {{to}}")
    return path


def _known(flag: str, kind: str, text: str, known: Iterable[str]) -> list[str]:
    """The names in the list. ValueError where one is not known."""
    names = _list(text)
    for name in names:
        if name not in known:
            raise ValueError(f"{flag}: there is no {kind} {name!r}; the rows are {', '.join(ROWS)}")
    return names


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


class Progress:
    """What is going on, on stderr: on a terminal in one line, which the table then takes the place of."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._is_terminal = sys.stderr.isatty()

    def __call__(self, text: str) -> None:
        if self._shown and self._is_terminal:
            print(f"\r\x1b[K{text[:100]}", end="", file=sys.stderr, flush=True)
        elif self._shown:
            print(f"… {text}", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._shown and self._is_terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
