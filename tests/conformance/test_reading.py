"""What the suite reads of processes and logs, where there is more of it, or less, than on a tidy machine."""

import http.server
import shlex
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from conformance import row_4c_alerts
from conformance.check import NotRun
from conformance.inside import Mount, processes, writable_folders
from conformance.target import Commands, Instance, Limits, Paths, Target, ask
from tests.support.prometheus import prometheus


def target(*instances: Instance, **commands: str) -> Target:
    paths = Paths("/", None, None, None, None, None, None, None)
    return Target(list(instances), paths, Commands(**commands), Limits(1, 1, 1, 1))


def test_many_folders_with_long_names_are_told(tmp_path: Path) -> None:
    """Not with more than a pipe holds, either."""
    for number in range(400):
        (tmp_path / f"{number:03}{'x' * 240}").mkdir()
    # A process of its own: ours may have the children of other tests, with other users' rights.
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        instance = Instance(1, "http://localhost", "", pid=str(process.pid))
        found = writable_folders(target(instance), instance, [Mount(str(tmp_path), "ext4", is_read_only=False)])
        process.kill()
    assert len(found) == 401


@pytest.mark.parametrize("engine", [f"{shlex.quote(sys.executable)} -c 'pass'", "false"])
def test_an_engine_that_shows_no_process_proves_nothing(engine: str) -> None:
    instance = Instance(1, "http://localhost", "")
    with pytest.raises(NotRun):
        processes(target(instance, inside=engine), instance)


def test_the_path_of_an_address_goes_before_every_route() -> None:
    """As behind an ingress that gives a service a prefix."""

    class Echo(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.path.encode())

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 -- its name in the class above
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            base = f"http://127.0.0.1:{server.server_address[1]}"
            assert ask(f"{base}/shop", "/health").text == "/shop/health"
            assert ask(base, "/health").text == "/health"
        finally:
            server.shutdown()
            thread.join(10)


def test_the_end_of_a_long_log_is_read_in_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last request stands at the end."""
    monkeypatch.setattr("conformance.target.MOST_LOG", 20)
    log = tmp_path / "log"
    log.write_bytes(b"one\n" * 10_000 + b"a line of some length\nthe last\n")
    named = Instance(1, "http://localhost", "", log=str(log))
    assert target(named).log(named) == b"the last\n"
    told = Instance(1, "http://localhost", "")
    assert target(told, log=f"cat {shlex.quote(str(log))}").log(told) == b"the last\n"
    log.write_bytes(b"all of it\n")
    assert target(named).log(named) == b"all of it\n"


def test_the_log_of_the_run_begins_with_it(tmp_path: Path) -> None:
    """Lines of an earlier life say nothing of the service that runs now; neither does half of a line."""
    log = tmp_path / "log"
    named = Instance(1, "http://localhost", "", log=str(log))
    told = Instance(2, "http://localhost", "")
    both = target(named, told, log=f"cat {shlex.quote(str(log))}")
    for earlier in (b"", b"plain text\n" * 1000, b"plain text\nhal"):
        log.write_bytes(earlier)
        both.mark_logs()
        with log.open("ab") as file:
            file.write(b"f a line\nplain text\n")
        begun = earlier.rpartition(b"\n")[2]
        assert [both.log_of_the_run(each) for each in (named, told)] == [begun + b"f a line\nplain text\n"] * 2
    log.write_bytes(b"another log, as of another pod\n")
    assert both.log_of_the_run(told) == b"another log, as of another pod\n"


def test_an_instance_that_was_found_a_moment_ago_is_waited_for(tmp_path: Path) -> None:
    """Not called up before Prometheus has seen it, nor its metrics missing."""
    rule = "groups: [{name: some, rules: [{alert: Late, expr: late == 1}]}]"
    scraped = threading.Event()

    class Late(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            scraped.wait(10)
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(b"late 1\n")

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 -- its name in the class above
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Late) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        answers = threading.Timer(1, scraped.set)
        try:
            with prometheus(tmp_path, f"127.0.0.1:{server.server_address[1]}", 2000, rule) as running:
                answers.start()
                asks = f"curl --silent --fail --globoff {running.url}"
                named = target(Instance(1, "http://localhost", ""), prometheus=asks)
                assert row_4c_alerts.instances_are_scraped(named) == "1 targets are up"
                assert scraped.is_set()
                assert row_4c_alerts.alerts_can_fire(named) == "1 alerts: Late"
        finally:
            answers.cancel()
            scraped.set()
            server.shutdown()
            thread.join(10)
