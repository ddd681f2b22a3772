"""``python -m conformance``: prove the practices on a running service.

Exit codes: 0 nothing is broken, 1 something is, 2 wrong use (a command of the options failed, nobody takes a
connection, or nothing could be run), 130 interrupted.
"""

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import conformance
from conformance import report
from conformance.check import Result, run_checks
from conformance.http import Call
from conformance.rows import ROWS
from conformance.target import Beside, CommandFailed, Commands, Instance, Limits, Paths, Target, unreachable

EPILOG = """
Every option may be given in the environment too, as make does: BASE_URL for --base-url, STOP_COMMAND for
--stop-command. In commands {instance} stands for the number of the instance, from 1, in the order of --base-url. An
empty path says that the service has no such thing.

What a check lacks is said in its place in the table: "not run" is never "passed".

  python -m conformance --base-url http://localhost:8080 --ops-url http://localhost:9090
  python -m conformance --base-url http://localhost:8081,http://localhost:8082 \\
      --stop-command 'docker stop --time 60 app-{instance}' --kill-command 'docker kill app-{instance}' \\
      --start-command 'docker start app-{instance}' --log-command 'docker logs app-{instance} 2>&1' \\
      --store-stop-command 'docker stop redis' --store-start-command 'docker start redis' \\
      --pid-command "docker inspect -f '{{.State.Pid}}' app-{instance}"
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the options ask for. The exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        target = _target(options)
        only = _only(options.only)
        _reach(target)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    target.progress = progress = Progress(shown=not options.quiet)
    load_rows()
    found: list[Result] = []
    given_up = ""
    try:
        found.extend(run_checks(target, only, target.progress))  # what came before an exception stays
    except KeyboardInterrupt:
        print("\ninterrupted: an instance or the store may be stopped still", file=sys.stderr)
        return 130
    except CommandFailed as error:
        given_up = target.hidden(str(error))
    results = report.in_order(found)
    progress.clear()
    print(report.table(results, details=options.details))
    if given_up:
        print(f"the run was given up, and the table ends early: {given_up}", file=sys.stderr)
        return 2
    if options.json:
        report.write_json(results, options.json)
    if options.junit:
        report.write_junit(results, options.junit)
    statuses = {result.status for result in results}
    if statuses == {"not run"}:
        print("nothing was run, so nothing is proved", file=sys.stderr)
        return 2
    return 1 if "broken" in statuses else 0


def load_rows() -> None:
    """Make the checks of every row known."""
    for module in pkgutil.iter_modules(conformance.__path__):
        if module.name.startswith("row_"):
            importlib.import_module(f"conformance.{module.name}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m conformance",
        allow_abbrev=False,  # half a name may be another option's tomorrow
        description="Prove from outside how a container is operated, on any service that serves HTTP.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def group(title: str, **options: tuple[str, str]) -> None:
        inner = parser.add_argument_group(title)
        for name, (default, meaning) in options.items():
            shown = f"{meaning} [{default}]" if default else meaning
            flag = f"--{name.replace('_', '-')}"
            inner.add_argument(flag, default=os.environ.get(name.upper(), default), help=shown, metavar="…")

    group(
        "the service",
        base_url=("", "where visitors find it; several instances with commas"),
        ops_url=("", "where the platform finds health and metrics, in the same order; the base URL where not given"),
        only=("", "only these rows, with commas: 1a,2b,session"),
    )
    group(
        "its routes",
        home_path=("/", "a page that needs no store"),
        visits_path=("POST /api/session/visits", "counts a visitor's visits, and says the number"),
        visits_field=("visits", "the number's name in the JSON response; else the first number in it counts"),
        session_path=('PUT /api/session {"name": "Ada"}', "signs a visitor in"),
        files_path=("/api/files", "files are put and read below it"),
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
        notice=("3", "how long the platform may still send requests after a stop; less than the service's delay"),
        grace=("40", "how long it may take to end"),
        start_seconds=("60", "how long it may take to start"),
        outage=("10", "how long the store is stopped"),
    )
    output = parser.add_argument_group("output")
    output.add_argument(
        "--details",
        action="store_true",
        default=bool(os.environ.get("DETAILS")),
        help="show every check, not one line a row",
    )
    output.add_argument("--json", type=Path, metavar="FILE", default=_path("JSON"), help="write the results as JSON")
    output.add_argument("--junit", type=Path, metavar="FILE", default=_path("JUNIT"), help="write them as JUnit XML")
    output.add_argument("--quiet", action="store_true", help="say nothing while it runs")
    return parser


def _path(name: str) -> Path | None:
    return Path(os.environ[name]) if os.environ.get(name) else None


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
            notice=float(options.notice),
            grace=float(options.grace),
            start=float(options.start_seconds),
            outage=float(options.outage),
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

    def call(name: str, method: str) -> Call | None:
        value = str(getattr(options, name)).strip()
        return Call.parse(value, method) if value else None

    return Paths(
        home=path("home_path") or "/",
        health=path("health_path"),
        ready=path("ready_path"),
        metrics=path("metrics_path"),
        visits=call("visits_path", "POST"),
        sign_in=call("session_path", "PUT"),
        files=path("files_path"),
        failing=path("failing_path"),
    )


def _ledger(path: str) -> str:
    if path and not (path.startswith("/") and "{from}" in path and "{to}" in path):
        raise ValueError(f"--ledger-path: {path!r} does not begin with / or lacks {{from}} or {{to}}")
    return path


def _only(text: str) -> list[str]:
    rows = _list(text)
    unknown = [row for row in rows if row not in ROWS]
    if unknown:
        raise ValueError(f"--only: there is no row {unknown[0]!r}; there are {', '.join(ROWS)}")
    return rows


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
