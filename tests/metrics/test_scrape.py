"""Metrics as a real Prometheus gets them, of one process and of several, some of which were killed."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.metrics.registry import Metrics
from service.settings import load
from tests.support.processes import read_line
from tests.support.prometheus import check_metrics, prometheus

ROOT = Path(__file__).parents[2]
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
COUNT = "http_server_request_duration_seconds_count"


def full(metrics: Metrics) -> None:
    """Every metric has a series."""
    metrics.serving()
    metrics.set_dependency("sessions", up=True)
    metrics.operation("sessions", "redis", "read", "ok", 0.001)
    metrics.log_records("INFO", 1)
    metrics.session_hits.inc()
    metrics.stored_in.inc(5)
    metrics.request("GET", "/x", 200, is_transfer=False, seconds=0.2, received=1, sent=2, trace_id=TRACE)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(load({"SESSION_URL": "memory://", "STORAGE_URL": "file:///tmp"}))


def test_promtool_finds_nothing(metrics: Metrics) -> None:
    full(metrics)
    assert check_metrics(metrics.render()[1]) == ""


def test_an_exemplar_arrives_in_prometheus(metrics: Metrics, tmp_path: Path) -> None:
    class Quiet(WSGIRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class's name
            """Nothing."""

    def app(environ: dict[str, str], start_response: object) -> Iterator[bytes]:
        content_type, body = metrics.render(environ.get("HTTP_ACCEPT", ""))
        start_response("200 OK", [("Content-Type", content_type)])  # type: ignore[operator] # WSGI
        yield body

    full(metrics)
    server = make_server("127.0.0.1", 0, app, handler_class=Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with prometheus(tmp_path, f"127.0.0.1:{server.server_port}") as server_of_metrics:
            [series] = server_of_metrics.wait_for(COUNT)
            assert series["metric"]["http_route"] == "/x"
            assert series["value"][1] == "1"
            [found] = server_of_metrics.exemplars("http_server_request_duration_seconds_bucket")
            assert found["seriesLabels"]["le"] == "0.25"
            assert found["exemplars"][0]["labels"] == {"trace_id": TRACE}
            assert server_of_metrics.query("up")[0]["value"][1] == "1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Parent:
    """A process that forks workers and renders; it is told what to do line by line."""

    CODE = """
    import os, sys
    from service.settings import load
    from service.metrics.multiprocess import prepare_multiprocess
    settings = load({"SESSION_URL": "memory://", "STORAGE_URL": "file:///tmp", "WEB_CONCURRENCY": "4", "THREADS": "3"})
    folder = prepare_multiprocess(settings)
    from prometheus_client.multiprocess import mark_process_dead
    from service.metrics.registry import Metrics
    shown = Metrics(settings)

    def work():
        metrics = Metrics(settings)
        metrics.serving()
        metrics.active.inc()
        metrics.set_dependency("sessions", up=os.getpid() % 2 == 0)
        for n in range(101):
            kind = ("GET", f"/route-{n % 7}", 200 + n % 3)
            metrics.request(*kind, is_transfer=False, seconds=0.001 * n, received=n, sent=2, trace_id=None)
            metrics.operation("sessions", "redis", "read", "ok", 0.001)
        os.write(ready, b"x")
        os.read(go_on, 1)
        metrics.active.dec()
        os._exit(0)

    print(folder, flush=True)
    workers = {}
    for line in sys.stdin:
        what, _, who = line.strip().partition(" ")
        if what == "start":
            wait, ready = os.pipe()
            go_on, let_go = os.pipe()
            pid = os.fork()
            if pid == 0:
                for inherited in (let_go, *workers.values()):
                    os.close(inherited)
                work()
            os.close(ready)
            os.close(go_on)
            assert os.read(wait, 1) == b"x"
            os.close(wait)
            workers[pid] = let_go
            print(pid, flush=True)
        elif what == "kill":
            os.kill(int(who), 9)
            os.close(workers.pop(int(who)))
            os.waitpid(int(who), 0)
            print("dead", flush=True)
        elif what == "reap":
            mark_process_dead(int(who))
            print("reaped", flush=True)
        elif what == "end":
            os.close(workers.pop(int(who)))
            os.waitpid(int(who), 0)
            mark_process_dead(int(who))
            print("ended", flush=True)
        elif what == "render":
            text = shown.render()[1]
            print(len(text), flush=True)
            sys.stdout.buffer.write(text)
            sys.stdout.buffer.flush()
    """

    def __init__(self, **environment: str) -> None:
        variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment}
        command = [sys.executable, "-c", textwrap.dedent(self.CODE)]
        self.process = subprocess.Popen(
            command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self.folder = Path(self._line())
        self.pids: list[str] = []

    def _line(self) -> str:
        assert self.process.stdout
        return read_line(self.process.stdout.fileno(), seconds=60).decode().strip()

    def tell(self, what: str) -> str:
        assert self.process.stdin
        self.process.stdin.write(f"{what}\n".encode())
        return self._line()

    def start(self, count: int) -> None:
        self.pids += [self.tell("start") for _ in range(count)]

    def text(self) -> bytes:
        assert self.process.stdout
        left, text = int(self.tell("render")), b""
        while left > len(text):
            text += self.process.stdout.read(left - len(text))
        return text

    def values(self) -> dict[str, float]:
        """The sum of each metric's samples."""
        sums: dict[str, float] = {}
        for family in text_string_to_metric_families(self.text().decode()):
            for sample in family.samples:
                if not sample.name.endswith("_bucket"):
                    sums[sample.name] = sums.get(sample.name, 0) + sample.value
        return sums

    def files(self) -> set[str]:
        return {path.name for path in self.folder.glob("*.db")}

    def close(self) -> None:
        """End the workers that are left and the process itself."""
        assert self.process.stdin
        assert self.process.stdout
        try:
            for pid in self.pids:
                self.tell(f"end {pid}")
            self.process.stdin.close()
            assert self.process.wait(30) == 0
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()


@pytest.fixture
def parent() -> Iterator[Parent]:
    made = Parent()
    try:
        yield made
    finally:
        made.close()


def assert_counts(values: dict[str, float], *, lived: int, living: int) -> None:
    assert values[COUNT] == 101 * lived
    assert values["http_server_request_body_bytes_total"] == sum(range(101)) * lived
    assert values["http_server_response_body_bytes_total"] == 202 * lived
    assert values["dependency_operation_duration_seconds_count"] == 101 * lived
    assert values["http_server_request_duration_seconds_sum"] == pytest.approx(sum(range(101)) * 0.001 * lived)
    assert values["http_server_active_requests"] == values["server_threads_busy"] == living
    assert values["server_threads"] == 3 * living
    assert values["server_transfers"] == living
    assert values["process_start_time_seconds"] > 1_600_000_000
    assert values["process_resident_memory_bytes"] > 1_000_000


def test_the_counts_of_four_processes_are_one_sum(parent: Parent) -> None:
    parent.start(4)
    assert_counts(parent.values(), lived=4, living=4)
    text = parent.text()
    assert b"build_info{" in text
    assert b"python_info{" in text
    assert b'dependency_up{dependency="sessions"} 0.0' in text or len({int(pid) % 2 for pid in parent.pids}) == 1
    assert check_metrics(text) == ""


def test_the_counts_stay_when_processes_are_killed_and_replaced(parent: Parent) -> None:
    parent.start(4)
    lived = 4
    for _ in range(5):
        killed, parent.pids = parent.pids[:2], parent.pids[2:]
        for pid in killed:
            parent.tell(f"kill {pid}")
            assert parent.values()[COUNT] == 101 * lived  # also before anybody has noticed
            parent.tell(f"reap {pid}")
        parent.start(2)
        lived += 2
        assert_counts(parent.values(), lived=lived, living=4)
    ended, parent.pids = parent.pids[0], parent.pids[1:]
    parent.tell(f"end {ended}")
    assert_counts(parent.values(), lived=lived, living=3)


def test_a_worker_that_died_leaves_half_a_mebibyte_at_most(parent: Parent) -> None:
    """docs/decisions/0010-json-logs-and-prometheus.md says what that costs. Its gauges of living processes are gone."""
    parent.start(1)
    pid = parent.pids.pop()
    parent.tell(f"kill {pid}")
    parent.tell(f"reap {pid}")
    left = list(parent.folder.glob(f"*_{pid}.db"))
    assert {path.name for path in left} == {f"counter_{pid}.db", f"histogram_{pid}.db"}
    assert sum(path.stat().st_size for path in left) <= 512 * 1024


def test_reaping_twice_or_somebody_unknown_changes_nothing(parent: Parent) -> None:
    parent.start(1)
    pid = parent.pids.pop()
    parent.tell(f"kill {pid}")
    for who in (pid, pid, "1", pid):
        parent.tell(f"reap {who}")
    assert parent.values()[COUNT] == 101


def test_a_worker_that_was_killed_while_it_made_its_files_costs_no_scrape(parent: Parent) -> None:
    """They are empty at first; the library fails on such files."""
    parent.start(1)
    for kind in ("counter", "histogram", "gauge_livesum"):
        (parent.folder / f"{kind}_99999.db").touch()
    assert_counts(parent.values(), lived=1, living=1)
    parent.tell("reap 99999")
    assert_counts(parent.values(), lived=1, living=1)


def test_a_scrape_while_workers_are_killed_fails_never_and_counts_everybody(parent: Parent) -> None:
    """Readers in other processes see files that go while they look."""
    parent.start(8)
    code = f"""
        import os
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = {str(parent.folder)!r}
        import sys
        from service.settings import load
        from service.metrics.registry import Metrics
        metrics = Metrics(load({{"SESSION_URL": "memory://", "STORAGE_URL": "file:///tmp"}}))
        print("ready", flush=True)
        seen = set()
        import select
        while True:
            text = metrics.render()[1].decode()
            seen.add(sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith("{COUNT}")))
            if select.select([sys.stdin], [], [], 0)[0]:
                break
        print(*seen)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout
        assert reader.stdout.readline() == "ready\n"
        while parent.pids:
            pid = parent.pids.pop()
            parent.tell(f"kill {pid}")
            parent.tell(f"reap {pid}")
        out, _ = reader.communicate("stop", timeout=60)
    assert reader.returncode == 0
    assert {float(value) for value in out.split()} == {808.0}


def test_the_folder_is_emptied_at_the_start_and_kept_at_the_end_where_it_was_given(tmp_path: Path) -> None:
    (tmp_path / "counter_1.db").write_bytes(b"of another life")
    parent = Parent(PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    assert parent.folder == tmp_path
    assert "counter_1.db" not in parent.files()
    parent.start(1)
    assert parent.values()[COUNT] == 101
    parent.close()
    assert tmp_path.is_dir()


def test_a_folder_of_our_own_is_removed_at_the_end_and_not_by_a_worker(tmp_path: Path) -> None:
    parent = Parent()
    parent.start(2)
    pid = parent.pids.pop()
    os.kill(int(pid), signal.SIGTERM)
    parent.tell(f"end {pid}")
    assert parent.folder.is_dir()
    assert parent.folder.stat().st_mode & 0o777 == 0o700
    parent.close()
    assert not parent.folder.exists()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("print(prepare_multiprocess(one), 'PROMETHEUS_MULTIPROC_DIR' in os.environ)", "None False"),
        (
            "import prometheus_client\ntry: prepare_multiprocess(two)\nexcept RuntimeError as e: print('too late')",
            "too late",
        ),
        ("print(prepare_multiprocess(two) == pathlib.Path(os.environ['PROMETHEUS_MULTIPROC_DIR']))", "True"),
    ],
    ids=["one worker", "too late", "two workers"],
)
def test_the_mode_is_chosen_by_the_number_of_workers(code: str, expected: str) -> None:
    begin = """
import os, pathlib
from service.settings import load
from service.metrics.multiprocess import prepare_multiprocess
values = {"SESSION_URL": "memory://", "STORAGE_URL": "file:///tmp"}
one, two = load(values), load(values | {"WEB_CONCURRENCY": "2"})
"""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    if "None False" in expected:
        environment["PROMETHEUS_MULTIPROC_DIR"] = "/nowhere"
    done = subprocess.run(
        [sys.executable, "-c", begin + code], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == expected
