"""The suite is green on the service, and red on each broken twin in exactly the row that the twin breaks."""

import contextlib
import os
import re
import signal
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance import report
from conformance.__main__ import load_rows
from conformance.check import ALL, Result
from conformance.rows import BESIDE, NEEDS_A_CLUSTER, ROWS
from tests.conformance.scene import PASSWORD, Scene, can_isolate, scene
from tests.conformance.twins import TWINS, Twin
from tests.support.fleet import fleet, steady_port
from tests.support.gcs import create_bucket, fake_gcs
from tests.support.http import Visitor
from tests.support.practices import proved_by, rows_of_the_readme, titles
from tests.support.service import PROJECT, running_service

# Those beside an application that can't be changed are shown in tests/e2e/sidecars.
SEEN_FROM_OUTSIDE = set(ROWS) - set(NEEDS_A_CLUSTER) - set(BESIDE)
USUAL = PROJECT / "tests" / "conformance" / "twins" / "usual_flask.py"
NEEDS_ISOLATION = {"2d", "6a", "6c"} if not can_isolate() else set()

# Checks that no twin was made for, red on services that break many.
RED_ON_THE_USUAL = {
    "2b.sessions_survive",
    "2d.nothing_can_be_written",
    "4a.metrics_can_be_read",
    "6a.capabilities_are_dropped",
    "session.cookie_is_same_site",
    "session.cookie_is_secure",
}
CARELESS = Twin("careless", breaks="", says="", module="careless", shell=f"exec {{command}} {PASSWORD}")
RED_ON_THE_CARELESS = {
    "1a.fields_are_there",
    "1a.lines_are_short",
    "1a.requests_are_logged",
    "2e.own_secrets_are_no_arguments",
    "2e.own_secrets_are_not_logged",
    "2e.own_secrets_are_not_served",
    "5a.it_recovers",
    "5a.liveness_is_there",
    "session.ids_are_random",
    "session.planted_ids_are_refused",
}
RED_BESIDE_TWINS = {
    "1a.nothing_is_forged": "log as format string",
    "2a.state_survives": "files in each replica's folder",
}
RED_ON_THE_HOSTILE = "5b.readiness_is_there"


@pytest.fixture(scope="module")
def object_store() -> Iterator[str]:
    """One for all tests; each has a prefix of its own."""
    with tempfile.TemporaryDirectory() as folder, fake_gcs(Path(folder)) as url:
        create_bucket(url, "files")
        yield url


def test_one_command_proves_what_can_be_shown_here() -> None:
    """``make prove``: nothing is broken, and what is not run is only what can't be shown on a machine."""
    environ = {name: value for name, value in os.environ.items() if name != "ROWS"}
    done = subprocess.run(
        [sys.executable, "-m", "scripts.prove"], cwd=PROJECT, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    some = subprocess.run(
        [sys.executable, "-m", "scripts.prove"],
        cwd=PROJECT, env=environ | {"ROWS": "5b"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert some.returncode == 0
    assert len(some.stdout) < len(done.stdout)


def test_ours_is_green(tmp_path: Path, object_store: str) -> None:
    # A worker that is killed leaves its metrics' files behind; here they go with the folder.
    second = {"WEB_CONCURRENCY": "2", "PROMETHEUS_MULTIPROC_DIR": "{folder}/metrics"}
    with scene(tmp_path, object_store, second=second) as ours:
        with ours.fleet.log("1").open("a") as log:
            log.write("a plain line of an earlier life\n")
        run = ours.conform()
    print(run.table)
    assert run.rows("broken") == set(), run.table
    assert run.rows("not run") <= set(NEEDS_A_CLUSTER) | set(BESIDE) | NEEDS_ISOLATION | (
        {"2e"} if NEEDS_ISOLATION else set()
    )
    assert run.rows("ok") == SEEN_FROM_OUTSIDE - NEEDS_ISOLATION
    assert run.code == 0


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.name.replace(" ", "-"))
def test_a_twin_is_red_where_it_is_broken(tmp_path: Path, object_store: str, twin: Twin) -> None:
    if twin.isolation and not can_isolate():
        pytest.skip("needs root and mount namespaces, to run the service as a container would")
    with scene(tmp_path, object_store, twin) as broken:
        run = broken.conform()
    print(run.table)
    assert run.rows("broken") == {twin.row}, run.table
    assert twin.breaks in run.red
    assert {name for name, of in RED_BESIDE_TWINS.items() if of == twin.name} <= run.red
    assert twin.says in run.broken(twin.row)
    assert run.code == 1


def test_the_careless_is_red_in_each_check_that_no_twin_breaks(tmp_path: Path, object_store: str) -> None:
    with scene(tmp_path, object_store, CARELESS) as careless:
        run = careless.conform("--only=1a,2e,5a,session")
    print(run.table)
    needs_pid = {"2e.own_secrets_are_no_arguments"}
    assert run.red >= RED_ON_THE_CARELESS - (needs_pid if NEEDS_ISOLATION else set()), run.table
    assert PASSWORD not in run.table


def test_each_check_is_seen_red_somewhere() -> None:
    """One that can't fail proves nothing."""
    load_rows()
    red = {twin.breaks for twin in TWINS} | RED_ON_THE_USUAL | RED_ON_THE_CARELESS | RED_BESIDE_TWINS.keys()
    assert red | {RED_ON_THE_HOSTILE} == {check.name for check in ALL if check.row in SEEN_FROM_OUTSIDE}


def test_the_documents_name_each_row_and_where_it_is_proved() -> None:
    assert titles() == ROWS
    assert rows_of_the_readme() == set(ROWS)
    assert proved_by("make test-practices") == SEEN_FROM_OUTSIDE


def test_a_service_that_is_not_ours_gets_a_table_to_work_from(tmp_path: Path) -> None:
    with fleet(tmp_path) as processes:
        port = steady_port()
        environ = {"PATH": os.environ["PATH"], "PORT": str(port), "UPLOADS": str(tmp_path / "uploads")}
        processes.add("1", [sys.executable, str(USUAL)], port=port, environ=environ)
        run = Scene(
            processes,
            [port],
            [
                f"--base-url=http://127.0.0.1:{port}",
                "--visits-path=POST /visit",
                "--visits-field=count",
                "--session-path=POST /login user=Ada",
                "--files-path=/files",
                f"--stop-command={processes.command('stop', '{instance}')}",
                f"--kill-command={processes.command('kill', '{instance}')}",
                f"--start-command={processes.command('start', '{instance}')}",
                f"--log={processes.log('1')}",
                f"--pid-command=cat {tmp_path}/{{instance}}.pid",
                "--ready-path=",
                "--notice=1",
                "--grace=5",
            ],
        ).conform()
    print(run.table)
    assert run.code == 1
    assert run.rows("broken") >= {"1a", "2b", "2d", "2e", "4a", "session", "stop"}
    assert run.red >= RED_ON_THE_USUAL
    assert "log JSON for everything" in run.broken("1a")
    assert "visit 2 was counted as 1" in run.broken("2b")
    assert "keep sessions in Redis or Memcached" in run.broken("2b")
    assert "what was sent in the query" in run.broken("2e")
    assert "without SameSite" in run.broken("session")
    assert "keep the listener open" in run.broken("stop")
    not_run = {check["check"]: check["saw"] for check in run.checks if check["status"] == "not run"}
    assert "--base-url" in not_run["2b.sessions_are_shared"]
    assert "--ready-path" in not_run["5b.readiness_can_fail"]


def test_the_table_has_one_line_a_row_and_details_where_they_are_asked_for() -> None:
    """The words of the table and of the total are the same, and what is broken is always told."""
    results = [
        Result("2a", "2a.one", "One thing.", "ok", "one"),
        Result("2a", "2a.other", "Another thing.", "not run", "give --other"),
        Result("2b", "2b.bad", "A third.", "broken", "the sky", do="mend it"),
        Result("2b", "2b.good", "A fourth.", "ok", "four"),
        Result("7", "7.none", "A fifth.", "not run", "give --fifth"),
    ]
    assert report.table(results, details=False).splitlines() == [
        f"ok       2a       {ROWS['2a']} (1 ok, 0 BROKEN, 1 not run)",
        f"BROKEN   2b       {ROWS['2b']} (1 ok, 1 BROKEN, 0 not run)",
        "  BROKEN   A third.",
        "            saw: the sky",
        "            do:  mend it",
        f"not run  7        {ROWS['7']}: give --fifth",
        "",
        "2 ok, 1 BROKEN, 2 not run",
    ]
    details = report.table(results, details=True)
    for words in (
        "  ok       One thing.",
        "saw: one",
        "  not run  Another thing.",
        "give --other",
        "1 BROKEN, 2 not run",
    ):
        assert words in details


def test_what_is_not_given_is_not_run_and_wrong_use_is_told(tmp_path: Path) -> None:
    def conform(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "conformance", "--details", *options]
        return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=60)

    with running_service(tmp_path, module="service", COOKIE_SECURE="true") as service:
        with Visitor(service.app_url) as visitor:
            visitor.get("/")  # counted, but no visit
        junit = tmp_path / "junit.xml"
        done = conform("--base-url", service.app_url, "--ops-url", service.ops_url, "--junit", str(junit))
        nothing = conform("--base-url", service.app_url, "--only", "7")
        routes = ("--visits-path", "/visit", "--files-path", "/uploads", "--session-path", "/")
        wrong = conform("--base-url", service.app_url, "--ops-url", service.ops_url, *routes)
        required = conform(
            *(
                "--base-url",
                service.app_url,
                "--ops-url",
                service.ops_url,
                *routes,
                "--junit",
                str(tmp_path / "required"),
            ),
            *("--only", "5a,session", "--require", "2b,5a,session,5a.it_recovers"),
        )
        commands = ("--stop-command", "no-such-engine stop", "--start-command", "true", "--notice", "1")
        failed = conform("--base-url", service.app_url, "--ops-url", service.ops_url, "--only", "5a,stop", *commands)
    assert done.returncode == 0, done.stdout
    assert (nothing.returncode, "nothing was run" in nothing.stderr) == (2, True)
    assert wrong.returncode == 0, wrong.stdout  # a route that is not there is no broken practice
    for words in ("POST /visit gets 404: give --visits-path", "PUT / gets 405: give --session-path"):
        assert words in wrong.stdout
    assert (required.returncode, "0 BROKEN" in required.stdout) == (1, True), required.stderr
    told = [line for line in required.stderr.splitlines() if not line.startswith("…")]
    assert told == [
        (
            "session is required, but was not run: POST /visit gets 404: give --visits-path; "
            "PUT / gets 405: give --session-path"
        ),
        (
            "5a.it_recovers is required, but was not run: give --store-stop-command and --store-start-command; "
            "POST /visit gets 404: give --visits-path"
        ),
    ], "and 2b was left out by --only"
    failures = ET.parse(tmp_path / "required").getroot().findall("testcase/failure/..")
    assert {case.get("name", "").partition(".")[0] for case in failures} == {"session", "5a"}
    assert "give --log or --log-command" in done.stdout
    suite = ET.parse(junit).getroot()
    assert suite.get("failures") == "0"
    assert int(suite.get("skipped") or 0) == len(suite.findall("testcase/skipped")) > 10
    assert failed.returncode == 2, failed.stdout
    assert re.search("given up.*exit code 127: no-such-engine stop: .*not found", failed.stderr)
    assert "ok       Liveness responds with 200" in failed.stdout, "what was found before is told"
    assert "0 BROKEN" in failed.stdout
    for options, words in (
        ((), "give --base-url"),
        (("--base-url", "http://localhost", "--json", "/nowhere/report"), "there is no folder /nowhere"),
        (("--base-url", "localhost:80"), "is no address"),
        (("--base-url", "http://localhost", "--only", "9z"), "there is no row '9z'"),
        (("--base-url", "http://localhost", "--require", "9z"), "--require: there is no row or check '9z'"),
        (("--base-url", "http://localhost", "--log", "/nowhere"), "there is no file /nowhere"),
        (("--base-url", "http://localhost", "--files-path", "files"), "does not begin with /"),
        (("--base-url", "http://localhost", "--notice", "soon"), "invalid float value: 'soon'"),
        (("--base-url", "http://localhost", "--grace", "nan"), "--grace must be a number of seconds, not nan"),
        (("--base-url", "http://localhost", "--outage", "-1"), "--outage must be a number of seconds, not -1.0"),
        (("--base-url", "http://localhost:99999"), "is no address"),
        (("--base-url", "http://localhost", "--stop", "true"), "unrecognized arguments"),
        (
            ("--base-url", service.app_url),
            f"nobody takes a connection at {service.app_url}: the connection was refused",
        ),
    ):
        done = conform(*options)
        assert (done.returncode, words in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize("manner", ["silent", "dripping", "endless", "nonsense"])
def test_a_hostile_service_is_red_and_ends(tmp_path: Path, manner: str) -> None:
    """Whatever answers there, no check waits for ever or takes memory without end."""
    load_rows()
    with hostile_server(manner) as url:
        command = [sys.executable, "-m", "conformance", "--base-url", url, "--only", "5b"]
        started = time.monotonic()
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert f"BROKEN   {next(check.proves for check in ALL if check.name == RED_ON_THE_HOSTILE)}" in done.stdout
    assert time.monotonic() - started < 20


@contextlib.contextmanager
def hostile_server(manner: str) -> Iterator[str]:
    """A server that answers everybody in a bad manner."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                self.request.recv(65536)
                match manner:
                    case "silent":
                        over.wait(60)
                    case "dripping":
                        while not over.wait(0.1):
                            self.request.sendall(b"H")
                    case "endless":
                        self.request.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                        while not over.is_set():
                            self.request.sendall(b"x" * 65536)
                    case _:
                        self.request.sendall(b"\xff\x00\x1b[31m not HTTP\r\n\r\n")

    over = threading.Event()
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            over.set()
            server.shutdown()
            thread.join(10)


def test_ctrl_c_ends_it_without_a_stack_trace() -> None:
    with hostile_server("silent") as url:
        # In a shell's background the signal is ignored, and would be here too.
        command = ["env", "--default-signal=INT", sys.executable, "-m", "conformance", "--base-url", url]
        process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stderr is not None
        with process:
            process.stderr.readline()  # it is at work
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert b"interrupted" in errors
    assert b"Traceback" not in errors
