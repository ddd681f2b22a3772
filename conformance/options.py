"""The options of ``python -m conformance``, and their places in the environment."""

import argparse
import os
from pathlib import Path

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


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m conformance",
        allow_abbrev=False,  # half a name may be another option's tomorrow
        description="Prove from outside how a container is operated, on any service that answers HTTP.",
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
        visits_field=("visits", "the number's name in the JSON answer; else the first number in it counts"),
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
            "prints what Prometheus answers at the path that is put to its end: 'curl -s http://…'",
        ),
        secret_file=("", "files with secrets that the service was given, one a line, with commas"),
        writable=("", "paths that are meant to be written, with commas: /data"),
    )
    group(
        "what stands beside an application that can't be changed",
        exporter_url=("", "where the exporter of its metrics answers"),
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
